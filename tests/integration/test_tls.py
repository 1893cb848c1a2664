#!/usr/bin/python3
"""medaid --daemon and a real Orthanc over TLS, set up word for word as docs/tls.md says.

The commands and the JSON are taken out of the document, with addresses of this machine. What is
checked: Orthanc's C-ECHO and C-STORE reach medaid and report and picture come back, all by TLS; a
sender without TLS, one without certificate of the CA and one that is not an allowed caller are
turned away with one line each; bad files stop the start with the file's name; no key's text is in
any output."""
import json
import pathlib
import re
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import hospital  # noqa: E402
from hospital import MEDAID, ROOT, make_film, run, wait_for  # noqa: E402


def document():
    """Of docs/tls.md: the commands, the YAML and the JSON."""
    text = (ROOT / "docs/tls.md").read_text(encoding="utf-8")
    return [re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL).group(1)
            for kind in ("sh", "yaml", "json")]


class Case:
    """One run with all its processes."""

    def __init__(self, site):
        """Certificates and configurations, as the document has them."""
        commands, yaml, settings = document()
        self.medaid = site.medaid()
        self.folder, self.medaid_port = self.medaid.folder, self.medaid.port
        commands = commands.replace("chown medaid: medaid.key && ", "")
        commands = re.sub(r"192\.0\.2\.[12]0", "127.0.0.1", commands)
        run("bash", "-ec", commands, cwd=self.folder)
        settings = json.loads(settings.replace("/etc/orthanc", str(self.folder)))
        settings["DicomModalities"]["medaid"].update(Host="127.0.0.1", Port=self.medaid_port)
        settings.pop("DicomPort", None)
        self.orthanc = site.orthanc(**settings)
        yaml = yaml.replace("192.0.2.20", "127.0.0.1").replace("pacs.example", "127.0.0.1")
        yaml = yaml.replace("4242", str(self.orthanc.dicom))
        yaml = yaml.replace("ae:\n", f"ae:\n  port: {self.medaid_port}\n", 1)
        yaml += f"plugins: {{paths: ['{ROOT}/plugins']}}\nstudy: {{quiet_ms: 500}}\n"
        yaml += "storage: {path: state, min_free_mib: 0}\n"
        self.medaid.configuration.write_text(yaml, encoding="utf-8")

    def client(self, program, *more, name="pacs", title="PACS", good=True):
        """DCMTK's echoscu or storescu with TLS towards medaid."""
        tls = self.folder / "tls"
        run(program, "+tls", tls / f"{name}.key", tls / f"{name}.crt", "+cf", tls / "ca.crt",
            "-aet", title, "-aec", "MEDAID", "127.0.0.1", self.medaid_port, *more, good=good)

    def refused(self, line, count=1):
        """Wait for a line of the log; it must be there once."""
        wait_for(line, lambda: line in self.medaid.log())
        lines = self.medaid.log().count(line)
        assert lines == count, f"{lines} lines with '{line}'"

    def serve(self):
        """There and back by TLS."""
        self.medaid.start()
        self.orthanc.start()
        assert self.orthanc.post("/modalities/medaid/echo", {}) == {}
        film = make_film(self.folder / "film.dcm", "--opacity", "right", seed=7)
        self.orthanc.request("/instances", film.read_bytes())
        study = self.orthanc.get("/studies")[0]
        sent = json.loads(self.orthanc.request("/modalities/medaid/store", study.encode()))
        assert sent["FailedInstancesCount"] == 0
        wait_for("report and picture", lambda: len(self.orthanc.get("/instances")) == 3)
        self.medaid.wait_line("results_sent")
        assert not self.medaid.lines("send_failed")

    def send_by_name(self):
        """--oneshot finds the destination with its TLS."""
        film = make_film(self.folder / "film.dcm", "--opacity", "left", seed=8)
        before = len(self.orthanc.get("/instances"))
        run(MEDAID, "--oneshot", "--config", self.medaid.configuration, "--output",
            self.folder / "out", "--send", "pacs", film)
        assert len(self.orthanc.get("/instances")) == before + 2

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
            output = run(MEDAID, "--daemon", "--config", self.medaid.configuration, good=False)
            assert says in output and str(path) in output, output
            if path.exists():
                path.unlink()
            shutil.copy2(saved, path)

    def run(self):
        """All of it."""
        self.serve()
        self.send_by_name()
        self.turn_away()
        assert self.medaid.stop() == 0
        self.refuse_to_start()
        secret = (self.folder / "tls/medaid.key").read_text(encoding="ascii").splitlines()[1]
        assert secret not in self.medaid.log()


def main():
    """Run in a temporary folder."""
    with hospital.Hospital("tls") as site:
        Case(site).run()
    print("there and back by TLS; 3 kinds of peers turned away; 4 bad files named")


main()
