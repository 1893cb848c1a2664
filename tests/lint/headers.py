#!/usr/bin/python3
"""Compile every public header alone, as C17 and as C++17 (STYLE rule 20). usage: headers.py ROOT"""
import pathlib
import subprocess
import sys

root = pathlib.Path(sys.argv[1])
rooms = ["base", "conf", "dicom", "inference", "plugins", "daemon"]
bad = 0
headers = sorted(h for room in rooms for h in (root / room).rglob("*.h"))
# what only the C++ shims share, or what is generated, says so by its name
headers = [h for h in headers if not h.name.endswith("_internal.h")]
for header in headers:
    name = header.relative_to(root)
    text = f'#include "{name}"\n'
    for compiler, language in (("gcc", ["-std=c17", "-xc"]), ("g++", ["-std=c++17", "-xc++"])):
        if compiler == "g++" and name.parts[0] == "daemon":
            continue  # daemon/ is C alone
        command = [compiler, *language, "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", f"-I{root}",
                   *sys.argv[2:], "-fsyntax-only", "-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            bad += 1
            print(f"{name} does not compile alone with {compiler}:\n{done.stderr}")
print(f"{len(headers)} headers, {bad} bad")
sys.exit(1 if bad or not headers else 0)
