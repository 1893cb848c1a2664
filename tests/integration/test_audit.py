#!/usr/bin/python3
"""The audit trail of medaid --daemon, PS3.15 A.5 to A.7, by each of its three ways.

A film goes through to a real storescp with audit messages to a local socket, to UDP and to TLS. What
arrives is taken apart: the header of RFC 5424, the octet count of RFC 5425, the XML with what the
tables of A.5.3 make mandatory; with hashed identifiers nothing of the patient, with full ones what the
dataset says. A syslog that is away, and one that comes back, cost no message and no reception."""
import base64
import contextlib
import json
import pathlib
import queue
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import xml.etree.ElementTree as ET

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from hospital import MEDAID, PATIENCE_S, PHANTOM, ROOT, free_ports, run, wait_for  # noqa: E402

NAME, PATIENT, ACCESSION = "Zebra^Quagga", "PID<&\"'>77", "ACC-MARKER-99"
HEADER = re.compile(rb"<(8[45])>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([!-~]+) medaid (\d+) "
                    rb"DICOM\+RFC3881 - \xef\xbb\xbf(<\?xml .*)", re.DOTALL)


class Datagrams:
    """A syslog on a datagram socket."""

    def __init__(self, family, address):
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(PATIENCE_S)
        self.port = None if family == socket.AF_UNIX else self.socket.getsockname()[1]

    def next(self):
        """The next message."""
        return self.socket.recv(1 << 17)

    def close(self):
        """End."""
        self.socket.close()


class Stream:
    """A syslog over TLS that takes one connection after the other."""

    def __init__(self, folder, port=0):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
        context.load_verify_locations(folder / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        self.context, self.messages, self.client = context, queue.Queue(), None
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        """Serve until the listener is closed."""
        try:
            while True:
                with self.context.wrap_socket(self.listener.accept()[0],
                                              server_side=True) as self.client:
                    self.read(self.client.makefile("rb"))
        except OSError:
            pass

    def read(self, stream):
        """RFC 5425 4.3: length, space, message."""
        while True:
            digits = b""
            while not digits.endswith(b" "):
                byte = stream.read(1)
                if not byte:
                    return
                digits += byte
            assert re.fullmatch(rb"[1-9]\d* ", digits), digits
            self.messages.put(stream.read(int(digits)))

    def next(self):
        """The next message."""
        return self.messages.get(timeout=PATIENCE_S)

    def close(self):
        """End, also the connection."""
        self.listener.shutdown(socket.SHUT_RDWR)  # ends the thread's accept
        self.listener.close()
        with contextlib.suppress(OSError):  # it may be closed already
            self.client.shutdown(socket.SHUT_RDWR)


def code(element):
    """(code, scheme) of a coded value; it has a meaning."""
    assert element.get("originalText"), element.attrib
    return element.get("csd-code"), element.get("codeSystemName")


def parse(raw, pid):
    """Header and XML of a message; what every message must have."""
    assert len(raw) < 16384
    header = HEADER.fullmatch(raw)
    assert header, raw[:300]
    assert int(header[4]) == pid, (header[4], pid)
    root = ET.fromstring(header[5].decode("utf-8"))  # well-formed
    assert root.tag == "AuditMessage"
    kinds = [child.tag for child in root]
    assert kinds[0] == "EventIdentification" and kinds.count("EventIdentification") == 1
    assert kinds.count("AuditSourceIdentification") == 1 and "ActiveParticipant" in kinds
    order = ["EventIdentification", "ActiveParticipant", "AuditSourceIdentification",
             "ParticipantObjectIdentification"]
    assert kinds == sorted(kinds, key=order.index), kinds
    event = root[0]
    assert event[0].tag == "EventID" and code(event[0])[1] == "DCM"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.get("EventDateTime"))
    failed = event.get("EventOutcomeIndicator") != "0"
    assert header[1] == (b"84" if failed else b"85")
    for who in root.findall("ActiveParticipant"):
        assert who.get("UserID") and who.get("UserIsRequestor") in ("true", "false")
        assert who.get("NetworkAccessPointTypeCode") in ("1", "2")
    for thing in root.findall("ParticipantObjectIdentification"):
        assert thing.get("ParticipantObjectID") and code(thing[0])
        assert [thing[0].tag, thing[1].tag] == ["ParticipantObjectIDTypeCode",
                                                "ParticipantObjectName"]
    assert root.find("AuditSourceIdentification").get("AuditSourceID") == "MEDAID"
    return root


