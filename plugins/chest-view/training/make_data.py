#!/usr/bin/python3
"""Pictures from which the chest-view model learns what an upright frontal chest film is: films of the
chest model's training data as they are, turned and as negatives, and things that are no chest film: files
of Debian's python3-pydicom, drawings of other body parts, textures, small windows of films.

usage: make_data.py --films .../chest-xray-224/train --split .../chest/training/split.csv --out FOLDER

Writes FOLDER/CLASS/*.png (96 x 96, grey) and FOLDER/table.csv (file, label, patient, part). Patients keep the
part that split.csv gives them, so that no film that the chest model was measured on teaches this one. The
same seed gives the same files. Debian 12: python3-numpy, python3-pil, python3-pydicom."""
import argparse
import csv
import hashlib
import pathlib
import warnings

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE, SEED = 96, 20261124
ALTERED = ["turned", "upside-down", "negative"]
N_DRAWN = {"train": 1200, "validation": 300}  # of drawings and textures
N_WINDOWS = {"train": 400, "validation": 100}
N_DICOM = 8  # changed copies of each picture of a DICOM file


def altered(picture, kind, random):
    if kind == "turned":
        return picture.transpose(Image.ROTATE_90 if random.rand() < 0.5 else Image.ROTATE_270)
    if kind == "upside-down":
        return picture.transpose(Image.ROTATE_180)
    return Image.fromarray(255 - np.asarray(picture))


