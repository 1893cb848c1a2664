#!/usr/bin/python3
"""What medaid --transcode writes, against pydicom: each kind of pixels, compressed without loss by DCMTK's
tools, comes back bit for bit with the attributes that it had.

usage: compare_transcode.py MEDAID"""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import pydicom
import pydicom.uid

MEDAID = sys.argv[1]
IMPLICIT, EXPLICIT, BIG = (pydicom.uid.ImplicitVRLittleEndian, pydicom.uid.ExplicitVRLittleEndian,
                           pydicom.uid.ExplicitVRBigEndian)
# allocated, stored, signed, samples, frames, rows, columns
KINDS = [(8, 8, 0, 1, 1, 17, 13), (16, 12, 0, 1, 1, 16, 10), (16, 16, 0, 1, 3, 9, 7),
         (16, 12, 1, 1, 1, 16, 10), (16, 16, 1, 1, 2, 11, 5), (8, 8, 0, 3, 1, 15, 9),
         (8, 8, 0, 3, 2, 6, 7)]
ENCODERS = {"native": None, "deflated": ["dcmconv", "+td"], "big endian": ["dcmconv", "+tb"],
            "implicit": ["dcmconv", "+ti"], "RLE": ["dcmcrle"], "JPEG-LS": ["dcmcjpls"],
            "JPEG lossless": ["dcmcjpeg", "+e1", "+cn"]}
# How pixels lie may change with the syntax; their meaning may not.
LAYOUT = {"PixelData", "PlanarConfiguration"}


def make(path, kind):
    """A dataset with random pixels of that kind; it and its pixels."""
    allocated, stored, signed, samples, frames, rows, columns = kind
    random = np.random.default_rng(sum(kind))
    low, high = (-(1 << (stored - 1)), 1 << (stored - 1)) if signed else (0, 1 << stored)
    values = random.integers(low, high, (frames, rows, columns, samples))
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = EXPLICIT
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    ds = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = "1.2.4", "1.2.5", "OT"
    ds.PatientName, ds.PatientID, ds.SpecificCharacterSet = "Zw\u00f6lf^A", "7", "ISO_IR 100"
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "T-1", "99X", "one"
    ds.AnatomicRegionSequence = [item]
    ds.add_new(0x00091001, "OW", b"\1\2\3\4")
    ds.add_new(0x00090010, "LO", "somebody")
    ds.SamplesPerPixel, ds.PhotometricInterpretation = samples, "RGB" if samples == 3 else "MONOCHROME2"
    if samples == 3:
        ds.PlanarConfiguration = 0
    if frames > 1:
        ds.NumberOfFrames = frames
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = allocated, stored, stored - 1, signed
    mask = (1 << stored) - 1
    raw = (values & mask).astype("<u2" if allocated == 16 else "u1").tobytes()
    ds.PixelData = raw + bytes(len(raw) % 2)
    ds["PixelData"].VR = "OW" if allocated == 16 else "OB"
    ds.is_little_endian, ds.is_implicit_VR = True, False
    ds.save_as(path, write_like_original=False)
    return ds, values


def transcode(source, target, syntax):
    """Run the process as the daemon does: descriptor 3 answers, 4 is the output."""
    answer = source.with_suffix(".answer")
    done = subprocess.run(["bash", "-c", 'exec "$0" --transcode "$1" "$2" 3>"$3" 4>"$4"', MEDAID, syntax,
                           source, answer, target], check=False)
    assert done.returncode == 0, (done.returncode, answer.read_bytes())


def compare(name, source, original, values):
    """All three syntaxes of one source."""
    for syntax in (IMPLICIT, EXPLICIT, BIG):
        target = source.with_suffix(".out")
        transcode(source, target, syntax)
        got = pydicom.dcmread(target)
        assert got.file_meta.TransferSyntaxUID == syntax, name
        mask = (1 << original.BitsStored) - 1  # what is above High Bit is nobody's
        pixels = got.pixel_array.reshape(values.shape).astype(int) & mask
        assert (pixels == values & mask).all(), \
            f"{name}: {np.count_nonzero(pixels != values & mask)} pixels differ"
        for element in original:
            if element.keyword in LAYOUT:
                continue
            other = got[element.tag].value
            if element.tag == 0x00091001 and syntax == BIG and got[element.tag].VR == "OW":
                other = bytes([other[1], other[0], other[3], other[2]])
            assert str(other) == str(element.value), f"{name}: {element.keyword} {other} {element.value}"


def main():
    """Every kind with every encoder that can."""
    n = 0
    with tempfile.TemporaryDirectory(prefix="medaid-transcode-") as folder:
        for number, kind in enumerate(KINDS):
            plain = pathlib.Path(folder) / f"plain-{number}.dcm"
            original, values = make(plain, kind)
            for name, command in ENCODERS.items():
                source = pathlib.Path(folder) / f"{number}-{name.replace(' ', '-')}.dcm"
                if command is None:
                    source.write_bytes(plain.read_bytes())
                else:
                    done = subprocess.run([*command, plain, source], capture_output=True, check=False)
                    # DCMTK's JPEG-LS and JPEG lossless do not take every kind of signed pixels
                    if done.returncode != 0 and kind[2] and name.startswith("JPEG"):
                        continue
                    assert done.returncode == 0, (name, kind, done.stderr)
                compare(f"{name} {kind}", source, original, values)
                n += 1
    print(f"{n} sources in 3 syntaxes: every pixel and attribute as it was")


main()
