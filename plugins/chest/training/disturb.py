#!/usr/bin/python3
"""Measure a package on the validation films changed in one way each: what of it is not lung?

    disturb.py FILMS FOLDER MEDAID_TRAIN PACKAGE

FILMS is the folder that split.csv counts from. The changed films are written to FOLDER (28 x 785 PNG, 0.7 GB, once),
and each way is measured by `medaid-train evaluate`, so that it is the package as it serves. Prints the tables of the
model card. Needs Debian's python3-numpy, python3-scipy and python3-pil."""
import csv
import io
import json
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image
from scipy import ndimage

N = 224
SEED = 20261124
HERE = pathlib.Path(__file__).resolve().parent


def is_sick(name):
    return not name.startswith("NORMAL/")


def films(folder, part):
    """[(name, grey uint8 [224,224])] of one part of split.csv."""
    with open(HERE / "split.csv", newline="", encoding="ascii") as file:
        names = [row["file"] for row in csv.DictReader(file) if row["part"] == part]
    return [(name, np.asarray(Image.open(folder / name).convert("L"))) for name in names]


# ---------------------------------------------------------------- tone and sharpness of another film

RADIUS = np.hypot(np.fft.fftfreq(N)[:, None], np.fft.rfftfreq(N)[None]) * N
RING = np.minimum(np.round(RADIUS), 112).astype(int)
PER_RING = np.bincount(RING.ravel())


