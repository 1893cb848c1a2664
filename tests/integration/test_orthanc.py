#!/usr/bin/python3
"""medaid --daemon against a real Orthanc, over loopback.

Studies go in by storescu (one for each transfer syntax that medaid reads), by Orthanc itself, and,
when ../shared is there, films of chest-xray-original wrapped as DX. What is checked: report and
picture are in Orthanc with right references and patient attributes, dciodvfy finds no error in
them, what no model accepts gives a log line and nothing else, the same again gives nothing new, a
late image gives a new report, no output names a patient, and SIGTERM ends it with 0.

usage: test_orthanc.py MEDAID MEDAID_PHANTOM SOURCE_ROOT"""
import json
import pathlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import numpy
import pydicom
import pydicom.encaps
import pydicom.uid
from PIL import Image

MEDAID, PHANTOM, ROOT = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"
PICTURE_CLASS = "1.2.840.10008.5.1.4.1.1.7"
DX_CLASS = "1.2.840.10008.5.1.4.1.1.1.1"
PATIENT = ("Zebra^Quagga", "PID-MARKER-77", "ACC-MARKER-99")
PATIENCE_S = 300  # for a loaded machine; nothing here measures time
SYNTAXES = ["1.2.840.10008.1.2" + tail for tail in (
    "", ".1", ".2", ".1.99", ".5", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90",
    ".4.91")]
# How storescu is told to propose a syntax; it has no word for process 14, which Orthanc sends.
STORESCU = {"": "-xi", ".1": "-xe", ".2": "-xb", ".1.99": "-xd", ".5": "-xr", ".4.50": "-xy",
            ".4.51": "-xx", ".4.70": "-xs", ".4.80": "-xt", ".4.81": "-xu", ".4.90": "-xv",
            ".4.91": "-xw"}
N_FILMS = 3


def run(*command):
    """Run a program that must succeed; returns what it wrote."""
    done = subprocess.run([str(c) for c in command], capture_output=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{command[0]} ended with {done.returncode}: "
                             f"{done.stderr.decode(errors='replace')[-600:]}")
    return done.stdout.decode(errors="replace")


def free_ports(n):
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for(what, condition):
    """Until the condition is true; its value."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"waited in vain for {what}")


class Orthanc:
    """A server of its own in a folder of its own."""

    def __init__(self, folder, ports, medaid_port):
        self.folder, (self.http, self.dicom) = folder, ports
        settings = {
            "Name": "medaid-test", "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "index"), "Plugins": [], "HttpPort": self.http,
            "DicomPort": self.dicom, "DicomAet": "ORTHANC", "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False, "DicomCheckCalledAet": False,
            "DicomModalities": {"medaid": ["MEDAID", "127.0.0.1", medaid_port]},
            "UnknownSopClassAccepted": False, "DicomScuTimeout": 60,
        }
        (folder / "orthanc.json").write_text(json.dumps(settings), encoding="ascii")
        self.process = None

    def start(self):
        """Start, and wait until it answers."""
        with open(self.folder / "orthanc.log", "ab") as log:
            self.process = subprocess.Popen(["/usr/sbin/Orthanc", self.folder / "orthanc.json"],
                                            stdout=log, stderr=log)
        wait_for("Orthanc", self.answers)

    def answers(self):
        """Whether it is up."""
        if self.process.poll() is not None:
            raise AssertionError((self.folder / "orthanc.log").read_text(errors="replace")[-2000:])
        try:
            return self.get("/system")
        except (urllib.error.URLError, ConnectionError):
            return None

    def stop(self):
        """End it."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def request(self, path, data=None):
        """The bytes of an answer."""
        url = f"http://127.0.0.1:{self.http}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=120) as answer:
            return answer.read()

    def get(self, path):
        """The JSON of an answer."""
        return json.loads(self.request(path))

    def post(self, path, value):
        """Send JSON, get JSON."""
        return json.loads(self.request(path, json.dumps(value).encode()))

    def objects_of(self, study_uid):
        """All datasets of a study."""
        query = {"Level": "Instance", "Query": {"StudyInstanceUID": study_uid}}
        ids = self.post("/tools/find", query)
        return [pydicom.dcmread(pydicom.filebase.DicomBytesIO(self.request(
            f"/instances/{each}/file"))) for each in ids]


