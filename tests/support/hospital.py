"""What integration tests and soaks share: a temporary folder with the programs of a hospital in it.

    with hospital.Hospital("ops") as site:
        pacs = site.orthanc().start()
        medaid = site.medaid(destinations=[pacs.destination()]).start()
        film = site.film(seed=1)
        site.send(medaid, film)

Every program is a process on free ports of the loopback, logs to a file of the folder, and is ended by
its pid however the test ends; when it ends badly, the ends of the logs are printed, and with $MEDAID_KEEP
the folder stays. Nothing here measures time: PATIENCE_S is for a loaded machine. The programs under test are those of
$MEDAID_BUILD_ROOT, which meson sets; without it, of build/ beside the sources."""
import contextlib
import json
import os
import pathlib
import re
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

import pydicom
import pydicom.filebase

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MEDAID_BUILD_ROOT", ROOT / "build")).resolve()
MEDAID, CTL = BUILD / "daemon/medaid", BUILD / "daemon/medaidctl"
PHANTOM = BUILD / "tests/support/medaid-phantom"
HOSTILE = BUILD / "tests/support/hostile/hostile.so"
FAULTS = BUILD / "tests/support/libmedaid-faults.so"
ORTHANC = "/usr/sbin/Orthanc"

SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"
PICTURE_CLASS = "1.2.840.10008.5.1.4.1.1.7"
MAP_CLASS = "1.2.840.10008.5.1.4.1.1.30"
STATES = ["receiving", "complete", "analysing", "reporting", "sending", "done", "failed",
          "quarantined"]
PATIENT = ("Zebra^Quagga", "PID-MARKER-77", "ACC-MARKER-99")
PATIENCE_S = 300
LOG_TAIL_LINES = 40


def run(*command, good=True, **options):
    """A program that must succeed, or must not; what it wrote."""
    done = subprocess.run([str(c) for c in command], capture_output=True, check=False, **options)
    if (done.returncode == 0) != good:
        raise AssertionError(f"{command[0]} ended with {done.returncode}: "
                             f"{done.stderr.decode(errors='replace')[-600:]}")
    return (done.stdout + done.stderr).decode(errors="replace")


def free_ports(n):
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_for(what, condition, patience_s=PATIENCE_S, step_s=0.05):
    """Until the condition is true; its value."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(step_s)
    raise AssertionError(f"waited in vain for {what}")


def running(pid):
    """Whether the process is there and no zombie."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid):
    """The processes that it has started."""
    found = []
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # it may have ended
            if f"\nPPid:\t{pid}\n" in status.read_text(encoding="utf-8", errors="replace"):
                found.append(int(status.parent.name))
    return found


def hostile_rows():
    """{deed: rows of the image that asks for it} of the hostile plugin."""
    header = (ROOT / "tests/support/hostile/hostile.h").read_text(encoding="ascii")
    names = re.findall(r"^\s+HOSTILE_([A-Z_]+),", header.split("typedef enum")[1], re.MULTILINE)
    first = int(re.search(r"HOSTILE_ROWS = (\d+)", header).group(1))
    return {name: first + i for i, name in enumerate(names)}


def need(*programs):
    """A machine without one of the programs fails the test."""
    for program in programs:
        assert shutil.which(program), f"{program} is not installed"


def references_in(dataset):
    """Every (class, instance) that a dataset names anywhere in its sequences."""
    found = set()
    for element in dataset.iterall():
        if element.VR == "SQ":
            for item in element.value:
                if "ReferencedSOPInstanceUID" in item:
                    found.add((item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID))
    return found


