#!/usr/bin/python3
"""medaid --daemon as an operator sees it: health, figures, medaidctl, and what systemd hears.

A small phantom goes through to a real storescp; then the figures say so, medaidctl shows and steers
it, hostile clients of both sockets keep nobody out, and nothing of the patient is in any answer."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import socket
import stat
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import hospital  # noqa: E402
from hospital import CTL, PATIENCE_S, PATIENT, wait_for  # noqa: E402


class Site:
    """The daemon, its PACS (storescp) and the socket on which systemd would listen."""

    def __init__(self, here):
        self.folder, self.answers = here.folder, []
        # longer than the name of a socket may be
        self.store = here.folder / ("long-" * 12) / ("name-" * 12)
        self.http, pacs_port = hospital.free_ports(2)
        (here.folder / "pacs").mkdir()
        self.pacs = here.program("pacs", "storescp", "-aet", "PACS", "-od", here.folder / "pacs",
                                 pacs_port)  # keeps nothing but files
        self.medaid = here.medaid(
            destinations=[{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1",
                           "port": pacs_port}],
            study={"quiet_ms": 200}, storage={"path": str(self.store), "min_free_mib": 0},
            workers={"count": 1}, http={"port": self.http})
        self.medaid.environment.update(NOTIFY_SOCKET=str(here.folder / "notify"),
                                       WATCHDOG_USEC="3000000")
        self.port, self.conf = self.medaid.port, self.medaid.configuration
        self.alive, self.log, self.lines = self.medaid.alive, self.medaid.log, self.medaid.lines
        self.studies = self.medaid.studies
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.systemd.bind(str(here.folder / "notify"))
        self.systemd.setblocking(False)
        self.heard, self.number = [], 0

    def start(self):
        """Start, and wait until systemd would be told."""
        self.medaid.launch()
        wait_for("READY=1", lambda: self.alive() and "READY=1" in self.listen())

    def listen(self):
        """All datagrams until now."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard.append(self.systemd.recv(4096).decode("ascii"))
        return self.heard

    def get(self, path, method="GET", body=None):
        """Code, head and text of an answer over TCP."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=60)
        connection.request(method, path, body=body)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8")
        connection.close()
        self.answers.append(text)
        return answer.status, answer.headers, text

    def local(self, raw, n_bytes=1 << 20):
        """All that is answered to raw bytes on the Unix socket."""
        with self.connect_local() as client:
            client.settimeout(60)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(raw)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while len(answer) < n_bytes:
                    part = client.recv(65536)
                    if not part:
                        break
                    answer += part
        text = answer.decode("utf-8")
        self.answers.append(text)
        return text

    def connect_local(self):
        """A connection to the Unix socket, whose path is too long for its own name."""
        folder = os.open(self.store, os.O_PATH | os.O_DIRECTORY)
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(f"/proc/self/fd/{folder}/medaid.sock")
        finally:
            os.close(folder)
        return client

    def ctl(self, *words, code=0):
        """medaidctl's output; it must end with the code."""
        self.answers.append(self.medaid.ctl(*words, code=code))
        return self.answers[-1]

    def status(self):
        """medaidctl status as JSON."""
        return json.loads(self.ctl("status", "--json"))

    def send(self, good=True):
        """A new film."""
        self.number += 1
        film = hospital.make_film(self.folder / f"film-{self.number}.dcm", seed=self.number)
        hospital.send(self.medaid, film, good=good)

    def figures(self):
        """/metrics as {name with labels: value}, each line checked."""
        code, head, text = self.get("/metrics")
        assert code == 200 and head["Content-Type"].startswith("text/plain; version=0.0.4"), head
        found = {}
        for line in text.splitlines():
            if line.startswith("# "):
                assert re.fullmatch(r"# (HELP \S+ .+|TYPE \S+ (counter|gauge|histogram))", line)
                continue
            match = re.fullmatch(r'(medaid_[a-z_]+(?:\{[a-z]+="[^"\\]*"(?:,[a-z]+="[^"\\]*")*\})?) (\S+)', line)
            assert match and match.group(1) not in found, line
            found[match.group(1)] = float(match.group(2))
        return found


