"""The phantom is legal DICOM, the same every time, and says what its options asked for."""
import hashlib
import subprocess
import sys
import tempfile

import numpy
import pydicom

PHANTOM = sys.argv[1]
SMALL = ["--rows", "512", "--columns", "625"]
CASES = [
    [],
    ["--photometric", "MONOCHROME1", "--opacity", "left", "--request", "--accession", "A1"],
    ["--modality", "CR", "--view", "PA"],
    ["--photometric", "RGB"],
    ["--modality", "OT", "--body-part", "KNEE"],
    ["--body-part", "KNEE", "--charset", "latin1", "--patient-name", "M\u00fcller^J\u00f6rg"],
    ["--patient-name", "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"],
]


def make(folder, *options):
    path = f"{folder}/p.dcm"
    subprocess.run([PHANTOM, "--output", path, *SMALL, *options], check=True)
    return path


def main():
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            path = make(folder, *case)
            said = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
            assert "Error" not in said.stdout + said.stderr, (case, said.stdout + said.stderr)
            first = hashlib.sha256(open(path, "rb").read()).digest()
            again = hashlib.sha256(open(make(folder, *case), "rb").read()).digest()
            assert first == again, case
            dataset = pydicom.dcmread(path)
            for name, value in zip(case[::1], case[1::1]):
                if name == "--patient-name":
                    assert dataset.PatientName == value, (dataset.PatientName, value)
                if name == "--body-part":
                    assert dataset.BodyPartExamined == value
        plain = pydicom.dcmread(make(folder)).pixel_array.astype(int)
        negative = pydicom.dcmread(make(folder, "--photometric", "MONOCHROME1"))
        assert (plain + negative.pixel_array == 4095).all()
        assert plain.shape == (512, 625) and plain.max() > 3500 and plain.min() < 130
        for side, columns in (("left", slice(380, 500)), ("right", slice(130, 260))):
            ill = pydicom.dcmread(make(folder, "--opacity", side)).pixel_array.astype(int)
            change = ill - plain
            assert change[220:400, columns].mean() > 150, side
            other = slice(625 - columns.stop, 625 - columns.start)
            assert (change[220:400, other] == 0).all(), side
        other = pydicom.dcmread(make(folder, "--seed", "2"))
        assert other.StudyInstanceUID != negative.StudyInstanceUID
        assert numpy.abs(other.pixel_array - plain).mean() > 1
        bad = subprocess.run([PHANTOM, "--output", path, "--rows", "0"], capture_output=True)
        assert bad.returncode == 2
        bad = subprocess.run([PHANTOM, "--output", path, "--charset", "latin1",
                              "--patient-name", "\u5c71"], capture_output=True)
        assert bad.returncode == 1


main()
