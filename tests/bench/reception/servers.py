"""The servers that the reception benches compare, the objects they get and the sender of ours.

Each server has a folder of its own and a free port on loopback; all speak with TCP_NODELAY and PDUs
of 128 KiB."""
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.request

import numpy
import pydicom
import pydicom.uid

UIDS = {"SOPInstanceUID": "2.25.91111111111111111", "StudyInstanceUID": "2.25.92222222222222222",
        "SeriesInstanceUID": "2.25.93333333333333333"}  # the markers of sender.c
CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "DX": "1.2.840.10008.5.1.4.1.1.1.1"}
PDU_BYTES = 131072
PATIENCE_S = 60


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_template(path, modality, rows, columns):
    """An object of rows x columns of 16 bits whose UIDs the sender replaces."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = CLASSES[modality]
    meta.MediaStorageSOPInstanceUID = UIDS["SOPInstanceUID"]
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.Modality = CLASSES[modality], modality
    for keyword, uid in UIDS.items():
        setattr(ds, keyword, uid)
    ds.PatientName, ds.PatientID, ds.StudyDate, ds.StudyTime = "Bench", "BENCH", "20200101", "120000"
    ds.SeriesNumber, ds.InstanceNumber, ds.BodyPartExamined = 1, 1, "HEAD"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope = 0, 1
    pixels = numpy.random.default_rng(3).integers(0, 4096, rows * columns, dtype="<u2")
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    ds.is_little_endian, ds.is_implicit_VR = True, False
    ds.save_as(path, write_like_original=False)
    return path


class Server:
    """A process that receives, and what it keeps."""
    name = ""

    def __init__(self, folder):
        self.folder, self.port, self.process = pathlib.Path(folder) / self.name, free_port(), None
        self.folder.mkdir()

    def command(self):
        """How it is started."""
        raise NotImplementedError

    def start(self):
        """Start, and wait until the port answers."""
        environment = dict(os.environ, TCP_NODELAY="1")
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([str(c) for c in self.command()], stdout=log, stderr=log,
                                            env=environment)
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return self
            time.sleep(0.05)
        raise SystemExit(f"{self.name} did not start:\n"
                         + (self.folder / "log").read_text(errors="replace")[-2000:])

    def stop(self):
        """SIGTERM, then wait."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def status(self, field):
        """A line of /proc/PID/status, in KiB."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in text.splitlines()
                    if line.startswith(field + ":"))


class Storescp(Server):
    """DCMTK's, a process for each association, bytes as they come; it never syncs."""
    name = "storescp"

    def command(self):
        (self.folder / "data").mkdir()
        return ["storescp", "--fork", "+B", "-pdu", PDU_BYTES, "-od", self.folder / "data",
                "-aet", "BENCH-SCP", self.port]


class Orthanc(Server):
    """Orthanc that syncs each file, without plugins."""
    name = "orthanc"

    def __init__(self, folder, n_threads=16):
        super().__init__(folder)
        self.http, self.n_threads = free_port(), n_threads

    def command(self):
        settings = {
            "Name": "bench", "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "index"), "Plugins": [], "HttpPort": self.http,
            "DicomPort": self.port, "DicomAet": "BENCH-SCP", "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False, "DicomCheckCalledAet": False, "TcpNoDelay": True,
            "SyncStorageArea": True, "StorageCompression": False, "OverwriteInstances": False,
            "DicomThreadsCount": self.n_threads, "MaximumPduLength": PDU_BYTES,
            "DicomAlwaysAllowStore": True, "UnknownSopClassAccepted": False,
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(settings), encoding="ascii")
        return ["/usr/sbin/Orthanc", path]

    def get(self, path):
        """JSON of its HTTP interface."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}",
                                    timeout=PATIENCE_S) as answer:
            return json.loads(answer.read())


class Medaid(Server):
    """The daemon with the models of a folder."""
    name = "medaid"

    def __init__(self, folder, program, models, max_associations=32, quiet_ms=3600000,
                 destination=None, workers=1):
        super().__init__(folder)
        self.program = program
        sends_to = "" if destination is None else (
            f"destinations: [{{name: pacs, ae_title: PACS, host: 127.0.0.1, port: {destination}}}]\n")
        (self.folder / "medaid.yaml").write_text(f"""
ae: {{title: BENCH-SCP, bind: 127.0.0.1, port: {self.port}, max_associations: {max_associations}}}
{sends_to}study: {{quiet_ms: {quiet_ms}, deadline_s: 0}}
plugins: {{paths: ["{models}"]}}
workers: {{count: {workers}}}
results: {{kind: sr}}
storage: {{path: "{self.folder / 'store'}", min_free_mib: 10}}
""", encoding="utf-8")

    def command(self):
        return [self.program, "--daemon", "--config", self.folder / "medaid.yaml"]

    def ask(self, *words):
        """The JSON of a medaidctl command."""
        control = pathlib.Path(self.program).with_name("medaidctl")
        done = subprocess.run([control, "--config", self.folder / "medaid.yaml", "--json", *words],
                              capture_output=True, check=True)
        return json.loads(done.stdout)


def send(sender, server, template, *command):
    """Run the sender; its figures. A failed object ends the bench."""
    done = subprocess.run([str(c) for c in (sender, server.port, template, *command)],
                          capture_output=True, check=False)
    try:
        figures = json.loads(done.stdout)
    except ValueError:
        raise SystemExit(f"bench-sender {command}: {done.stderr.decode(errors='replace')}") from None
    if figures["failed"] != 0:
        raise SystemExit(f"{server.name}: {figures['failed']} failures with {command}")
    return figures
