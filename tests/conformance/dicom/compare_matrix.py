#!/usr/bin/python3
"""Images made here, with pixels that are known, read by us: compare_matrix.py DUMP_FRAME ENCODE_J2K.

Three groups: stored values over depth, sign, high bit, layout and native syntax; the same pixels
through the encoders of DCMTK and OpenJPEG; normalised values against the formulas of PS3.3 C.11
in numpy. Prints one line a case, fails when one differs."""
import os
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import pydicom
from frames import Frames
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixel_data_handlers import util
from pydicom.sequence import Sequence

warnings.simplefilter("ignore")
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BIG, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
J2K_LOSSLESS, J2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
RANDOM = np.random.default_rng(20260131)
TOOL, ENCODER = Frames(sys.argv[1]), sys.argv[2]


# --- making files -----------------------------------------------------------------------------

def new_dataset(rows, columns, allocated, stored, high, signed, samples=1, frames=1):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = EXPLICIT
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3.4"
    ds.Modality = "OT"
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, stored, high
    ds.PixelRepresentation, ds.SamplesPerPixel = int(signed), samples
    ds.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "RGB"
    if samples > 1:
        ds.PlanarConfiguration = 0
    if frames > 1:
        ds.NumberOfFrames = frames
    return ds


def save(ds, path, syntax=EXPLICIT):
    ds.file_meta.TransferSyntaxUID = syntax
    ds.is_little_endian = syntax != BIG
    ds.is_implicit_VR = syntax == IMPLICIT
    ds.save_as(path, write_like_original=False)