def dciodvfy_errors(path):
    """The lines of dciodvfy that are errors."""
    done = subprocess.run(["dciodvfy", path], capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode(errors="replace")
    return [line for line in said.splitlines() if line.startswith("Error")]


class Hospital:
    """The folder and all that runs in it."""

    def __init__(self, name):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"medaid-{name}-"))
        self.programs, self.mounts = [], []

    def __enter__(self):
        return self

    def __exit__(self, kind, value, _):
        good = kind is None or (kind is SystemExit and not value.code)
        for program in reversed(self.programs):
            program.kill()
        for mount in self.mounts:
            subprocess.run(["umount", "--lazy", mount], check=False)
        if not good:
            for program in self.programs:
                print(f"--- the end of {program.log_path.name}", file=sys.stderr)
                print("\n".join(program.log().splitlines()[-LOG_TAIL_LINES:]), file=sys.stderr)
        if good or "MEDAID_KEEP" not in os.environ:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            print(f"kept: {self.folder}", file=sys.stderr)

    def small_disk(self, name, n_mib):
        """A folder that is a file system of that size, None where the machine permits no mount."""
        folder = self.folder / name
        folder.mkdir(mode=0o700)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={n_mib}m,mode=0700",
                               "medaid-test", folder], capture_output=True, check=False)
        if done.returncode != 0:
            return None
        self.mounts.append(folder)
        return folder

    def program(self, name, *command):
        """Any program, not yet started."""
        return Program(self, name, command)

    def orthanc(self, name="orthanc", **settings):
        """A PACS, not yet started."""
        return Orthanc(self, name, settings)

    def medaid(self, name="medaid", **sections):
        """The daemon, not yet started; see Medaid."""
        return Medaid(self, name, sections)

    def film(self, *options, seed=1, rows=400, columns=480):
        """A phantom film of the marked patient; its path."""
        return make_film(self.folder / f"film-{seed}.dcm", *options, seed=seed, rows=rows,
                         columns=columns)


def make_film(path, *options, seed=1, rows=400, columns=480):
    """Write a phantom film of the marked patient; the path."""
    run(PHANTOM, "--rows", rows, "--columns", columns, "--seed", seed, "--patient-name", PATIENT[0],
        "--patient-id", PATIENT[1], "--accession", PATIENT[2], "--output", path, *options)
    return path


def send(medaid, *paths, options=("-R",), good=True):
    """C-STORE by DCMTK, all in one association."""
    run("storescu", *options, "-aec", "MEDAID", "127.0.0.1", medaid.port, *paths, good=good)


class Program:
    """A process whose output goes to NAME.log in the folder of its hospital."""

    def __init__(self, site, name, command, environment=None):
        self.site, self.name, self.command = site, name, [str(c) for c in command]
        self.environment = environment or {}
        self.log_path = site.folder / f"{name}.log"
        self.process = None
        site.programs.append(self)

    @property
    def pid(self):
        """Of the running process."""
        return self.process.pid

    def launch(self):
        """Start, and wait for nothing."""
        assert self.process is None or self.process.poll() is not None, f"{self.name} runs already"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log,
                                            env=dict(os.environ, **self.environment))
        return self

    def alive(self):
        """True, or the end of the log of what has ended."""
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n"
                                 f"{self.log()[-3000:]}")
        return True

    def log(self):
        """All that it wrote."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def stop(self):
        """SIGTERM; its exit code."""
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_S)

    def kill(self):
        """SIGKILL, if it runs."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()


class Orthanc(Program):
    """A real PACS. `settings` go over those that are set here."""

    def __init__(self, site, name, settings):
        self.http, self.dicom = free_ports(2)
        folder = site.folder / name
        folder.mkdir()
        all_settings = {
            "Name": "medaid-test", "StorageDirectory": str(folder), "IndexDirectory": str(folder),
            "Plugins": [], "HttpPort": self.http, "DicomPort": self.dicom, "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
            "DicomCheckCalledAet": False, "UnknownSopClassAccepted": False, "DicomScuTimeout": 60,
            **settings}
        self.configuration = site.folder / f"{name}.json"
        self.configuration.write_text(json.dumps(all_settings), encoding="utf-8")
        super().__init__(site, name, [ORTHANC, self.configuration])

    def destination(self, name="pacs", **more):
        """An entry of medaid's `destinations`."""
        return {"name": name, "ae_title": "ORTHANC", "host": "127.0.0.1", "port": self.dicom, **more}

    def start(self):
        """Start, and wait until it answers."""
        self.launch()
        wait_for(self.name, self.answers)
        return self

    def answers(self):
        """Its /system, or None while it is not up."""
        self.alive()
        try:
            return self.get("/system")
        except (urllib.error.URLError, ConnectionError):
            return None

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

    def objects_of(self, study_uid, **query):
        """The datasets of a study, or those of it that match the query."""
        ids = self.post("/tools/find", {"Level": "Instance",
                                        "Query": {"StudyInstanceUID": study_uid, **query}})
        return [pydicom.dcmread(pydicom.filebase.DicomBytesIO(self.request(
            f"/instances/{each}/file"))) for each in ids]

    def reports_of(self, study_uid):
        """The structured reports of a study."""
        return [d for d in self.objects_of(study_uid, Modality="SR") if d.SOPClassUID == SR_CLASS]

    def results_of(self, study_uid):
        """Reports and pictures of a study."""
        return [d for d in self.objects_of(study_uid)
                if d.SOPClassUID in (SR_CLASS, PICTURE_CLASS)]