def finish(values, random):
    """0..1 to a picture: some blur, noise, tone."""
    values = np.clip(values, 0, 1) ** np.exp(random.uniform(-0.5, 0.5))
    picture = Image.fromarray((values * 255).astype(np.uint8))
    picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(0, 1.5)))
    noisy = np.asarray(picture) + random.normal(0, random.uniform(0, 10), picture.size[::-1])
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def sheet():
    """Coordinates of the pixels, -1..1."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    return (2 * x + 1) / SIDE - 1, (2 * y + 1) / SIDE - 1


def turned(x, y, degrees):
    a = np.radians(degrees)
    return x * np.cos(a) + y * np.sin(a), y * np.cos(a) - x * np.sin(a)


def soft(distance, width=0.05):
    """1 inside (distance below 0), 0 outside, with an edge."""
    return 1 / (1 + np.exp(np.clip(distance / width, -50, 50)))


def ellipse(x, y, cx, cy, a, b):
    return np.hypot((x - cx) / a, (y - cy) / b) - 1


def texture(random):
    x, y = sheet()
    kind = random.randint(6)
    if kind == 0:
        small = random.rand(*([random.randint(2, 40)] * 2))
        return np.asarray(Image.fromarray((small * 255).astype(np.uint8)).resize((SIDE, SIDE), Image.BICUBIC)) / 255
    if kind == 1:
        u, _ = turned(x, y, random.uniform(0, 180))
        return 0.5 + random.uniform(0.2, 0.5) * np.sin(u * random.uniform(3, 40))
    if kind == 2:
        u, v = turned(x, y, random.uniform(0, 90))
        n = random.uniform(2, 12)
        return 0.2 + 0.6 * ((np.floor(u * n) + np.floor(v * n)) % 2)
    if kind == 3:
        u, _ = turned(x, y, random.uniform(0, 360))
        return 0.5 + random.uniform(0.1, 0.5) * u
    if kind == 4:
        return np.full((SIDE, SIDE), random.rand()) + random.uniform(-0.5, 0.5) * soft(
            ellipse(x, y, *random.uniform(-0.5, 0.5, 2), *random.uniform(0.1, 0.9, 2)), 0.1)
    picture = Image.new("L", (SIDE, SIDE), int(random.randint(0, 80)))
    draw = ImageDraw.Draw(picture)
    for _ in range(random.randint(3, 20)):
        text = "".join(chr(c) for c in random.randint(65, 91, random.randint(3, 14)))
        draw.text(tuple(random.randint(0, SIDE, 2) - 10), text, fill=int(random.randint(120, 256)))
    return np.asarray(picture) / 255


def limb(random):
    x, y = turned(*sheet(), random.uniform(-30, 30) + 90 * random.randint(2))
    x = x - random.uniform(-0.3, 0.3)
    wide = random.uniform(0.25, 0.6) * (1 + random.uniform(-0.4, 0.4) * y)
    values = random.uniform(0.15, 0.45) * soft(np.abs(x) - wide, 0.06)
    for side in ([0] if random.rand() < 0.5 else [-0.45, 0.45]):
        joint = random.uniform(-0.5, 0.5)
        bone = wide * random.uniform(0.25, 0.4) * (1 + 0.8 * np.exp(-((y - joint) / 0.25) ** 2))
        d = np.abs(x - side * wide) - bone
        values = values + 0.45 * soft(d, 0.03) - 0.2 * soft(d + 0.6 * bone, 0.05)
        values = values - 0.4 * soft(np.abs(y - joint) - 0.03, 0.02) * soft(d, 0.03)
    return values


def hand(random):
    x, y = turned(*sheet(), random.choice([0, 90, 180, 270]) + random.uniform(-25, 25))
    values = 0.3 * soft(ellipse(x, y, 0, 0.35, 0.5, 0.5))
    for k in range(5):
        u, v = turned(x, y - 0.35, (k - 2) * random.uniform(9, 16))
        length = random.uniform(0.9, 1.2) - 0.12 * abs(k - 2)
        d = np.maximum(np.abs(u) - 0.09, np.maximum(-v - length, v - 0.1))
        values = values + 0.25 * soft(d, 0.03) + 0.35 * soft(d + 0.045, 0.02)
        values = values * (1 - 0.5 * soft(np.abs(np.mod(v, 0.33) - 0.16) - 0.015, 0.01))
    return values


def skull(random):
    x, y = turned(*sheet(), random.uniform(-20, 20) + 90 * random.randint(4))
    a, b = random.uniform(0.5, 0.75, 2)
    d = ellipse(x, y, 0, -0.15, a, b)
    values = 0.45 * soft(d, 0.04) + 0.45 * soft(np.abs(d + 0.05) - 0.06, 0.03)
    values = values + 0.3 * soft(ellipse(x, y, random.uniform(-0.2, 0.2), 0.5, 0.35, 0.35), 0.05)
    for side in (-1, 1) if random.rand() < 0.6 else ():
        values = values - 0.3 * soft(ellipse(x, y, side * 0.25, 0.15, 0.15, 0.12), 0.06)
    return values


def abdomen(random):
    x, y = sheet()
    values = random.uniform(0.35, 0.55) * soft(np.abs(x) - random.uniform(0.75, 1.0), 0.06)
    spine = np.abs(x - 0.03 * np.sin(3 * y)) - random.uniform(0.08, 0.14)
    values = values + 0.3 * soft(spine, 0.03) * (0.8 + 0.2 * np.sin(y * 25))
    for side in (-1, 1):
        u, v = turned(x - side * 0.5, y - random.uniform(0.4, 0.8), side * 35)
        values = values + 0.3 * soft(ellipse(u, v, 0, 0, 0.25, 0.45), 0.08)
    for _ in range(random.randint(3, 12)):
        cx, cy = random.uniform(-0.6, 0.6, 2)
        values = values - random.uniform(0.1, 0.3) * soft(
            ellipse(x, y, cx, cy, *random.uniform(0.05, 0.25, 2)), 0.15)
    return values


def slice_of_body(random):
    x, y = turned(*sheet(), random.uniform(-15, 15))
    a, b = random.uniform(0.65, 0.95), random.uniform(0.5, 0.75)
    d = ellipse(x, y, 0, 0, a, b)
    values = random.uniform(0.35, 0.55) * soft(d, 0.03) - 0.1 * soft(np.abs(d + 0.05) - 0.04, 0.03)
    if random.rand() < 0.6:
        for side in (-1, 1):
            values = values - 0.4 * soft(ellipse(x, y, side * a * 0.48, 0, a * 0.33, b * 0.6), 0.06)
    values = values + 0.4 * soft(ellipse(x, y, 0, b * 0.6, 0.14, 0.14), 0.08)
    return values + 0.15 * soft(np.abs(ellipse(x, y, 0, 0.97, 1.1, 0.08)) - 0.2, 0.1)


DRAWINGS = [texture, texture, limb, hand, skull, abdomen, slice_of_body]


def window(picture, random):
    """A small part of a film."""
    w, h = picture.size
    side = random.uniform(0.2, 0.35)
    x, y = random.uniform(0, 1 - side, 2)
    box = (int(x * w), int(y * h), int((x + side) * w), int((y + side) * h))
    return picture.crop(box).resize((SIDE, SIDE), Image.BILINEAR)


def dicom_pictures():
    """Of every file of python3-pydicom that holds pixels: grey pictures, each once, with a name."""
    import pydicom
    seen = set()
    for path in sorted(pathlib.Path(pydicom.__file__).parent.glob("data/**/*")):
        try:
            pixels = pydicom.dcmread(path).pixel_array.astype(float)
        except Exception:  # not an image, or a syntax that no installed decoder reads
            continue
        pixels = pixels[0] if pixels.ndim == 3 and pixels.shape[2] != 3 else pixels
        pixels = pixels[0] if pixels.ndim == 4 else pixels
        pixels = pixels.mean(2) if pixels.ndim == 3 else pixels
        if min(pixels.shape) < 10 or np.ptp(pixels) == 0:
            continue
        low, high = np.percentile(pixels, [1, 99])
        pixels = np.clip((pixels - low) / max(high - low, 1e-9), 0, 1)
        picture = Image.fromarray((pixels * 255).astype(np.uint8)).resize((SIDE, SIDE), Image.BOX)
        # encodings of one picture are one picture: compared small and coarse
        key = hashlib.sha256((np.asarray(picture.resize((8, 8), Image.BOX)) // 64).tobytes()).hexdigest()
        if key not in seen:
            seen.add(key)
            yield key[:12], picture


class Writer:
    def __init__(self, out):
        self.out, self.rows = out, []

    def add(self, picture, label, name, patient, part):
        file = f"{label}/{name}.png"
        (self.out / label).mkdir(parents=True, exist_ok=True)
        picture.save(self.out / file)
        self.rows.append((file, label, patient, part))


def add_films(o, writer, random):
    with open(o.split, encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    pictures = {"train": [], "validation": []}
    for number, row in enumerate(rows):
        with Image.open(o.films / row["file"]) as film:
            whole = film.convert("L")
        small, patient, part = whole.resize((SIDE, SIDE), Image.BOX), row["patient"], row["part"]
        name = f"film{number}"
        if part == "validation":  # each film in every way
            writer.add(small, "upright", name, patient, part)
            for kind in ALTERED:
                writer.add(altered(small, kind, random), kind, name, patient, part)
        elif random.rand() < 0.5:
            writer.add(small, "upright", name, patient, part)
        else:
            kind = ALTERED[random.randint(3)]
            writer.add(altered(small, kind, random), kind, name, patient, part)
        pictures[part].append((whole, patient))
    for part, n in N_WINDOWS.items():
        for i in range(n):
            whole, patient = pictures[part][random.randint(len(pictures[part]))]
            writer.add(window(whole, random), "other", f"window-{part}{i}", patient, part)


def add_others(writer, random):
    for part, n in N_DRAWN.items():
        for i in range(n):
            draw = DRAWINGS[i % len(DRAWINGS)]
            writer.add(finish(draw(random), random), "other", f"{draw.__name__}-{part}{i}", f"drawn-{part}{i}", part)
    for key, picture in dicom_pictures():
        part = "validation" if int(key[:4], 16) % 3 == 0 else "train"
        for i in range(N_DICOM):
            copy = picture if i == 0 else picture.rotate(random.uniform(-15, 15) + 90 * random.randint(4))
            writer.add(copy if i == 0 else finish(np.asarray(copy) / 255, random), "other", f"dicom-{key}-{i}",
                       f"dicom-{key}", part)


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("--films", type=pathlib.Path, required=True)
    a.add_argument("--split", type=pathlib.Path, required=True)
    a.add_argument("--out", type=pathlib.Path, required=True, help="a new folder")
    o = a.parse_args()
    warnings.simplefilter("ignore")
    o.out.mkdir(parents=True)
    random, writer = np.random.RandomState(SEED), Writer(o.out)
    add_films(o, writer, random)
    add_others(writer, random)
    with open(o.out / "table.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "label", "patient", "part"])
        table.writerows(writer.rows)
    for part in ("train", "validation"):
        counts = {}
        for _, label, _, its in writer.rows:
            counts[label] = counts.get(label, 0) + (its == part)
        print(part, counts)


if __name__ == "__main__":
    main()
