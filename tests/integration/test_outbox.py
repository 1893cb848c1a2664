#!/usr/bin/python3
"""Where objects go: originals bit for bit or converted, storage commitment with a real Orthanc and with
a PACS of the test's own, destinations that are dead or dumb, and --oneshot --send NAME."""
import contextlib
import json
import pathlib
import socket
import sqlite3
import struct
import sys
import threading
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import pydicom  # noqa: E402

import dicom_client  # noqa: E402
import hospital  # noqa: E402
import tap  # noqa: E402
import transfer_syntax  # noqa: E402
from dicom_client import EXPLICIT, item, pdu, text_of  # noqa: E402
from hospital import SR_CLASS, run, send, wait_for  # noqa: E402

PUSH, PUSH_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
ACTION, EVENT = 0x0130, 0x0100
RLE, J2K = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"
GIVEN = 3  # md_commitment_state


def explicit(tag, vr, value):
    """An element of a dataset in explicit little endian."""
    group, number = tag >> 16, tag & 0xffff
    if vr == "SQ":
        return struct.pack("<HH2sHI", group, number, b"SQ", 0, len(value)) + value
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, vr.encode(), len(value)) + value


def report_dataset(transaction, kept, failed):
    """The Event Information of PS3.4 table J.3-2."""
    def items(references, reason):
        return b"".join(struct.pack("<HHI", 0xfffe, 0xe000, len(value)) + value for value in (
            explicit(0x00081150, "UI", c.encode()) + explicit(0x00081155, "UI", i.encode()) +
            (explicit(0x00081197, "US", struct.pack("<H", 0x0112)) if reason else b"")
            for c, i in references))
    data = explicit(0x00081195, "UI", transaction.encode())
    if failed:
        data += explicit(0x00081198, "SQ", items(failed, True))
    return data + (explicit(0x00081199, "SQ", items(kept, False)) if kept else b"")


def event_elements(message, failed):
    """The command of an N-EVENT-REPORT."""
    return {0x0002: PUSH, 0x0100: EVENT, 0x0110: message, 0x0800: 0, 0x1000: PUSH_INSTANCE,
            0x1002: 2 if failed else 1}


class Pacs(dicom_client.Receiver):
    """Takes objects, and requests for commitment: each is kept in `requests` as (transaction,
    references). `judge(references)` says which of them it will not keep, or None: no answer by itself.
    `same` answers over the association of the request."""

    def __init__(self, judge=lambda references: None, same=False, **more):
        super().__init__(**more)
        self.judge, self.same, self.requests = judge, same, []
        self.RequestHandlerClass = PacsThread

    def report(self, port, number, failed=(), role=True):
        """Open an association to medaid and report on a request; the status of the response."""
        transaction, references = self.requests[number]
        kept = [each for each in references if each not in failed]
        with Reporter(port, [(PUSH, [EXPLICIT])], calling="FAKE", role=role) as association:
            context = association.context_for(PUSH)
            data = report_dataset(transaction, kept, failed)
            for part in (association.fragments(context, True, dicom_client.command(
                    event_elements(1, failed))) + association.fragments(context, False, data)):
                association.socket.sendall(part)
            association.message = 1
            return association.read_status(EVENT | 0x8000)


class Reporter(dicom_client.Association):
    """Proposes to be the SCP of storage commitment (PS3.7 D.3.3.4), as a PACS does."""

    def __init__(self, *arguments, role=True, **more):
        self.role = role
        super().__init__(*arguments, **more)

    def request(self, calling, called):
        made = super().request(calling, called)
        if not self.role:
            return made
        uid = PUSH.encode()
        selection = item(0x54, struct.pack(">H", len(uid)) + uid + b"\0\1")
        body = made[6:]
        at = body.rindex(b"\x50\0", 0, len(body) - 2)
        (n_bytes,) = struct.unpack_from(">H", body, at + 2)
        inner = body[at + 4:at + 4 + n_bytes] + selection
        return pdu(dicom_client.RQ, body[:at] + item(0x50, inner))


