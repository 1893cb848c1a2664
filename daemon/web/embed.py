#!/usr/bin/python3
"""Write the files of the page as C: embed.py FOLDER OUT. The names are the paths; index.html is /."""
import pathlib
import sys

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


def main():
    files = sorted(path for path in pathlib.Path(sys.argv[1]).iterdir() if path.suffix in TYPES)
    lines = ['#include "daemon/web/web_internal.h"', ""]
    for number, path in enumerate(files):
        numbers = ",".join(str(byte) for byte in path.read_bytes() + b"\0")
        lines.append(f"static const unsigned char file_{number}[] = {{{numbers}}};")
    lines.append("const md_web_file md_web_files[] = {")
    for number, path in enumerate(files):
        name = "/" if path.name == "index.html" else "/" + path.name
        lines.append(f'    {{"{name}", "{TYPES[path.suffix]}", file_{number}, sizeof file_{number} - 1}},')
    lines += ["};", f"const size_t md_web_n_files = {len(files)};", ""]
    pathlib.Path(sys.argv[2]).write_text("\n".join(lines), encoding="ascii")


if __name__ == "__main__":
    main()
