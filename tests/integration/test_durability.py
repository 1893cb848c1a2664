#!/usr/bin/python3
"""SIGKILL for medaid --daemon and its workers at random moments, under load, against a real Orthanc.

Senders make studies of one to three films and send each film by storescu until it is acknowledged,
and never again after that. The daemon is killed and started, over and over; now and then a worker is
killed instead. In the end every acknowledged film is in a report in Orthanc: each study has exactly
one report that names all its films, no two reports name the same films, nothing is in quarantine,
and the database is whole.

usage: test_durability.py MEDAID MEDAID_PHANTOM SOURCE_ROOT [KILLS [SENDERS [SEED]]]"""
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import pydicom
import pydicom.filebase
import pydicom.uid

MEDAID, PHANTOM, ROOT = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).resolve()
N_KILLS = int(sys.argv[4]) if len(sys.argv) > 4 else 20
N_SENDERS = int(sys.argv[5]) if len(sys.argv) > 5 else 4
SEED = int(sys.argv[6]) if len(sys.argv) > 6 else 20260131
SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"
PATIENCE_S = 300  # for a loaded machine; nothing here measures time
STATES = ["receiving", "complete", "analysing", "reporting", "sending", "done", "failed",
          "quarantined"]


def free_ports(n):
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for(what, condition, patience_s=PATIENCE_S):
    """Until the condition is true; its value."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"waited in vain for {what}")


class Orthanc:
    """The PACS: a server of its own in a folder of its own."""

    def __init__(self, folder, http, dicom):
        self.http = http
        settings = {
            "Name": "medaid-test", "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "index"), "Plugins": [], "HttpPort": http,
            "DicomPort": dicom, "DicomAet": "ORTHANC", "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False, "DicomCheckCalledAet": False,
        }
        (folder / "orthanc.json").write_text(json.dumps(settings), encoding="ascii")
        with open(folder / "orthanc.log", "ab") as log:
            self.process = subprocess.Popen(["/usr/sbin/Orthanc", folder / "orthanc.json"],
                                            stdout=log, stderr=log)
        wait_for("Orthanc", self.answers)

    def answers(self):
        """Whether it is up."""
        try:
            return self.request("/system")
        except (urllib.error.URLError, ConnectionError):
            return None

    def request(self, path, data=None):
        """The bytes of an answer."""
        url = f"http://127.0.0.1:{self.http}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=120) as answer:
            return answer.read()

    def reports_of(self, study_uid):
        """The film sets that the reports of a study name."""
        query = {"Level": "Instance", "Query": {"StudyInstanceUID": study_uid, "Modality": "SR"}}
        found = []
        for each in json.loads(self.request("/tools/find", json.dumps(query).encode())):
            dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(
                self.request(f"/instances/{each}/file")))
            if dataset.SOPClassUID == SR_CLASS:
                evidence = dataset.CurrentRequestedProcedureEvidenceSequence
                found.append(frozenset(
                    item.ReferencedSOPInstanceUID for study in evidence
                    for series in study.ReferencedSeriesSequence
                    for item in series.ReferencedSOPSequence))
        return found

    def stop(self):
        """End it."""
        self.process.terminate()
        self.process.wait()


class Medaid:
    """The daemon under test."""

    def __init__(self, folder, port, orthanc_port):
        self.folder, self.port, self.process = folder, port, None
        self.database = folder / "store" / "medaid.db"
        (folder / "medaid.yaml").write_text(f"""
ae: {{port: {port}, max_associations: 16}}
destinations:
  - {{name: pacs, ae_title: ORTHANC, host: 127.0.0.1, port: {orthanc_port}}}
