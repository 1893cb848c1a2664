#!/usr/bin/python3
"""SIGHUP and the way from root to a user, with medaid --daemon as it is installed.

Within one association, open over all of it: a wrong file changes nothing and its line is in the log,
a destination comes and another goes, callers and the listener's certificate change, what needs a
restart is named key by key, and the association lives on with the rules it began with. As root: the
port below 1024 is bound, then every thread of the process is another user without a way back."""
import contextlib
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import ssl
import stat
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from hospital import (MEDAID, PATIENCE_S, PHANTOM, ROOT, children_of, free_ports,  # noqa: E402
                      run, wait_for)


def low_port():
    """A port that only root may bind."""
    for port in range(900, 1024):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port below 1024 is free")


def item(kind, body):
    """An item of an A-ASSOCIATE PDU, PS3.8 9.3.2."""
    return struct.pack(">BxH", kind, len(body)) + body


class Association:
    """An association for C-ECHO that stays open as long as the test wants."""

    def __init__(self, connection, calling):
        self.connection = connection
        context = item(0x30, b"1.2.840.10008.1.1") + item(0x40, b"1.2.840.10008.1.2")
        body = struct.pack(">Hxx16s16s32x", 1, b"MEDAID".ljust(16), calling.ljust(16)) + \
            item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, b"\1\0\0\0" + context) + \
            item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3"))
        connection.sendall(struct.pack(">BxI", 1, len(body)) + body)
        self.kind = self.read_pdu()[0]

    def read_pdu(self):
        """Type and body."""
        head = self.read(6)
        return head[0], self.read(struct.unpack(">I", head[2:])[0])

    def read(self, n):
        """Exactly n bytes."""
        got = b""
        while len(got) < n:
            part = self.connection.recv(n - len(got))
            assert part, "closed by medaid"
            got += part
        return got

    def echo(self):
        """C-ECHO, PS3.7 9.3.5."""
        def element(number, value):
            return struct.pack("<HHI", 0, number, len(value)) + value
        command = element(2, b"1.2.840.10008.1.1\0") + element(0x100, struct.pack("<H", 0x30)) + \
            element(0x110, struct.pack("<H", 1)) + element(0x800, struct.pack("<H", 0x101))
        command = element(0, struct.pack("<I", len(command))) + command
        self.connection.sendall(struct.pack(">BxIIBB", 4, len(command) + 6, len(command) + 2, 1, 3) +
                                command)
        kind, body = self.read_pdu()
        assert kind == 4 and element(0x900, b"\0\0") in body, (kind, body)

    def close(self):
        """Release."""
        self.connection.sendall(struct.pack(">BxI4x", 5, 4))
        assert self.read_pdu()[0] == 6
        self.connection.close()


class Site:
    """The daemon and its log."""

    def __init__(self, folder):
        self.folder, self.conf, self.daemon, self.n_starts = folder, folder / "medaid.yaml", None, 0
        self.program = MEDAID
        self.children = []

    def write(self, text):
        """The configuration; an editor would do it so."""
        (self.folder / "new").write_text(text, encoding="utf-8")
        (self.folder / "new").chmod(0o644)
        os.replace(self.folder / "new", self.conf)

    def start(self):
        """Until it serves."""
        self.n_starts += 1
        with open(self.log_path(), "wb") as log:
            self.daemon = subprocess.Popen([self.program, "--daemon", "--config", self.conf], stderr=log)
        self.children.append(self.daemon)
        wait_for("daemon_started", lambda: self.alive() and self.lines("daemon_started"))

    def log_path(self):
        """Of this start."""
        return self.folder / f"log-{self.n_starts}"

    def alive(self):
        """True, or the log of its end."""
        assert self.daemon.poll() is None, self.log_path().read_text(encoding="utf-8")
        return True

    def lines(self, event):
        """The log's lines of one event."""
        text = self.log_path().read_text(encoding="utf-8")
        return [fields for fields in map(json.loads, text.splitlines()) if fields["event"] == event]

    def start_as(self, *command):
        """The same under another program."""
        self.n_starts += 1
        with open(self.log_path(), "wb") as log:
            self.daemon = subprocess.Popen([*command, self.program, "--daemon", "--config", self.conf],
                                           stderr=log)
        self.children.append(self.daemon)
        wait_for("daemon_started", lambda: self.alive() and self.lines("daemon_started"))

    def reload(self, event="configuration_reloaded"):
        """SIGHUP; the line that it brought."""
        before = len(self.lines(event))
        self.daemon.send_signal(signal.SIGHUP)
        return wait_for(event, lambda: self.alive() and self.lines(event)[before:])[0]

    def storescp(self, name, port):
        """A destination."""
        (self.folder / name).mkdir()
        self.children.append(subprocess.Popen(
            ["storescp", "-aet", name.upper(), "-od", self.folder / name, str(port)],
            stderr=subprocess.DEVNULL))

    def stop(self):
        """SIGTERM and a clean end."""
        self.daemon.send_signal(signal.SIGTERM)
        assert self.daemon.wait(PATIENCE_S) == 0, self.log_path().read_text(encoding="utf-8")