class Medaid:
    """The daemon under test."""

    def __init__(self, folder, port, orthanc_port):
        self.folder, self.port, self.process = folder, port, None
        (folder / "medaid.yaml").write_text(f"""
ae: {{title: MEDAID, bind: 127.0.0.1, port: {port}, max_associations: 16}}
destinations:
  - {{name: pacs, ae_title: ORTHANC, host: 127.0.0.1, port: {orthanc_port}, timeout_s: 60}}
study: {{quiet_ms: 500}}
plugins: {{paths: ["{ROOT / 'plugins'}"]}}
storage: {{path: "{folder / 'store'}", min_free_mib: 10}}
log: {{level: debug}}
""", encoding="utf-8")

    def start(self):
        """Start, and wait until it listens."""
        n_before = len(self.lines("daemon_started"))
        with open(self.folder / "medaid.log", "ab") as log:
            self.process = subprocess.Popen(
                [MEDAID, "--daemon", "--config", self.folder / "medaid.yaml"], stdout=log,
                stderr=log)
        wait_for("the daemon", lambda: self.alive() and
                 len(self.lines("daemon_started")) > n_before)

    def alive(self):
        """True, or the log of its end."""
        if self.process.poll() is not None:
            raise AssertionError(f"medaid ended with {self.process.returncode}:\n{self.log()[-3000:]}")
        return True

    def log(self):
        """All that it wrote."""
        path = self.folder / "medaid.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def lines(self, event):
        """The log's lines of one event."""
        found = []
        for line in self.log().splitlines():
            if line.startswith("{") and line.endswith("}"):
                fields = json.loads(line)
                if fields.get("event") == event:
                    found.append(fields)
        return found

    def stop(self):
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_S)


def make_phantom(path, seed, *more):
    """A small film with the marked patient."""
    run(PHANTOM, "--rows", 1024, "--columns", 1250, "--seed", seed, "--patient-name", PATIENT[0],
        "--patient-id", PATIENT[1], "--accession", PATIENT[2], "--output", path, *more)


def make_jpeg2000(source, target, lossy):
    """Through opj_compress and pydicom."""
    dataset = pydicom.dcmread(source)
    raw, stream = target.with_suffix(".rawl"), target.with_suffix(".j2k")
    raw.write_bytes(dataset.PixelData)
    bits = dataset.BitsStored
    options = ["-r", "20", "-I"] if lossy else []
    run("opj_compress", "-i", raw, "-o", stream, "-F",
        f"{dataset.Columns},{dataset.Rows},1,{bits},u", *options)
    dataset.PixelData = pydicom.encaps.encapsulate([stream.read_bytes()])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = SYNTAXES[-1] if lossy else SYNTAXES[-2]
    if lossy:
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionRatio = "20"
        dataset.LossyImageCompressionMethod = "ISO_15444_1"
    dataset.save_as(target)


def transcode(source, target, syntax):
    """Write `source` in another transfer syntax."""
    tail = syntax.removeprefix("1.2.840.10008.1.2")
    commands = {"": ["dcmconv", "+ti"], ".1": ["dcmconv", "+te"], ".2": ["dcmconv", "+tb"],
                ".1.99": ["dcmconv", "+td"], ".5": ["dcmcrle"],
                ".4.50": ["dcmcjpeg", "+eb", "+un"], ".4.51": ["dcmcjpeg", "+ee", "+un"],
                ".4.57": ["dcmcjpeg", "+el"], ".4.70": ["dcmcjpeg", "+e1"],
                ".4.80": ["dcmcjpls"], ".4.81": ["dcmcjpls", "+en", "+un"]}
    if tail in commands:
        run(*commands[tail], source, target)
    else:
        make_jpeg2000(source, target, lossy=tail == ".4.91")
    written = pydicom.dcmread(target, stop_before_pixels=True)
    assert written.file_meta.TransferSyntaxUID == syntax, (tail, written.file_meta)
    return written


