#!/usr/bin/python3
"""Everything at once, for half an hour: a hospital with its bad days around two medaid daemons.

Good studies with late and repeated objects and with conflicts; garbage, half objects, silent clients;
a PACS that works, one that is slow, one that refuses, hangs up and is away; a disk that is low or
fails; a plugin that crashes, loops, allocates; killed workers; operators who pause, drain, resume and reload;
clients with TLS on the second daemon. In the end nothing acknowledged is lost, every study has one
final report in Orthanc, every destination has what it must have, the daemons have as many open
descriptors as before and no sanitizer has said a word. With --sanitized the build must have one.

usage: mixed.py [--seconds N] [--seed N] [--sanitized]"""
import argparse
import collections
import contextlib
import errno
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import dicom_client  # noqa: E402
import faults  # noqa: E402
import hospital  # noqa: E402
import ledger  # noqa: E402

MIB = 1 << 20
# What the hostile plugin does within the limits that are set below; it may take a worker along.
DEEDS = ["NONE", "SEGFAULT", "LOOP", "ALLOCATE", "SOCKET", "FORK", "SCORE_NAN", "CLOSE_ALL",
         "KILL_PARENT", "STACK", "EXIT", "FLOOD_LOG", "FORGE_GARBAGE", "FORGE_RESULT", "ABORT",
         "SLOW", "THREAD_BOMB", "MAP_TOO_LARGE"]
REPORTS = re.compile(r"==\d+==\s*ERROR|runtime error:|LeakSanitizer|AddressSanitizer|"
                     r"SUMMARY: \w+Sanitizer|assertion .* failed|Assertion", re.IGNORECASE)
N_SENDERS, N_WARM = 4, 16
# A writer and four readers of the database (file and log each; their shared memory, the lock), and four
# folders of the spool.
KEPT = {"/medaid\\.db": 13, "/store/data/[0-9a-f]+$": 4}


class Actor(threading.Thread):
    """Does one thing again and again, with pauses, until the end; tells what it could not."""

    def __init__(self, soak, deed, pause_s):
        super().__init__(name=deed.__name__, daemon=True)
        self.soak, self.deed, self.pause_s = soak, deed, pause_s
        self.chance = random.Random(f"{soak.seed} {deed.__name__}")
        self.n_done, self.failure = 0, None

    def run(self):
        try:
            while not self.soak.stop.wait(self.chance.uniform(*self.pause_s)):
                self.deed(self.chance)
                self.n_done += 1
        except Exception as failure:  # a thread's end must not be overheard
            self.failure = failure


