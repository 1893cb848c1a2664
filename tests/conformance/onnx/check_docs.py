#!/usr/bin/python3
"""The table in docs/onnx.md is what print_operators prints.

    check_docs.py PRINT_OPERATORS docs/onnx.md [--write]
"""
import subprocess
import sys

MARK = "<!-- the table below is printed by tests/conformance/onnx/print_operators -->\n"


def main():
    tool, path = sys.argv[1:3]
    table = subprocess.run([tool], check=True, capture_output=True, text=True).stdout
    with open(path, encoding="utf-8") as stream:
        text = stream.read()
    head, mark, rest = text.partition(MARK)
    if not mark:
        sys.exit(f"{path}: no line {MARK.strip()!r}")
    if rest == table:
        return
    if "--write" not in sys.argv:
        sys.exit(f"{path}: the table is out of date: run {' '.join(sys.argv)} --write")
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(head + mark + table)


main()