def make_film(path, image_path, number):
    """A JPEG of the data set as a DX object."""
    pixels = numpy.asarray(Image.open(image_path).convert("L"))
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = DX_CLASS
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(None, [str(image_path), "sop"])
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = DX_CLASS, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID = pydicom.uid.generate_uid(None, [str(image_path), "study"])
    ds.SeriesInstanceUID = pydicom.uid.generate_uid(None, [str(image_path), "series"])
    ds.PatientName, ds.PatientID = PATIENT[0], f"{PATIENT[1]}-{number}"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "20150301", "O", "004Y"
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20200101", "120000", "1", PATIENT[2]
    ds.ReferringPhysicianName, ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "", "DX", 1, 1
    ds.BodyPartExamined, ds.ViewPosition, ds.PatientOrientation = "CHEST", "AP", ["L", "F"]
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.PresentationLUTShape, ds.PixelIntensityRelationship = "IDENTITY", "LOG"
    ds.PixelIntensityRelationshipSign = -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.ImagerPixelSpacing = [0.2, 0.2]
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    data = pixels.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB"
    ds.is_little_endian, ds.is_implicit_VR = True, False
    ds.save_as(path, write_like_original=False)
    return ds


def references_in(dataset):
    """Every (class, instance) that a dataset names anywhere in its sequences."""
    found = set()
    for element in dataset.iterall():
        if element.VR == "SQ":
            for item in element.value:
                if "ReferencedSOPInstanceUID" in item:
                    found.add((item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID))
    return found


def check_object(dataset, sources, folder):
    """One result: its study, patient and references, and what dciodvfy says."""
    name = f"{dataset.SOPClassUID} for {sources[0].file_meta.TransferSyntaxUID}"
    for keyword in ("StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate",
                    "PatientSex", "AccessionNumber", "StudyID", "StudyDate"):
        want, have = sources[0].get(keyword, ""), dataset.get(keyword, "")
        assert str(want) == str(have), f"{name}: {keyword} differs"
    assert dataset.SeriesInstanceUID not in [s.SeriesInstanceUID for s in sources], name
    wanted = {(s.SOPClassUID, s.SOPInstanceUID) for s in sources}
    named = references_in(dataset)
    if dataset.SOPClassUID == SR_CLASS:
        assert wanted <= named, f"{name}: {len(wanted - named)} sources are not referenced"
        evidence = dataset.CurrentRequestedProcedureEvidenceSequence
        assert {e.StudyInstanceUID for e in evidence} == {sources[0].StudyInstanceUID}, name
    else:
        assert wanted & named, f"{name}: no source is referenced"
    path = folder / "check.dcm"
    dataset.save_as(path)
    checked = subprocess.run(["dciodvfy", path], capture_output=True, check=False)
    errors = [line for line in (checked.stdout + checked.stderr).decode(errors="replace").splitlines()
              if line.startswith("Error")]
    assert not errors, f"{name}: dciodvfy: {errors}"


def results_of(orthanc, study_uid):
    """Report and picture of a study, as far as they are there."""
    return [d for d in orthanc.objects_of(study_uid) if d.SOPClassUID in (SR_CLASS, PICTURE_CLASS)]


def check_study(orthanc, sources, folder, n_reports=1, n_pictures=1):
    """Wait for the results of a study and check each."""
    uid = sources[0].StudyInstanceUID

    def ready():
        found = results_of(orthanc, uid)
        n_sr = sum(d.SOPClassUID == SR_CLASS for d in found)
        return found if n_sr >= n_reports and len(found) - n_sr >= n_pictures else None

    found = wait_for(f"results of a study in {sources[0].file_meta.TransferSyntaxUID}", ready)
    for each in found:
        named = {instance for _, instance in references_in(each)}
        present = [s for s in sources if s.SOPInstanceUID in named]
        check_object(each, present if present else sources, folder)
    return found


