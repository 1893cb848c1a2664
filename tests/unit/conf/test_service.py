#!/usr/bin/python3
"""systemd reads the unit without a complaint and finds it locked in. usage: test_service.py ROOT"""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(sys.argv[1])
MOST_EXPOSED = 2.0  # of 10; 1.8 with systemd 252, most of it the network that it is there for


def run(*command):
    """Both outputs; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


text = (ROOT / "conf/medaid.service").read_text(encoding="utf-8")
for line in ("Type=notify", "WatchdogSec=120", "ExecReload=kill -HUP $MAINPID", "UMask=0077",
             "NoNewPrivileges=yes", "StateDirectoryMode=0700", "User=medaid"):
    assert f"\n{line}\n" in text, line
# the program and its pages are not installed where this runs
text = text.replace("@bindir@/medaid", "/bin/true")
text = re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE)
with tempfile.TemporaryDirectory() as folder:
    unit = pathlib.Path(folder) / "medaid.service"
    unit.write_text(text, encoding="utf-8")
    said = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit))
    assert "medaid.service" not in said, said
    said = run("systemd-analyze", "security", "--offline=true", "--no-pager", str(unit))
    exposure = float(re.search(r"Overall exposure level for medaid.service: ([\d.]+)", said)[1])
    print(f"exposure {exposure}")
    assert exposure <= MOST_EXPOSED, said