study: {{quiet_ms: 1500}}
plugins: {{paths: ["{ROOT / 'plugins'}"]}}
results: {{kind: sr}}
storage: {{path: "{folder / 'store'}", min_free_mib: 10}}
""", encoding="utf-8")

    def log(self):
        """All that it wrote."""
        path = self.folder / "medaid.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def start(self):
        """Start, and wait until it listens."""
        n_before = self.log().count('"daemon_started"')
        with open(self.folder / "medaid.log", "ab") as log:
            self.process = subprocess.Popen(
                [MEDAID, "--daemon", "--config", self.folder / "medaid.yaml"], stdout=log,
                stderr=log)

        def listens():
            assert self.process.poll() is None, f"medaid ended by itself:\n{self.log()[-3000:]}"
            return self.log().count('"daemon_started"') > n_before

        wait_for("the daemon", listens)

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL, "it had ended already"

    def kill_a_worker(self, chance):
        """SIGKILL for one of its workers."""
        children = [int(pid) for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
                    for pid in (task / "children").read_text().split()]
        if children:
            os.kill(chance.choice(children), signal.SIGKILL)

    def query(self, sql):
        """The rows of a query."""
        database = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=60)
        try:
            return database.execute(sql).fetchall()
        finally:
            database.close()


class Sender(threading.Thread):
    """Makes studies from the templates and sends what was not acknowledged."""

    def __init__(self, number, medaid, templates, stop):
        super().__init__(daemon=True)
        self.number, self.medaid, self.templates, self.stop = number, medaid, templates, stop
        self.chance = random.Random(SEED * 1000 + number)
        self.acknowledged = {}  # study: films
        self.n_again = 0

    def run(self):
        while not self.stop.is_set():
            study = pydicom.uid.generate_uid()
            films = [pydicom.uid.generate_uid() for _ in range(self.chance.randint(1, 3))]
            series = pydicom.uid.generate_uid()
            for film in films:
                self.send(study, series, film)
            time.sleep(self.chance.uniform(0.2, 1.2))

    def send(self, study, series, film):
        """Until it is acknowledged, also when the load is over: a study is never left half sent."""
        dataset = pydicom.dcmread(self.chance.choice(self.templates))
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = film
        path = self.medaid.folder / f"sender-{self.number}.dcm"
        dataset.save_as(path)
        while subprocess.run(
                ["storescu", "-aec", "MEDAID", "-to", "20", "127.0.0.1", str(self.medaid.port),
                 path], capture_output=True, check=False).returncode != 0:
            self.n_again += 1
            time.sleep(0.1)
        self.acknowledged.setdefault(study, set()).add(film)


def kill_and_start(medaid, chance):
    """What this is about."""
    n_workers_killed = 0
    for number in range(N_KILLS):
        time.sleep(chance.uniform(0.02, 2.0))
        if number % 4 == 3:
            medaid.kill_a_worker(chance)
            n_workers_killed += 1
            time.sleep(chance.uniform(0.02, 1.0))
        medaid.kill()
        medaid.start()
        if number % 50 == 49:
            print(f"{number + 1} kills", flush=True)
    return n_workers_killed


def settled(medaid):
    """Whether every study has come to its end; quarantine and failure are told at once."""
    counts = dict(medaid.query("SELECT state, count(*) FROM study GROUP BY state"))
    bad = {STATES[s]: n for s, n in counts.items() if STATES[s] in ("failed", "quarantined")}
    if bad:
        reasons = medaid.query("SELECT state, reason, n_failures, n_interruptions FROM study"
                               " WHERE state >= 6")
        raise AssertionError(f"{bad}: {reasons}")
    return set(counts) == {STATES.index("done")}


def check(orthanc, medaid, senders):
    """What was acknowledged, against what is in the database and in Orthanc."""
    assert medaid.query("PRAGMA integrity_check") == [("ok",)]
    kept = {uid for (uid,) in medaid.query("SELECT uid FROM instance WHERE current")}
    n_films = n_superseded = 0
    for sender in senders:
        for study, films in sender.acknowledged.items():
            assert films <= kept, "an acknowledged film is not in the database"
            reports = orthanc.reports_of(study)
            assert len(set(reports)) == len(reports), "two reports name the same films"
            final = [r for r in reports if r == frozenset(films)]
            assert len(final) == 1, (f"{len(final)} final reports for {len(films)} films, "
                                     f"{len(reports)} in all")
            assert all(r < frozenset(films) for r in reports if r not in final)
            n_films += len(films)
            n_superseded += len(reports) - 1
    names = {p.name for p in (medaid.folder / "store" / "data").rglob("*.dcm")}
    files = {f"{n:016x}.dcm" for (n,) in medaid.query(
        "SELECT file FROM instance UNION SELECT file FROM object")}
    assert files <= names, "a row without its file"
    return n_films, n_superseded


def main():
    """All of it, in one folder that is gone afterwards."""
    for program in ("storescu", "/usr/sbin/Orthanc"):
        assert shutil.which(program), f"{program} is not installed"
    folder = pathlib.Path(tempfile.mkdtemp(prefix="medaid-durability-"))
    http, dicom, port = free_ports(3)
    chance, stop = random.Random(SEED), threading.Event()
    templates = [folder / f"film-{i}.dcm" for i in range(4)]
    for number, path in enumerate(templates):
        subprocess.run([PHANTOM, "--rows", "512", "--columns", "640", "--seed", str(900 + number),
                        "--patient-id", "P1", "--output", path], check=True, capture_output=True)
    orthanc, medaid = Orthanc(folder, http, dicom), Medaid(folder, port, dicom)
    senders = [Sender(i, medaid, templates, stop) for i in range(N_SENDERS)]
    try:
        medaid.start()
        for sender in senders:
            sender.start()
        n_workers_killed = kill_and_start(medaid, chance)
        stop.set()
        for sender in senders:
            sender.join()
        wait_for("the end of all studies", lambda: settled(medaid), PATIENCE_S + N_KILLS)
        medaid.process.send_signal(signal.SIGTERM)
        assert medaid.process.wait(timeout=PATIENCE_S) == 0, medaid.log()[-2000:]
        n_films, n_superseded = check(orthanc, medaid, senders)
        n_again = sum(s.n_again for s in senders)
        n_studies = sum(len(s.acknowledged) for s in senders)
        assert n_studies > 0 and n_again > 0, "there was no load"
        print(f"ok: {N_KILLS} SIGKILLs of the daemon and {n_workers_killed} of workers; {n_films} "
              f"acknowledged films of {n_studies} studies, {n_again} sendings repeated; each study "
              f"has one final report, {n_superseded} were superseded by a late film")
    except BaseException:
        print("--- the end of the daemon's log ---")
        print("\n".join(medaid.log().splitlines()[-40:]))
        raise
    finally:
        stop.set()
        if medaid.process is not None and medaid.process.poll() is None:
            medaid.process.kill()
            medaid.process.wait()
        orthanc.stop()
        shutil.rmtree(folder, ignore_errors=True)


main()
