#!/usr/bin/python3
"""The files that pydicom's DICOMDIRs name, found by us and by pydicom: compare_dicomdir.py TOOL."""
import glob
import os
import subprocess
import sys
import warnings

import pydicom
import pydicom.data

warnings.simplefilter("ignore")
FOLDER = os.path.join(os.path.dirname(pydicom.data.__file__), "test_files", "dicomdirtests")


def expected(path):
    """Referenced File IDs in order; (paths that exist, how many do not)."""
    found, missing = [], 0
    for record in pydicom.dcmread(path).DirectoryRecordSequence:
        name = record.get("ReferencedFileID")
        if not name or record.get("RecordInUseFlag") == 0:
            continue
        name = [name] if isinstance(name, str) else list(name)
        full = os.path.join(os.path.dirname(path), *name)
        if not os.path.isfile(full):
            missing += 1
        elif full not in found:
            found.append(full)
    return found, missing


def main():
    failed = total = 0
    for path in sorted(glob.glob(os.path.join(FOLDER, "**", "DICOMDIR*"), recursive=True)):
        run = subprocess.run([sys.argv[1], path], capture_output=True, text=True, timeout=60)
        lines = run.stdout.splitlines()
        name = os.path.relpath(path, FOLDER)
        if name == "DICOMDIR-nooffset":  # ends inside its last item; pydicom reads what is there
            good = run.returncode == 1 and lines[0].startswith("cut short: ")
            print(f"{'refused' if good else 'FAILED '} {name}: {lines[0]}")
        else:
            found, missing = expected(path)
            total += len(found)
            good = lines == [*found, f"missing {missing} rejected 0 dicomdir 1"]
            print(f"{'equal  ' if good else 'FAILED '} {name}: {len(found)} files, "
                  f"{missing} missing")
        failed += not good
    return 1 if failed or total < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
