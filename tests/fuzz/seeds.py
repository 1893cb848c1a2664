#!/usr/bin/python3
"""Seeds for the fuzz targets: seeds.py TARGET FOLDER [ONNX_TESTDATA] writes them, from what Debian's
packages and this tree hold, beside the inputs of tests/fuzz/corpus/TARGET that once told something, and
those of tests/fuzz/corpus/TARGET.tar.xz that fuzzing has grown (keep.py), named corpus-*."""
import io
import pathlib
import shutil
import sys
import tarfile

import google.protobuf.message
import numpy
import onnx
import pydicom
import pydicom.data
from PIL import Image
from pydicom.encaps import generate_pixel_data_frame

ROOT = pathlib.Path(__file__).resolve().parents[2]
PYDICOM = pathlib.Path(pydicom.data.__file__).parent / "test_files"
CODECS = {
    "j2k": ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),
    "rle": ("1.2.840.10008.1.2.5",),
    "jpeg": ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57",
             "1.2.840.10008.1.2.4.70"),
    "jls": ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"),
}


def head(dataset):
    """The four bytes in front of a frame, see fuzz_codec.c."""
    flags = ((dataset.SamplesPerPixel == 3) | (dataset.BitsAllocated == 16) << 1
             | dataset.PixelRepresentation << 2)
    return bytes([flags, (dataset.Columns - 1) & 255, (dataset.Rows - 1) & 255, dataset.BitsStored - 1])


def frames(target):
    for path in sorted(PYDICOM.glob("*.dcm")):
        try:
            dataset = pydicom.dcmread(path)
            if dataset.file_meta.TransferSyntaxUID in CODECS[target]:
                count = int(dataset.get("NumberOfFrames", 1))
                yield head(dataset) + next(generate_pixel_data_frame(dataset.PixelData, count))
        except Exception:  # some of these files are broken on purpose
            continue


def small_j2k():
    """Pictures of a few pixels with each form of stream that Pillow writes."""
    noise = numpy.random.default_rng(1).integers(0, 255, (24, 20, 3), dtype=numpy.uint8)
    for number, options in enumerate(({}, {"irreversible": True}, {"num_resolutions": 1},
                                      {"tile_size": (8, 8)}, {"progression": "RPCL"})):
        for colour in (0, 1):
            stream = io.BytesIO()
            Image.fromarray(noise if colour else noise[..., 0]).save(stream, "JPEG2000", **options)
            codestream = stream.getvalue()
            at = codestream.index(b"\xff\x4f\xff\x51")
            yield bytes([colour | (number % 4) << 5, 19, 23, 7]) + codestream[at:]


def bound(path):
    """The model with all inputs but the first given as constants: what decides shapes has to be."""
    model = onnx.load(path)
    data = path.parent / "test_data_set_0"
    for i in range(len(model.graph.input) - 1, 0, -1):
        try:
            tensor = onnx.load_tensor(data / f"input_{i}.pb")
        except (OSError, google.protobuf.message.DecodeError):
            return
        tensor.name = model.graph.input[i].name
        model.graph.initializer.append(tensor)
        del model.graph.input[i]
    yield model.SerializeToString()


def seeds(target, onnx_testdata):
    if target in CODECS:
        yield from frames(target)
        if target == "j2k":
            yield from small_j2k()
    elif target == "manifest":
        for path in sorted([*ROOT.glob("plugins/*/model.yaml"), *ROOT.glob("plugins/*/*/model.yaml")]):
            yield path.read_bytes()
    elif target == "risk":
        yield (ROOT / "plugins" / "risk" / "example" / "risk.json").read_bytes()
    elif target == "onnx":
        for path in sorted(pathlib.Path(onnx_testdata).glob("*/test_*/model.onnx")):
            yield path.read_bytes()
            yield from bound(path)
    elif target == "dicom":
        for path in sorted(PYDICOM.rglob("*.dcm")):
            yield path.read_bytes()


def main():
    target, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    n = 0
    for seed in seeds(target, sys.argv[3] if len(sys.argv) > 3 else ""):
        if len(seed) < 200_000:
            (folder / f"seed-{n:04}").write_bytes(seed)
            n += 1
    for path in sorted((ROOT / "tests" / "fuzz" / "corpus" / target).glob("*")):
        shutil.copy(path, folder / path.name)
        n += 1
    archive = ROOT / "tests" / "fuzz" / "corpus" / f"{target}.tar.xz"
    if archive.exists():
        with tarfile.open(archive) as grown:
            for member in grown:
                (folder / f"corpus-{pathlib.Path(member.name).name}").write_bytes(grown.extractfile(member).read())
                n += 1
    if n == 0:
        sys.exit(f"no seeds for {target}")


if __name__ == "__main__":
    main()