class PacsThread(dicom_client.ReceiverThread):
    """One association of a Pacs."""

    def serve(self, wire):
        self.accept(wire)
        while True:
            message = wire.read_message()
            if message is None:
                return
            context, elements, data = message
            (number,) = struct.unpack("<H", elements[0x0100])
            if number & 0x8000:
                continue  # medaid's answer to a report
            answer = {0x0100: number | 0x8000, 0x0120: elements[0x0110], 0x0800: 0x0101, 0x0900: 0}
            request = None
            if number == ACTION:
                answer |= {0x0002: elements[0x0003], 0x1000: elements[0x1001],
                           0x1008: elements[0x1008]}
                request = self.read_request(data)
            else:
                answer |= {0x0002: elements[0x0002], 0x1000: elements[0x1000]}
                answer[0x0900] = self.server.take(text_of(elements[0x0002]),
                                                  text_of(elements[0x1000]), data)
            for part in wire.fragments(context, True, dicom_client.command(answer)):
                wire.socket.sendall(part)
            if request is not None:
                self.tell(wire, context, request)

    def read_request(self, data):
        """The Action Information."""
        dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(
            dicom_client.EXPLICIT_HEAD + data))
        return str(dataset.TransactionUID), [
            (str(each.ReferencedSOPClassUID), str(each.ReferencedSOPInstanceUID))
            for each in dataset.ReferencedSOPSequence]

    def tell(self, wire, context, request):
        """Keep it, and answer at once if that is what this PACS does."""
        transaction, references = request
        failed = self.server.judge(references)
        if self.server.same and failed is not None:
            kept = [each for each in references if each not in failed]
            for part in (wire.fragments(context, True, dicom_client.command(
                    event_elements(7, failed))) +
                         wire.fragments(context, False,
                                        report_dataset(transaction, kept, failed))):
                wire.socket.sendall(part)
        with self.server.lock:
            self.server.requests.append(request)


def commitments(medaid):
    """committed of each row of the outbox, in order."""
    return [row[0] for row in medaid.query("SELECT committed FROM outbox ORDER BY id")]


def wait_given(medaid, n):
    """All n rows are committed."""
    wait_for("commitments", lambda: medaid.alive() and commitments(medaid) == [GIVEN] * n)


def uid_of(film):
    """The study of a film."""
    return str(pydicom.dcmread(film, stop_before_pixels=True).StudyInstanceUID)


def put(orthanc, path, value):
    """HTTP PUT of JSON."""
    url = f"http://127.0.0.1:{orthanc.http}{path}"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(value).encode(),
                                                       method="PUT"), timeout=60):
        pass