def send(medaid, path, flag="-xe"):
    """C-STORE by DCMTK."""
    run("storescu", flag, "-aec", "MEDAID", "127.0.0.1", medaid.port, path)


def test_syntaxes(orthanc, medaid, folder):
    """One study for each transfer syntax."""
    sent = []
    for number, syntax in enumerate(SYNTAXES):
        base, path = folder / "base.dcm", folder / f"syntax-{number}.dcm"
        make_phantom(base, 100 + number, "--opacity", "left" if number % 2 else "none")
        written = transcode(base, path, syntax)
        flag = STORESCU.get(syntax.removeprefix("1.2.840.10008.1.2"))
        if flag is not None:
            send(medaid, path, flag)
        else:
            stored = json.loads(orthanc.request("/instances", path.read_bytes()))
            orthanc.post("/modalities/medaid/store", [stored["ID"]])
        sent.append(written)
    for written in sent:
        check_study(orthanc, [written], folder)
        print(f"ok: {written.file_meta.TransferSyntaxUID}: report and picture are in Orthanc")
    return sent


def check_predecessor(before, after):
    """The new report names the earlier one, which names none, and the pictures neither."""
    (old,) = [d for d in before if d.SOPClassUID == SR_CLASS]
    known = {d.SOPInstanceUID for d in before}
    (new,) = [d for d in after if d.SOPClassUID == SR_CLASS and d.SOPInstanceUID not in known]
    for each in after:
        assert ("PredecessorDocumentsSequence" in each) == (each is new), "a wrong object names a predecessor"
    (study,) = new.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (reference,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == old.StudyInstanceUID == new.StudyInstanceUID
    assert series.SeriesInstanceUID == old.SeriesInstanceUID
    assert reference.ReferencedSOPInstanceUID == old.SOPInstanceUID != new.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == old.SOPClassUID == SR_CLASS


def test_again_and_late(orthanc, medaid, folder):
    """The same object again gives nothing new; another image of the study gives a new report."""
    first, late = folder / "first.dcm", folder / "late.dcm"
    make_phantom(first, 500)
    one = pydicom.dcmread(first, stop_before_pixels=True)
    send(medaid, first)
    before = check_study(orthanc, [one], folder)
    n_analysed = len(medaid.lines("study_analysed"))
    send(medaid, first)
    make_phantom(late, 500, "--instance-number", 2)
    two = pydicom.dcmread(late, stop_before_pixels=True)
    send(medaid, late)
    after = check_study(orthanc, [one, two], folder, n_reports=2, n_pictures=2)
    assert len(medaid.lines("study_analysed")) == n_analysed + 1
    assert {d.SOPInstanceUID for d in before} <= {d.SOPInstanceUID for d in after}
    reports = [references_in(d) for d in after if d.SOPClassUID == SR_CLASS]
    both = {(s.SOPClassUID, s.SOPInstanceUID) for s in (one, two)}
    assert any(both <= named for named in reports), "no report is made from both images"
    check_predecessor(before, after)
    print("ok: the same again gives nothing new, a late image a new report from both that names the first")
    return [one, two]


def test_not_accepted(orthanc, medaid, folder):
    """Colour and another body part: no object, but a line."""
    for number, more in enumerate((["--photometric", "RGB", "--modality", "OT"],
                                   ["--body-part", "HAND"])):
        path = folder / f"other-{number}.dcm"
        make_phantom(path, 600 + number, *more)
        n_before = len(medaid.lines("study_not_accepted"))
        n_objects = len(medaid.lines("results_sent"))
        send(medaid, path)
        wait_for("the line", lambda n=n_before: len(medaid.lines("study_not_accepted")) > n)
        assert len(medaid.lines("results_sent")) == n_objects
        written = pydicom.dcmread(path, stop_before_pixels=True)
        assert not orthanc.objects_of(written.StudyInstanceUID)
    print("ok: what no model accepts gives a log line and no object")


def test_pacs_away(orthanc, medaid, folder):
    """Results wait while Orthanc is down, and while medaid itself is."""
    path = folder / "away.dcm"
    make_phantom(path, 700)
    written = pydicom.dcmread(path, stop_before_pixels=True)
    orthanc.stop()
    send(medaid, path)
    wait_for("a failed attempt", lambda: medaid.lines("send_failed"))
    assert medaid.stop() == 0, medaid.log()[-2000:]
    orthanc.start()
    medaid.start()
    check_study(orthanc, [written], folder)
    print("ok: results wait for a PACS that is away, over a restart too")
    return [written]


def test_films(orthanc, medaid, folder):
    """Real films, when they are there."""
    data = ROOT.parent / "shared" / "data" / "chest-xray-original"
    if not data.is_dir():
        print("skipped: no ../shared/data/chest-xray-original")
        return []
    sent = []
    for kind in ("NORMAL", "PNEUMONIA"):
        for image in sorted((data / kind).iterdir())[:N_FILMS]:
            path = folder / "film.dcm"
            sent.append(make_film(path, image, len(sent)))
            send(medaid, path)
    for film in sent:
        check_study(orthanc, [film], folder)
    print(f"ok: {len(sent)} real films: report and picture are in Orthanc")
    return sent


def test_no_patient_in_log(medaid, sent):
    """Nothing that names a patient or an object."""
    log = medaid.log()
    marks = ["Zebra", "Quagga", PATIENT[1], PATIENT[2]]
    for each in sent:
        marks += [each.StudyInstanceUID, each.SeriesInstanceUID, each.SOPInstanceUID]
    for mark in marks:
        assert mark not in log, f"the log names {mark}"
    names = [str(p.relative_to(medaid.folder)) for p in (medaid.folder / "store").rglob("*")]
    assert names
    for name in names:
        assert not any(mark in name for mark in marks), f"a file is named {name}"
    print(f"ok: none of {len(marks)} marks is in {len(log.splitlines())} log lines or a file name")


def pending_rows(path):
    """How many objects still wait for a destination."""
    with sqlite3.connect(path) as database:
        return database.execute("SELECT count(*) FROM outbox WHERE state = 0").fetchone()[0]


def main():
    """All of it, in one folder that is gone afterwards."""
    for program in ("storescu", "echoscu", "dcmconv", "dcmcrle", "dcmcjpeg", "dcmcjpls", "dciodvfy",
                    "opj_compress", "/usr/sbin/Orthanc"):
        assert shutil.which(program), f"{program} is not installed"
    folder = pathlib.Path(tempfile.mkdtemp(prefix="medaid-orthanc-"))
    http, dicom, medaid_port = free_ports(3)
    orthanc = Orthanc(folder, (http, dicom), medaid_port)
    medaid = Medaid(folder, medaid_port, dicom)
    try:
        orthanc.start()
        medaid.start()
        run("echoscu", "-aec", "MEDAID", "127.0.0.1", medaid_port)
        orthanc.post("/modalities/medaid/echo", {})
        print("ok: C-ECHO from DCMTK and from Orthanc")
        sent = test_syntaxes(orthanc, medaid, folder)
        sent += test_again_and_late(orthanc, medaid, folder)
        test_not_accepted(orthanc, medaid, folder)
        sent += test_films(orthanc, medaid, folder)
        sent += test_pacs_away(orthanc, medaid, folder)
        medaid.alive()
        assert medaid.stop() == 0, medaid.log()[-2000:]
        assert len(medaid.lines("daemon_stopped")) == 2
        assert pending_rows(folder / "store" / "medaid.db") == 0, "something is left"
        print("ok: SIGTERM ends it with 0 and an empty outbox")
        test_no_patient_in_log(medaid, sent)
    except BaseException:
        print("--- the end of the daemon's log ---")
        print("\n".join(medaid.log().splitlines()[-40:]))
        raise
    finally:
        if medaid.process is not None and medaid.process.poll() is None:
            medaid.process.kill()
            medaid.process.wait()
        orthanc.stop()
        shutil.rmtree(folder, ignore_errors=True)


main()
