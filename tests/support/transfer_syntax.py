"""One film in every transfer syntax that medaid reads, written by the programs of others.

As a program: transfer_syntax.py SOURCE TARGET SYNTAX."""
import pathlib
import sys

import pydicom
import pydicom.encaps

from hospital import run

SYNTAXES = ["1.2.840.10008.1.2" + tail for tail in (
    "", ".1", ".2", ".1.99", ".5", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90",
    ".4.91")]


def make_jpeg2000(source, target, lossy):
    """Through opj_compress and pydicom."""
    dataset = pydicom.dcmread(source)
    raw, stream = target.with_suffix(".rawl"), target.with_suffix(".j2k")
    raw.write_bytes(dataset.PixelData)
    bits = dataset.BitsStored
    options = ["-r", "20", "-I"] if lossy else []
    run("opj_compress", "-i", raw, "-o", stream, "-F",
        f"{dataset.Columns},{dataset.Rows},1,{bits},u", *options)
    dataset.PixelData = pydicom.encaps.encapsulate([stream.read_bytes()])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.91" if lossy else "1.2.840.10008.1.2.4.90"
    if lossy:
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionRatio = "20"
        dataset.LossyImageCompressionMethod = "ISO_15444_1"
    dataset.save_as(target)


def transcode(source, target, syntax):
    """Write `source` in another transfer syntax."""
    tail = syntax.removeprefix("1.2.840.10008.1.2")
    commands = {"": ["dcmconv", "+ti"], ".1": ["dcmconv", "+te"], ".2": ["dcmconv", "+tb"],
                ".1.99": ["dcmconv", "+td"], ".5": ["dcmcrle"],
                ".4.50": ["dcmcjpeg", "+eb", "+un"], ".4.51": ["dcmcjpeg", "+ee", "+un"],
                ".4.57": ["dcmcjpeg", "+el"], ".4.70": ["dcmcjpeg", "+e1"],
                ".4.80": ["dcmcjpls"], ".4.81": ["dcmcjpls", "+en", "+un"]}
    if tail in commands:
        run(*commands[tail], source, target)
    else:
        make_jpeg2000(source, target, lossy=tail == ".4.91")
    written = pydicom.dcmread(target, stop_before_pixels=True)
    assert written.file_meta.TransferSyntaxUID == syntax, (tail, written.file_meta)
    return written


if __name__ == "__main__":
    transcode(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3])
