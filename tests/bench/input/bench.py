#!/usr/bin/python3
"""From the file to the network's input: medaid on one thread against pydicom, numpy and Pillow, in turn.

bench.py BENCH_INPUT PHANTOM [TURNS]. A 10 MB film of 2048 x 2500, 16 bits allocated, in each photometric
interpretation uncompressed, and lossless JPEG 2000 (which medaid may decode smaller, as its models let
it). Prints the milliseconds of each stage: the fastest round of a process, and the first, with the page
faults of a new one. Wanted: 40 ms. The tensors of the two must agree."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from transfer_syntax import transcode  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
STAGES = ("parse", "decode", "normalise", "quality", "resize", "total")
WANTED_MS, ROUNDS = 40, 5
# Sums of some hundred float32 products; and what a smaller decode may change of one pixel.
TOLERANCE, REDUCED_TOLERANCE = 1e-4, 0.3


def times_of(command):
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    return json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)


def median(turns, which, stage):
    return statistics.median(turn[which][stage] for turn in turns)


def show(name, turns):
    for which in ("best", "first"):
        print(f"  {name + ', ' + which:<26}" + "".join(f"{median(turns, which, stage):10.1f}" for stage in STAGES))


def compare(folder, film, name, tool, turns, least, tolerance):
    ours_out, theirs_out = folder / "ours.f32", folder / "theirs.f32"
    ours, theirs = [], []
    for _ in range(turns):
        ours.append(times_of([tool, film, str(ROUNDS), ours_out, *least]))
        theirs.append(times_of(["/usr/bin/python3", HERE / "peer.py", film, str(ROUNDS), theirs_out]))
    a, b = (np.fromfile(path, "<f4") for path in (ours_out, theirs_out))
    difference = float(np.abs(a - b).max())
    print(f"{name}, {film.stat().st_size / 1e6:.1f} MB, ms, median of {turns} turns:\n"
          f"  {'':<26}" + "".join(f"{stage:>10}" for stage in STAGES))
    show("medaid", ours)
    show("pydicom, numpy, Pillow", theirs)
    best, first = median(ours, "best", "total"), median(ours, "first", "total")
    print(f"  medaid needs {best / median(theirs, 'best', 'total'):.2f} of the peer's time, new processes "
          f"{first / median(theirs, 'first', 'total'):.2f}; wanted: {WANTED_MS} ms, new process {first:.1f}; "
          f"tensors differ by at most {difference:.2g}", flush=True)
    assert difference <= tolerance, "the two do not make the same tensor"


def main():
    tool, phantom = map(pathlib.Path, sys.argv[1:3])
    turns = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    with tempfile.TemporaryDirectory(prefix="medaid-input-") as name:
        folder = pathlib.Path(name)
        for photometric in ("MONOCHROME2", "MONOCHROME1"):
            film = folder / f"{photometric}.dcm"
            subprocess.run([phantom, "--photometric", photometric, "--output", film], check=True,
                           stdout=subprocess.DEVNULL)
            compare(folder, film, f"{photometric}, uncompressed", tool, turns, [], TOLERANCE)
        j2k = folder / "j2k.dcm"
        transcode(folder / "MONOCHROME2.dcm", j2k, "1.2.840.10008.1.2.4.90")
        compare(folder, j2k, "JPEG 2000 lossless", tool, max(1, turns // 2), ["least"], REDUCED_TOLERANCE)


if __name__ == "__main__":
    main()
