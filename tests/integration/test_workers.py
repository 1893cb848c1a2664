#!/usr/bin/python3
"""medaid --daemon with the hostile plugin in its workers.

A worker that is killed in the middle of a study costs one attempt and the study is analysed on the
second; one whose plugin crashes each time is given up after three with a failure report; honest
studies before, between and after are served; killing the daemon takes its workers along and the
next start goes on; nothing of a patient is in the log."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import hospital  # noqa: E402
from hospital import PATIENCE_S, PATIENT, running, wait_for  # noqa: E402


class Medaid(hospital.Medaid):
    """The daemon with one worker, which has the hostile plugin alone."""

    def __init__(self, site):
        plugins = site.folder / "plugins"
        plugins.mkdir()
        shutil.copy(hospital.HOSTILE, plugins)
        super().__init__(site, "medaid", {
            "study": {"quiet_ms": 200}, "plugins": {"paths": [str(plugins)]},
            "results": {"kind": "sr", "write_failures": True},
            "workers": {"count": 1, "study_timeout_s": 60, "memory_mib": 1024}})
        # a crash of a sanitized worker is to be a crash, too
        self.environment["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":handle_segv=0"
        self.number = 0

    def send(self, rows):
        """A study of that many rows."""
        self.number += 1
        hospital.send(self, self.site.film(seed=self.number, rows=rows, columns=400))

    def worker(self):
        """The process of the newest worker."""
        return self.lines("worker_started")[-1]["pid"]

    def reports(self):
        """All reports, as dcmdump shows them."""
        found = (self.store / "results").glob("[!.]*/*.dcm")  # .name: not whole yet
        return [subprocess.run(["dcmdump", path], capture_output=True, check=True).stdout.decode(
            errors="replace") for path in found]

    def analysed(self, n):
        """Wait until so many studies are analysed."""
        wait_for(f"{n} analysed studies", lambda: self.alive() and
                 len(self.lines("study_analysed")) >= n)


def test_killed_worker(medaid, rows):
    """kill -9 of the worker while it analyses."""
    work = medaid.store / "workers" / "0"
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
    work = medaid.store / "workers" / "0"
    n_before = len(medaid.lines("study_analysed"))
    medaid.send(rows["SLOW"])
    wait_for("the study in the worker's folder", lambda: list(work.iterdir()))
    config = medaid.folder / "second.yaml"
    (port,) = hospital.free_ports(1)
    config.write_text(medaid.configuration.read_text(encoding="ascii").replace(
        str(medaid.port), str(port)), encoding="ascii")
    second = subprocess.run([hospital.MEDAID, "--daemon", "--config", config], capture_output=True,
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
    work = medaid.store / "workers" / "0"
    medaid.send(rows["LOOP"])
    wait_for("the study in the worker's folder", lambda: list(work.iterdir()))
    time.sleep(0.2)
    worker = medaid.worker()
    assert running(worker)
    medaid.kill()
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
    with hospital.Hospital("workers") as site:
        medaid = Medaid(site).start()
        medaid.send(rows["NONE"])
        medaid.analysed(1)
        for test in tests:
            test(medaid, rows)
            print(f"{test.__name__}: good")
        worker = medaid.worker()
        assert medaid.stop() == 0
        assert not running(worker)
        for text in (*PATIENT, "2.25.", "1.2.826"):
            assert text not in medaid.log(), f"{text} is in the log"


def main():
    """All of it, in two folders."""
    rows = hospital.hostile_rows()
    run(rows, test_second_daemon)
    run(rows, test_killed_worker, test_crashing_study, test_forbidden, test_killed_daemon)


main()