def make_certificate(folder, name):
    """A certificate of the CA in the folder, as `server.crt` and `server.key`."""
    if not (folder / "ca.crt").exists():
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=CA", "-keyout",
            folder / "ca.key", "-out", folder / "ca.crt")
    run("openssl", "req", "-x509", "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-newkey",
        "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
        "-keyout", folder / "server.key", "-out", folder / "server.crt")
    (folder / "server.key").chmod(0o600)


def connect(site, port):
    """A TLS connection and the name of the listener's certificate."""
    context = ssl.create_default_context(cafile=site.folder / "ca.crt")
    context.load_cert_chain(site.folder / "server.crt", site.folder / "server.key")
    connection = context.wrap_socket(socket.create_connection(("127.0.0.1", port)),
                                     server_hostname="127.0.0.1")
    connection.settimeout(PATIENCE_S)
    return connection, dict(pair[0] for pair in connection.getpeercert()["subject"])["commonName"]


def send_film(site, port, seed):
    """A film as CT01 by TLS."""
    film = site.folder / f"film-{seed}.dcm"
    run(PHANTOM, "--rows", 400, "--columns", 320, "--seed", seed, "--output", film)
    run("storescu", "+tls", site.folder / "server.key", site.folder / "server.crt", "+cf",
        site.folder / "ca.crt", "-aet", "CT01", "-aec", "MEDAID", "127.0.0.1", port, film)


def test_reload(site):
    """All that SIGHUP may and may not change, within one association."""
    port, first, second = free_ports(3)
    site.storescp("first", first)
    site.storescp("second", second)
    make_certificate(site.folder, "one")
    good = f"""
ae:
  port: {port}
  allowed_callers: [{{ae_title: CT01}}]
  tls: {{certificate: server.crt, private_key: server.key, ca: ca.crt}}
destinations: [{{name: first, ae_title: FIRST, host: 127.0.0.1, port: {first}}}]
study: {{quiet_ms: 200}}
plugins: {{paths: ["{ROOT}/plugins"]}}
storage: {{path: state, min_free_mib: 0}}
workers: {{count: 1}}
"""
    site.write(good)
    site.start()
    pid = site.daemon.pid
    connection, name = connect(site, port)
    assert name == "one"
    long = Association(connection, b"CT01")
    assert long.kind == 2
    long.echo()
    send_film(site, port, 1)
    wait_for("first", lambda: list((site.folder / "first").iterdir()))

    site.write(good.replace("quiet_ms: 200", "quiet_ms: x"))
    line = site.reload("reload_failed")
    assert "medaid.yaml:7: key 'study.quiet_ms': got x" in line["reason"], line
    site.write(good.replace("server.key", "gone.key"))
    line = site.reload("reload_failed")
    assert "gone.key" in line["reason"], line
    (site.folder / "server.key").chmod(0o644)
    site.write(good)
    assert "is open to others" in site.reload("reload_failed")["reason"]
    (site.folder / "server.key").chmod(0o600)
    long.echo()
    other, name = connect(site, port)  # all is as before
    assert name == "one" and Association(other, b"CT01").kind == 2
    other.close()

    make_certificate(site.folder, "two")
    site.write(good.replace("name: first, ae_title: FIRST", "name: second, ae_title: SECOND")
               .replace(f"port: {first}", f"port: {second}")
               .replace("ae_title: CT01}", "ae_title: CT01}, {ae_title: CT02}")
               .replace(f"port: {port}", "port: 1\n  title: OTHER").replace("path: state", "path: s")
               .replace("count: 1", "count: 3") + "log: {level: debug}\nhttp: {port: 9}\n")
    line = site.reload()
    assert line["need_restart"] == 4 and line["destinations"] == 1, line
    keys = [each["key"] for each in site.lines("reload_needs_restart")]
    assert keys == ["ae.port", "workers.count", "storage.path", "http.port"], keys
    long.echo()
    other, name = connect(site, port)
    assert name == "two"
    added = Association(other, b"CT02")
    assert added.kind == 2
    added.close()
    send_film(site, port, 2)
    wait_for("second", lambda: list((site.folder / "second").iterdir()))
    assert len(list((site.folder / "first").iterdir())) == 2
    assert site.lines("object_stored")  # a debug line

    site.write(good.replace("CT01", "MR01"))
    site.reload()
    long.echo()  # it began as an allowed caller
    other, name = connect(site, port)
    assert Association(other, b"CT01").kind == 3
    other.close()
    long.close()
    for _ in range(30):  # neither threads nor memory of earlier destinations are left
        site.write(good.replace("name: first", "name: again"))
        site.reload()
        site.write(good)
        site.reload()
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    n_threads = int(status.split("Threads:")[1].split()[0])
    assert n_threads < 30, n_threads
    assert site.daemon.pid == pid and site.alive()
    site.stop()