class Case:
    """Each test has a hospital of its own."""

    folder = None

    @contextlib.contextmanager
    def daemon(self, *destinations, **sections):
        """A daemon for these destinations; (site, medaid)."""
        with hospital.Hospital("outbox") as site:
            medaid = site.medaid(destinations=list(destinations), **sections)
            medaid.start()
            yield site, medaid

    def test_commitment_of_orthanc(self):
        """Kept: committed. Deleted in between: sent again, then committed."""
        with hospital.Hospital("outbox") as site:
            pacs = site.orthanc()
            pacs.start()
            medaid = site.medaid(destinations=[pacs.destination(
                commitment="required", originals="after_analysis", retry_first_s=1,
                retry_max_s=2)]).start()
            # Orthanc does not know where to answer: it refuses the request, medaid asks again
            film = site.film(seed=11)
            send(medaid, film)
            medaid.wait_line("commitment_failed")
            assert medaid.state_of(uid_of(film)) == "done"
            (report,) = pacs.reports_of(uid_of(film))
            (known,) = pacs.post("/tools/find", {"Level": "Instance", "Query": {
                "SOPInstanceUID": str(report.SOPInstanceUID)}})
            urllib.request.urlopen(urllib.request.Request(
                f"http://127.0.0.1:{pacs.http}/instances/{known}", method="DELETE")).close()
            assert not pacs.reports_of(uid_of(film))
            put(pacs, "/modalities/medaid", {"AET": "MEDAID", "Host": "127.0.0.1",
                                             "Port": medaid.port})
            line = medaid.wait_line("commitment_incomplete")
            assert (line["objects"], line["again"]) == (1, 1), line
            wait_given(medaid, 2)
            assert len(pacs.reports_of(uid_of(film))) == 1, "the deleted report is there again"
            assert medaid.state_of(uid_of(film)) == "done"
            shown = medaid.ctl("show", medaid.key_of(uid_of(film)))
            assert shown.count("commitment given") == 2, shown
            assert "uncommitted 0" in medaid.ctl("status")

    def test_killed_between_request_and_report(self):
        """kill -9 after the N-ACTION: the report is taken by the next process, and until then no copy
        goes, however old."""
        pacs = Pacs()
        with self.daemon(pacs.destination(commitment="required"),
                         storage={"keep_h": 1}) as (site, medaid):
            film = site.film(seed=12)
            send(medaid, film)
            wait_for("a request", lambda: pacs.requests)
            medaid.kill()
            with contextlib.closing(sqlite3.connect(medaid.store / "medaid.db")) as database:
                database.execute("UPDATE study SET ended = 1000")  # far beyond keep_h
                database.commit()
            medaid.start()
            medaid.wait_line("studies_held")
            assert medaid.key_of(uid_of(film)) is not None
            assert len(list(medaid.store.glob("data/*/*"))) == 2
            n = len(pacs.requests)
            assert pacs.report(medaid.port, 0) == 0
            wait_given(medaid, 1)
            assert pacs.report(medaid.port, 0, role=False) == 0  # again, and without role selection
            assert pacs.requests[0][0] == pacs.requests[n - 1][0] or n > 1
            assert medaid.stop() == 0
            medaid.start()
            wait_for("the study to be removed", lambda: medaid.key_of(uid_of(film)) is None)
            medaid.wait_line("studies_removed")
            wait_for("the files to be removed", lambda: not list(medaid.store.glob("data/*/*")))
            # nobody knows that transaction any more
            assert pacs.report(medaid.port, 0) == 0x0115
        pacs.close()

    def test_report_over_the_same_association(self):
        """Event type 2 for the report, then 1; what fails is sent again."""
        n_asked = []

        def judge(references):
            n_asked.append(len(references))
            return [each for each in references if each[0] == SR_CLASS] if len(n_asked) == 1 else []
        pacs = Pacs(judge, same=True)
        with self.daemon(pacs.destination(commitment="required",
                                          originals="after_analysis")) as (site, medaid):
            send(medaid, site.film(seed=13))
            wait_given(medaid, 2)
            assert n_asked == [2, 1], n_asked
            assert len({transaction for transaction, _ in pacs.requests}) == 2
            assert [c for c, _, _ in pacs.stored].count(SR_CLASS) == 2
        pacs.close()

    def test_no_report_is_asked_again(self):
        """Another transaction after commitment_timeout_s; an answer to the first still counts."""
        pacs = Pacs()
        with self.daemon(pacs.destination(commitment="required",
                                          commitment_timeout_s=1)) as (site, medaid):
            send(medaid, site.film(seed=14))
            wait_for("a second request", lambda: len(pacs.requests) >= 2)
            medaid.wait_line("commitment_expired")
            assert pacs.requests[0][0] != pacs.requests[1][0]
            assert pacs.requests[0][1] == pacs.requests[1][1]
            assert pacs.report(medaid.port, 0) == 0
            wait_given(medaid, 1)
        pacs.close()

    def test_originals_before_analysis(self):
        """Bit for bit while the queue is paused; then the report."""
        with hospital.Hospital("outbox") as site:
            pacs = site.orthanc().start()
            medaid = site.medaid(destinations=[pacs.destination(
                originals="before_analysis")]).start()
            medaid.ctl("pause")
            for number, syntax in enumerate((RLE, J2K, "1.2.840.10008.1.2.2")):
                film, sent = site.film(seed=20 + number), site.folder / f"sent-{number}.dcm"
                written = transfer_syntax.transcode(film, sent, syntax)
                flag = {RLE: "-xr", J2K: "-xv"}.get(syntax, "-xb")
                send(medaid, sent, options=(flag,))
                uid = str(written.StudyInstanceUID)
                (known,) = wait_for("the original", lambda u=uid: pacs.post(
                    "/tools/find", {"Level": "Instance", "Query": {"StudyInstanceUID": u}}))
                (here,) = medaid.store.glob(f"data/*/{self.file_of(medaid, uid):016x}.dcm")
                there = site.folder / "there.dcm"
                there.write_bytes(pacs.request(f"/instances/{known}/file"))
                ours, theirs = dicom_client.Object(here), dicom_client.Object(there)
                assert theirs.syntax == syntax == ours.syntax
                assert theirs.data == ours.data, f"{syntax}: not the same bytes"
                assert medaid.state_of(uid) == "complete"
            medaid.ctl("resume")
            for number in range(3):
                uid = uid_of(site.film(seed=20 + number))
                medaid.wait_state(uid, "done")
                assert len(pacs.reports_of(uid)) == 1
            assert not medaid.lines("sent_converted")

    def file_of(self, medaid, uid):
        """The number of the one file of a study's image."""
        ((number,),) = medaid.query("SELECT i.file FROM instance i JOIN study s ON s.id = i.study"
                                    " WHERE s.uid = ?", uid)
        return number

    def test_originals_are_decompressed(self):
        """For a peer that takes explicit little endian alone: same pixels, same identity."""
        pacs = Pacs()
        with self.daemon(pacs.destination(results="none", originals="after_analysis")) as (
                site, medaid):
            for number, syntax in enumerate((RLE, J2K, "1.2.840.10008.1.2.4.70",
                                             "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.2",
                                             "1.2.840.10008.1.2")):
                film, sent = site.film(seed=30 + number), site.folder / f"sent-{number}.dcm"
                transfer_syntax.transcode(film, sent, syntax)
                send(medaid, sent, options=({RLE: "-xr", J2K: "-xv", "1.2.840.10008.1.2.2": "-xb",
                                             "1.2.840.10008.1.2": "-xi"}.get(syntax) or
                                            {"70": "-xs", "80": "-xt"}[syntax[-2:]],))
                medaid.wait_state(uid_of(film), "done")
                (received,) = [d for d in pacs.datasets()
                               if d.StudyInstanceUID == uid_of(film)]
                original = pydicom.dcmread(film)
                assert received.SOPInstanceUID == original.SOPInstanceUID
                assert received.PatientName == original.PatientName
                assert (received.pixel_array == original.pixel_array).all(), syntax
            assert len(medaid.lines("sent_converted")) == 6
            # a broken stream is that object's failure, told in one line, and harms nobody
            film, sent = site.film(seed=40), site.folder / "broken.dcm"
            transfer_syntax.transcode(film, sent, J2K)
            raw = bytearray(sent.read_bytes())
            at = raw.index(b"\xff\x4f\xff\x51")
            raw[at + 4:at + 60] = b"\xff" * 56
            sent.write_bytes(raw)
            send(medaid, sent, options=("-xv",))
            line = medaid.wait_line("send_failed")
            assert "conversion" in line["reason"], line
            medaid.alive()
        pacs.close()

    def test_dead_destinations_block_nobody(self):
        """One refuses connections, one takes them and stays silent, one lives: reception goes on and
        the living one gets all."""
        live = Pacs()
        with contextlib.closing(socket.socket()) as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen(16)
            (nobody,) = hospital.free_ports(1)
            base = {"ae_title": "X", "host": "127.0.0.1", "commitment": "required"}
            with self.daemon(dict(base, name="dead", port=nobody),
                             dict(base, name="silent", port=silent.getsockname()[1]),
                             live.destination(originals="before_analysis")) as (site, medaid):
                for seed in range(50, 55):
                    send(medaid, site.film(seed=seed))
                wait_for("all results", lambda: [c for c, _, _ in live.stored].count(SR_CLASS) == 5)
                run("echoscu", "-aec", "MEDAID", "127.0.0.1", medaid.port)
                medaid.wait_line("send_failed", destination="dead")
                rows = dict(medaid.query("SELECT destination || state, count(*) FROM outbox"
                                         " GROUP BY 1"))
                assert rows == {"dead0": 5, "silent0": 5, "fake1": 10}, rows
        live.close()

    def test_oneshot_by_name(self):
        """--send NAME: what that destination wants, and no other name."""
        pacs = Pacs()
        with hospital.Hospital("outbox") as site:
            medaid = site.medaid(destinations=[pacs.destination(results="sr")],
                                 results={"kind": "both"})
            film = site.film(seed=60)
            common = [hospital.MEDAID, "--oneshot", "--config", medaid.configuration,
                      "--output", site.folder / "out", "--send"]
            run(*common, "fake", film)
            assert [c for c, _, _ in pacs.stored] == [SR_CLASS]
            said = run(*common, "nobody", film, good=False)
            assert "got 'nobody', expected AE@HOST:PORT or the name of a destination" in said, said
        pacs.close()


def main():
    """TAP."""
    hospital.need("storescu", "echoscu", "dcmcrle", "dcmcjpeg", "dcmcjpls", "opj_compress",
                  hospital.ORTHANC)
    threading.excepthook = lambda _: None  # a peer that hung up is no news
    tap.run(Case)


main()
