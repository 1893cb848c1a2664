#!/usr/bin/python3
"""What users of other systems complain about, one test each: docs/complaints.md has the table.

One daemon with the chest model, a tiny CT model and one that must be refused, a real Orthanc, and for a
few complaints a daemon of its own. The order is the table's; what all of them wrote is searched for
patients in the end."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import sys
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import numpy  # noqa: E402
import pydicom  # noqa: E402

import ct_series  # noqa: E402
import dicom_client  # noqa: E402
import faults  # noqa: E402
import hospital  # noqa: E402
import tap  # noqa: E402
import tiny_model  # noqa: E402
import transfer_syntax  # noqa: E402
from hospital import PATIENT, PICTURE_CLASS, SR_CLASS, run, send, wait_for  # noqa: E402

MIB = 1 << 20
AIR_GAP = hospital.ROOT / "tests/support/air_gap.py"
COMPRESSED = [".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91", ".5"]


def edit(folder, *changes):
    """Change the manifest of a package."""
    path = folder / "model.yaml"
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)


class Site:
    """What the tests share."""

    def __init__(self, here):
        self.here, self.marks = here, set(PATIENT) | {"Zebra", "Quagga"}
        plugins = here.folder / "plugins"
        shutil.copytree(hospital.ROOT / "plugins/chest", plugins / "chest",
                        ignore=shutil.ignore_patterns("training"))
        edit(tiny_model.write(plugins / "ct", model_id="ct"),
             ("modality: [CR, DX]", "modality: [CT]"), ("min_rows: 200", "min_rows: 32"),
             ("min_columns: 200", "min_columns: 32"))
        tiny_model.write(plugins / "golden", model_id="golden",
                         expected_bytes=numpy.array([[0, 1]], "<f4").tobytes())
        self.faults = faults.Faults(here.folder)
        self.pacs = here.orthanc()
        self.medaid = here.medaid(destinations=[self.pacs.destination()],
                                  plugins={"paths": [str(plugins)]}, results={"kind": "both"},
                                  log={"level": "debug"})
        self.medaid.environment.update(self.faults.environment())
        self.pacs.launch()
        self.medaid.start()
        wait_for("Orthanc", self.pacs.answers)

    def film(self, seed, *options, **more):
        """A new film's path and dataset without pixels."""
        path = self.here.film(*options, seed=seed, **more)
        return path, self.read(path)

    def read(self, path):
        """A dataset without pixels, whose UIDs no output may have."""
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        self.marks |= {ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID}
        return ds

    def results(self, study_uid, n_reports=1, n_pictures=1):
        """Wait for so many reports and pictures of a study."""
        def there():
            found = self.pacs.results_of(study_uid)
            n = sum(d.SOPClassUID == SR_CLASS for d in found)
            return self.medaid.alive() and n >= n_reports and len(found) - n >= n_pictures and found
        found = wait_for("results", there)
        return ([d for d in found if d.SOPClassUID == SR_CLASS],
                [d for d in found if d.SOPClassUID == PICTURE_CLASS])

    def ct(self, n, body_part="CHEST"):
        """A CT series of n slices, and its study's UID."""
        path = self.here.folder / "slice.dcm"
        objects, study = ct_series.slices(path, n, PATIENT, body_part)
        self.marks |= {study} | {o.sop_instance for o in objects[:20]}
        return objects, study

    def large_ct(self, n):
        """n slices of which one shows what the model is for."""
        objects, study = self.ct(n - 1, "ABDOMEN")
        ds = pydicom.dcmread(self.here.folder / "slice.dcm")
        path = ct_series.slice_file(self.here.folder / "chest.dcm", PATIENT)
        chest = pydicom.dcmread(path)
        chest.StudyInstanceUID, chest.SeriesInstanceUID = study, ds.SeriesInstanceUID
        chest.save_as(path)
        return objects + [dicom_client.Object(path)], study

    def check_large_ct(self, n):
        """It goes through in one association and is one study with one report of all images."""
        objects, study = self.large_ct(n)
        statuses = dicom_client.store_all(self.medaid.port, objects)
        assert statuses == [0] * n, set(statuses)
        (report,), _ = self.results(study)
        named = {instance for _, instance in hospital.references_in(report)}
        assert {o.sop_instance for o in objects} <= named, "images are missing in the report"
        key = self.medaid.key_of(study)
        complete = [line for line in self.medaid.lines("study_complete") if line["study"] == key]
        assert [line["objects"] for line in complete] == [n], complete
        return objects, study

    def concept_values(self, report):
        """{meaning: value} of the report's content items."""
        found = {}

        def walk(items):
            for each in items:
                if "ConceptNameCodeSequence" in each:
                    name = each.ConceptNameCodeSequence[0].CodeMeaning
                    if "MeasuredValueSequence" in each:
                        found[name] = float(each.MeasuredValueSequence[0].NumericValue)
                    elif "ConceptCodeSequence" in each:
                        found[name] = each.ConceptCodeSequence[0].CodeMeaning
                    else:
                        found.setdefault(name, []).append(each.get("TextValue", each.get("UID")))
                walk(each.get("ContentSequence", []))

        walk(report.ContentSequence)
        return found

    def check_no_patient(self):
        """No program wrote, and no file is called, what belongs to a patient."""
        said = "\n".join(p.log() for p in self.here.programs if isinstance(p, hospital.Medaid))
        said += "\n".join(str(p) for p in self.here.folder.glob("medaid*/**/*"))
        assert "study_complete" in said
        for mark in self.marks:
            assert mark not in said, f"{mark} is in a log or a file's name"

    def probability(self, study_uid):
        """What the chest model says of a study."""
        return self.concept_values(self.results(study_uid)[0][0])["Probability"]