def tone(film):
    """Share of the film, without a tenth at each edge, that is darker than each of 256 greys."""
    count = np.bincount(film[N // 10:-(N // 10), N // 10:-(N // 10)].ravel(), minlength=256)
    return (np.cumsum(count) - count / 2) / count.sum()


def spectrum(film):
    """Logarithm of the root mean power of each ring of frequencies, smoothed over five."""
    power = np.abs(np.fft.rfft2(film / 255)) ** 2
    mean = np.bincount(RING.ravel(), power.ravel()) / PER_RING
    return ndimage.uniform_filter1d(np.log(mean + 1e-6) / 2, 5, mode="nearest")


def swapped(film, other):
    """film in the histogram and the radial spectrum of `other`; shading below 4 cycles stays."""
    greys = np.interp(tone(film), tone(other), np.arange(256)) / 255
    gain = np.clip(spectrum(other) - spectrum(film), -1.5, 1.5)
    gain[:4] = 0
    return np.fft.irfft2(np.fft.rfft2(greys[film]) * np.exp(gain)[RING], s=(N, N))


# ---------------------------------------------------------------- the ways


def window(x, width=1.0, height=1.0, down=0.0, degrees=0.0):
    """A window of so much of the sides about the middle; above 1 there is black around the film."""
    angle = np.deg2rad(degrees)
    matrix = np.array([[height * np.cos(angle), width * np.sin(angle)],
                       [-height * np.sin(angle), width * np.cos(angle)]])
    middle = np.array([(N - 1) / 2, (N - 1) / 2])
    return ndimage.affine_transform(x, matrix, middle + [down * N, 0] - matrix @ middle, order=1)


def through(x, size):
    small = Image.fromarray(x.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((N, N), Image.Resampling.BICUBIC))


def jpeg(x, quality):
    file = io.BytesIO()
    Image.fromarray(np.round(np.clip(x, 0, 1) * 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)) / 255


def box(top, bottom, left, right):
    mask = np.zeros((N, N), bool)
    mask[round(top * N):round(bottom * N), round(left * N):round(right * N)] = True
    return mask


INNER, LUNGS = box(0.1, 0.9, 0.1, 0.9), box(0.14, 0.82, 0.12, 0.88)  # the lungs' box: 52% of the film


def filled(x, mask, grey=None):
    return np.where(mask, x.mean() if grey is None else grey, x)


def contrast(x, factor, shift=0.0):
    return (x - 0.48) * factor + 0.48 + shift


def ways(x, other, noise):
    """Every change of film x, 0..1; `other` is x with tone and sharpness of the other class."""
    return {
        "as they are": x,
        "gamma 0.7": x ** 0.7,
        "gamma 1.4": x ** 1.4,
        "contrast 0.6": contrast(x, 0.6),
        "contrast 1.4": contrast(x, 1.4),
        "brightness -0.12": contrast(x, 1, -0.12),
        "brightness +0.12": contrast(x, 1, 0.12),
        "blur sigma 1.0": ndimage.gaussian_filter(x, 1.0),
        "blur sigma 1.5": ndimage.gaussian_filter(x, 1.5),
        "through 112x112": through(x, 112),
        "noise 0.03": x + noise.standard_normal((N, N)) * 0.03,
        "JPEG quality 30": jpeg(x, 30),
        "outer 5% cut off": window(x, 0.9, 0.9),
        "outer 10% cut off": window(x, 0.8, 0.8),
        "lower 15% cut off": window(x, 1, 0.85, down=-0.075),
        "black frame of 8%": window(x, 1.19, 1.19),
        "wider by 1.2": window(x, 1 / 1.2, 1),
        "narrower by 1.2 (black sides)": window(x, 1.2, 1),
        "higher by 1.2": window(x, 1, 1 / 1.2),
        "rotated by 8 degrees": window(x, degrees=8),
        "mirrored": x[:, ::-1],
        "tone and sharpness of the other class": other,
        "lungs: outer 10% black": filled(x, ~INNER, 0.0),
        "lungs: outer 10% grey": filled(x, ~INNER),
        "lungs: only their box, rest grey": filled(x, ~LUNGS),
        "lungs: only their box, rest black": filled(x, ~LUNGS, 0.0),
        "lungs: their box painted grey": filled(x, LUNGS),
        "lungs: their box black": filled(x, LUNGS, 0.0),
    }


def file_name(way):
    return "".join(c if c.isalnum() or c in ".+-" else "_" for c in way)


def write(folder, out):
    training = films(folder, "train")
    pools = [[film for name, film in training if is_sick(name) == sick] for sick in (True, False)]
    random = np.random.default_rng(SEED)
    tables = {}
    for name, film in films(folder, "validation"):
        pool = pools[is_sick(name)]  # sick films look like normal ones and the other way round
        other = swapped(film, pool[random.integers(len(pool))])
        for way, values in ways(film / 255, other, random).items():
            below = f"{file_name(way)}/{pathlib.Path(name).stem}.png"
            (out / below).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)).save(out / below)
            tables.setdefault(way, []).append((below, int(is_sick(name))))
    for way, rows in tables.items():
        with open(out / f"{file_name(way)}.csv", "w", newline="", encoding="ascii") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("file", "pneumonia"))
            writer.writerows(rows)


def measure(folder, medaid_train, package):
    print("| films | AUC | accuracy | sensitivity | specificity |\n|---|---|---|---|---|")
    for way in ways(np.zeros((N, N)), np.zeros((N, N)), np.random.default_rng(0)):
        out = folder / f"{file_name(way)}.report"
        subprocess.run([medaid_train, "evaluate", package, "--data", folder / f"{file_name(way)}.csv", "--out", out,
                        "--bootstrap", "100"], check=True, stdout=subprocess.DEVNULL)
        finding = json.loads((out / "evaluation.json").read_text())["assessment"]["findings"][0]
        values = (finding["figures"]["measures"][key]["value"] for key in ("auc", "accuracy", "sensitivity", "specificity"))
        print(f"| {way} | " + " | ".join(f"{value:.3f}" for value in values) + " |", flush=True)


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    films_folder, folder = map(pathlib.Path, sys.argv[1:3])
    if not folder.exists():
        write(films_folder, folder)
    measure(folder, *sys.argv[3:])


if __name__ == "__main__":
    main()