class Soak:
    """The daemons, their neighbours and what is known of them."""

    def __init__(self, site, seed):
        self.site, self.seed, self.stop = site, seed, threading.Event()
        self.ledger, self.secure_ledger = ledger.Ledger(), ledger.Ledger()
        self.hostile, self.conflicts = {}, set()  # studies of these actors
        self.faults = faults.Faults(site.folder)
        self.pacs = site.orthanc()
        self.slow = dicom_client.Receiver(self.answer_slowly)
        self.moody = dicom_client.Receiver(self.answer_moodily)
        self.moods = random.Random(f"{seed} moods")
        self.is_away = False
        (self.http,) = hospital.free_ports(1)
        self.rows = hospital.hostile_rows()
        self.medaid = self.daemon("medaid", http={"port": self.http}, destinations=[
            self.pacs.destination(retry_max_s=2),
            self.slow.destination("slow", retry_max_s=2),
            self.moody.destination("moody", retry_max_s=2)])
        self.medaid.environment.update(self.faults.environment())
        self.secure = self.daemon("medaid-tls", ae={"tls": self.make_certificate()},
                                  destinations=[self.pacs.destination(retry_max_s=2)])
        for each in (self.medaid, self.secure):  # a crash of a sanitized worker is to be one
            each.environment["ASAN_OPTIONS"] = each.environment.get(
                "ASAN_OPTIONS", os.environ.get("ASAN_OPTIONS", "")) + ":handle_segv=0"
        self.templates = ledger.templates_of(site)
        self.tls = ssl.create_default_context()
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE

    def daemon(self, name, **sections):
        """A daemon with the chest model and the hostile plugin."""
        plugins = self.site.folder / "plugins"
        if not plugins.exists():
            shutil.copytree(hospital.ROOT / "plugins/chest", plugins / "chest",
                            ignore=shutil.ignore_patterns("training"))
            shutil.copy(hospital.HOSTILE, plugins)
        ae = {"max_associations": 32, "timeout_s": 5, **sections.pop("ae", {})}
        return self.site.medaid(
            name, ae=ae, study={"quiet_ms": 800}, plugins={"paths": [str(plugins)]},
            workers={"count": 2, "study_timeout_s": 10, "memory_mib": 1024, "recycle_after": 50},
            **sections)

    def make_certificate(self):
        """The `tls` section of a daemon that asks nobody for a certificate."""
        key, crt = (self.site.folder / name for name in ("medaid.key", "medaid.crt"))
        hospital.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                     "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", key,
                     "-out", crt)
        key.chmod(0o600)
        return {"certificate": str(crt), "private_key": str(key), "verify": "none"}

    # ---- neighbours

    def answer_slowly(self, *_):
        """Success after a while."""
        if not self.stop.is_set():
            time.sleep(self.moods.uniform(0, 1))
        return 0

    def answer_moodily(self, *_):
        """Out of resources, not understood, hung up, or success."""
        if self.stop.is_set():
            return 0
        return None if self.is_away else self.moods.choice([0, 0, 0, 0xa700, 0xc000, None])

    # ---- actors; each is one deed

    def associate(self, *objects, secure=False):
        """An association with one of the daemons."""
        return dicom_client.Association(
            (self.secure if secure else self.medaid).port, dicom_client.contexts_of(*objects),
            tls=self.tls if secure else None, timeout_s=60)

    def new_film(self):
        """An Object of a new study, and the study."""
        template, study, series = self.templates[0]
        new = dicom_client.new_uid()
        return template.changed({study: new, series: dicom_client.new_uid(),
                                 template.sop_instance: dicom_client.new_uid()}), new

    def quietly(self, deed):
        """What the peer does in its defence is no failure of the actor."""
        with contextlib.suppress(OSError, dicom_client.Refused):
            return deed()
        return None

    def repeat(self, chance):
        """The same object several times, also in two associations at once."""
        film, study = self.new_film()

        def twice():
            with self.associate(film) as one, self.associate(film) as two:
                for link in (one, two, one):
                    if link.store(film) == 0:
                        self.ledger.acknowledge(study, film.sop_instance)
        self.quietly(twice)
        self.until_stored(study, film)

    def until_stored(self, study, film):
        """A study is not left half sent."""
        while not self.quietly(lambda: self.store_one(film) in (0, 0xb000)):
            time.sleep(0.2)
        self.ledger.acknowledge(study, film.sop_instance)

    def store_one(self, film):
        """Its status."""
        with self.associate(film) as link:
            return link.store(film)

    def conflict(self, chance):
        """Other bytes under a known UID, before or after the study has ended."""
        film, study = self.new_film()
        self.until_stored(study, film)
        self.conflicts.add(study)
        time.sleep(chance.choice([0, 3]))
        other = film.changed({})
        other.data = other.data[:-2] + bytes([other.data[-2] ^ 1, other.data[-1]])
        self.until_stored(study, other)

    def misbehave(self, chance):
        """A hostile plugin's study."""
        deed = chance.choice(DEEDS)
        uids = [dicom_client.new_uid() for _ in range(3)]
        path = hospital.make_film(self.site.folder / "hostile.dcm", "--study-uid", uids[0],
                                  "--series-uid", uids[1], "--sop-uid", uids[2],
                                  seed=chance.randrange(1 << 30), rows=self.rows[deed], columns=400)
        self.hostile[uids[0]] = deed
        film = dicom_client.Object(path)
        while not self.quietly(lambda: self.store_one(film) == 0):
            time.sleep(0.2)

    def garbage(self, chance):
        """Bytes that are no association, on both ports."""
        kinds = [os.urandom(chance.randrange(1, 5000)), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(508),
                 struct.pack(">BxI", 1, 1 << 31), struct.pack(">BxI", 1, 100) + bytes(99),
                 struct.pack(">BxI", 4, 8) + bytes(8), b"", bytes(300000)]
        port = chance.choice([self.medaid.port, self.secure.port])

        def speak():
            with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
                client.sendall(chance.choice(kinds))
                if chance.random() < 0.3:
                    client.recv(100)
        self.quietly(speak)

    def stay_silent(self, chance):
        """Some connections that say nothing, or stop within an association or a message."""
        film, _ = self.new_film()

        def wait():
            with contextlib.ExitStack() as stack:
                for _ in range(chance.randrange(1, 20)):
                    port = chance.choice([self.medaid.port, self.secure.port])
                    stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
                link = self.associate(film)
                stack.callback(link.close)
                link.socket.sendall(link.store_pdus(film)[0][:chance.randrange(1, 60)])
                self.stop.wait(chance.choice([1, 12]))
        self.quietly(wait)

    def break_off(self, chance):
        """Half an object, and an object that is none."""
        film, _ = self.new_film()

        def send():
            link = self.associate(film, secure=chance.random() < 0.3)
            with contextlib.closing(link):
                bad = {"data": chance.choice([b"", os.urandom(4000), film.data[:-100]])}
                if chance.random() < 0.5:
                    assert link.store(film, **bad) >> 12 in (0xa, 0xc), "a bad object was taken"
                parts = b"".join(link.store_pdus(film))
                link.socket.sendall(parts[:chance.randrange(1, len(parts))])
        self.quietly(send)

    def spoil_disk(self, chance):
        """Low, or failing, for a while."""
        kind = chance.choice(["low", "eio", "enospc"])
        if kind == "low":
            self.faults.set(free_bytes=MIB)
        else:
            self.faults.set(*(chance.choice([0, 5000, 100000]) for _ in range(3)),
                            error=errno.EIO if kind == "eio" else errno.ENOSPC)
        self.stop.wait(chance.uniform(0.5, 3))
        self.faults.set()

    def go_away(self, chance):
        """The moody destination hangs up at once for a while, or its port is closed."""
        closed = chance.random() < 0.5
        if closed:
            self.moody.close()
        self.is_away = True
        self.stop.wait(chance.uniform(1, 8))
        self.is_away = False
        if closed:
            self.moody.reopen()

    def kill_a_worker(self, chance):
        """SIGKILL, as the kernel's memory killer does."""
        for medaid in (self.medaid, self.secure):
            workers = medaid.children()
            if workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(workers), 9)

    def reload(self, chance):
        """SIGHUP, at times with another configuration, at times with one that is broken."""
        medaid = chance.choice([self.medaid, self.secure])
        kind = chance.choice(["same", "other", "broken"])
        if kind == "other":
            medaid.configure(study={"quiet_ms": chance.choice([500, 800, 1200])})
        elif kind == "broken":
            medaid.configuration.write_text("ae: [", encoding="ascii")
        names = ("configuration_reloaded", "reload_failed")
        before = [len(medaid.lines(name)) for name in names]
        os.kill(medaid.pid, signal.SIGHUP)
        hospital.wait_for("the line of a reload", lambda: any(
            len(medaid.lines(name)) > n for name, n in zip(names, before)))
        medaid.configure()

    def operate(self, chance):
        """Figures, questions, and the switches of an operator."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=60) as answer:
            assert b"medaid_objects_received_total" in answer.read()
        with contextlib.suppress(AssertionError):  # while the disk fails, so may the store
            self.medaid.ctl("studies", "--json", "--limit", "5")
            word = chance.choice(["status", "pause", "drain"])
            self.medaid.ctl(word)
            self.stop.wait(chance.uniform(0.1, 2))
        while not self.resumed():
            time.sleep(0.2)

    def resumed(self):
        """Whether `medaidctl resume` was taken."""
        with contextlib.suppress(AssertionError):
            self.medaid.ctl("resume")
            return True
        return False

    def actors(self):
        """All of them, with their pauses in seconds."""
        return [Actor(self, deed, pause) for deed, pause in (
            (self.repeat, (1, 4)), (self.conflict, (2, 6)), (self.misbehave, (3, 10)),
            (self.garbage, (0.05, 0.5)), (self.stay_silent, (1, 8)), (self.break_off, (0.2, 2)),
            (self.spoil_disk, (5, 25)), (self.go_away, (5, 30)), (self.kill_a_worker, (10, 30)), (self.reload, (2, 15)),
            (self.operate, (2, 12)))]

    # ---- the run

    def at_rest(self, medaid, most=None):
        """How many descriptors it has when nothing has changed for a while; at most `most`. Those
        that are opened when first needed and kept are not among them, but bounded: the connections
        of the database, and the folders of the spool that were used last."""
        counts = collections.deque(maxlen=20)

        def quiet():
            names = medaid.descriptors()
            kept = 0
            for part, bound in KEPT.items():
                n = sum(re.search(part, name) is not None for name in names)
                assert n <= bound, f"{n} descriptors like {part}, at most {bound}"
                kept += n
            counts.append(len(names) - kept)
            return medaid.alive() and len(counts) == 20 and len(set(counts)) == 1 and (
                most is None or counts[0] <= most)
        try:
            hospital.wait_for("a quiet daemon", quiet, 120, step_s=0.2)
        except AssertionError:
            raise AssertionError(f"{medaid.name} has {counts[-1]} descriptors at rest, before it "
                                 f"were {most}: {sorted(medaid.descriptors())}") from None
        return counts[0]

    def warm_up(self):
        """Some studies through each, so that what is opened once, by each worker too, is open."""
        for medaid, tls, book in ((self.medaid, None, self.ledger),
                                  (self.secure, self.tls, self.secure_ledger)):
            films = [self.new_film() for _ in range(N_WARM)]
            with self.associate(films[0][0], secure=tls is not None) as link:
                assert [link.store(film) for film, _ in films] == [0] * N_WARM
            for film, study in films:
                book.acknowledge(study, film.sop_instance)
                medaid.wait_state(study, "done")
            medaid.ctl("status")

    def load(self, seconds):
        """All actors at once; what each has done."""
        senders = [ledger.Sender(i, self.medaid.port, self.templates, self.ledger, self.stop,
                                 self.seed, pause_s=(0.2, 2)) for i in range(N_SENDERS)]
        senders += [ledger.Sender(N_SENDERS + i, self.secure.port, self.templates,
                                  self.secure_ledger, self.stop, self.seed, pause_s=(0.5, 3),
                                  tls=self.tls) for i in range(2)]
        actors = self.actors()
        for thread in senders + actors:
            thread.start()
        end = time.monotonic() + seconds
        told = time.monotonic()
        while time.monotonic() < end:
            self.stop.wait(1)
            for thread in senders + actors:
                if thread.failure is not None:
                    raise AssertionError(f"{thread.name} failed") from thread.failure
            self.medaid.alive()
            self.secure.alive()
            if time.monotonic() - told > 60 < end - time.monotonic():
                told = time.monotonic()
                print(f"{end - told:.0f} s left, {self.ledger.n_films()} films acknowledged, "
                      f"{len(self.medaid.descriptors())} descriptors, {rss_mib(self.medaid.pid)} MiB",
                      flush=True)
        self.stop.set()
        for thread in senders + actors:
            thread.join(hospital.PATIENCE_S)
            assert not thread.is_alive(), f"{thread.name} does not end"
            if thread.failure is not None:
                raise AssertionError(f"{thread.name} failed") from thread.failure
        self.faults.set()
        self.is_away = False
        assert self.resumed()
        return {actor.name: actor.n_done for actor in actors}

    def check_studies(self, medaid, book):
        """All studies have ended, those of the ledger well."""
        ends = ("done", "failed", "quarantined")
        hospital.wait_for("the end of all studies", lambda: medaid.alive() and
                          ledger.settled(medaid, ends), hospital.PATIENCE_S * 2, step_s=0.5)
        bad = [(hospital.STATES[state], reason) for uid, state, reason in medaid.query(
            "SELECT uid, state, reason FROM study WHERE state != 5") if uid in book.films]
        assert not bad, f"{len(bad)} good studies have ended badly: {bad[:5]}"

    def check_destinations(self):
        """Each has every final report that Orthanc has."""
        finals = {uid for (uid,) in self.medaid.query(
            "SELECT o.uid FROM object o JOIN outbox b ON b.object = o.id WHERE b.state = 1 AND"
            " b.destination = 'pacs'")}
        for receiver in (self.slow, self.moody):
            has = {instance for _, instance, _ in receiver.stored}
            assert finals <= has, f"{len(finals - has)} of {len(finals)} reports never came"

    def finish(self, before):
        """The end of the daemons; what was found."""
        for medaid in before:
            self.at_rest(medaid, most=before[medaid])
            memory = rss_mib(medaid.pid)
            assert medaid.stop() == 0, "the end of a daemon was not clean (a leak?)"
            found = [line for line in medaid.log().splitlines() if REPORTS.search(line)]
            assert not found, found[:5]
            yield medaid.name, before[medaid], memory

    def run(self, seconds):
        """All of it; one line of what was seen."""
        self.pacs.start()
        self.medaid.start()
        self.secure.start()
        self.warm_up()
        before = {each: self.at_rest(each) for each in (self.medaid, self.secure)}
        done = self.load(seconds)
        self.check_studies(self.medaid, self.ledger)
        self.check_studies(self.secure, self.secure_ledger)
        rest = list(self.finish(before))
        for medaid, book in ((self.medaid, self.ledger), (self.secure, self.secure_ledger)):
            medaid.start()  # what an I/O error left open is compared at a start
            assert medaid.stop() == 0
            waiting = book.check_database(medaid)
            assert not waiting, f"the outbox of {medaid.name} is not empty: {waiting}"
        self.check_destinations()
        reports, _ = ledger.reports_in(self.pacs)
        n_superseded = 0
        for book in (self.ledger, self.secure_ledger):
            n_superseded += book.check_reports(reports, same_films=self.conflicts)
        figures = ", ".join(f"{name} {n}" for name, n in done.items())
        return (f"{seconds} s; {self.ledger.n_films() + self.secure_ledger.n_films()} films of "
                f"{len(self.ledger.films) + len(self.secure_ledger.films)} studies acknowledged, "
                f"{self.ledger.n_again + self.secure_ledger.n_again} sendings repeated, none lost, "
                f"{n_superseded} reports replaced; {self.faults.n_failed()} disk errors; deeds: "
                f"{figures}; at rest: " + ", ".join(
                    f"{name} {n} descriptors as before, {memory} MiB" for name, n, memory in rest))


def rss_mib(pid):
    """Resident memory."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) // 1024


def main():
    """One run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=1800)
    parser.add_argument("--seed", type=int, default=20260131)
    parser.add_argument("--sanitized", action="store_true")
    options = parser.parse_args()
    hospital.need(hospital.ORTHANC, "openssl")
    if options.sanitized:
        assert b"__asan_init" in hospital.MEDAID.read_bytes(), "not a sanitized build"
    with hospital.Hospital("mixed") as site:
        print("ok:", Soak(site, options.seed).run(options.seconds), flush=True)


main()