def test_early(site):
    """SIGHUP while it starts neither ends it nor is it forgotten."""
    [port] = free_ports(1)
    site.write(f"""
ae: {{port: {port}}}
plugins: {{paths: ["{ROOT}/plugins"]}}
storage: {{path: state, min_free_mib: 0}}
""")
    site.n_starts += 1
    with open(site.log_path(), "wb") as log:
        site.daemon = subprocess.Popen([MEDAID, "--daemon", "--config", site.conf], stderr=log)
    site.children.append(site.daemon)
    wait_for("storage_opened", lambda: site.alive() and site.lines("storage_opened"))
    site.daemon.send_signal(signal.SIGHUP)
    wait_for("the reload", lambda: site.alive() and site.lines("configuration_reloaded"))
    if os.geteuid() == 0:
        assert len(site.lines("running_as_root")) == 1
    site.stop()


def ids(pid, thread, name):
    """A line of numbers of a thread's status."""
    text = pathlib.Path(f"/proc/{pid}/task/{thread}/status").read_text(encoding="ascii")
    [line] = [each for each in text.splitlines() if each.startswith(name + ":")]
    return line.split()[1:]


def test_privileges(site):
    """As root: bind below 1024, then become nobody."""
    if os.geteuid() != 0:
        site.write(f"user: root\nstorage: {{path: state}}\nplugins: {{paths: ['{ROOT}/plugins']}}\n")
        done = subprocess.run([MEDAID, "--daemon", "--config", site.conf], capture_output=True,
                              check=False)
        assert done.returncode != 0 and b"only root can become root" in done.stderr, done.stderr
        print("not root: that the port stays bound and root is given up was not tried")
        return
    user = pwd.getpwnam("nobody")
    site.folder.chmod(0o755)
    # of both a copy that the user can reach: the tree may lie in root's home
    site.program = shutil.copy(MEDAID, site.folder / "medaid")
    shutil.copytree(ROOT / "plugins/chest", site.folder / "plugins/chest")
    port = low_port()
    # a store of its own: that of the tests before belongs to root, and is refused
    text = f"""
ae: {{port: {port}}}
study: {{quiet_ms: 200}}
user: nobody
plugins: {{paths: [plugins]}}
storage: {{path: state, min_free_mib: 0}}
workers: {{count: 1}}
"""
    site.write(text)
    done = subprocess.run([site.program, "--daemon", "--config", site.conf], capture_output=True,
                          check=False)
    assert done.returncode == 1 and b"belongs to another user than nobody" in done.stderr, done
    site.write(text.replace("path: state", "path: of-nobody"))
    site.start()
    pid = site.daemon.pid
    assert not site.lines("running_as_root")
    check_powerless(pid, user)
    film = site.folder / "film-user.dcm"
    run(PHANTOM, "--rows", 400, "--columns", 320, "--seed", 7, "--output", film)
    run("storescu", "-aec", "MEDAID", "127.0.0.1", port, film)
    wait_for("study_analysed", lambda: site.alive() and site.lines("study_analysed"))
    wait_for("a result", lambda: list((site.folder / "of-nobody/results").rglob("*.dcm")))
    for path in [site.folder / "of-nobody", *(site.folder / "of-nobody").rglob("*")]:
        info = path.lstat()
        assert (info.st_uid, info.st_gid) == (user.pw_uid, user.pw_gid), path
        wanted = 0o700 if stat.S_ISDIR(info.st_mode) else 0o600
        assert stat.S_IMODE(info.st_mode) == wanted, (path, oct(info.st_mode))
    site.reload()
    site.stop()
    # as systemd starts it: never root, with the one capability that the port needs
    site.write(text.replace("path: state", "path: of-nobody").replace("user: nobody\n", ""))
    site.start_as("setpriv", "--reuid", "nobody", "--regid", str(user.pw_gid), "--clear-groups",
                  "--inh-caps", "-all,+net_bind_service", "--ambient-caps",
                  "-all,+net_bind_service", "--bounding-set", "-all,+net_bind_service")
    check_powerless(site.daemon.pid, user)
    site.stop()


def check_powerless(pid, user):
    """Every thread of the daemon and of its workers is the user's, without a capability."""
    processes = [pid, *children_of(pid)]
    assert len(processes) > 1
    for process in processes:
        for thread in os.listdir(f"/proc/{process}/task"):
            assert ids(process, thread, "Uid") == [str(user.pw_uid)] * 4
            assert ids(process, thread, "Gid") == [str(user.pw_gid)] * 4
            assert ids(process, thread, "Groups") == []
            for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
                assert int(ids(process, thread, kind)[0], 16) == 0, (thread, kind)
        assert ids(process, process, "NoNewPrivs") == ["1"]


def main():
    """One folder, one daemon after the other."""
    with tempfile.TemporaryDirectory() as name:
        site = Site(pathlib.Path(name))
        try:
            for test in (test_reload, test_early, test_privileges):
                test(site)
                print(f"{test.__name__}: good", flush=True)
        except BaseException:
            print(site.log_path().read_text(encoding="utf-8")[-6000:], file=sys.stderr)
            raise
        finally:
            for process in site.children:
                if process.poll() is None:
                    process.kill()
                    process.wait()


main()