class Site:
    """The daemon, and the PACS behind it."""

    def __init__(self, folder):
        self.folder, self.n_films, self.n_starts = folder, 0, 0
        self.port, self.pacs_port = free_ports(2)
        self.daemon = None
        (folder / "pacs").mkdir()
        self.pacs = subprocess.Popen(["storescp", "-aet", "PACS", "-od", folder / "pacs",
                                      str(self.pacs_port)], stderr=subprocess.DEVNULL)

    def start(self, audit):
        """With this `audit`."""
        self.n_starts += 1
        conf = self.folder / "medaid.yaml"
        conf.write_text(f"""
ae: {{port: {self.port}, allowed_callers: [{{ae_title: CT01}}]}}
destinations: [{{name: pacs, ae_title: PACS, host: localhost, port: {self.pacs_port}}}]
study: {{quiet_ms: 200}}
plugins: {{paths: ["{ROOT}/plugins"]}}
storage: {{path: "{self.folder}/state", min_free_mib: 0}}
workers: {{count: 1}}
audit: {{{audit}}}
""", encoding="utf-8")
        with open(self.log_path(), "wb") as log:
            self.daemon = subprocess.Popen([MEDAID, "--daemon", "--config", conf], stderr=log)
        wait_for("daemon_started", lambda: self.alive() and self.lines("daemon_started"))

    def log_path(self):
        """Of this start."""
        return self.folder / f"log-{self.n_starts}"

    def log(self):
        """All that it wrote."""
        return self.log_path().read_text(encoding="utf-8")

    def alive(self):
        """True, or the log of its end."""
        assert self.daemon.poll() is None, self.log()
        return True

    def lines(self, event):
        """The log's lines of one event."""
        return [fields for fields in map(json.loads, self.log().splitlines())
                if fields["event"] == event]

    def send(self):
        """A new film; its Study Instance UID."""
        self.n_films += 1
        film = self.folder / f"film-{self.n_films}.dcm"
        run(PHANTOM, "--rows", 400, "--columns", 320, "--seed", self.n_films, "--patient-name", NAME,
            "--patient-id", PATIENT, "--accession", ACCESSION, "--output", film)
        run("storescu", "-aet", "CT01", "-aec", "MEDAID", "127.0.0.1", self.port, film)
        return re.search(r"\[([\d.]+)\]", run("dcmdump", "+P", "0020,000d", film))[1]

    def stop(self):
        """SIGTERM and a clean end."""
        self.daemon.send_signal(signal.SIGTERM)
        assert self.daemon.wait(PATIENCE_S) == 0, self.log()


def check_application(root, kind):
    """A.5.3.1."""
    assert code(root[0][0]) == ("110100", "DCM") and root[0].get("EventActionCode") == "E"
    assert code(root[0][1]) == (kind, "DCM")
    [who] = root.findall("ActiveParticipant")
    assert code(who[0]) == ("110150", "DCM") and who.get("AlternativeUserID") == "AETITLES=MEDAID"


def check_transfer(root, is_sent, action, study, patient):
    """A.5.3.7: source, destination, one study, one patient."""
    assert code(root[0][0]) == ("110104", "DCM") and root[0].get("EventActionCode") == action
    assert root[0].get("EventOutcomeIndicator") == "0"
    source, destination = root.findall("ActiveParticipant")
    assert code(source[0]) == ("110153", "DCM") and code(destination[0]) == ("110152", "DCM")
    assert source.get("UserIsRequestor") == "true"
    assert destination.get("UserIsRequestor") == "false"
    titles = [who.get("AlternativeUserID") for who in (source, destination)]
    expected = ["AETITLES=MEDAID", "AETITLES=PACS"] if is_sent else \
        ["AETITLES=CT01", "AETITLES=MEDAID"]
    assert titles == expected, titles
    peer = destination if is_sent else source
    assert peer.get("NetworkAccessPointID") == ("localhost" if is_sent else "127.0.0.1")
    assert peer.get("NetworkAccessPointTypeCode") == ("1" if is_sent else "2")
    what, whose = root.findall("ParticipantObjectIdentification")
    assert (what.get("ParticipantObjectTypeCode"), what.get("ParticipantObjectTypeCodeRole")) == \
        ("2", "3") and code(what[0]) == ("110180", "DCM")
    assert what.get("ParticipantObjectID") == study, what.attrib
    classes = {each.get("UID"): int(each.get("NumberOfInstances"))
               for each in what.find("ParticipantObjectDescription")}
    film = {"1.2.840.10008.5.1.4.1.1.1.1": 1}
    assert sum(classes.values()) == 2 if is_sent else classes == film, classes
    assert (whose.get("ParticipantObjectTypeCode"), whose.get("ParticipantObjectTypeCodeRole")) == \
        ("1", "1") and code(whose[0]) == ("2", "RFC-3881")
    if patient is None:
        assert re.fullmatch("[0-9a-f]{16}", whose.get("ParticipantObjectID"))
    else:
        assert whose.get("ParticipantObjectID") == patient


