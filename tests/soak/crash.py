#!/usr/bin/python3
"""SIGKILL for medaid --daemon and its workers at random moments, under load, against a real Orthanc.

Senders make studies of one to three films and send each film until it is acknowledged, and never again
after that. The daemon is killed and started, over and over, also while it starts; now and then a worker
is killed first. Meanwhile the disk fails by chance (EIO, ENOSPC for writes, syncs and renames), and in a
second part the storage is a small file system that is full again and again. In the end every
acknowledged film is in the final report of its study in Orthanc; each study has one final report, which
names the ones it replaces one by one; nothing is in quarantine; database, files and outbox agree.

usage: crash.py [--kills N] [--senders N] [--seed N]"""
import argparse
import contextlib
import errno
import os
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import faults  # noqa: E402
import hospital  # noqa: E402
import ledger  # noqa: E402

MIB = 1 << 20
SMALL_DISK_MIB = 192
LEAST_FREE_MIB = 4


class Crash:
    """One part: a folder, a daemon, an Orthanc and the senders."""

    def __init__(self, site, store, options, seed):
        self.site, self.store, self.chance = site, store, random.Random(seed)
        self.faults = faults.Faults(site.folder)
        self.pacs = site.orthanc()
        self.medaid = site.medaid(
            destinations=[self.pacs.destination()], ae={"max_associations": 32},
            study={"quiet_ms": 1000},
            storage={"path": str(store), "min_free_mib": LEAST_FREE_MIB})
        self.medaid.environment.update(self.faults.environment())
        self.stop, self.ledger = threading.Event(), ledger.Ledger()
        templates = ledger.templates_of(site)
        self.senders = [ledger.Sender(i, self.medaid.port, templates, self.ledger, self.stop, seed)
                        for i in range(options.senders)]
        self.n_kills = self.n_workers = self.n_starting = self.n_full = 0
        self.is_small = store.is_mount()

    def change_weather(self):
        """What the disk does until the next change. The small disk is full, the other one fails."""
        self.clear()
        kind = self.chance.choice(["good", "good", "eio", "enospc"])
        if kind == "good":
            return
        if self.is_small:
            self.n_full += self.fill_disk(free_bytes=self.chance.choice([0, 0, MIB]))
            return
        error = errno.EIO if kind == "eio" else errno.ENOSPC
        self.faults.set(*(self.chance.choice([0, 1000, 20000, 100000]) for _ in range(3)),
                        error=error)

    def fill_disk(self, free_bytes):
        """A file that leaves that much. False when it was full already."""
        about = os.statvfs(self.store)
        n_bytes = about.f_bavail * about.f_frsize - free_bytes
        with open(self.store / "ballast", "wb") as ballast, contextlib.suppress(OSError):
            if n_bytes > 0:
                os.posix_fallocate(ballast.fileno(), 0, n_bytes)
                return True
        return False

    def clear(self):
        """A good disk with room."""
        self.faults.set()
        (self.store / "ballast").unlink(missing_ok=True)

    def kill_a_worker(self):
        """SIGKILL for one of them."""
        workers = self.medaid.children()
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.chance.choice(workers), 9)
                self.n_workers += 1

    def start(self):
        """Start; with a bad disk it may refuse to, and is started again as a supervisor does."""
        while True:
            self.medaid.launch()
            n_before = self.n_started()
            while self.medaid.process.poll() is None:
                if self.n_started() > n_before:
                    return
                time.sleep(0.01)
            assert self.medaid.process.returncode > 0, "it died by a signal that nobody sent"
            self.clear()

    def n_started(self):
        """How often it has listened."""
        return len(self.medaid.lines("daemon_started"))

    def round(self):
        """One SIGKILL of the daemon, and its next start."""
        if self.is_small or self.n_kills % 3 == 0:
            self.change_weather()
        time.sleep(self.chance.uniform(0.02, 1.5))
        if self.n_kills % 4 == 3:
            self.kill_a_worker()
            time.sleep(self.chance.uniform(0.02, 0.5))
        self.kill()
        while self.chance.random() < 0.2:  # and while it starts
            self.medaid.launch()
            time.sleep(self.chance.uniform(0.0, 0.12))
            if self.medaid.process.poll() is None:
                self.kill()
                self.n_starting += 1
        self.start()

    def kill(self):
        """SIGKILL for the daemon, which must not have ended by itself."""
        self.medaid.alive()
        self.medaid.kill()
        self.n_kills += 1

    def run(self, n_kills):
        """All of it; one line of what was seen."""
        self.pacs.start()
        self.start()
        for sender in self.senders:
            sender.start()
        begun, told = time.monotonic(), 0
        while self.n_kills < n_kills:
            self.round()
            if self.n_kills >= told + 50:
                told = self.n_kills
                print(f"{told} kills after {time.monotonic() - begun:.0f} s, "
                      f"{self.ledger.n_films()} films acknowledged", flush=True)
        self.clear()
        self.stop.set()
        for sender in self.senders:
            sender.join(hospital.PATIENCE_S)
            assert not sender.is_alive() and sender.failure is None, sender.failure
        hospital.wait_for("the end of all studies", lambda: self.medaid.alive() and
                          ledger.settled(self.medaid), hospital.PATIENCE_S + n_kills, step_s=0.5)
        assert self.medaid.stop() == 0
        self.medaid.start()  # what an I/O error left open is compared at a start
        assert self.medaid.stop() == 0
        waiting = self.ledger.check_database(self.medaid)
        assert not waiting, f"the outbox is not empty: {waiting}"
        reports, n_objects = ledger.reports_in(self.pacs)
        n_superseded = self.ledger.check_reports(reports)
        known = self.medaid.query("SELECT count(DISTINCT uid) FROM object")[0][0]
        assert n_objects == known == sum(map(len, reports.values())), (n_objects, known)
        assert self.ledger.n_again > 0, "there was no load"
        disk = (f"{self.n_full} times a full disk" if self.is_small else
                f"{self.faults.n_failed()} failed writes, syncs and renames")
        return (f"{self.n_kills} SIGKILLs of the daemon ({self.n_starting} while it started) and "
                f"{self.n_workers} of workers, {disk}, in {time.monotonic() - begun:.0f} s; "
                f"{self.ledger.n_films()} acknowledged films of {len(self.ledger.films)} studies, "
                f"{self.ledger.n_again} sendings repeated; each study has one final report, "
                f"{n_superseded} were replaced after a late film; no object twice")


def main():
    """Both parts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--senders", type=int, default=8)
    parser.add_argument("--seed", type=int, default=20260131)
    options = parser.parse_args()
    hospital.need(hospital.ORTHANC)
    n_small = options.kills // 5
    with hospital.Hospital("crash") as site:
        store = site.folder / "store"
        store.mkdir(mode=0o700)
        print("ok:", Crash(site, store, options, options.seed).run(options.kills - n_small),
              flush=True)
    with hospital.Hospital("full") as site:
        store = site.small_disk("store", SMALL_DISK_MIB)
        if store is None:
            print("skipped: a full disk, as this machine permits no mount; ENOSPC was injected above")
            return
        print("ok:", Crash(site, store, options, options.seed + 1).run(n_small))


main()
