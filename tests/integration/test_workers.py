#!/usr/bin/python3
"""medaid --daemon with the hostile plugin in its workers.

A worker that is killed in the middle of a study costs one attempt and the study is analysed on the
second; one whose plugin crashes each time is given up after three with a failure report; honest
studies before, between and after are served; killing the daemon takes its workers along and the
next start goes on; nothing of a patient is in the log.

usage: test_workers.py MEDAID MEDAID_PHANTOM HOSTILE_FOLDER HOSTILE_HEADER"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

MEDAID, PHANTOM, HOSTILE = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
HEADER = pathlib.Path(sys.argv[4]).read_text(encoding="ascii")
PATIENT = ("Zebra^Quagga", "PID-MARKER-77", "ACC-MARKER-99")
PATIENCE_S = 240  # for a loaded machine; nothing here measures time


def deeds():
    """The numbers of the deeds, and the rows that stand for the first."""
    names = re.findall(r"^\s+HOSTILE_([A-Z_]+),", HEADER.split("typedef enum")[1], re.MULTILINE)
    rows = int(re.search(r"HOSTILE_ROWS = (\d+)", HEADER).group(1))
    return {name: rows + i for i, name in enumerate(names)}


def wait_for(what, condition):
    """Until the condition is true; its value."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


class Medaid:
    """The daemon, with one worker unless told otherwise."""

    def __init__(self, folder):
        self.folder, self.process, self.number = folder, None, 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "plugins").mkdir()
        shutil.copy(HOSTILE / "hostile.so", folder / "plugins")
        (folder / "medaid.yaml").write_text(f"""
ae: {{port: {self.port}}}
study: {{quiet_ms: 200}}
plugins: {{paths: [plugins]}}
storage: {{path: store, min_free_mib: 10}}
results: {{kind: sr, write_failures: true}}
workers: {{count: 1, study_timeout_s: 60, memory_mib: 1024}}
""", encoding="ascii")

    def start(self):
        """Start, and wait until it listens."""
        n_before = len(self.lines("daemon_started"))
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [MEDAID, "--daemon", "--config", self.folder / "medaid.yaml"], stdout=log,
                stderr=log)
        wait_for("the daemon", lambda: self.alive() and
                 len(self.lines("daemon_started")) > n_before)

    def alive(self):
        """True, or the log of its end."""
        if self.process.poll() is not None:
            raise AssertionError(f"medaid ended with {self.process.returncode}:\n{self.log()}")
        return True

    def log(self):
        """All that it wrote."""
        path = self.folder / "log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def lines(self, event):
        """The log's lines of one event."""
        found = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [fields for fields in found if fields["event"] == event]

    def send(self, rows):
        """A study of that many rows; returns its film."""
        self.number += 1
        path = self.folder / f"film-{self.number}.dcm"
        for command in (
                [PHANTOM, "--rows", rows, "--columns", 400, "--seed", self.number,
                 "--patient-name", PATIENT[0], "--patient-id", PATIENT[1], "--accession",
                 PATIENT[2], "--output", path],
                ["storescu", "-aec", "MEDAID", "127.0.0.1", self.port, path]):
            done = subprocess.run([str(c) for c in command], capture_output=True, check=False)
            assert done.returncode == 0, (command[0], done.stderr.decode(errors="replace"))
        return path

    def worker(self):
        """The process of the newest worker."""
        return self.lines("worker_started")[-1]["pid"]

    def reports(self):
        """All reports, as dcmdump shows them."""
        found = (self.folder / "store" / "results").glob("[!.]*/*.dcm")  # .name: not whole yet
        return [subprocess.run(["dcmdump", path], capture_output=True, check=True).stdout.decode(
            errors="replace") for path in found]

    def analysed(self, n):
        """Wait until so many studies are analysed."""
        wait_for(f"{n} analysed studies", lambda: self.alive() and
                 len(self.lines("study_analysed")) >= n)