class Medaid(Program):
    """The daemon. `sections` are those of medaid.yaml; each goes over the one set here, key by key,
    except lists, which are taken whole."""

    def __init__(self, site, name, sections):
        (self.port,) = free_ports(1)
        self.folder = site.folder / name
        self.folder.mkdir()
        self.configuration = self.folder / "medaid.yaml"
        self.sections = {
            "ae": {"port": self.port}, "study": {"quiet_ms": 300}, "results": {"kind": "sr"},
            "plugins": {"paths": [str(ROOT / "plugins")]},
            "storage": {"path": str(self.folder / "store"), "min_free_mib": 10},
        }
        super().__init__(site, name, [MEDAID, "--daemon", "--config", self.configuration])
        self.records, self.n_read_bytes, self.n_starts = [], 0, 0
        self.configure(**sections)

    def configure(self, **sections):
        """Write medaid.yaml again with these changes."""
        for key, value in sections.items():
            if isinstance(value, dict):
                value = {**self.sections.get(key, {}), **value}
            self.sections[key] = value
        # JSON is YAML, one section a line
        text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in self.sections.items())
        self.configuration.write_text(text, encoding="utf-8")
        return self

    @property
    def store(self):
        """The folder storage.path."""
        return pathlib.Path(self.sections["storage"]["path"])

    def start(self):
        """Start, and wait until it listens."""
        self.launch()
        self.n_starts = max(self.n_starts, len(self.lines("daemon_started"))) + 1
        wait_for(f"{self.name} to listen", lambda: self.alive() and
                 len(self.lines("daemon_started")) >= self.n_starts, step_s=0.01)
        return self

    def lines(self, event=None):
        """The log's lines of one event, or all. Each line is read once, however often one asks."""
        if self.log_path.exists():
            with open(self.log_path, "rb") as log:
                log.seek(self.n_read_bytes)
                new = log.read()
            new = new[:new.rfind(b"\n") + 1]
            self.n_read_bytes += len(new)
            for line in new.decode("utf-8", "replace").splitlines():
                if line.startswith("{") and line.endswith("}"):
                    self.records.append(json.loads(line))
        return [each for each in self.records if event in (None, each["event"])]

    def wait_line(self, event=None, n_before=0, **fields):
        """Wait for a line of the event, beyond the first n_before, whose fields are these."""
        def newest():
            return self.alive() and [line for line in self.lines(event)[n_before:]
                                     if fields.items() <= line.items()]
        return wait_for(f"the line {event or ''} {fields or ''}", newest)[0]

    def query(self, sql, *arguments):
        """The rows of a query of its database."""
        database = sqlite3.connect(f"file:{self.store / 'medaid.db'}?mode=ro", uri=True,
                                   timeout=60)
        with contextlib.closing(database):
            return database.execute(sql, arguments).fetchall()

    def ctl(self, *words, code=0):
        """medaidctl's output; it must end with the code."""
        done = subprocess.run([CTL, "--config", self.configuration, *words], capture_output=True,
                              text=True, check=False, timeout=PATIENCE_S)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def studies(self, *words):
        """medaidctl studies as a list."""
        return json.loads(self.ctl("studies", "--json", *words))["studies"]

    def key_of(self, study_uid):
        """How the log and medaidctl call a study."""
        rows = self.query("SELECT key FROM study WHERE uid = ?", study_uid)
        return rows[0][0] if rows else None

    def state_of(self, study_uid):
        """The state of a study by its UID, None when there is none."""
        rows = self.query("SELECT state FROM study WHERE uid = ?", study_uid)
        return STATES[rows[0][0]] if rows else None

    def wait_state(self, study_uid, *states):
        """Wait until the study is in one of the states; which."""
        def there():
            state = self.alive() and self.state_of(study_uid)
            return state if state in states else None
        return wait_for(f"a study to be {' or '.join(states)}", there)

    def children(self):
        """The pids of its workers."""
        return children_of(self.pid)

    def descriptors(self):
        """What each of its open descriptors is."""
        found = []
        for fd in pathlib.Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                found.append(os.readlink(fd))
        return found
