#!/usr/bin/python3
"""medaid --daemon and a real Orthanc over TLS, set up word for word as docs/tls.md says.

The commands and the JSON are taken out of the document, with addresses of this machine. What is
checked: Orthanc's C-ECHO and C-STORE reach medaid and report and picture come back, all by TLS; a
sender without TLS, one without certificate of the CA and one that is not an allowed caller are
turned away with one line each; bad files stop the start with the file's name; no key's text is in
any output.

usage: test_tls.py MEDAID MEDAID_PHANTOM SOURCE_ROOT"""
import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

MEDAID, PHANTOM, ROOT = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
PATIENCE_S = 240  # for a loaded machine; nothing here measures time


def run(*command, good=True, cwd=None):
    """Run a program that must succeed, or must not."""
    done = subprocess.run([str(c) for c in command], capture_output=True, check=False, cwd=cwd)
    if (done.returncode == 0) != good:
        raise AssertionError(f"{command[0]} ended with {done.returncode}: "
                             f"{done.stderr.decode(errors='replace')[-600:]}")
    return (done.stdout + done.stderr).decode(errors="replace")


def wait_for(what, condition):
    """Until the condition is true; its value."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"waited in vain for {what}")


def free_ports(n):
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def document():
    """Of docs/tls.md: the commands, the YAML and the JSON."""
    text = (ROOT / "docs/tls.md").read_text(encoding="utf-8")
    return [re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL).group(1)
            for kind in ("sh", "yaml", "json")]


class Case:
    """One run with all its processes."""

    def __init__(self, folder):
        self.folder = folder
        self.medaid_port, self.http, self.pacs_port = free_ports(3)
        self.processes = []

    def prepare(self):
        """Certificates and configurations, as the document has them."""
        commands, yaml, settings = document()
        commands = commands.replace("chown medaid: medaid.key && ", "")
        commands = re.sub(r"192\.0\.2\.[12]0", "127.0.0.1", commands)
        run("bash", "-ec", commands, cwd=self.folder)
        yaml = yaml.replace("192.0.2.20", "127.0.0.1").replace("pacs.example", "127.0.0.1")
        yaml = yaml.replace("4242", str(self.pacs_port))
        yaml = yaml.replace("ae:\n", f"ae:\n  port: {self.medaid_port}\n", 1)
        yaml += f"plugins: {{paths: ['{ROOT}/plugins']}}\nstudy: {{quiet_ms: 500}}\n"
        yaml += "storage: {path: state, min_free_mib: 0}\n"
        (self.folder / "medaid.yaml").write_text(yaml, encoding="utf-8")
        settings = json.loads(settings.replace("/etc/orthanc", str(self.folder)))
        settings["DicomPort"] = self.pacs_port
        settings["DicomModalities"]["medaid"].update(Host="127.0.0.1", Port=self.medaid_port)
        settings.update(HttpPort=self.http, RemoteAccessAllowed=False, AuthenticationEnabled=False,
                        StorageDirectory=str(self.folder / "db"), Plugins=[],
                        IndexDirectory=str(self.folder / "db"))
        (self.folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")

    def start(self, name, *command):
        """A process whose output goes to NAME.log."""
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen([str(c) for c in command], stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def log(self, name):
        """What a process has written so far."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def orthanc(self, path, data=None):
        """An answer of Orthanc's, None while it does not answer."""
        url = f"http://127.0.0.1:{self.http}{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data=data),
                                        timeout=120) as answer:
                return json.loads(answer.read())
        except (urllib.error.URLError, ConnectionError):
            return None

    def client(self, program, *more, name="pacs", title="PACS", good=True):
        """DCMTK's echoscu or storescu with TLS towards medaid."""
        tls = self.folder / "tls"
        run(program, "+tls", tls / f"{name}.key", tls / f"{name}.crt", "+cf", tls / "ca.crt",
            "-aet", title, "-aec", "MEDAID", "127.0.0.1", self.medaid_port, *more, good=good)

    def refused(self, line, count=1):
        """Wait for a line of the log; it must be there once."""
        wait_for(line, lambda: line in self.log("medaid"))
        lines = self.log("medaid").count(line)
        assert lines == count, f"{lines} lines with '{line}'"

    def serve(self):
        """There and back by TLS."""
        medaid = self.start("medaid", MEDAID, "--daemon", "--config", self.folder / "medaid.yaml")
        self.start("orthanc", "/usr/sbin/Orthanc", self.folder / "orthanc.json")
        wait_for("medaid", lambda: "daemon_started" in self.log("medaid"))
        wait_for("Orthanc", lambda: self.orthanc("/system"))
        assert self.orthanc("/modalities/medaid/echo", b"{}") == {}
        film = self.folder / "film.dcm"
        run(PHANTOM, "--output", film, "--opacity", "right", "--seed", "7")
        self.orthanc("/instances", film.read_bytes())
        study = self.orthanc("/studies")[0]
        assert self.orthanc("/modalities/medaid/store", study.encode())["FailedInstancesCount"] == 0
        wait_for("report and picture", lambda: len(self.orthanc("/instances")) == 3)
        wait_for("results_sent", lambda: "results_sent" in self.log("medaid"))
        assert "send_failed" not in self.log("medaid"), self.log("medaid")
        return medaid

    def turn_away(self):
        """Who must not come in."""
        self.client("echoscu")
        run("echoscu", "-aet", "PACS", "127.0.0.1", self.medaid_port, good=False)
        self.refused("an association without TLS on the port with TLS")
        self.client("echoscu", title="OTHER", good=False)
        self.refused("calling AE title not recognised")
        tls = self.folder / "tls"
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=pacs",
            "-keyout", tls / "forged.key", "-out", tls / "forged.crt")
        self.client("echoscu", name="forged", good=False)
        self.refused("the peer's certificate is not accepted: self-signed certificate")

    def refuse_to_start(self):
        """Each bad file ends the start with its name."""
        key, crt = self.folder / "tls/medaid.key", self.folder / "tls/medaid.crt"
        saved = self.folder / "saved"
        for path, damage, says in (
                (key, lambda: key.chmod(0o644), "is open to others"),
                (key, key.unlink, "No such file"),
                (key, lambda: shutil.copy2(self.folder / "tls/pacs.key", key), "does not belong"),
                (crt, lambda: crt.write_text("none", encoding="ascii"), "no certificate in PEM")):
            shutil.copy2(path, saved)
            damage()
            output = run(MEDAID, "--daemon", "--config", self.folder / "medaid.yaml", good=False)
            assert says in output and str(path) in output, output
            if path.exists():
                path.unlink()
            shutil.copy2(saved, path)

    def run(self):
        """All of it."""
        self.prepare()
        medaid = self.serve()
        self.turn_away()
        medaid.send_signal(signal.SIGTERM)
        assert medaid.wait(PATIENCE_S) == 0
        self.refuse_to_start()
        secret = (self.folder / "tls/medaid.key").read_text(encoding="ascii").splitlines()[1]
        assert secret not in self.log("medaid")

    def stop(self):
        """End what is left."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
                process.wait()


def main():
    """Run in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="medaid-test-") as folder:
        case = Case(pathlib.Path(folder))
        try:
            case.run()
        except BaseException:
            for name in ("medaid", "orthanc"):
                if (case.folder / f"{name}.log").exists():
                    print(f"--- {name}\n{case.log(name)[-4000:]}", file=sys.stderr)
            raise
        finally:
            case.stop()
    print("there and back by TLS; 3 kinds of peers turned away; 4 bad files named")


main()