def running(pid):
    """Whether the process is there and no zombie."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_killed_worker(medaid, rows):
    """kill -9 of the worker while it analyses."""
    work = medaid.folder / "store" / "workers" / "0"
    medaid.send(rows["SLOW"])
    wait_for("the study in the worker's folder", lambda: list(work.iterdir()))
    time.sleep(0.2)
    os.kill(medaid.worker(), signal.SIGKILL)
    medaid.analysed(2)
    failed = medaid.lines("study_failed")
    assert len(failed) == 1 and failed[0]["then"] == "tried again", failed
    assert "worker died, signal 9" in failed[0]["reason"], failed
    assert medaid.lines("study_analysed")[-1]["failed_results"] == 0
    wait_for("two reports", lambda: len(medaid.reports()) == 2)


def test_second_daemon(medaid, rows):
    """A second daemon on the same storage ends at once and takes nothing from the first."""
    work = medaid.folder / "store" / "workers" / "0"
    n_before = len(medaid.lines("study_analysed"))
    medaid.send(rows["SLOW"])
    wait_for("the study in the worker's folder", lambda: list(work.iterdir()))
    config = medaid.folder / "second.yaml"
    config.write_text((medaid.folder / "medaid.yaml").read_text(encoding="ascii").replace(
        str(medaid.port), str(medaid.port + 1)), encoding="ascii")
    second = subprocess.run([MEDAID, "--daemon", "--config", config], capture_output=True,
                            text=True, timeout=PATIENCE_S, check=False)
    assert second.returncode != 0 and "in use by another medaid" in second.stderr, second.stderr
    assert list(work.iterdir()), "the second daemon has emptied the worker's folder"
    medaid.analysed(n_before + 1)
    assert not medaid.lines("study_failed")


def test_crashing_study(medaid, rows):
    """Three attempts, a failure report, and the next study."""
    medaid.send(rows["SEGFAULT"])
    wait_for("the end of its attempts", lambda: [
        line for line in medaid.lines("study_failed") if line["then"] == "given up"])
    crashes = [line for line in medaid.lines("worker_died") if line["signal"] == 11]
    assert len(crashes) == 3, crashes
    reports = wait_for("the failure report",
                       lambda: len(medaid.reports()) == 3 and medaid.reports())
    failures = [r for r in reports if "PARTIAL" in r]
    assert len(failures) == 1 and "110501" in failures[0] and "signal 11" in failures[0], failures
    medaid.send(rows["NONE"])
    medaid.analysed(3)


def test_forbidden(medaid, rows):
    """The kernel ends a worker that opens a socket; refused files are logged."""
    medaid.send(rows["SOCKET"])
    wait_for("the socket's end", lambda: len([
        line for line in medaid.lines("study_failed") if line["then"] == "given up"]) == 2)
    assert "forbidden system call" in medaid.lines("study_failed")[-1]["reason"]
    medaid.send(rows["READ_FILE"])
    medaid.send(rows["WRITE_FILE"])
    medaid.analysed(5)
    assert medaid.lines("worker_refused"), "a file opened to write is not in the log"
    # score 1 would be "present": it could read or write
    answers = wait_for("five reports of five answers", lambda: [
        found for found in [[r for r in medaid.reports() if "PARTIAL" not in r]]
        if len(found) == 5])[0]
    assert all("52101004" not in r for r in answers)


def test_killed_daemon(medaid, rows):
    """SIGKILL of the daemon while a plugin loops: the worker goes too, the next start goes on."""
    work = medaid.folder / "store" / "workers" / "0"
    medaid.send(rows["LOOP"])
    wait_for("the study in the worker's folder", lambda: list(work.iterdir()))
    time.sleep(0.2)
    worker = medaid.worker()
    assert running(worker)
    medaid.process.kill()
    medaid.process.wait()
    wait_for("the end of the worker", lambda: not running(worker))
    n_before = len(medaid.lines("study_analysed"))
    medaid.start()
    # the end of the daemon is no attempt of the study: it has all three
    for attempt in range(1, 4):
        wait_for("the study in the worker's folder", lambda: list(work.iterdir()))
        time.sleep(0.2)
        os.kill(medaid.worker(), signal.SIGKILL)  # it would loop to the time limit
        wait_for("the attempt's end", lambda n=attempt: [
            line["attempt"] for line in medaid.lines("study_failed")][-1:] == [n])
    assert medaid.lines("study_failed")[-1]["then"] == "given up"
    medaid.send(rows["NONE"])
    medaid.analysed(n_before + 1)


def run(rows, *tests):
    """The tests one after the other on one daemon and one folder."""
    with tempfile.TemporaryDirectory() as name:
        medaid = Medaid(pathlib.Path(name))
        try:
            medaid.start()
            medaid.send(rows["NONE"])
            medaid.analysed(1)
            for test in tests:
                test(medaid, rows)
                print(f"{test.__name__}: good")
            worker = medaid.worker()
            medaid.process.send_signal(signal.SIGTERM)
            assert medaid.process.wait(timeout=PATIENCE_S) == 0, medaid.log()[-2000:]
            assert not running(worker)
            for text in (*PATIENT, "2.25.", "1.2.826"):
                assert text not in medaid.log(), f"{text} is in the log"
        except BaseException:
            print(medaid.log()[-6000:], file=sys.stderr)
            raise
        finally:
            if medaid.process is not None and medaid.process.poll() is None:
                medaid.process.kill()
                medaid.process.wait()


def main():
    """All of it, in two folders."""
    rows = deeds()
    # a crash of a sanitized worker is to be a crash, too
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":handle_segv=0"
    run(rows, test_second_daemon)
    run(rows, test_killed_worker, test_crashing_study, test_forbidden, test_killed_daemon)


main()
