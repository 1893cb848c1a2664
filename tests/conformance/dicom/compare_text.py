#!/usr/bin/python3
"""Texts of pydicom's charset files, read by us and by pydicom: compare_text.py DUMP_TEXT."""
import glob
import os
import subprocess
import sys
import warnings

import pydicom
import pydicom.data

warnings.simplefilter("ignore")
FOLDER = os.path.join(os.path.dirname(pydicom.data.__file__), "charset_files")
TAGS = ["00100010", "00080080", "00081030", "0008103E", "00081070", "00324000", "00104000"]


def tidy(text):
    """What md_dataset_get_text promises: breaks are one blank, no other controls, no padding."""
    out = ""
    for c in text:
        if c in "\t\n\r\f":
            out += "" if out.endswith(" ") or not out else " "
        elif ord(c) >= 0x20 and not 0x7F <= ord(c) < 0xA0:
            out += c
    return out.strip(" ")


def expected(dataset):
    lines = []
    for tag in TAGS:
        if int(tag, 16) not in dataset:
            continue
        value = dataset[int(tag, 16)].value
        values = value if isinstance(value, pydicom.multival.MultiValue) else [value]
        for k, v in enumerate(values):
            text = tidy(str(v)).rstrip("^= ")
            if not text:
                break
            lines.append(f"{tag} {k} {text}")
    return lines


def main():
    files = sorted(glob.glob(os.path.join(FOLDER, "*.dcm")))
    failed = compared = 0
    for path in files:
        dataset = pydicom.dcmread(path)
        dataset.decode()
        run = subprocess.run([sys.argv[1], path] + TAGS, capture_output=True, timeout=60)
        ours = run.stdout.decode("utf-8").splitlines()
        theirs = expected(dataset)
        equal = run.returncode == 0 and ours == theirs
        failed += not equal
        compared += len(theirs)
        print(f"{'equal' if equal else 'DIFFERS':8} {len(theirs):3} texts  "
              f"{os.path.basename(path)}  {dataset.get('SpecificCharacterSet', '-')}")
        if not equal:
            print("  ours  ", ours, run.stderr.decode())
            print("  theirs", theirs)
    print(f"{len(files)} files, {compared} texts, {failed} files differ")
    return 1 if failed or compared < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
