#!/usr/bin/python3
"""JPEG 2000 lossless, 2500 x 2048 of 16 bits: our codec against opj_decompress in the same run.

bench_j2k.py BENCH_J2K ENCODE_J2K [ROUNDS]. Both are whole processes on one thread (the tool's
default) that read the same bare codestream and write the raw pixels; what counts is their CPU
time, user and system. Target: within 1.1."""
import os
import resource
import statistics
import subprocess
import sys
import tempfile

import numpy as np

WIDTH, HEIGHT, BITS, TARGET = 2048, 2500, 16, 1.1


def film():
    """A broad shadow, fine ribs and quantum noise: about 9 bits a pixel remain after coding."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    shadow = 30000 * np.exp(-((x - 1024) / 700.0) ** 2 - ((y - 1250) / 900.0) ** 2)
    ribs = 3000 * np.sin(y / 40.0 + np.cos(x / 300.0))
    noise = np.random.default_rng(7).normal(0, 120, (HEIGHT, WIDTH))
    return np.clip(15000 + shadow + ribs + noise, 0, 65535).astype("<i4")


def cpu_ms(*command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def main():
    tool, encoder = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    with tempfile.TemporaryDirectory() as folder:
        raw, path = os.path.join(folder, "film.raw"), os.path.join(folder, "film.j2k")
        film().tofile(raw)
        subprocess.run([encoder, raw, path, str(WIDTH), str(HEIGHT), "1", str(BITS), "0", "0", "0"],
                       check=True)
        a, b = os.path.join(folder, "a.raw"), os.path.join(folder, "b.raw")
        pairs = [(cpu_ms(tool, path, str(WIDTH), str(HEIGHT), str(BITS), a),
                  cpu_ms("opj_decompress", "-i", path, "-o", b)) for _ in range(rounds)]
        smaller = [statistics.median(cpu_ms(tool, path, str(WIDTH), str(HEIGHT), str(BITS), os.path.join(folder, "c.raw"),
                                            str(reduce)) for _ in range(rounds)) for reduce in (1, 2, 3)]
        with open(a, "rb") as one, open(b, "rb") as other:
            same = one.read() == other.read()
        if not same:
            sys.exit("the two decoders give different pixels")
        size = os.path.getsize(path)
    us, them = (statistics.median(column) for column in zip(*pairs))
    print(f"JPEG 2000 lossless {WIDTH}x{HEIGHT}x{BITS}, {size / 1e6:.1f} MB, median of {rounds}: "
          f"medaid {us:.0f} ms CPU, opj_decompress {them:.0f} ms, ratio {us / them:.2f} "
          f"(target {TARGET})")
    for reduce, ms in enumerate(smaller, 1):
        print(f"  at 1/{1 << reduce} of the size ({-(-WIDTH >> reduce)}x{-(-HEIGHT >> reduce)}): {ms:.0f} ms CPU, "
              f"{us / ms:.1f} times as fast as the whole")


if __name__ == "__main__":
    main()
