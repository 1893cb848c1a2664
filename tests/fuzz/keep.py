#!/usr/bin/python3
"""Keep what fuzzing has grown: keep.py BUILD ONNX_TESTDATA [TARGET...] writes tests/fuzz/corpus/TARGET.tar.xz
from BUILD/corpus/TARGET: of the inputs that reach what the seeds do not, the fewest that reach it all
(libFuzzer's merge), the smallest first as far as they fit."""
import io
import lzma
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

from run import ENVIRONMENT, HERE, TARGETS

MAX_BYTES = 300_000


def pack(paths):
    """The same bytes for the same files."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(paths):
            entry = tarfile.TarInfo(path.name)
            entry.size = path.stat().st_size
            archive.addfile(entry, io.BytesIO(path.read_bytes()))
    return lzma.compress(plain.getvalue(), preset=9)


def keep(build, onnx_testdata, target):
    with tempfile.TemporaryDirectory(prefix="medaid-corpus-") as name:
        merged = pathlib.Path(name)
        subprocess.run([sys.executable, HERE / "seeds.py", target, merged, onnx_testdata], check=True)
        for path in merged.glob("corpus-*"):
            path.unlink()
        known = set(os.listdir(merged))
        subprocess.run([build / "tests/fuzz" / f"fuzz_{target}", "-merge=1", "-max_len=100000",
                        "-timeout=3600", "-rss_limit_mb=4096", merged, build / "corpus" / target,
                        build / "seeds" / target], env=ENVIRONMENT, check=True, capture_output=True)
        grown = sorted((path for path in merged.iterdir() if path.name not in known),
                       key=lambda path: (path.stat().st_size, path.name))
        n = len(grown)
        packed = pack(grown)
        while len(packed) > MAX_BYTES:
            n = min(n - 1, n * MAX_BYTES // len(packed))
            packed = pack(grown[:n])
    target_file = HERE / "corpus" / f"{target}.tar.xz"
    target_file.parent.mkdir(exist_ok=True)
    target_file.write_bytes(packed)
    print(f"{target}: {n} of {len(grown)} inputs, {len(packed)} bytes")


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    for target in sys.argv[3:] or TARGETS:
        keep(build, sys.argv[2], target)


if __name__ == "__main__":
    main()