class Complaints:
    """Each method shows one complaint of others that does not apply here."""

    site = None

    def __init__(self):
        self.medaid, self.pacs = self.site.medaid, self.site.pacs

    def test_01_400_image_ct_study_goes_through(self):
        """And a slice that comes when the report is out gives a new report of all 401."""
        objects, study = self.site.check_large_ct(400)
        late = objects[0].changed({objects[0].sop_instance: dicom_client.new_uid()})
        assert dicom_client.store_all(self.medaid.port, [late]) == [0]
        reports, _ = self.site.results(study, n_reports=2)
        (new,) = [r for r in reports if "PredecessorDocumentsSequence" in r]
        named = {instance for _, instance in hospital.references_in(new)}
        assert {o.sop_instance for o in objects} | {late.sop_instance} <= named

    def test_02_compressed_transfer_syntaxes_are_accepted(self):
        """Each is taken as it comes; JPEG lossless, JPEG-LS and JPEG 2000 are decoded to a report."""
        dx = "1.2.840.10008.5.1.4.1.1.1.1"
        uids = ["1.2.840.10008.1.2" + tail for tail in COMPRESSED]
        with dicom_client.Association(self.medaid.port, [(dx, [uid]) for uid in uids]) as link:
            assert sorted(link.accepted.values()) == sorted(uids)
        base, _ = self.site.film(20)
        for tail in (".4.70", ".4.80", ".4.90"):
            path = self.site.here.folder / f"compressed{tail}.dcm"
            transfer_syntax.transcode(base, path, "1.2.840.10008.1.2" + tail)
            ds = pydicom.dcmread(path)  # each a study of its own
            ds.StudyInstanceUID = ds.StudyInstanceUID[:-3] + tail.replace(".", "9")
            ds.save_as(path)
            assert dicom_client.store_all(self.medaid.port, [dicom_client.Object(path)]) == [0]
            self.site.results(self.site.read(path).StudyInstanceUID)

    def test_03_bad_object_is_refused_and_the_association_lives(self):
        """Also an enhanced multi-frame object with sequences of undefined length is no bad one."""
        film, read = self.site.film(30)
        good = dicom_client.Object(film)
        enhanced = pydicom.dcmread(self.site.ct(1) and self.site.here.folder / "slice.dcm")
        enhanced.SOPClassUID = enhanced.file_meta.MediaStorageSOPClassUID = \
            "1.2.840.10008.5.1.4.1.1.2.1"
        enhanced.NumberOfFrames, enhanced.PixelData = 2, enhanced.PixelData * 2
        item = pydicom.dataset.Dataset()
        item.FrameAcquisitionNumber = 1
        outer = pydicom.dataset.Dataset()
        outer.FrameContentSequence = [item]
        enhanced.PerFrameFunctionalGroupsSequence = [outer, outer]
        enhanced["PerFrameFunctionalGroupsSequence"].is_undefined_length = True
        outer.is_undefined_length_sequence_item = item.is_undefined_length_sequence_item = True
        outer["FrameContentSequence"].is_undefined_length = True
        path = self.site.here.folder / "enhanced.dcm"
        enhanced.save_as(path)
        many = dicom_client.Object(path)
        assert b"\xfe\xff\x0d\xe0" in many.data and b"\xfe\xff\xdd\xe0" in many.data
        other = dicom_client.new_uid()
        with dicom_client.Association(self.medaid.port,
                                      dicom_client.contexts_of(good, many)) as link:
            for bad in ({"data": os.urandom(5000)}, {"data": b""}, {"data": good.data[:-1000]},
                        {"sop_instance": other},
                        {"data": good.data.replace(good.sop_class.encode(), b"9" * len(
                            good.sop_class))}):
                status = link.store(good, **bad)
                assert status >> 12 in (0xa, 0xc), f"{status:04x} for {list(bad)}"
            assert link.store(many) == 0
            assert link.store(good) == 0
        self.site.results(read.StudyInstanceUID)

    def test_04_a_vanished_file_never_stops_a_worker(self):
        """Its study comes to a visible end, the next one is analysed."""
        self.medaid.ctl("pause")
        film, gone = self.site.film(40)
        _, next_one = self.site.film(41)
        send(self.medaid, film)
        self.medaid.wait_state(gone.StudyInstanceUID, "complete")
        ((file,),) = self.medaid.query("SELECT i.file FROM instance i JOIN study s ON s.id = i.study"
                                       " WHERE s.uid = ?", gone.StudyInstanceUID)
        (path,) = (self.medaid.store / "data").rglob(f"{file:016x}.dcm")
        path.unlink()
        self.medaid.ctl("resume")
        send(self.medaid, self.site.here.folder / "film-41.dcm")
        self.site.results(next_one.StudyInstanceUID)
        self.medaid.wait_state(gone.StudyInstanceUID, "quarantined")
        key = self.medaid.key_of(gone.StudyInstanceUID)
        shown = json.loads(self.medaid.ctl("show", key, "--json"))
        assert "is not there" in shown["reason"], shown
        attempts = [line["then"] for line in self.medaid.lines("study_failed")
                    if line["study"] == key]
        assert attempts == ["tried again", "tried again", "given up"], attempts

    def test_05_no_reset_between_associations(self):
        """100 one after the other and 20 at a time, each with an object; no process for each."""
        objects, _ = self.site.ct(101, "ABDOMEN")
        before = self.medaid.children()
        for each in objects[:100]:
            assert dicom_client.store_all(self.medaid.port, [each]) == [0]
        with contextlib.ExitStack() as stack:
            links = [stack.enter_context(dicom_client.Association(
                self.medaid.port, dicom_client.contexts_of(objects[0]))) for _ in range(20)]
            assert [link.store(objects[100]) for link in links] == [0] * 20
            assert self.medaid.children() == before

    def test_06_every_received_instance_is_in_exactly_one_state(self):
        """Those whose sender died leave nothing, all others are in a study of one state."""
        film, read = self.site.film(60)
        obj = dicom_client.Object(film)
        for n_pdus in (1, 2):
            link = dicom_client.Association(self.medaid.port, dicom_client.contexts_of(obj))
            for part in link.store_pdus(obj)[:n_pdus]:
                link.socket.sendall(part)
            link.close()
        incoming = self.medaid.store / "incoming"
        wait_for("the end of half objects", lambda: not list(incoming.glob("*")))
        assert self.medaid.state_of(read.StudyInstanceUID) is None
        send(self.medaid, film)
        self.medaid.wait_state(read.StudyInstanceUID, "done")
        n_bad = self.medaid.query("SELECT count(*) FROM instance i LEFT JOIN study s ON s.id ="
                                  " i.study WHERE s.id IS NULL OR s.state NOT BETWEEN 0 AND 7")
        assert n_bad == [(0,)]
        assert self.medaid.query("SELECT count(*) FROM (SELECT study, uid FROM instance WHERE"
                                 " current GROUP BY study, uid HAVING count(*) > 1)") == [(0,)]
        rows = {f"{n:016x}.dcm" for (n,) in self.medaid.query(
            "SELECT file FROM instance UNION SELECT file FROM object")}
        files = {p.name for p in (self.medaid.store / "data").rglob("*.dcm")}
        missing = rows - files
        assert len(missing) <= 1, "more rows without a file than test 4 has made"
        assert files <= rows, f"{len(files - rows)} files that no row knows"

    def test_07_low_disk_is_refused_and_recovers_alone(self):
        """A700 below the watermark, one line when it begins and one when it is over."""
        film, read = self.site.film(70)
        obj = dicom_client.Object(film)
        with dicom_client.Association(self.medaid.port, dicom_client.contexts_of(obj)) as link:
            self.site.faults.set(free_bytes=9 * MIB)
            try:
                assert [link.store(obj) for _ in range(3)] == [0xa700] * 3
                assert self.medaid.state_of(read.StudyInstanceUID) is None
            finally:
                self.site.faults.set()
            assert link.store(obj) == 0
        assert len(self.medaid.lines("disk_low")) == len(self.medaid.lines("disk_recovered")) == 1
        self.site.results(read.StudyInstanceUID)

    def test_08_a_dead_destination_is_retried_within_bounds(self):
        """One line an attempt, ten for one that refuses, until an operator retries; the others get
        theirs."""
        (nobody,) = hospital.free_ports(1)
        film, read = self.site.film(80)
        quickly = {"retry_first_s": 1, "retry_max_s": 1}
        answers = [0xa900]
        with contextlib.closing(dicom_client.Receiver(lambda *_: answers[0])) as refuses:
            medaid = self.site.here.medaid(
                "medaid-dead", destinations=[
                    {"name": "gone", "ae_title": "GONE", "host": "127.0.0.1", "port": nobody,
                     **quickly},
                    refuses.destination("refuses", **quickly), self.pacs.destination()]).start()
            send(medaid, film)
            wait_for("the report at the living one", lambda: self.pacs.reports_of(
                read.StudyInstanceUID))
            medaid.wait_line("results_undelivered", destination="refuses")
            send(medaid, film)  # reception goes on
            for name in ("gone", "refuses"):
                attempts = [line["attempt"] for line in medaid.lines("send_failed")
                            if line["destination"] == name]
                assert len(attempts) >= 2, f"{name}: {attempts}"
                assert attempts == list(range(1, len(attempts) + 1)), f"{name}: {attempts}"
            assert refuses.n_asked == 10, f"asked {refuses.n_asked} times"
            key = medaid.key_of(read.StudyInstanceUID)
            states = {row["destination"]: row["state"] for row in json.loads(
                medaid.ctl("show", key, "--json"))["outbox"]}
            assert states == {"pacs": "sent", "refuses": "dead", "gone": "pending"}, states
            answers[0] = 0
            medaid.ctl("retry", key)
            wait_for("what was dead", lambda: medaid.alive() and refuses.stored)
            assert medaid.stop() == 0

    def test_09_a_1000_image_study_goes_through(self):
        """Without a broker or an object store beside it."""
        self.site.check_large_ct(1000)

    def test_10_a_failure_is_visible(self):
        """A crashing plugin: in the log, the figures, medaidctl and, as a report, in the PACS."""
        (http,), rows = hospital.free_ports(1), hospital.hostile_rows()
        plugins = self.site.here.folder / "hostile"
        plugins.mkdir()
        shutil.copy(hospital.HOSTILE, plugins)
        medaid = self.site.here.medaid(
            "medaid-hostile", plugins={"paths": [str(plugins)]}, http={"port": http},
            destinations=[self.pacs.destination()], results={"write_failures": True},
            workers={"count": 1})
        # a crash of a sanitized worker is to be a crash, too
        medaid.environment["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":handle_segv=0"
        medaid.start()
        film, read = self.site.film(100, rows=rows["SEGFAULT"], columns=400)
        send(medaid, film)
        medaid.wait_state(read.StudyInstanceUID, "quarantined")
        key = medaid.key_of(read.StudyInstanceUID)
        shown = json.loads(medaid.ctl("show", key, "--json"))
        assert shown["state"] == "quarantined" and "signal 11" in shown["reason"], shown
        assert medaid.wait_line("study_failed", study=key, then="given up")
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=60) as answer:
            assert b'medaid_studies{state="quarantined"} 1\n' in answer.read()
        (report,) = wait_for("the failure's report", lambda: self.pacs.reports_of(
            read.StudyInstanceUID))
        assert report.CompletionFlag == "PARTIAL"
        film, read = self.site.film(101, rows=rows["NONE"], columns=400)
        send(medaid, film)
        medaid.wait_state(read.StudyInstanceUID, "done")
        assert medaid.stop() == 0

    def test_11_monochrome1_is_inverted_and_says_so(self):
        """The negative of a film has the film's score, and its report tells of the inversion."""
        scores = []
        for photometric in ("MONOCHROME2", "MONOCHROME1"):
            film, read = self.site.film(110, "--photometric", photometric, "--study-uid",
                                        dicom_client.new_uid(), "--sop-uid", dicom_client.new_uid(),
                                        "--opacity", "left")
            send(self.medaid, film)
            scores.append(self.site.probability(read.StudyInstanceUID))
            (report,), _ = self.site.results(read.StudyInstanceUID)
            said = " ".join(map(str, self.site.concept_values(report)["Algorithm Parameters"]))
            assert ("inverted" in said.lower()) == (photometric == "MONOCHROME1"), said
        assert abs(scores[0] - scores[1]) < 0.01 * max(scores), scores

    def test_12_a_golden_self_test_that_differs_refuses_to_serve(self):
        """The model is named with the reason and answers nothing; alone, it ends the start."""
        lines = self.medaid.lines("model_refused")
        assert lines and all("self-test" in line["reason"] and "golden" in line["package"]
                             for line in lines), lines
        assert "golden" not in [m["model"] for m in self.medaid.lines("model_loaded")]
        alone = self.site.here.folder / "alone"
        shutil.copytree(self.site.here.folder / "plugins/golden", alone / "golden")
        medaid = self.site.here.medaid("medaid-golden", plugins={"paths": [str(alone)]}).launch()
        assert medaid.process.wait(timeout=hospital.PATIENCE_S) != 0
        assert "self-test" in medaid.log()
        assert "self-test" in run(hospital.MEDAID, "--check-config", "--config",
                                  medaid.configuration, good=False)

    def test_13_dciodvfy_finds_no_error_in_report_and_picture(self):
        """Of a film with the attributes of an order."""
        film, read = self.site.film(130, "--request")
        send(self.medaid, film)
        reports, pictures = self.site.results(read.StudyInstanceUID)
        for each in reports + pictures:
            path = self.site.here.folder / "check.dcm"
            each.save_as(path)
            assert not hospital.dciodvfy_errors(path)
            assert "PerformedProcedureCodeSequence" in each or each.SOPClassUID != SR_CLASS
        assert reports[0].CompletionFlag == "COMPLETE"

    def test_14_the_report_is_tid_1500_with_what_air_asks_for(self):
        """The items of REFERENCE section 3."""
        film, read = self.site.film(140, "--opacity", "right")
        send(self.medaid, film)
        (report,), _ = self.site.results(read.StudyInstanceUID)
        assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
        assert report.ConceptNameCodeSequence[0].CodeValue == "126000"
        equipment = report.ContributingEquipmentSequence[0]
        for keyword in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceUID",
                        "PurposeOfReferenceCodeSequence"):
            assert equipment.get(keyword), keyword
        values = self.site.concept_values(report)
        for meaning in ("Tracking Identifier", "Tracking Unique Identifier", "Finding",
                        "Finding Site", "Algorithm Name", "Algorithm Version",
                        "Algorithm Parameters", "Procedure reported", "Observer Type",
                        "Presence of property"):
            assert meaning in values, f"{meaning} is not among {sorted(values)}"
        named = {instance for _, instance in hospital.references_in(report)}
        assert read.SOPInstanceUID in named

    def test_15_the_same_uid_twice_keeps_both(self):
        """Same bytes: success, nothing new. Other bytes: a warning, both are kept, and what is said
        of the later ones replaces what the PACS has of the first."""
        film, read = self.site.film(150)
        same = dicom_client.Object(film)
        other = dicom_client.Object(film)
        other.data = other.data[:-2] + bytes(b ^ 1 for b in other.data[-2:])
        assert dicom_client.store_all(self.medaid.port, [same]) == [0]
        (first,), _ = self.site.results(read.StudyInstanceUID)
        self.medaid.wait_state(read.StudyInstanceUID, "done")
        statuses = dicom_client.store_all(self.medaid.port, [same, same, other, other])
        assert statuses == [0, 0, 0xb000, 0] or statuses == [0, 0, 0xb000, 0xb000], statuses
        rows = self.medaid.query("SELECT file, current FROM instance WHERE uid = ?",
                                 read.SOPInstanceUID)
        assert len(rows) == 2 and sum(current for _, current in rows) == 1, rows
        for file, _ in rows:
            assert list((self.medaid.store / "data").rglob(f"{file:016x}.dcm"))
        reports, _ = self.site.results(read.StudyInstanceUID, n_reports=2, n_pictures=2)
        (second,) = [r for r in reports if r.SOPInstanceUID != first.SOPInstanceUID]
        assert (SR_CLASS, first.SOPInstanceUID) in hospital.references_in(second)
        assert "PredecessorDocumentsSequence" in second

    def test_16_no_character_set_fails_a_store(self):
        """Latin 1, UTF-8, Japanese and nonsense in one study; the report has the patient's name."""
        name = "M\u00fcller^J\u00f6rg"
        film, read = self.site.film(160, "--patient-name", name, "--charset", "latin1",
                                    "--sop-uid", dicom_client.new_uid())
        self.site.marks |= set(name.split("^"))
        first = dicom_client.Object(film)
        objects = [first]
        for charset, encoded in (("ISO_IR 192", name.encode()), ("\\ISO 2022 IR 87", b"A^B"),
                                 ("ISO_IR 6", None), ("NO SUCH SET", None), (None, None)):
            new = first.changed({first.sop_instance: dicom_client.new_uid()})
            self.replace(new, "CS", b"ISO_IR 100", charset and charset.encode())
            if encoded:
                self.replace(new, "PN", name.encode("latin-1"), encoded)
            objects.append(new)
        assert dicom_client.store_all(self.medaid.port, objects[:2]) == [0, 0]
        (report,), _ = self.site.results(read.StudyInstanceUID)
        assert report.PatientName == name, repr(report.PatientName)
        assert dicom_client.store_all(self.medaid.port, objects) == [0] * len(objects)
        self.medaid.wait_state(read.StudyInstanceUID, "done", "failed")

    @staticmethod
    def replace(obj, vr, old, new):
        """Another value, or none, for the element with this one; explicit little endian."""
        def encoded(value):
            value += b" " * (len(value) % 2)
            return vr.encode() + len(value).to_bytes(2, "little") + value
        at = obj.data.index(encoded(old))
        end = at + len(encoded(old))
        obj.data = (obj.data[:at - 4] + obj.data[end:] if new is None else
                    obj.data[:at] + encoded(new) + obj.data[end:])

    def test_17_sent_means_that_every_object_was_stored(self):
        """The picture is refused: the study is not done and the report not sent again."""
        refused = [PICTURE_CLASS]
        with contextlib.closing(dicom_client.Receiver(lambda c, _: 0xa700 if c in refused else 0)) as pacs:
            medaid = self.site.here.medaid("medaid-half", destinations=[pacs.destination()],
                                           results={"kind": "both"}).start()
            film, read = self.site.film(170)
            send(medaid, film)
            medaid.wait_line("send_failed")
            assert medaid.state_of(read.StudyInstanceUID) == "sending"
            refused.clear()
            medaid.wait_state(read.StudyInstanceUID, "done")
            assert sorted(c for c, _, _ in pacs.stored) == sorted([PICTURE_CLASS, SR_CLASS])
            assert medaid.stop() == 0

    def test_18_a_dangling_name_never_fails_a_store(self):
        """--check-config finds it with its line, a reload leaves what was; what waits for a
        destination that is gone stays, with a line. Stores and reports go on."""
        (nobody,) = hospital.free_ports(1)
        gone = {"name": "old", "ae_title": "OLD", "host": "127.0.0.1", "port": nobody}
        medaid = self.site.here.medaid("medaid-dangling", destinations=[gone]).start()
        film, read = self.site.film(180)
        send(medaid, film)
        medaid.wait_line("send_failed")
        assert medaid.stop() == 0
        medaid.configure(destinations=[self.pacs.destination("new")]).start()
        medaid.wait_line("outbox_without_destination", destination="old")
        title = {"title": "OTHER", "destinations": ["new"], "models": ["chest-pneumonia"]}
        for key, name in (("destinations", "no-such-destination"), ("models", "no-such-model")):
            medaid.configure(ae={"titles": [{**title, key: [name]}]})
            said = run(hospital.MEDAID, "--check-config", "--config", medaid.configuration, good=False)
            assert f"medaid.yaml:1: key 'ae.titles[0].{key}': '{name}' is not" in said, said
            if key == "destinations":
                os.kill(medaid.pid, signal.SIGHUP)
                medaid.wait_line("reload_failed")
        medaid.configure(ae={"titles": [title]})
        film, read = self.site.film(181)
        send(medaid, film)
        wait_for("the report", lambda: self.pacs.reports_of(read.StudyInstanceUID))
        assert medaid.stop() == 0

    def test_19_no_patient_in_logs_and_names(self):
        """The keyed hash of a study is all that is written, at level debug too."""
        keys = {line["study"] for line in self.medaid.lines("study_complete")}
        assert keys and all(re.fullmatch("[0-9a-f]{16}", key) for key in keys)
        self.site.check_no_patient()

    def test_20_runs_without_network_and_installation(self):
        """A copy of the program and the models on a machine that has only its loopback."""
        folder = self.site.here.folder / "air-gapped"
        folder.mkdir()
        shutil.copy(hospital.MEDAID, folder)
        shutil.copytree(self.site.here.folder / "plugins/chest", folder / "plugins/chest")
        film, _ = self.site.film(200)
        print("#", run("/usr/bin/python3", AIR_GAP, folder, film).strip())

    def test_21_a_report_is_paired_with_a_picture(self):
        """Of the same study and film, for viewers that show no SR."""
        film, read = self.site.film(210, "--opacity", "left")
        send(self.medaid, film)
        (report,), (picture,) = self.site.results(read.StudyInstanceUID)
        assert picture.StudyInstanceUID == report.StudyInstanceUID
        source = (read.SOPClassUID, read.SOPInstanceUID)
        assert source in hospital.references_in(report) & hospital.references_in(picture)
        assert picture.ImageType[0] == "DERIVED" and picture.pixel_array.std() > 1

    def test_22_the_host_brings_every_range_to_the_network(self):
        """The same film in 12 and 16 bits and with other windows has one score; a flat one none."""
        film, _ = self.site.film(220, "--opacity", "right")
        scores = []
        for factor, bits in ((1, 12), (8, 15), (16, 16)):
            ds = pydicom.dcmread(film)
            ds.PixelData = (ds.pixel_array.astype("<u2") * factor).tobytes()
            ds.BitsStored, ds.HighBit = bits, bits - 1
            for keyword in ("WindowCenter", "WindowWidth"):
                if keyword in ds:
                    setattr(ds, keyword, float(ds[keyword].value) * factor)
            scores.append(self.site.probability(self.store_as_new(ds)))
        assert max(scores) - min(scores) < 0.01 * max(scores), scores
        flat = pydicom.dcmread(film)
        flat.PixelData = numpy.full(flat.pixel_array.shape, 700, "<u2").tobytes()
        study = self.store_as_new(flat)
        self.medaid.wait_state(study, "done", "failed")
        assert self.medaid.lines("study_analysed")[-1]["failed_results"] == 1 or \
            self.medaid.state_of(study) == "failed"
        assert not [r for r in self.pacs.reports_of(study) if "Probability" in
                    self.site.concept_values(r)]

    def store_as_new(self, ds):
        """A dataset as a study of its own; its UID."""
        ds.StudyInstanceUID = dicom_client.new_uid()
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = dicom_client.new_uid()
        path = self.site.here.folder / "new.dcm"
        ds.save_as(path)
        self.site.read(path)
        assert dicom_client.store_all(self.medaid.port, [dicom_client.Object(path)]) == [0]
        return ds.StudyInstanceUID

    def test_23_tls_and_plain_on_the_wrong_port_are_named(self):
        """In one line each, and the right ones are served."""
        blind = ssl.create_default_context()
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        echo = [(dicom_client.VERIFICATION, [dicom_client.IMPLICIT])]
        try:
            dicom_client.Association(self.medaid.port, echo, tls=blind)
            raise AssertionError("TLS on the plain port went through")
        except OSError:
            pass
        self.medaid.wait_line(detail="a TLS hello on the port without TLS")
        key, crt = (self.site.here.folder / name for name in ("medaid.key", "medaid.crt"))
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", crt)
        key.chmod(0o600)
        secure = self.site.here.medaid("medaid-tls", ae={"tls": {
            "certificate": str(crt), "private_key": str(key), "verify": "none"}})
        secure.start()
        try:
            dicom_client.Association(secure.port, echo)
            raise AssertionError("a plain association on the TLS port went through")
        except OSError:
            pass
        secure.wait_line(detail="an association without TLS on the port with TLS")
        with dicom_client.Association(secure.port, echo, tls=blind) as link:
            assert link.echo() == 0
        with dicom_client.Association(self.medaid.port, echo) as link:
            assert link.echo() == 0
        assert secure.stop() == 0


def main():
    """All of them; tests are chosen by name behind one word, as tap.py has it."""
    hospital.need("storescu", "dcmcjpeg", "dcmcjpls", "opj_compress", "dciodvfy", "openssl",
                  hospital.ORTHANC)
    with hospital.Hospital("complaints") as here:
        Complaints.site = Site(here)
        try:
            tap.run(Complaints)
        finally:
            Complaints.site.check_no_patient()
            assert Complaints.site.medaid.stop() == 0


main()
