#!/usr/bin/python3
"""What a machine can see of STYLE and DESIGN in the tree. usage: tree.py ROOT"""
import pathlib
import re
import shutil
import subprocess
import sys

root = pathlib.Path(sys.argv[1])
# DESIGN.md, "Folders and who may include whom"
MAY_USE = {
    "base": {"base"},
    "conf": {"conf", "base"},
    "dicom": {"dicom", "base"},
    "inference": {"inference", "base"},
    "plugins": {"plugins", "dicom", "inference", "conf", "base"},
    "daemon": {"daemon", "plugins", "dicom", "inference", "conf", "base"},
}
BANNED = re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|atoi|atol|atof|strtok|gets|alloca|system)\s*\(")
LONGEST = 900
problems = []
n_files = 0
for room, allowed in MAY_USE.items():
    for path in sorted((root / room).rglob("*")):
        if path.suffix not in (".c", ".h", ".cc"):
            continue
        n_files += 1
        name = path.relative_to(root)
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > LONGEST:
            problems.append(f"{name}: {len(lines)} lines, at most {LONGEST}")
        for number, line in enumerate(lines, 1):
            include = re.match(r'\s*#\s*include\s*"([a-z_]+)/', line)
            if include and include.group(1) in MAY_USE and include.group(1) not in allowed:
                problems.append(f"{name}:{number}: {room}/ may not include {include.group(1)}/")
            if re.match(r"\s*#\s*include\s*[<\"]dcmtk/", line) and (
                    room != "dicom" or (path.suffix == ".c")):
                problems.append(f"{name}:{number}: DCMTK outside of a C++ shim of dicom/")
            if re.match(r"\s*#\s*include\s*[<\"]openjpeg", line) and room != "dicom":
                problems.append(f"{name}:{number}: OpenJPEG outside of dicom/")
            if BANNED.search(line) and not line.lstrip().startswith(("*", "/*")):
                problems.append(f"{name}:{number}: {BANNED.search(line).group(1)} is not used here")
            if re.search(r"\b(TODO|FIXME|XXX)\b", line):
                problems.append(f"{name}:{number}: unfinished: {line.strip()}")
if shutil.which("clang-format"):
    files = [str(p) for room in [*MAY_USE, "tests"] for p in sorted((root / room).rglob("*"))
             if p.suffix in (".c", ".h", ".cc")]
    done = subprocess.run(["clang-format", "--dry-run", "--Werror", *files], cwd=root,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        bad = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", done.stderr, re.MULTILINE)))
        problems += [f"{b}: not formatted, run `make format`" for b in bad]
else:
    problems.append("clang-format is missing")
print("\n".join(problems))
print(f"{n_files} files, {len(problems)} problems")
sys.exit(1 if problems or n_files == 0 else 0)
