"""Reports of every readable file of pydicom's collections: patients' names survive in all character
sets, and dciodvfy finds no error in an object that medaid makes of a file, old or odd as it is.
usage: test_sources.py REPORT_CASE"""
import pathlib
import subprocess
import sys
import tempfile
import warnings

import pydicom

warnings.simplefilter("ignore")
REPORT_CASE = sys.argv[1]
DATA = pathlib.Path(pydicom.__file__).parent / "data"

ALWAYS = ["1.2.840.10008.1.2.4." + n for n in ("50", "51")]
MAYBE = ["1.2.840.10008.1.2.4." + n for n in ("81", "91")]


def write(kind, source, out):
    done = subprocess.run([REPORT_CASE, kind, "positive", out, source], capture_output=True,
                          text=True, check=False)
    assert done.returncode in (0, 1), (source, done.returncode, done.stderr)
    return done.returncode == 0


def verify(source, out):
    said = subprocess.run(["dciodvfy", out], capture_output=True, text=True, check=False)
    assert "Error" not in said.stdout + said.stderr, (source, said.stdout + said.stderr)


def main():
    n = {"sr": 0, "picture": 0, "names": 0, "lossy": 0}
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/out.dcm"
        for source in sorted((DATA / "charset_files").glob("*.dcm")):
            assert write("sr", source, out), source
            verify(source, out)
            before, after = pydicom.dcmread(source), pydicom.dcmread(out)
            assert str(before.get("PatientName", "")) == str(after.PatientName), source
            n["names"] += 1
        for source in sorted((DATA / "test_files").glob("*.dcm")):
            for kind in ("sr", "picture"):
                if write(kind, source, out):
                    verify(source, out)
                    n[kind] += 1
                    before = pydicom.dcmread(source, force=True)
                    syntax = getattr(before.file_meta, "TransferSyntaxUID", "")
                    said = before.get("LossyImageCompression", "")
                    lossy = syntax in ALWAYS or (syntax in MAYBE and said != "00")
                    if kind == "picture" and lossy:
                        assert pydicom.dcmread(out).LossyImageCompression == "01", source
                        n["lossy"] += 1
    print(n)
    assert n["names"] >= 17 and n["sr"] > 50 and n["picture"] > 40 and n["lossy"] > 2, n


main()