def test_health(site):
    """Alive and ready; the way to steer is not on TCP."""
    assert site.get("/healthz")[0] == 200
    code, head, text = site.get("/readyz")
    assert code == 200 and json.loads(text) == {"ready": True, "problems": []}, text
    assert head["Content-Type"] == "application/json" and head["Cache-Control"] == "no-store"
    for path in ("/api/v1/status", "/api/v1/studies", "/api/v1/study/0123456789abcdef", "/",
                 "/metrics/", "/../etc/passwd"):
        assert site.get(path)[0] == 404, path
    assert site.get("/api/v1/drain", "POST")[0] == 404
    assert site.get("/healthz", "POST")[0] == 405
    assert site.get("/healthz", "DELETE")[0] == 405
    assert site.get("/healthz", "POST", body=b"x" * 100)[0] == 413
    assert site.local(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").startswith("HTTP/1.1 200")


def test_permissions(site):
    """The socket is its owner's alone, in a folder that is."""
    mode = os.stat(site.store / "medaid.sock").st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600, oct(mode)
    assert stat.S_IMODE(os.stat(site.store).st_mode) == 0o700


def test_dead_destination(site):
    """The PACS is down: the study waits in the outbox and the failures are counted."""
    site.send()
    failures = 'medaid_send_failures_total{destination="pacs"}'
    wait_for("a failed sending", lambda: site.alive() and site.figures()[failures] >= 1)
    figures = site.figures()
    assert figures["medaid_objects_received_total"] == 1
    assert figures['medaid_studies{state="sending"}'] == 1
    assert figures["medaid_outbox_pending"] == 1
    assert figures["medaid_analysis_seconds_count"] == 1
    assert figures["medaid_time_to_notification_seconds_count"] == 0
    [study] = site.studies("--state", "sending")
    shown = json.loads(site.ctl("show", study["study"], "--json"))
    assert shown["outbox"][0]["state"] == "pending" and shown["outbox"][0]["attempts"] >= 1, shown
    assert shown["clock"]["stored"] is None and shown["time_to_notification_s"] is None


def test_delivered(site):
    """The PACS is up: stored, with its clock, in the histogram."""
    site.pacs.launch()
    wait_for("the delivery", lambda: site.alive() and site.studies("--state", "done"))
    [study] = site.studies()
    times = [study["clock"][name] for name in ("first_received", "last_received", "complete",
                                               "analysis_start", "analysis_end", "stored")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", t) for t in times), times
    assert times == sorted(times), times
    figures = wait_for("the histogram", lambda: site.figures()[
        "medaid_time_to_notification_seconds_count"] == 1 and site.figures())
    seconds = figures["medaid_time_to_notification_seconds_sum"]
    assert abs(seconds - study["time_to_notification_s"]) < 0.0015, (seconds, study)
    assert figures['medaid_time_to_notification_seconds_bucket{le="+Inf"}'] == 1
    for bound in (1, 2.5, 5, 10, 60, 3600):
        bucket = figures[f'medaid_time_to_notification_seconds_bucket{{le="{bound:g}"}}']
        assert bucket == (seconds <= bound), (bound, bucket, seconds)
    assert figures['medaid_objects_sent_total{destination="pacs"}'] == 1
    assert figures['medaid_studies{state="done"}'] == 1 and figures["medaid_disk_free_bytes"] > 0
    assert len(list((site.folder / "pacs").iterdir())) == 1
    text = site.ctl("show", study["study"])
    assert study["study"] in text and "done" in text and "sent" in text, text
    text = site.ctl("worklist")
    assert study["study"] in text and "no expected time of reading: " in text, text
    eta = json.loads(site.ctl("worklist", "--json"))
    assert eta["studies"][0]["eta"] is None and "none" in eta["eta"], eta
    assert study["study"] in site.ctl("studies") and "medaid " in site.ctl("status")
    site.ctl("retry", study["study"], code=4)
    site.ctl("quarantine", study["study"], code=4)


def test_repeated(site):
    """The same object again is one more received and no second study."""
    subprocess.run(["storescu", "-aec", "MEDAID", "127.0.0.1", str(site.port),
                    site.folder / "film-1.dcm"], check=True)
    figures = site.figures()
    assert figures["medaid_objects_received_total"] == 2
    assert figures["medaid_objects_repeated_total"] == 1 and len(site.studies()) == 1


def test_steering(site):
    """pause keeps a study complete, quarantine takes it out, retry and resume bring it through."""
    assert "paused yes" in site.ctl("pause") and site.status()["paused"]
    site.send()
    wait_for("a complete study", lambda: site.studies("--state", "complete"))
    [study] = site.studies("--state", "complete")
    key = study["study"]
    assert site.status()["studies"]["complete"] == 1
    assert "quarantined" in site.ctl("quarantine", key)
    [kept] = site.studies("--state", "quarantined")
    assert kept["study"] == key and kept["reason"] == "by the operator"
    assert site.figures()['medaid_studies{state="quarantined"}'] == 1
    assert "complete" in site.ctl("retry", key)
    steered = [fields for fields in site.lines("study_steered") if fields["study"] == key]
    assert [fields["state"] for fields in steered] == ["quarantined", "complete"], steered
    assert "paused no" in site.ctl("resume")
    wait_for("its end", lambda: site.alive() and len(site.studies("--state", "done")) == 2)
    assert [s["study"] for s in site.studies()][0] == key  # newest first
    page = json.loads(site.ctl("studies", "--limit", "1", "--json"))
    rest = site.studies("--limit", "1", "--before", str(page["next_before"]))
    assert len(rest) == 1 and rest[0]["study"] != key


def test_drain(site):
    """drain refuses objects and says so; resume ends it."""
    assert "draining yes" in site.ctl("drain")
    code, _, text = site.get("/readyz")
    assert code == 503 and json.loads(text)["problems"] == ["draining"], text
    assert site.get("/healthz")[0] == 200
    site.send(good=False)
    assert site.figures()['medaid_objects_rejected_total{reason="draining"}'] == 1
    assert "draining" in site.ctl("status")
    assert site.lines("daemon_steered")[-1]["draining"] == 1
    # what an operator stopped stays stopped over a restart, and the log says so
    assert site.medaid.stop() == 0
    site.listen()
    site.heard.clear()
    site.start()
    assert site.lines("daemon_started")[-1]["draining"] == 1
    assert site.get("/readyz")[0] == 503
    site.ctl("resume")
    assert site.get("/readyz")[0] == 200


def test_wrong_commands(site):
    """Each with its exit code."""
    site.ctl("show", "0123456789abcdef", code=3)
    site.ctl("show", "not-a-key", code=2)
    site.ctl("show", "abc", code=3)
    site.ctl("show", code=2)
    site.ctl("status", "more", code=2)
    site.ctl("studies", "--state", "asleep", code=2)
    site.ctl("studies", "--limit", "0", code=2)
    site.ctl("studies", "--limit", "5 HTTP", code=2)
    site.ctl("explode", code=2)
    site.ctl(code=2)
    done = subprocess.run([CTL, "--socket", site.folder / "none.sock", "status"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 5 and "no medaid --daemon answers" in done.stderr, done


def test_hostile_requests(site):
    """Long, broken and endless: an error or a closed connection, and the next one is served."""
    long = b"a" * 100000
    good = b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n"
    for raw, codes in (
            (b"GET /" + long + b" HTTP/1.1\r\nHost: x\r\n\r\n", "4"),
            (b"GET /" + b"a" * 300 + b" HTTP/1.1\r\nHost: x\r\n\r\n", "414"),
            (b"GET /healthz?" + long + b" HTTP/1.1\r\nHost: x\r\n\r\n", "4"),
            (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + long + b"\r\n\r\n", "4"),
            (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20000 + b"\r\n", "4"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 4, "4"),
            (b"\x01\x00\x00\x00\x00\xcd" + bytes(205), "4"),
            (b"garbage\r\n\r\n", "4"),
            (b"GET / HTTP/9.9\r\n\r\n", "45"),
            (b"POST /api/v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n" + long,
             "413"),
            (b"POST /api/v1/drain HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
             b"ffffffff\r\n" + long, "4"),
            (b"POST /api/v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "4"),
            (b"GET /api/v1/drain HTTP/1.1\r\nHost: x\r\n\r\n", "405"),
            (b"GET /api/v1/studies?limit=99999999999999999999 HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
            (b"GET /api/v1/studies?limit=-1 HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
            (b"GET /api/v1/studies?state=%00%ff HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
            (b"GET /api/v1/study/%2e%2e%2f%2e%2e%2fetc%2fx HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
            (b"POST /api/v1/study/0123456789abcdef/explode HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
            (b"POST /api/v1/study/0123456789abcdef/retry HTTP/1.1\r\nHost: x\r\n\r\n", "404")):
        answer = site.local(raw)
        code = answer.split(" ")[1] if answer.startswith("HTTP/1.") else ""
        # what is no HTTP may just be hung up on, and what is left unread of a long request may
        # cost its sender the answer
        is_broken = codes in ("4", "45")
        was_closed = answer == "" and (is_broken or len(raw) > 1000)
        is_right = code[:1] in codes if is_broken else code == codes
        assert was_closed or (code and is_right), (raw[:60], answer[:200])
        assert site.local(good).startswith("HTTP/1.1 200"), raw[:60]
    assert not site.status()["draining"]


def test_idle_clients(site):
    """100 silent and 100 slow connections on each socket keep nobody out, and end."""
    clients = []
    for i in range(200):
        tcp = socket.create_connection(("127.0.0.1", site.http))
        for client in (tcp, site.connect_local()):
            if i % 2:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
            clients.append(client)
        if i % 25 == 0:
            assert site.get("/healthz")[0] == 200 and site.status()["ready"]
    assert site.get("/healthz")[0] == 200 and site.status()["ready"]
    for client in clients:  # each is ended by the server, though nobody here does
        client.settimeout(PATIENCE_S)
        with contextlib.suppress(ConnectionResetError):
            while client.recv(4096):
                pass
        client.close()


def test_systemd(site):
    """The watchdog is fed while it runs, and hears the end."""
    n_before = site.listen().count("WATCHDOG=1")
    wait_for("WATCHDOG=1", lambda: site.alive() and
             site.listen().count("WATCHDOG=1") >= n_before + 2)
    assert site.medaid.stop() == 0
    heard = site.listen()
    assert heard.count("READY=1") == 1 and heard[-1] == "STOPPING=1", heard[-5:]
    assert not (site.store / "medaid.sock").exists()
    site.ctl("status", code=5)


def test_no_patient(site):
    """No answer and no log line has a name, a number or a UID of what was sent."""
    said = "\n".join(site.answers) + site.log()
    assert len(site.answers) > 50
    uids = re.findall(r"\[(\d+(?:\.\d+)+)\]", subprocess.run(
        ["dcmdump", site.folder / "film-1.dcm"], capture_output=True, check=True).stdout.decode(
            errors="replace"))
    assert len(uids) >= 3
    for text in (*PATIENT, "MARKER", "2.25.", *(u for u in uids if len(u) > 30)):
        assert text not in said, f"{text} is in an answer or in the log"


def main():
    """All of it, with one daemon, in this order."""
    with hospital.Hospital("ops") as here:
        site = Site(here)
        site.start()
        for test in (test_health, test_permissions, test_dead_destination, test_delivered,
                     test_repeated, test_steering, test_drain, test_wrong_commands,
                     test_hostile_requests, test_idle_clients, test_systemd, test_no_patient):
            test(site)
            print(f"{test.__name__}: good", flush=True)


main()
