#!/usr/bin/python3
"""Nothing of a patient is in any output of medaid, and nobody else may read its files.

Objects whose attributes hold markers, good ones, ones that no model accepts and ones that are refused or
broken, go to a daemon that logs at debug, with an audit trail that is hashed, a PACS that takes and one
that refuses. Then the log, the audit messages, /metrics, /readyz, every answer of medaidctl, the names
of all files and what --oneshot says about the same files are searched for the markers and the UIDs."""
import json
import os
import pathlib
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import urllib.request
import warnings

import pydicom
from pydicom.uid import generate_uid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from hospital import (CTL, MEDAID, PATIENCE_S, PHANTOM, ROOT, free_ports,  # noqa: E402
                      wait_for)

MARK = "QUAGGA"
warnings.simplefilter("ignore")  # pydicom about what is wrong on purpose


def make_objects(folder):
    """Files to send, and all texts that must not come out again."""
    secrets = {MARK, MARK.lower(), MARK.title()}
    film = folder / "phantom.dcm"
    subprocess.run([PHANTOM, "--rows", "400", "--columns", "320", "--seed", "3", "--output", film],
                   check=True, capture_output=True)
    texts = {"PatientName": f"{MARK}^Name", "PatientID": f"{MARK}-ID", "AccessionNumber": f"{MARK}-ACC",
             "StudyDescription": f"{MARK} study", "SeriesDescription": f"{MARK} series",
             "InstitutionName": f"{MARK} hospital", "ReferringPhysicianName": f"{MARK}^Doctor",
             "PatientBirthDate": "20170317", "StudyID": f"{MARK}-9", "PatientComments": MARK}
    secrets.add("20170317")
    changes = {
        "good": {},
        "body": {"BodyPartExamined": f"{MARK}PART"},
        "knee": {"BodyPartExamined": "KNEE"},
        "view": {"ViewPosition": f"{MARK}VIEW"},
        "modality": {"Modality": f"{MARK}MOD"},
        "photometric": {"PhotometricInterpretation": f"{MARK}PI"},
        "charset": {"SpecificCharacterSet": f"{MARK}SET"},
        "age": {"PatientAge": "099Y"},
        "spacing": {"PixelSpacing": None, "ImagerPixelSpacing": None},
        "pixels": {"PixelData": b"QUAGGA" * 3},
        "rows": {"Rows": 0},
        "uid": {},
    }
    paths = []
    for name, change in changes.items():
        dataset = pydicom.dcmread(film)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
        secrets |= {str(dataset.SOPInstanceUID), str(dataset.StudyInstanceUID),
                    str(dataset.SeriesInstanceUID)}
        for keyword, value in {**texts, **change}.items():
            if value is None:
                if keyword in dataset:
                    delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        if name == "uid":
            dataset.StudyInstanceUID = f"{MARK}.1"  # refused while it arrives
        paths.append(folder / f"object-{name}.dcm")
        dataset.save_as(paths[-1])
        if name == "knee":  # the same instance with other bytes
            dataset.StudyDescription = f"{MARK} again"
            paths.append(folder / "object-conflict.dcm")
            dataset.save_as(paths[-1])
    cut = folder / "object-cut.dcm"
    cut.write_bytes(paths[0].read_bytes()[:-4000])
    mixed = folder / "object-mixed.dcm"  # another UID than the one that the file's head claims
    dataset = pydicom.dcmread(paths[0])
    dataset.SOPInstanceUID = generate_uid()
    secrets.add(str(dataset.SOPInstanceUID))
    dataset.save_as(mixed)
    return [*paths, cut, mixed], secrets


