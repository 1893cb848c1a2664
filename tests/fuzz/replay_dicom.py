#!/usr/bin/python3
"""Runs a fuzz target over DICOM files and mutations of them: replay_dicom.py TARGET RUNS [SEED].

Seeds are pydicom's small test files and tests/fuzz/corpus/dicom, where inputs that once failed are
kept."""
import glob
import os
import subprocess
import sys

import pydicom.data

PYDICOM = os.path.join(os.path.dirname(pydicom.data.__file__), "test_files", "*.dcm")
CORPUS = os.path.join(os.path.dirname(__file__), "corpus", "dicom", "*")


def main():
    target, runs = sys.argv[1:3]
    seed = sys.argv[3] if len(sys.argv) > 3 else "1"
    seeds = sorted(glob.glob(CORPUS)) + [
        path for path in sorted(glob.glob(PYDICOM)) if os.path.getsize(path) < 150000]
    print(f"{len(seeds)} seeds", flush=True)
    if len(seeds) < 40:
        sys.exit("too few seeds")
    sys.exit(subprocess.run([target, runs, seed, *seeds]).returncode)


if __name__ == "__main__":
    main()
