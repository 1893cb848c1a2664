#!/usr/bin/python3
"""Every event that the daemon may log as a warning or an error stands in docs/log.md.
usage: log_table.py ROOT"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
# the protocol's events, which the listener logs, but for
QUIET = {"association_done", "connection_probed"}
found = {}
for path in sorted((root / "daemon").rglob("*.c")) + sorted((root / "dicom/network").glob("*.c")):
    text = path.read_text(encoding="utf-8")
    for call in re.finditer(r"md_log\((.*?)\);", text, re.DOTALL):
        # level, event, ...: the level may be an expression, and so may the event
        level, _, rest = call[1].partition('"')
        if "MD_LOG_TEXT" not in level and ("WARN" in level or "ERROR" in level):
            event = rest.partition('"')[0]
            others = re.match(r'[a-z_]+"\s*:\s*"([a-z_]+)"', rest)
            for name in (event, others and others[1]):
                if name:
                    found.setdefault(name, path.name)
    if path.parent.name == "network":
        for event in re.finditer(r'"((?:association|connection|object|caller|tls|accept|listener)_'
                                 r'[a-z]+)"', text):
            if event[1] not in QUIET:
                found.setdefault(event[1], path.name)
table = (root / "docs/log.md").read_text(encoding="utf-8")
rows = [line for line in table.splitlines() if line.startswith("| `")]
listed = {name for line in rows for name in re.findall(r"`([a-z_]+)`", line.split(" | ")[0])}
missing = {name: where for name, where in found.items()
           if name not in listed and not name.endswith(("_recovered", "_given"))}
gone = listed - set(found)
for name, where in sorted(missing.items()):
    print(f"docs/log.md does not say what {name} ({where}) means")
for name in sorted(gone):
    print(f"docs/log.md explains {name}, which nothing logs as a warning or an error")
print(f"{len(found)} events, {len(listed)} explained")
sys.exit(1 if missing or gone or len(found) < 40 else 0)
