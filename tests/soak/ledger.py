"""What senders were told, and whether the hospital kept its word: shared by the soaks.

A Sender makes studies and sends each film until it is acknowledged, and never again after that; the
Ledger knows what was acknowledged and compares it with the daemon's database and with the reports in
Orthanc in the end."""
import collections
import pathlib
import random
import socket
import sqlite3
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import pydicom  # noqa: E402
import pydicom.filebase  # noqa: E402

import dicom_client  # noqa: E402
import hospital  # noqa: E402

SUCCESS = 0
AGAIN_S = 0.1  # what was not acknowledged is tried again after so long


def templates_of(site, n=4):
    """Small films with UIDs that can be replaced: [(Object, study, series)]."""
    made = []
    for number in range(n):
        uids = [dicom_client.new_uid() for _ in range(3)]
        path = hospital.make_film(site.folder / f"template-{number}.dcm", "--study-uid", uids[0],
                                  "--series-uid", uids[1], "--sop-uid", uids[2], seed=900 + number,
                                  rows=120, columns=150)
        made.append((dicom_client.Object(path), uids[0], uids[1]))
    return made


class Ledger:
    """What was acknowledged. Threads may share it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.films = collections.defaultdict(set)  # study: acknowledged films
        self.n_again = 0

    def acknowledge(self, study, film):
        """A response of success."""
        with self.lock:
            self.films[study].add(film)

    def repeat(self):
        """Something has to be sent again."""
        with self.lock:
            self.n_again += 1

    def n_films(self):
        """All of them."""
        with self.lock:
            return sum(map(len, self.films.values()))

    def check_database(self, medaid):
        """Every acknowledged film is a row with its file, and every row and file has the other. The
        daemon has ended."""
        assert medaid.query("PRAGMA integrity_check") == [("ok",)]
        kept = {uid for (uid,) in medaid.query("SELECT uid FROM instance WHERE current")}
        lost = [film for films in self.films.values() for film in films if film not in kept]
        assert not lost, f"{len(lost)} of {self.n_films()} acknowledged films are not in the database"
        names = [p.name for p in (medaid.store / "data").rglob("*.dcm")]
        files = {f"{n:016x}.dcm" for (n,) in medaid.query(
            "SELECT file FROM instance UNION SELECT file FROM object")}
        assert files <= set(names), f"{len(files - set(names))} rows without their file"
        assert set(names) <= files, f"{len(set(names) - files)} files without a row"
        assert not list((medaid.store / "incoming").iterdir()), "something is left in incoming"
        waiting = medaid.query("SELECT destination, state, count(*) FROM outbox WHERE state != 1"
                               " GROUP BY destination, state")
        return waiting

    def check_reports(self, reports, same_films=frozenset()):
        """One final report for each study, of all its films; the others it replaces, one after the
        other, each of fewer films, except in the studies `same_films`. Returns how many were
        replaced. `reports` is {study: [dataset]}."""
        n_superseded = 0
        for study, films in self.films.items():
            found = {r.SOPInstanceUID: r for r in reports.get(study, [])}
            assert found, f"no report for a study of {len(films)} films"
            earlier = {uid: predecessors_of(r) for uid, r in found.items()}
            final = [uid for uid in found if not any(uid in named for named in earlier.values())]
            assert len(final) == 1, f"{len(final)} final reports of {len(found)} in one study"
            chain, uid = [], final[0]
            while uid is not None:
                assert uid in found and uid not in chain, "a report names a predecessor that is not there"
                chain.append(uid)
                assert len(earlier[uid]) <= 1, "a report names two predecessors"
                uid = next(iter(earlier[uid]), None)
            assert len(chain) == len(found), "a report is outside of the chain of predecessors"
            named = [films_of(found[uid]) for uid in chain]
            assert named[0] == films, (f"the final report names {len(named[0])} films, acknowledged "
                                       f"are {len(films)}")
            assert all(a > b or (study in same_films and a == b)
                       for a, b in zip(named, named[1:])), "a replaced report names as much"
            n_superseded += len(chain) - 1
        return n_superseded


def films_of(report):
    """The images in the evidence of a report."""
    return {item.ReferencedSOPInstanceUID
            for study in report.CurrentRequestedProcedureEvidenceSequence
            for series in study.ReferencedSeriesSequence for item in series.ReferencedSOPSequence}


def predecessors_of(report):
    """The reports that a report replaces."""
    return {item.ReferencedSOPInstanceUID
            for study in report.get("PredecessorDocumentsSequence", [])
            for series in study.ReferencedSeriesSequence for item in series.ReferencedSOPSequence}


def reports_in(orthanc):
    """All structured reports of a PACS by their study, and how many objects it has in all."""
    reports, n_objects = collections.defaultdict(list), 0
    for each in orthanc.get("/instances"):
        n_objects += 1
        dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(
            orthanc.request(f"/instances/{each}/file")))
        if dataset.SOPClassUID == hospital.SR_CLASS:
            reports[dataset.StudyInstanceUID].append(dataset)
    return reports, n_objects


class Sender(threading.Thread):
    """Makes studies of one to three films from the templates. Some films come late on purpose."""

    def __init__(self, number, port, templates, ledger, stop, seed, pause_s=(0.5, 2.5), tls=None,
                 late_s=(1.5, 4)):
        super().__init__(daemon=True)
        self.port, self.templates, self.ledger, self.stop = port, templates, ledger, stop
        self.chance = random.Random(seed * 1000 + number)
        self.pause_s, self.late_s, self.tls = pause_s, late_s, tls
        self.link = self.failure = None

    def run(self):
        try:
            while not self.stop.is_set():
                self.send_study()
                time.sleep(self.chance.uniform(*self.pause_s))
        except Exception as failure:  # a thread's end must not be overheard
            self.failure = failure
        finally:
            self.hang_up()

    def send_study(self):
        """One study; it is sent to its end also when the load is over."""
        study, series = dicom_client.new_uid(), dicom_client.new_uid()
        n_films = self.chance.randint(1, 3)
        is_late = n_films > 1 and self.chance.random() < 0.3
        for number in range(n_films):
            template, old_study, old_series = self.chance.choice(self.templates)
            film = dicom_client.new_uid()
            if is_late and number == n_films - 1:
                time.sleep(self.chance.uniform(*self.late_s))
            self.send(study, template.changed({old_study: study, old_series: series,
                                               template.sop_instance: film}))
        self.hang_up()

    def send(self, study, obj):
        """Until it is acknowledged."""
        while self.try_once(obj) != SUCCESS:
            self.ledger.repeat()
            time.sleep(AGAIN_S)
        self.ledger.acknowledge(study, obj.sop_instance)

    def try_once(self, obj):
        """The status of one C-STORE, None when there was no answer."""
        try:
            if self.link is None:
                self.link = dicom_client.Association(
                    self.port, dicom_client.contexts_of(*(t for t, _, _ in self.templates)),
                    timeout_s=60, tls=self.tls)
            status = self.link.store(obj)
        except (OSError, dicom_client.Refused, socket.timeout):
            self.hang_up(abort=True)
            return None
        if status != SUCCESS:
            self.hang_up()
        return status

    def hang_up(self, abort=False):
        """End the association, if there is one."""
        if self.link is not None:
            try:
                if not abort:
                    self.link.release()
            except (OSError, dicom_client.Refused):
                pass
            finally:
                self.link.close()
                self.link = None


def settled(medaid, ends=("done",)):
    """Whether every study has come to one of these ends; another one is told at once."""
    try:
        counts = dict(medaid.query("SELECT state, count(*) FROM study GROUP BY state"))
    except sqlite3.OperationalError:  # it is just being restarted
        return False
    ended = {"done", "failed", "quarantined"}
    bad = {hospital.STATES[s]: n for s, n in counts.items()
           if hospital.STATES[s] in ended - set(ends)}
    if bad:
        reasons = medaid.query("SELECT key, reason, n_failures, n_interruptions FROM study"
                               " WHERE state >= 6 LIMIT 5")
        raise AssertionError(f"{bad}: {reasons}")
    return {hospital.STATES[s] for s in counts} <= set(ends)