class Site:
    """The daemon and what listens around it."""

    def __init__(self, folder):
        self.folder, self.children, self.audit = folder, [], []
        self.port, self.http, self.pacs, self.deaf = free_ports(4)
        self.syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.syslog.bind(str(folder / "syslog"))
        threading.Thread(target=self.collect, daemon=True).start()
        (folder / "pacs").mkdir()
        # --refuse: every association is rejected
        for title, port, more in (("PACS", self.pacs, []), ("DEAF", self.deaf, ["--refuse"])):
            self.children.append(subprocess.Popen(
                ["storescp", "-aet", title, "-od", folder / "pacs", *more, str(port)],
                stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        self.conf = folder / "medaid.yaml"
        self.conf.write_text(f"""
ae: {{port: {self.port}, allowed_callers: [{{ae_title: SENDER}}]}}
destinations:
- {{name: pacs, ae_title: PACS, host: 127.0.0.1, port: {self.pacs}}}
- {{name: deaf, ae_title: DEAF, host: 127.0.0.1, port: {self.deaf}}}
study: {{quiet_ms: 200}}
plugins: {{paths: ["{ROOT}/plugins"]}}
results: {{write_failures: true}}
storage: {{path: state, min_free_mib: 0}}
workers: {{count: 1}}
http: {{port: {self.http}}}
log: {{level: debug}}
audit: {{to: local, socket: syslog}}
""", encoding="utf-8")
        os.umask(0)  # the modes are medaid's own doing
        with open(folder / "log", "wb") as log:
            self.daemon = subprocess.Popen([MEDAID, "--daemon", "--config", self.conf], stderr=log,
                                           stdout=log)
        self.children.append(self.daemon)
        wait_for("daemon_started", lambda: self.lines("daemon_started"))

    def collect(self):
        """The audit messages."""
        while True:
            self.audit.append(self.syslog.recv(1 << 17).decode("utf-8"))

    def log(self):
        """All that it wrote."""
        return (self.folder / "log").read_text(encoding="utf-8")

    def lines(self, event):
        """The log's lines of one event."""
        assert not self.children[-1].poll(), self.log()
        return [fields for fields in map(json.loads, self.log().splitlines())
                if fields["event"] == event]

    def ctl(self, *words):
        """An answer of medaidctl."""
        return subprocess.run([CTL, "--config", self.conf, *words], capture_output=True, text=True,
                              check=True).stdout

    def get(self, path):
        """An answer over TCP."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=60) as answer:
            return answer.read().decode("utf-8")

    def stop(self):
        """End all."""
        for process in self.children:
            if process.poll() is None:
                process.kill()
                process.wait()


def search(what, text, secrets):
    """No secret is in a text; a part of a UID neither."""
    assert text.strip(), f"{what} is empty: there was nothing to search"
    for secret in secrets:
        if secret in text:
            at = text.index(secret)
            raise AssertionError(f"{what} holds {secret}: ...{text[max(0, at - 200):at + 80]}...")


def run(site):
    """Send, wait, search."""
    paths, secrets = make_objects(site.folder)
    for path in paths:
        subprocess.run(["storescu", "-R", "-aet", "SENDER", "-aec", "MEDAID", "127.0.0.1",
                        str(site.port), path], capture_output=True, check=False)
    subprocess.run(["storescu", "-aet", f"{MARK}AE", "127.0.0.1", str(site.port), paths[0]],
                   capture_output=True, check=False)
    assert site.lines("object_refused") and site.lines("object_conflict"), site.log()
    n_kept = len(list((site.folder / "state/data").rglob("*.dcm")))
    assert n_kept >= 8, n_kept
    n_studies = len(json.loads(site.ctl("studies", "--json"))["studies"])
    assert n_studies >= 8

    def is_over():
        states = [s["state"] for s in json.loads(site.ctl("studies", "--json"))["studies"]]
        return all(state in ("done", "failed", "quarantined", "sending") for state in states)
    wait_for("the analyses", is_over)
    wait_for("a refused sending", lambda: site.lines("send_failed"))
    wait_for("a delivery", lambda: site.lines("results_sent"))
    wait_for("the audit of it", lambda: any("AETITLES=PACS" in text for text in site.audit))
    answers = [site.ctl("status"), site.ctl("status", "--json"), site.ctl("studies"),
               site.ctl("studies", "--json")]
    for study in json.loads(answers[-1])["studies"]:
        answers += [site.ctl("show", study["study"]), site.ctl("show", study["study"], "--json")]
    search("medaidctl", "\n".join(answers), secrets)
    search("/metrics and /readyz", site.get("/metrics") + site.get("/readyz"), secrets)
    search("the audit trail", "\n".join(site.audit), secrets)
    names = "\n".join(str(path.relative_to(site.folder))
                      for path in (site.folder / "state").rglob("*"))
    search("a file's name", names, secrets)
    for path in [site.folder / "state", *(site.folder / "state").rglob("*")]:
        mode = stat.S_IMODE(path.lstat().st_mode)
        wanted = 0o700 if path.is_dir() else 0o600
        assert mode == wanted, (path, oct(mode))
    site.daemon.send_signal(signal.SIGTERM)
    assert site.daemon.wait(PATIENCE_S) == 0, site.log()
    search("the log", site.log(), secrets)
    done = subprocess.run([MEDAID, "--oneshot", *paths, "--config", site.conf, "--output",
                           site.folder / "results"], capture_output=True, text=True, check=False)
    search("--oneshot", done.stdout + done.stderr, secrets)
    names = "\n".join(path.name for path in (site.folder / "results").rglob("*"))
    search("a result's name", names, secrets)


def main():
    """One daemon."""
    with tempfile.TemporaryDirectory() as name:
        site = Site(pathlib.Path(name))
        try:
            run(site)
        except BaseException:
            print(site.log()[-3000:], file=sys.stderr)
            raise
        finally:
            site.stop()
    print("no marker and no UID in any output; all files 0600, all folders 0700")


main()
