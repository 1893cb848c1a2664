#!/usr/bin/python3
"""The peer of the benchmark: the same tensor by pydicom, numpy and Pillow. peer.py FILM ROUNDS OUT
prints the milliseconds of each stage, of the fastest round and of the first; OUT gets the tensor."""
import json
import sys
import time

import numpy as np
import pydicom
from PIL import Image

SIDE, MEAN, STD = 224, 0.48, 0.24


def run(path):
    at = [time.perf_counter()]
    film = pydicom.dcmread(path)
    at.append(time.perf_counter())
    stored = film.pixel_array
    at.append(time.perf_counter())
    pixels = stored.astype(np.float32)
    center, width = float(film.WindowCenter), float(film.WindowWidth)
    pixels -= np.float32(center - 0.5)
    pixels *= np.float32(1 / (width - 1))
    pixels += np.float32(0.5)
    np.clip(pixels, 0, 1, out=pixels)
    if film.PhotometricInterpretation == "MONOCHROME1":
        np.subtract(1, pixels, out=pixels)
    at.append(time.perf_counter())
    step = int(np.ceil(np.sqrt(max(1, pixels.size / (1 << 19)))))
    np.percentile(pixels[::step, ::step], (5, 95))
    at.append(time.perf_counter())
    small = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    tensor = (np.asarray(small) - np.float32(MEAN)) / np.float32(STD)
    at.append(time.perf_counter())
    names = ("parse", "decode", "normalise", "quality", "resize")
    times = {name: 1e3 * (b - a) for name, a, b in zip(names, at, at[1:])}
    return {**times, "total": sum(times.values())}, tensor


def main():
    rounds = [run(sys.argv[1]) for _ in range(int(sys.argv[2]))]
    rounds[0][1].astype("<f4").tofile(sys.argv[3])
    times = [times for times, _ in rounds]
    print(json.dumps({"first": times[0], "best": min(times, key=lambda one: one["total"])}))


if __name__ == "__main__":
    main()
