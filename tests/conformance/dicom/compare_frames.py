#!/usr/bin/python3
"""Every image of pydicom's test set, decoded by us, by pydicom's decoders and by DCMTK's tools.

compare_frames.py DUMP_FRAME EXPECTED [--write]: prints a table, fails when a verdict is not the
one in EXPECTED. Lossless frames must be equal, lossy ones within 2 grey levels of 8 bits."""
import glob
import os
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import pydicom
import pydicom.config
import pydicom.data
from frames import Frames
from pydicom.pixel_data_handlers import util

warnings.simplefilter("ignore")
FOLDER = os.path.join(os.path.dirname(pydicom.data.__file__), "test_files")
SYNTAX = "1.2.840.10008.1.2"
TOOLS = {SYNTAX + ".4.50": "dcmdjpeg", SYNTAX + ".4.51": "dcmdjpeg", SYNTAX + ".4.57": "dcmdjpeg",
         SYNTAX + ".4.70": "dcmdjpeg", SYNTAX + ".4.80": "dcmdjpls", SYNTAX + ".4.81": "dcmdjpls",
         SYNTAX + ".5": "dcmdrle"}
TOOL_OPTIONS = {"dcmdjpeg": ["+cn"]}


def planar(dataset, array):
    """pydicom's pixel array as [frames, channels, rows, columns], colour made RGB."""
    colour = dataset.PhotometricInterpretation
    if colour.startswith("YBR_FULL"):
        array = util.convert_color_space(array, colour, "RGB")
    if int(dataset.get("NumberOfFrames", 1) or 1) == 1:
        array = array[np.newaxis]
    if dataset.SamplesPerPixel == 3:
        return np.moveaxis(array, -1, 1)
    return array[:, np.newaxis]


def by_pydicom(path, handler):
    dataset = pydicom.dcmread(path, force=True)
    if not dataset.file_meta.get("TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    dataset.convert_pixel_data(handler)
    return planar(dataset, dataset.pixel_array)


def by_dcmtk(path, uid, folder):
    tool = TOOLS[uid]
    out = os.path.join(folder, "out.dcm")
    subprocess.run([tool, *TOOL_OPTIONS.get(tool, []), path, out], check=True,
                   capture_output=True, timeout=120)
    dataset = pydicom.dcmread(out)
    return planar(dataset, dataset.pixel_array)


def references(path, uid, folder):
    native = not uid or uid in (SYNTAX, SYNTAX + ".1", SYNTAX + ".2", SYNTAX + ".1.99")
    makers = [("numpy", lambda: by_pydicom(path, "numpy"))] if native else [
        ("gdcm", lambda: by_pydicom(path, "gdcm")), ("pillow", lambda: by_pydicom(path, "pillow")),
        ("rle", lambda: by_pydicom(path, "rle"))]
    if uid in TOOLS:
        makers.append((TOOLS[uid], lambda: by_dcmtk(path, uid, folder)))
    for name, make in makers:
        try:
            yield name, make()
        except Exception:  # a reference that cannot read the file is no reference
            continue


def verdict(tool, path, folder):
    try:
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        uid = str(dataset.get("file_meta", {}).get("TransferSyntaxUID", ""))
    except Exception:
        uid = ""
    about, first = tool.read(path)
    if first is None:
        return uid, f"refused {about['status']}: {about['error']}"
    lossy = about["lossy"]
    frames = [tool.read(path, k)[1] for k in range(about["frames"])]
    parts, failed = [], False
    for name, theirs in references(path, uid, folder):
        if theirs.shape != (len(frames), *first.shape):
            parts.append(f"{name} {theirs.shape}")
            failed = True
            continue
        worst = max(int(np.abs(frames[k].astype(np.int64) - theirs[k].astype(np.int64)).max())
                    for k in range(len(frames)))
        limit = 2 << max(0, about["bits"] - 8) if lossy else 0
        failed |= worst > limit
        parts.append(f"{name} {'equal' if worst == 0 else worst}")
    failed |= not parts
    kind = "FAILED" if failed else "lossy" if lossy else "equal"
    return uid, f"{kind}: {', '.join(parts) or 'no reference reads it'}"


def is_listed(path):
    """All of the top folder, and whatever holds pixels below it."""
    if os.path.dirname(path) == FOLDER:
        return True
    try:
        return "PixelData" in pydicom.dcmread(path, force=True)
    except Exception:
        return False


def main():
    tool, expected_path = Frames(sys.argv[1]), sys.argv[2]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(glob.glob(os.path.join(FOLDER, "**"), recursive=True)):
            if os.path.isfile(path) and is_listed(path):
                uid, text = verdict(tool, path, folder)
                lines.append(f"{os.path.relpath(path, FOLDER)} | {uid or '-'} | {text}")
    for line in lines:
        print(line)
    good = tool.finish()
    if "--write" in sys.argv:
        with open(expected_path, "w", encoding="utf-8") as out:
            out.write("\n".join(lines) + "\n")
        return 0
    with open(expected_path, encoding="utf-8") as file:
        expected = file.read().splitlines()
    changed = [line for line in lines if line not in expected]
    missing = [line for line in expected if line not in lines]
    failed = [line for line in lines if "| FAILED" in line]
    print(f"{len(lines)} files, {len(failed)} failed, {len(changed)} changed")
    for line in changed + missing:
        print(("now:      " if line in changed else "expected: ") + line)
    return 1 if not good or changed or missing or failed or len(lines) < 60 else 0


if __name__ == "__main__":
    sys.exit(main())
