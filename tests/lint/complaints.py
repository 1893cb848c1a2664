#!/usr/bin/python3
"""docs/complaints.md names for each of the 23 complaints a test that exists. usage: complaints.py ROOT"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
N_COMPLAINTS = 23
MAIN = "tests/integration/test_complaints.py"
problems, rows = [], {}
for line in (root / "docs/complaints.md").read_text(encoding="utf-8").splitlines():
    row = re.match(r"\| (\d+) \|", line)
    if row:
        rows.setdefault(int(row.group(1)), []).append(line)
if sorted(rows) != list(range(1, N_COMPLAINTS + 1)) or any(len(r) > 1 for r in rows.values()):
    problems.append(f"docs/complaints.md: not one row for each of 1 to {N_COMPLAINTS}")


def defines(path, name):
    """Whether a test of this name is in the file."""
    text = (root / path).read_text(encoding="utf-8") if (root / path).is_file() else ""
    return re.search(rf"^\s*(def|static void) {name}\(", text, re.MULTILINE) is not None


for number, (line, *_) in rows.items():
    own = re.findall(rf"`(test_{number:02}_\w+)`", line)
    others = re.findall(r"`(test_\w+)` in `(\S+)`", line)
    if len(own) != 1:
        problems.append(f"complaint {number}: {len(own)} tests of that number named, not 1")
    for name, path in [(name, MAIN) for name in own] + others:
        if not defines(path, name):
            problems.append(f"complaint {number}: {path} has no {name}")
print("\n".join(problems))
print(f"{len(rows)} complaints, {len(problems)} problems")
sys.exit(1 if problems else 0)
