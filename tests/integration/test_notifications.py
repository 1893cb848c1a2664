#!/usr/bin/python3
"""Notifications of the daemon as a RIS, a web service and a mail server see them.

Three receivers run here: MLLP, HTTP, and a program in sendmail's place. Each is down or refuses at
first; in the end each has every text once, the patient's name is only where the configuration lets it
go, and nothing of it is in the log."""
import hashlib
import hmac
import http.server
import json
import pathlib
import socketserver
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import hospital  # noqa: E402

SECRET = b"a secret of the site"


class Web(http.server.BaseHTTPRequestHandler):
    posts, n_seen = [], 0

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Web.n_seen += 1
        if Web.n_seen == 1:
            self.send_error(503)
            return
        Web.posts.append((dict(self.headers), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Mllp(socketserver.StreamRequestHandler):
    messages, n_seen = [], 0

    def handle(self):
        block = b""
        while not block.endswith(b"\x1c\r"):
            more = self.request.recv(4096)
            if not more:
                return
            block += more
        assert block[:1] == b"\x0b"
        text = block[1:-2].decode()
        control_id = text.split("\r")[0].split("|")[9]
        Mllp.n_seen += 1
        if Mllp.n_seen == 1:
            return  # closes without a word
        code = "AE" if Mllp.n_seen == 2 else "AA"
        if code == "AA":
            Mllp.messages.append(text)
        answer = f"MSH|^~\\&|RIS||MEDAID||||ACK|1|P|2.5.1\rMSA|{code}|{control_id}\r"
        self.wfile.write(b"\x0b" + answer.encode()[:20])
        self.wfile.flush()
        self.wfile.write(answer.encode()[20:] + b"\x1c\r")


def serve(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def main():
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    mllp = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mllp)
    with hospital.Hospital("notifications") as site:
        secret = site.folder / "webhook.secret"
        secret.write_bytes(SECRET)
        secret.chmod(0o600)
        mail, sendmail = site.folder / "mail", site.folder / "sendmail"
        sendmail.write_text(f'#!/bin/sh\nif [ ! -e "{mail}.tried" ]; then touch "{mail}.tried"; exit 75; fi\n'
                            f'echo "$@" >"{mail}.arguments"\ncat >"{mail}"\n')
        sendmail.chmod(0o755)
        medaid = site.medaid(notifiers=[
            {"name": "web", "kind": "webhook", "url": f"http://127.0.0.1:{serve(web)}/hook",
             "secret_file": str(secret), "on": "every"},
            {"name": "ris", "kind": "hl7", "host": "127.0.0.1", "port": serve(mllp), "on": "findings",
             "patient": "full", "facility": "Radio", "receiver": "RIS"},
            {"name": "doctors", "kind": "mail", "to": "doctors@example.org", "sendmail": str(sendmail),
             "on": "urgent", "patient": "identifiers"},
            {"name": "nobody", "kind": "hl7", "host": "127.0.0.1", "port": hospital.free_ports(1)[0],
             "on": "every"},
        ]).start()
        film = site.film("--opacity", "right")
        hospital.send(medaid, film)
        for name in ("web", "ris", "doctors"):
            medaid.wait_line("notified", notifier=name)
        medaid.wait_line("notify_failed", notifier="nobody")
        check_web()
        check_hl7()
        check_mail(mail)
        shown = medaid.ctl("show", medaid.lines("notified")[0]["study"], "--json")
        notices = {each["notifier"]: each for each in json.loads(shown)["notices"]}
        assert notices["ris"]["state"] == "sent" and notices["ris"]["attempts"] == 3, notices
        assert notices["nobody"]["state"] == "pending" and notices["nobody"]["reason"], notices
        assert json.loads(shown)["clock"]["notified"], shown
        shown += check_report(medaid, medaid.lines("notified")[0]["study"])
        for mark in hospital.PATIENT:
            assert mark not in medaid.log() + shown, mark
        medaid.stop()
    print("a webhook, a RIS and a mail server were told once each; a dead one is still tried")


def check_report(medaid, key):
    """Readers' words, and what medaidctl report makes of them."""
    said = ("--model", "chest-pneumonia", "--finding", "pneumonia", "--reader", "dr-a")
    medaid.ctl("read", key)
    medaid.ctl("agree", key, *said)
    medaid.ctl("agree", key, "--model", "chest-pneumonia", code=2)
    medaid.ctl("disagree", key, *said[:3], "effusion", *said[4:], code=3)
    report = json.loads(medaid.ctl("report", "--days", "1", "--json"))
    assert report["studies"] == report["urgent"] == report["reading"]["read"] == 1, report
    (finding,) = report["findings"]
    assert finding["ppv"]["value"] == 1 and finding["specificity"] is None, finding
    assert report["time_to_notifier"]["studies"] == 1, report
    assert json.loads(medaid.ctl("show", key, "--json"))["clock"]["read"]
    table = medaid.ctl("report")
    assert "Pneumonia of chest-pneumonia: present 1" in table, table
    return table


def check_web():
    assert len(Web.posts) == 1, Web.posts
    headers, body = Web.posts[0]
    signed = headers["Medaid-Timestamp"].encode() + b"." + body
    wanted = "sha256=" + hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
    assert headers["Medaid-Signature"] == wanted, headers
    told = json.loads(body)
    assert headers["Medaid-Delivery"] == f"{told['study']}-1"
    assert told["findings"][0]["concept"]["code"] == "233604007" and told["priority"] == "urgent"
    assert "patient" not in told and "study_instance_uid" not in told, told
    for mark in hospital.PATIENT:
        assert mark not in body.decode(), mark


def check_hl7():
    assert len(Mllp.messages) == 1, Mllp.messages
    segments = Mllp.messages[0].split("\r")
    pid = next(each for each in segments if each.startswith("PID")).split("|")
    assert pid[3].split("^")[0] == hospital.PATIENT[1] and pid[5].startswith("Zebra^Quagga"), pid
    obr = next(each for each in segments if each.startswith("OBR")).split("|")
    assert obr[3] == hospital.PATIENT[2] and obr[25] == "P", obr
    assert any("233604007^Pneumonia^SCT" in each for each in segments)


def check_mail(path):
    text = path.read_text()
    assert path.with_suffix(".arguments").read_text() == "-i -f medaid -- doctors@example.org\n"
    assert hospital.PATIENT[1] in text and hospital.PATIENT[0] not in text
    assert "Pneumonia: present" in text


if __name__ == "__main__":
    main()
