#!/usr/bin/python3
"""check_picture.py TOOL: PNG, JPEG and DICOM as rasters against PIL, and hostile bytes, in TAP."""
import io
import os
import pathlib
import struct
import subprocess
import sys
import zlib

import numpy as np
import pydicom.data
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
import tap  # noqa: E402

TOOL = sys.argv[1]
FORMAT, UNSUPPORTED, LIMIT = 3, 4, 5


def read(paths):
    done = subprocess.run([TOOL], input="\n".join(paths).encode(), capture_output=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    out, at, results = done.stdout, 0, []
    for _ in paths:
        status, = struct.unpack_from("<I", out, at)
        if status:
            length, = struct.unpack_from("<I", out, at + 4)
            results.append((status, out[at + 8:at + 8 + length].decode()))
            at += 8 + length
        else:
            w, h, c = struct.unpack_from("<3I", out, at + 4)
            n = w * h * c
            results.append(np.frombuffer(out, "<f4", n, at + 16).reshape(c, h, w))
            at += 16 + 4 * n
    assert at == len(out)
    return results


def pixels(*shape, seed=1, top=256, kind=np.uint8):
    return np.random.RandomState(seed).randint(0, top, shape).astype(kind)


class Pictures:
    def save(self, name, data):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def encode(self, image, kind, **options):
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    def check(self, cases):
        got = read([self.save(f"{i}", data) for i, (_, data, _) in enumerate(cases)])
        for (name, _, want), raster in zip(cases, got):
            assert not isinstance(raster, tuple), (name, raster)
            assert raster.shape == want.shape, (name, raster.shape, want.shape)
            assert np.array_equal(raster, want.astype(np.float32)), (name, np.abs(raster - want).max())

    def test_png(self):
        grey, wide, colour = pixels(21, 33), pixels(21, 33, top=65536, kind=np.uint16), pixels(21, 33, 3)
        alpha = pixels(21, 33, seed=2)
        palette = Image.fromarray(colour).quantize(50)
        one = Image.fromarray(grey > 100)
        p16 = alpha.astype(np.int64) * 257
        def over(v):
            return ((v.astype(np.int64) * 257 * p16 + 32767) // 65535) / np.float32(65535)
        f = np.float32
        self.check([
            ("grey", self.encode(Image.fromarray(grey), "PNG"), grey[None] / f(255)),
            ("16 bits", self.encode(Image.fromarray(wide), "PNG"), wide[None] / f(65535)),
            ("colour", self.encode(Image.fromarray(colour), "PNG"), colour.transpose(2, 0, 1) / f(255)),
            ("grey in colour", self.encode(Image.fromarray(np.dstack([grey] * 3)), "PNG"), grey[None] / f(255)),
            ("palette", self.encode(palette, "PNG"),
             np.asarray(palette.convert("RGB")).transpose(2, 0, 1) / f(255)),
            ("one bit", self.encode(one, "PNG"), (grey > 100)[None].astype(f)),
            ("grey, alpha", self.encode(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), "PNG"),
             over(grey)[None]),
            ("colour, alpha", self.encode(Image.merge("RGBA", [Image.fromarray(c) for c in (
                *colour.transpose(2, 0, 1), alpha)]), "PNG"), np.stack([over(c) for c in colour.transpose(2, 0, 1)])),
            ("one pixel", self.encode(Image.fromarray(grey[:1, :1]), "PNG"), grey[None, :1, :1] / f(255)),
        ])

    def test_jpeg(self):
        grey, colour = pixels(37, 50), pixels(37, 50, 3)
        cases = []
        for name, image, options in (
                ("grey", Image.fromarray(grey), {}), ("colour", Image.fromarray(colour), {}),
                ("progressive", Image.fromarray(grey), dict(progressive=True)),
                ("colour 444", Image.fromarray(colour), dict(subsampling=0, quality=95))):
            data = self.encode(image, "JPEG", **options)
            want = np.asarray(Image.open(io.BytesIO(data)))
            want = want[None] if want.ndim == 2 else want.transpose(2, 0, 1)
            cases.append((name, data, want / np.float32(255)))
        data = self.encode(Image.fromarray(np.dstack([grey] * 3)), "JPEG")
        want = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
        cases.append(("grey in colour", data, want[None] / np.float32(255)))
        self.check(cases)

    def test_dicom(self):
        """One frame is read as it is served; a film of several is refused."""
        one, many = (pydicom.data.get_testdata_file(n) for n in ("CT_small.dcm", "SC_rgb_rle_2frame.dcm"))
        got = read([one, many])
        assert got[0].shape == (1, 128, 128) and got[0].min() == 0 and got[0].max() == 1
        assert got[1] == (UNSUPPORTED, "2 frames, expected one"), got[1]

    def test_refusals(self):
        png = self.encode(Image.fromarray(pixels(20, 20)), "PNG")

        def chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        def header(w, h, bits=8):
            return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, bits, 0, 0, 0, 0)) + chunk(
                b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
        jpeg = self.encode(Image.fromarray(pixels(20, 20)), "JPEG")
        size = jpeg.index(b"\xff\xc0") + 5
        cases = [
            ("empty", b"", FORMAT, "an empty file"),
            ("text", b"hello", FORMAT, "no DICOM, PNG or JPEG"),
            ("PNG, start alone", png[:8], FORMAT, "broken PNG: cut short"),
            ("PNG, cut", png[:-40], FORMAT, "broken PNG: "),
            ("PNG, wrong sum", png[:60] + bytes([png[60] ^ 1]) + png[61:], FORMAT, "broken PNG: "),
            ("PNG, huge", header(30000, 30000), LIMIT, "a picture of 30000 x 30000"),
            ("PNG, wider than any", header(2 ** 31 - 1, 1), FORMAT, "broken PNG: "),
            ("PNG, no pixels", header(8000, 8000), FORMAT, "broken PNG: "),
            ("PNG, zero", header(0, 5), FORMAT, "broken PNG: "),
            ("JPEG, cut", jpeg[:-60], FORMAT, "broken JPEG: Premature end"),
            ("JPEG, start alone", jpeg[:4], FORMAT, "broken JPEG: "),
            ("JPEG, huge", jpeg[:size] + struct.pack(">HH", 60000, 60000) + jpeg[size + 4:], LIMIT,
             "a picture of 60000 x 60000"),
            ("JPEG, CMYK", self.encode(Image.fromarray(pixels(20, 20, 4), "CMYK"), "JPEG"), UNSUPPORTED,
             "a JPEG of 4 colour components"),
        ]
        got = read([self.save(f"{i}", c[1]) for i, c in enumerate(cases)])
        for (name, _, status, message), result in zip(cases, got):
            assert isinstance(result, tuple) and result[0] == status and result[1].startswith(message), (name, result)
        gone = read([os.path.join(self.folder, "gone"), self.folder])
        assert all(isinstance(g, tuple) for g in gone), gone

    def test_hostile(self):
        """Bytes changed and files cut at random: an error or a picture, never a crash."""
        random = np.random.RandomState(3)
        paths, n_cut = [], 0
        sources = [self.encode(Image.fromarray(pixels(40, 40)), "PNG"),
                   self.encode(Image.fromarray(pixels(40, 40, 3)).quantize(9), "PNG"),
                   self.encode(Image.fromarray(pixels(40, 40, 3)), "JPEG"),
                   self.encode(Image.fromarray(pixels(40, 40)), "JPEG", progressive=True)]
        for s, data in enumerate(sources):
            for i in range(150):
                broken = bytearray(data)
                for _ in range(random.randint(1, 6)):
                    broken[random.randint(len(broken))] = random.randint(256)
                if i % 3 == 0:
                    broken = broken[:random.randint(1, len(broken))]
                paths.append(self.save(f"{s}-{i}", bytes(broken)))
            for i in range(20, len(data) - 2, max(1, len(data) // 50)):
                paths.append(self.save(f"{s}-cut-{i}", data[:i]))
                n_cut += 1
        got = read(paths)
        n_refused = sum(isinstance(g, tuple) for g in got)
        print(f"# {n_refused} of {len(got)} refused, {n_cut} of them only cut short")
        assert all(isinstance(g, tuple) for p, g in zip(paths, got) if "-cut-" in p and len(open(p, "rb").read()) < 900)
        assert n_refused > n_cut


if __name__ == "__main__":
    tap.run(Pictures)