def random_values(shape, bits, signed):
    """Values over the whole range, smooth enough for the lossy codecs too."""
    rows, columns = shape[-2:]
    y, x = np.mgrid[0:rows, 0:columns]
    wave = 0.5 + 0.3 * np.sin(x / 9.0) * np.cos(y / 7.0) + 0.2 * (x + y) / (rows + columns)
    top = (1 << bits) - 1
    values = np.clip(wave * top, 0, top) + RANDOM.integers(-top // 64 - 1, top // 64 + 2, shape)
    values = np.clip(np.round(values), 0, top).astype(np.int64)
    values[..., 0, 0], values[..., -1, -1] = 0, top
    return values - (1 << (bits - 1)) if signed else values


def set_pixels(ds, values, big=False, garbage=0):
    """values: [frames, channels, rows, columns]; `garbage` fills the bits that mean nothing."""
    stored, shift = ds.BitsStored, ds.HighBit + 1 - ds.BitsStored
    pattern = (values & ((1 << stored) - 1)) << shift
    unused = ((1 << ds.BitsAllocated) - 1) & ~(((1 << stored) - 1) << shift)
    pattern = pattern | (garbage & unused)
    if ds.SamplesPerPixel == 3 and ds.PlanarConfiguration == 0:
        pattern = np.moveaxis(pattern, 1, -1)
    kind = ("u1" if ds.BitsAllocated == 8 else ">u2" if big else "<u2")
    data = pattern.astype(kind).tobytes()
    data += b"\0" * (len(data) & 1)
    if big and ds.BitsAllocated == 8:
        data = np.frombuffer(data, "<u2").astype(">u2").tobytes()
    ds.PixelData = data
    ds["PixelData"].VR = "OW"


# --- reading ----------------------------------------------------------------------------------

def ours(path, frame=0, mode="stored"):
    return TOOL.read(path, frame, mode)


class Results:
    def __init__(self):
        self.n = self.failed = 0

    def add(self, name, ok, note=""):
        self.n += 1
        self.failed += not ok
        print(f"{'ok    ' if ok else 'FAILED'} {name} {note}", flush=True)

    def compare(self, name, path, values, limit=0):
        """Every frame of the file against [frames, channels, rows, columns]."""
        worst = 0
        for k in range(values.shape[0]):
            about, got = ours(path, k)
            if got is None or got.shape != values[k].shape or about["frames"] != len(values):
                self.add(name, False, str(about.get("error", "shape")))
                return
            worst = max(worst, int(np.abs(got.astype(np.int64) - values[k]).max()))
        self.add(name, worst <= limit, f"max difference {worst}")


# --- 1: stored values -------------------------------------------------------------------------

def stored_cases(results, folder):
    path = os.path.join(folder, "a.dcm")
    forms = [(8, 8, 7), (8, 1, 0), (8, 5, 4), (8, 6, 7), (16, 16, 15), (16, 12, 11),
             (16, 12, 15), (16, 10, 12), (16, 9, 8), (16, 8, 7), (16, 1, 0), (16, 7, 11)]
    for allocated, stored, high in forms:
        for signed in (False, True):
            if signed and stored == 1:
                continue
            for syntax in (IMPLICIT, EXPLICIT, BIG, DEFLATED):
                ds = new_dataset(5, 7, allocated, stored, high, signed, frames=3)
                values = random_values((3, 1, 5, 7), stored, signed)
                set_pixels(ds, values, syntax == BIG, garbage=0xa5a5)
                save(ds, path, syntax)
                results.compare(f"native {allocated}/{stored}/{high} signed={signed} {syntax}",
                                path, values)
    for planar in (0, 1):
        for bits in (8, 16):
            for syntax in (IMPLICIT, EXPLICIT, BIG):
                ds = new_dataset(5, 7, bits, bits, bits - 1, False, samples=3, frames=2)
                ds.PlanarConfiguration = planar
                values = random_values((2, 3, 5, 7), bits, False)
                set_pixels(ds, values, syntax == BIG)
                save(ds, path, syntax)
                results.compare(f"native RGB {bits} planar={planar} {syntax}", path, values)
    ds = new_dataset(5, 7, 8, 8, 7, False, frames=3)
    values = random_values((3, 1, 5, 7), 8, False)
    set_pixels(ds, values)
    ds["PixelData"].VR = "OB"  # bytes do not swap
    save(ds, path, BIG)
    results.compare("native 8 bits as OB, big endian", path, values)
    for photometric in ("YBR_FULL", "YBR_FULL_422"):
        for columns in (8, 6):
            ds = new_dataset(5, columns, 8, 8, 7, False, samples=3, frames=2)
            ds.PhotometricInterpretation = photometric
            ybr = RANDOM.integers(0, 256, (2, 5, columns, 3)).astype(np.uint8)
            if photometric == "YBR_FULL_422":
                ybr[:, :, 1::2, 1:] = ybr[:, :, 0::2, 1:]
                pairs = np.stack([ybr[:, :, 0::2, 0], ybr[:, :, 1::2, 0], ybr[:, :, 0::2, 1],
                                  ybr[:, :, 0::2, 2]], axis=-1)
                ds.PixelData = pairs.tobytes()
            else:
                ds.PixelData = ybr.tobytes()
            ds["PixelData"].VR = "OB"
            save(ds, path)
            rgb = np.stack([util.convert_color_space(f, "YBR_FULL", "RGB") for f in ybr])
            results.compare(f"native {photometric} {columns} columns", path,
                            np.moveaxis(rgb.astype(np.int64), -1, 1), 1)
    for frames in (1, 3):
        ds = new_dataset(3, 7, 1, 1, 0, False, frames=frames)
        values = RANDOM.integers(0, 2, (frames, 1, 3, 7))
        bits = np.packbits(values.astype(np.uint8).ravel(), bitorder="little").tobytes()
        ds.PixelData = bits + b"\0" * (len(bits) & 1)
        ds["PixelData"].VR = "OB"
        save(ds, path)
        results.compare(f"native 1 bit, {frames} frames", path, values)


def bare_case(results, folder):
    """Without preamble and meta header."""
    path = os.path.join(folder, "bare.dcm")
    for implicit, little in ((True, True), (False, True), (False, False)):
        ds = new_dataset(5, 7, 16, 12, 11, False)
        values = random_values((1, 1, 5, 7), 12, False)
        set_pixels(ds, values, not little)
        bare = Dataset()
        bare.update(ds)
        bare.is_implicit_VR, bare.is_little_endian = implicit, little
        bare.save_as(path, write_like_original=True)
        results.compare(f"no meta header, implicit={implicit} little={little}", path, values)


# --- 2: encoders ------------------------------------------------------------------------------

def run(*command):
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def dcmtk_cases(results, folder):
    source, out = os.path.join(folder, "s.dcm"), os.path.join(folder, "t.dcm")
    grey = [(16, 12, 11, False), (16, 16, 15, False), (16, 16, 15, True), (16, 12, 11, True),
            (8, 8, 7, False), (16, 10, 9, False)]
    lossless = [("dcmcrle",), ("dcmcjpeg", "+e1"), ("dcmcjpeg", "+el", "+sv", "4"),
                ("dcmcjpeg", "+el", "+sv", "6"), ("dcmcjpls", "+el")]
    for allocated, stored, high, signed in grey:
        ds = new_dataset(61, 83, allocated, stored, high, signed, frames=2)
        values = random_values((2, 1, 61, 83), stored, signed)
        set_pixels(ds, values)
        save(ds, source)
        for command in lossless:
            try:
                run(*command, source, out)
            except subprocess.CalledProcessError:
                print(f"       {command}: the encoder refuses {stored} bits signed={signed}")
                continue
            results.compare(f"{' '.join(command)} {stored} bits signed={signed}", out, values)
    for interleave in ("+il", "+is", "+in"):
        ds = new_dataset(61, 83, 8, 8, 7, False, samples=3, frames=2)
        values = random_values((2, 3, 61, 83), 8, False)
        set_pixels(ds, values)
        save(ds, source)
        run("dcmcjpls", interleave, source, out)
        results.compare(f"dcmcjpls {interleave} RGB", out, values)
    for command in (("dcmcrle",), ("dcmcjpeg", "+e1")):
        run(*command, source, out)
        results.compare(f"{' '.join(command)} RGB", out, values)


def lossy_cases(results, folder):
    """Against the encoder's own tool, which decoded the same stream: within 2 of 8 bits."""
    source, out = os.path.join(folder, "s.dcm"), os.path.join(folder, "t.dcm")
    back = os.path.join(folder, "u.dcm")
    cases = [(("dcmcjpeg", "+eb"), "dcmdjpeg", 8, 1), (("dcmcjpeg", "+ee"), "dcmdjpeg", 12, 1),
             (("dcmcjpls", "+en", "+md", "3"), "dcmdjpls", 12, 1),
             (("dcmcjpls", "+en", "+md", "3"), "dcmdjpls", 8, 1),
             (("dcmcjpeg", "+eb", "+cy", "+s4"), "dcmdjpeg", 8, 3),
             (("dcmcjpeg", "+eb", "+cy", "+s2"), "dcmdjpeg", 8, 3),
             (("dcmcjpeg", "+eb", "+cr"), "dcmdjpeg", 8, 3)]
    for command, decoder, stored, samples in cases:
        ds = new_dataset(61, 83, 8 if stored == 8 else 16, stored, stored - 1, False, samples)
        set_pixels(ds, random_values((1, samples, 61, 83), stored, False))
        save(ds, source)
        run(*command, source, out)
        run(decoder, out, back)
        theirs = pydicom.dcmread(back).pixel_array.astype(np.int64)
        theirs = np.moveaxis(theirs, -1, 0) if samples == 3 else theirs[np.newaxis]
        results.compare(f"{' '.join(command)} {stored} bits", out, theirs[np.newaxis],
                        2 << (stored - 8))


def opj_encode(folder, values, stored, signed, tile=0, ratio=0):
    raw, j2k = os.path.join(folder, "p.raw"), os.path.join(folder, "p.j2k")
    values.astype("<i4").tofile(raw)
    channels, rows, columns = values.shape
    run(ENCODER, raw, j2k, *(str(k) for k in (columns, rows, channels, stored, int(signed), tile,
                                              ratio)))
    with open(j2k, "rb") as file:
        return file.read()


def opj_compress(folder, values, bits):
    """The tool of OpenJPEG, for the depths that it takes."""
    raw, j2k = os.path.join(folder, "p.raw"), os.path.join(folder, "p.j2k")
    values.astype("u1" if bits == 8 else ">u2").tofile(raw)
    channels, rows, columns = values.shape
    run("opj_compress", "-i", raw, "-o", j2k, "-F", f"{columns},{rows},{channels},{bits},u")
    with open(j2k, "rb") as file:
        return file.read()


def put_j2k(ds, frames, path, syntax=J2K_LOSSLESS, **layout):
    ds.PixelData = encapsulate(frames, **layout)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    save(ds, path, syntax)


def j2k_cases(results, folder):
    path = os.path.join(folder, "j.dcm")
    for stored, stream_bits, signed, stream_signed in (
            (12, 12, False, False), (16, 16, False, False), (16, 16, True, True),
            (12, 12, True, True), (8, 8, False, False), (10, 10, False, False),
            (12, 16, False, False), (16, 12, False, False), (16, 12, True, True),
            (13, 13, True, False), (16, 16, True, False), (12, 12, False, True),
            (1, 1, False, False), (14, 14, True, True)):
        ds = new_dataset(61, 83, 8 if stored <= 8 else 16, stored, stored - 1, signed)
        bits = min(stored, stream_bits)
        values = random_values((1, 1, 61, 83), bits, signed)
        # what the stream holds when its sign is another: the same bit pattern
        pattern = values[0] & ((1 << stream_bits) - 1)
        half = 1 << (stream_bits - 1)
        as_coded = np.where(pattern >= half, pattern - 2 * half, pattern) if stream_signed \
            else pattern
        put_j2k(ds, [opj_encode(folder, as_coded, stream_bits, stream_signed)], path)
        results.compare(f"J2K dataset {stored} signed={signed}, stream {stream_bits} "
                        f"signed={stream_signed}", path, values)
    for fragments, has_table in ((1, True), (1, False), (3, True), (3, False)):
        ds = new_dataset(61, 83, 16, 12, 11, False, frames=3)
        values = random_values((3, 1, 61, 83), 12, False)
        frames = [opj_encode(folder, v, 12, False) for v in values]
        put_j2k(ds, frames, path, fragments_per_frame=fragments, has_bot=has_table)
        results.compare(f"J2K 3 frames of {fragments} fragments, offset table {has_table}", path,
                        values)
    for bits in (8, 12, 16):
        ds = new_dataset(61, 83, 8 if bits == 8 else 16, bits, bits - 1, False)
        values = random_values((1, 1, 61, 83), bits, False)
        put_j2k(ds, [opj_compress(folder, values[0], bits)], path)
        results.compare(f"opj_compress {bits} bits", path, values)
    for photometric in ("RGB", "YBR_RCT"):
        ds = new_dataset(61, 83, 8, 8, 7, False, samples=3)
        values = random_values((1, 3, 61, 83), 8, False)
        ds.PhotometricInterpretation = photometric
        put_j2k(ds, [opj_encode(folder, values[0], 8, False, tile=32)], path)
        results.compare(f"J2K colour {photometric}, tiles", path, values)
    ds = new_dataset(61, 83, 8, 8, 7, False, samples=3)
    values = random_values((1, 3, 61, 83), 8, False)
    ds.PhotometricInterpretation = "YBR_FULL"
    put_j2k(ds, [opj_encode(folder, values[0], 8, False)], path)
    rgb = util.convert_color_space(np.moveaxis(values, 1, -1).astype(np.uint8), "YBR_FULL", "RGB")
    results.compare("J2K colour YBR_FULL", path, np.moveaxis(rgb.astype(np.int64), -1, 1), 1)
    ds = new_dataset(61, 83, 16, 12, 11, False)
    put_j2k(ds, [opj_encode(folder, random_values((1, 61, 83), 12, False), 12, False, ratio=5)],
            path, J2K)
    theirs = pydicom.dcmread(path)
    theirs.convert_pixel_data("gdcm")
    results.compare("J2K lossy", path, theirs.pixel_array.astype(np.int64)[np.newaxis, np.newaxis],
                    2 << 4)


def broken_cases(results, folder):
    """Streams that are cut or corrupt are refused with one line, although DCMTK's own tool makes a
    picture of most of them."""
    source, out = os.path.join(folder, "s.dcm"), os.path.join(folder, "t.dcm")
    ds = new_dataset(61, 83, 8, 8, 7, False)
    set_pixels(ds, random_values((1, 1, 61, 83), 8, False))
    save(ds, source)
    for command in (("dcmcjpeg", "+eb"), ("dcmcjpeg", "+e1"), ("dcmcjpls", "+el"), ("dcmcrle",)):
        run(*command, source, out)
        whole = pydicom.dcmread(out)
        stream = pydicom.encaps.defragment_data(whole.PixelData)
        for name, broken in (("half", stream[:len(stream) // 2]), ("head", stream[:40]),
                             ("nothing", b"\0\0"), ("no end", stream[:-60]),
                             ("noise", stream[:-900] + RANDOM.bytes(900))):
            if command[0] == "dcmcrle" and name == "noise":
                continue  # any bytes are a valid run
            whole.PixelData = encapsulate([broken])
            whole["PixelData"].is_undefined_length = True
            whole.save_as(out, write_like_original=False)
            about, got = ours(out)
            line = about.get("error", "")
            results.add(f"broken {' '.join(command)}: {name}",
                        got is None and about["status"] == "format" and "\n" not in line, line)


# --- 3: normalised values ---------------------------------------------------------------------

def window(x, center, width, function):
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2 for an output of 0..1."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (x - center) / width))
    c, w = (center, width) if function == "LINEAR_EXACT" else (center - 0.5, width - 1)
    inner = (x - c) / w + 0.5 if w > 0 else np.zeros_like(x)
    return np.where(x <= c - w / 2, 0.0, np.where(x > c + w / 2, 1.0, inner))


def lut(x, descriptor, data, signed):
    n, first, bits = descriptor
    first = first - 65536 if signed and first > 32767 else first
    n = n or 65536
    data = np.frombuffer(data, "<u2") if isinstance(data, bytes) else data
    index = np.clip(np.round(x) - first, 0, n - 1).astype(np.int64)
    return np.asarray(data, np.float64)[index], (1 << bits) - 1


def reference(ds, stored, mode):
    x = stored.astype(np.float64)
    signed = bool(ds.PixelRepresentation)
    if "ModalityLUTSequence" in ds:
        item = ds.ModalityLUTSequence[0]
        x, _ = lut(x, item.LUTDescriptor, item.LUTData, signed)
        signed = False
    else:
        x = x * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
        signed = signed or float(ds.get("RescaleIntercept", 0)) < 0
    if mode == "physical":
        return x
    padding = np.zeros(x.shape, bool)
    if "PixelPaddingValue" in ds:
        ends = sorted((ds.PixelPaddingValue, ds.get("PixelPaddingRangeLimit",
                                                    ds.PixelPaddingValue)))
        padding = (stored >= ends[0]) & (stored <= ends[1])
    function = ds.get("VOILUTFunction", "LINEAR")
    width = ds.get("WindowWidth")
    width = None if width is None else float(np.atleast_1d(width)[0])
    allowed = width is not None and (width >= 1 if function == "LINEAR" else width > 0)
    invert = ds.PhotometricInterpretation == "MONOCHROME1" or \
        ds.get("PresentationLUTShape") == "INVERSE"
    if "VOILUTSequence" in ds:
        item = ds.VOILUTSequence[0]
        y, top = lut(x, item.LUTDescriptor, item.LUTData, signed)
        y = y / top
    elif allowed:
        y = window(x, float(np.atleast_1d(ds.WindowCenter)[0]), width, function)
    else:
        rest = x[~padding]
        if rest.size == 0 or rest.max() == rest.min():
            return np.zeros(x.shape)
        y = (x - rest.min()) / (rest.max() - rest.min())
    y = 1 - y if invert else y
    return np.clip(np.where(padding, 0, y), 0, 1)


def lut_item(descriptor, data, vr="US"):
    item = Dataset()
    item.add_new(0x00283002, "SS" if min(descriptor) < 0 else "US", descriptor)
    if vr == "US":
        item.add_new(0x00283006, "US", list(data))
    else:
        item.add_new(0x00283006, "OW", np.asarray(data, "<u2").tobytes())
    return item


def normalise_settings():
    yield "nothing", {}
    yield "rescale", {"RescaleSlope": "2.5", "RescaleIntercept": "-1024"}
    yield "negative slope", {"RescaleSlope": "-1", "RescaleIntercept": "4095"}
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        for width in ("1", "0.5", "400", "0", "-5"):
            yield f"window {width} {function}", {
                "WindowCenter": "1000.5", "WindowWidth": width, "VOILUTFunction": function}
    yield "several windows", {"WindowCenter": ["900", "1"], "WindowWidth": ["1000", "2"]}
    yield "rescale and window", {"RescaleSlope": "0.5", "RescaleIntercept": "-100",
                                 "WindowCenter": "500", "WindowWidth": "600"}
    yield "padding", {"PixelPaddingValue": 0}
    yield "padding range", {"PixelPaddingValue": 900, "PixelPaddingRangeLimit": 100,
                            "WindowCenter": "1000", "WindowWidth": "2000"}
    yield "all padding", {"PixelPaddingValue": -32768, "PixelPaddingRangeLimit": 32767}
    yield "INVERSE", {"PresentationLUTShape": "INVERSE"}
    yield "IDENTITY", {"PresentationLUTShape": "IDENTITY"}
    curve = [min(4095, (i * i) // 4096) for i in range(4096)]
    yield "modality LUT", {"ModalityLUTSequence": Sequence([lut_item([4096, 0, 12], curve)]),
                           "WindowCenter": "2000", "WindowWidth": "3000"}
    falling = [4095 - i for i in range(4096)]
    yield "falling modality LUT", {
        "ModalityLUTSequence": Sequence([lut_item([4096, 0, 16], falling)])}
    yield "VOI LUT", {"VOILUTSequence": Sequence([lut_item([2000, 500, 10],
                                                           [i // 2 for i in range(2000)])])}
    yield "VOI LUT in OW", {
        "VOILUTSequence": Sequence([lut_item([1024, 1000, 14], range(0, 16384, 16), "OW")])}
    yield "VOI LUT of 65536", {
        "VOILUTSequence": Sequence([lut_item([0, 0, 16], range(65536), "OW")])}
    yield "VOI LUT of negative values", {
        "RescaleSlope": "1", "RescaleIntercept": "-1000",
        "VOILUTSequence": Sequence([lut_item([2000, 65536 - 1000, 10],
                                             [i // 2 for i in range(2000)])])}
    yield "VOI LUT with SS", {
        "RescaleSlope": "1", "RescaleIntercept": "-1000",
        "VOILUTSequence": Sequence([lut_item([2000, -1000, 10],
                                             [i // 2 for i in range(2000)])])}


def normalise_cases(results, folder):
    path = os.path.join(folder, "n.dcm")
    for photometric in ("MONOCHROME2", "MONOCHROME1"):
        for signed in (False, True):
            stored = random_values((1, 1, 61, 83), 12, signed)
            for name, settings in normalise_settings():
                padding = settings.get("PixelPaddingValue")
                if padding is not None and padding < 0 and not signed:
                    continue
                for syntax in (EXPLICIT, IMPLICIT):
                    ds = new_dataset(61, 83, 16, 12, 11, signed)
                    ds.PhotometricInterpretation = photometric
                    set_pixels(ds, stored)
                    for keyword, value in settings.items():
                        setattr(ds, keyword, value)
                    save(ds, path, syntax)
                    for mode in ("display", "physical"):
                        about, got = ours(path, 0, mode)
                        want = reference(ds, stored[0], mode)
                        good = got is not None and got.shape == want.shape
                        worst = float(np.abs(got - want).max()) if good else -1
                        limit = 1e-6 if mode == "display" else 1e-3
                        results.add(f"{mode} {photometric} signed={signed} {name} "
                                    f"{'implicit' if syntax == IMPLICIT else 'explicit'}",
                                    good and worst <= limit,
                                    f"max error {worst:.2g} {about.get('error', '')}")


def palette_cases(results, folder):
    path = os.path.join(folder, "c.dcm")
    for bits, vr in ((16, "OW"), (8, "OW"), (8, "packed")):
        ds = new_dataset(16, 17, 8, 8, 7, False)
        values = RANDOM.integers(0, 256, (1, 1, 16, 17))
        set_pixels(ds, values)
        ds.PhotometricInterpretation = "PALETTE COLOR"
        want = []
        for k, name in enumerate(("Red", "Green", "Blue")):
            entries = RANDOM.integers(0, 1 << bits, 200)
            setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [200, 20, bits])
            kind = "u1" if vr == "packed" else "<u2"
            setattr(ds, f"{name}PaletteColorLookupTableData", entries.astype(kind).tobytes())
            index = np.clip(values[0, 0] - 20, 0, 199)
            want.append(entries[index] / ((1 << bits) - 1))
        save(ds, path)
        about, got = ours(path, 0, "display")
        worst = float(np.abs(got - np.stack(want)).max()) if got is not None else -1
        results.add(f"palette of {bits} bits {vr}", 0 <= worst < 1e-6, about.get("error", ""))
    ds = new_dataset(16, 17, 8, 8, 7, False)
    set_pixels(ds, values)
    ds.PhotometricInterpretation = "PALETTE COLOR"
    # discrete 2, linear 98, discrete 1, then the first segment again: 2 + 98 + 1 + 2 = 103
    segments = [0, 2, 100, 200, 1, 98, 60000, 0, 1, 7, 2, 1, 0, 0]
    rise = np.floor(200 + (60000 - 200) * np.arange(1, 99) / 98 + 0.5)
    entries = np.concatenate([[100, 200], rise, [7], [100, 200]])
    for name in ("Red", "Green", "Blue"):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [103, 0, 16])
        setattr(ds, f"Segmented{name}PaletteColorLookupTableData",
                np.asarray(segments, "<u2").tobytes())
    save(ds, path)
    about, got = ours(path, 0, "display")
    want = entries[np.clip(values[0, 0], 0, 102)] / 65535
    worst = float(np.abs(got - want).max()) if got is not None else -1
    results.add("segmented palette", 0 <= worst < 1e-6, about.get("error", ""))


def group_cases(results, folder):
    """Enhanced multi-frame: rescale, window and spacing of a frame, shared, and at top level."""
    path = os.path.join(folder, "g.dcm")

    def macro(slope, center, spacing):
        item = Dataset()
        value, voi, measures = Dataset(), Dataset(), Dataset()
        value.RescaleSlope, value.RescaleIntercept = str(slope), "0"
        voi.WindowCenter, voi.WindowWidth = str(center), "100"
        measures.PixelSpacing = [str(spacing), str(spacing / 2)]
        item.PixelValueTransformationSequence = Sequence([value])
        item.FrameVOILUTSequence = Sequence([voi])
        item.PixelMeasuresSequence = Sequence([measures])
        return item

    ds = new_dataset(5, 7, 16, 12, 11, False, frames=2)
    set_pixels(ds, random_values((2, 1, 5, 7), 12, False))
    ds.RescaleSlope, ds.RescaleIntercept = "9", "0"
    ds.SharedFunctionalGroupsSequence = Sequence([macro(2, 20, 0.2)])
    ds.PerFrameFunctionalGroupsSequence = Sequence([macro(3, 30, 0.4), Dataset()])
    save(ds, path)
    for frame, slope, center, height in ((0, 3, 30, 0.4), (1, 2, 20, 0.2)):
        about, _ = ours(path, frame)
        good = (about.get("slope"), about.get("center"), about.get("pixel_height"),
                about.get("pixel_width")) == (slope, center, height, height / 2)
        results.add(f"functional groups, frame {frame}", good, str(about))


def main():
    results = Results()
    with tempfile.TemporaryDirectory() as folder:
        stored_cases(results, folder)
        bare_case(results, folder)
        dcmtk_cases(results, folder)
        lossy_cases(results, folder)
        j2k_cases(results, folder)
        broken_cases(results, folder)
        normalise_cases(results, folder)
        palette_cases(results, folder)
        group_cases(results, folder)
    print(f"{results.n} cases, {results.failed} failed")
    return 1 if not TOOL.finish() or results.failed or results.n < 300 else 0


if __name__ == "__main__":
    sys.exit(main())