def check_alert(root, reason):
    """A.5.3.11."""
    assert code(root[0][0]) == ("110113", "DCM") and root[0].get("EventActionCode") == "E"
    assert code(root[0][1]) == ("110126", "DCM") and root[0].get("EventOutcomeIndicator") == "4"
    assert reason in root[0].find("EventOutcomeDescription").text
    assert root.findall("ActiveParticipant")[1].get("NetworkAccessPointID") == "127.0.0.1"
    [node] = root.findall("ParticipantObjectIdentification")
    assert code(node[0]) == ("110182", "DCM") and node.get("ParticipantObjectID") == "127.0.0.1"
    detail = node.find("ParticipantObjectDetail")
    assert detail.get("type") == "Alert Description"
    assert base64.b64decode(detail.get("value")).decode() == \
        root[0].find("EventOutcomeDescription").text


def run_through(site, syslog, full):
    """Start, an alert, a film there and back, stop: five messages."""
    raw = [syslog.next()]
    check_application(parse(raw[0], site.daemon.pid), "110120")
    run("echoscu", "-aet", "OTHER", "127.0.0.1", site.port, good=False)
    raw.append(syslog.next())
    check_alert(parse(raw[1], site.daemon.pid), "calling AE title not recognised")
    study = site.send()
    raw += [syslog.next(), syslog.next()]
    key = wait_for("results_sent", lambda: site.lines("results_sent"))[0]["study"]
    expected = (study, PATIENT) if full else (key, None)
    check_transfer(parse(raw[2], site.daemon.pid), False, "C", *expected)
    check_transfer(parse(raw[3], site.daemon.pid), True, "R", *expected)
    site.stop()
    raw.append(syslog.next())
    check_application(parse(raw[4], site.daemon.pid), "110121")
    text = b"".join(raw).decode() + site.log()
    for secret in ("Zebra", "Quagga", "ACC-MARKER") + (() if full else ("PID", study, "2.25.")):
        assert secret not in text, secret
    assert not site.lines("audit_failed") and not site.lines("audit_dropped"), site.log()


def make_certificates(folder):
    """A CA, the syslog's certificate and medaid's."""
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=CA", "-keyout",
        folder / "ca.key", "-out", folder / "ca.crt")
    for name in ("server", "medaid"):
        run("openssl", "req", "-x509", "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key",
            "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-addext",
            "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt")
        (folder / f"{name}.key").chmod(0o600)


def test_local(site):
    """A unix socket, hashed."""
    syslog = Datagrams(socket.AF_UNIX, str(site.folder / "log.sock"))
    site.start("to: local, socket: log.sock")
    run_through(site, syslog, False)
    syslog.close()


def test_udp(site):
    """UDP, with the identifiers themselves."""
    syslog = Datagrams(socket.AF_INET, ("127.0.0.1", 0))
    site.start(f"to: udp, host: 127.0.0.1, port: {syslog.port}, identifiers: full, site: 'A&B'")
    run_through(site, syslog, True)
    syslog.close()


def test_tls(site):
    """TLS, hashed; then the syslog goes away: nothing waits for it, and nothing is lost."""
    make_certificates(site.folder)
    audit = "to: tls, host: 127.0.0.1, port: {}, tls: " \
        "{{certificate: medaid.crt, private_key: medaid.key, ca: ca.crt}}"
    syslog = Stream(site.folder)
    site.start(audit.format(syslog.port))
    run_through(site, syslog, False)
    syslog.close()
    site.start(audit.format(syslog.port))
    wait_for("audit_failed", lambda: site.alive() and site.lines("audit_failed"))
    site.send()
    wait_for("results_sent", lambda: site.lines("results_sent"))
    syslog = Stream(site.folder, syslog.port)
    kinds = [code(parse(syslog.next(), site.daemon.pid)[0][0])[0] for _ in range(3)]
    assert kinds == ["110100", "110104", "110104"], kinds
    wait_for("audit_recovered", lambda: site.lines("audit_recovered"))
    assert len(site.lines("audit_failed")) == 1
    site.stop()
    check_application(parse(syslog.next(), site.daemon.pid), "110121")
    syslog.close()


def main():
    """One site, three ways."""
    with tempfile.TemporaryDirectory() as name:
        site = Site(pathlib.Path(name))
        try:
            for test in (test_local, test_udp, test_tls):
                test(site)
                print(f"{test.__name__}: good", flush=True)
        except BaseException:
            print(site.log()[-6000:], file=sys.stderr)
            raise
        finally:
            for process in (site.daemon, site.pacs):
                if process.poll() is None:
                    process.kill()
                    process.wait()


main()
