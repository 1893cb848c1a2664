#!/usr/bin/python3
"""check_charts.py DRAW_CHARTS: the pictures are what others can read, in TAP."""
import hashlib
import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
from PIL import Image

sys.path.insert(0, os.path.join(os.environ["MEDAID_SOURCE_ROOT"], "tests/support"))
import tap

TOOL = sys.argv.pop(1)
SVG = "{http://www.w3.org/2000/svg}"
NAMES = ["confusion", "confusion20", "curves", "histogram", "intervals", "pr", "reliability", "roc", "roc3"]


def luminance(rgb):
    c = np.array([int(rgb[i:i + 2], 16) for i in (0, 2, 4)]) / 255
    c = np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(c @ [0.2126, 0.7152, 0.0722])


def contrast(a, b):
    a, b = sorted((luminance(a), luminance(b)))
    return (b + 0.05) / (a + 0.05)


class Charts:
    def draw(self, name="a"):
        folder = pathlib.Path(self.folder) / name
        folder.mkdir()
        subprocess.run([TOOL, str(folder)], check=True)
        return folder

    def test_all_there_and_the_same_again(self):
        one, two = self.draw("a"), self.draw("b")
        files = sorted(p.name for p in one.iterdir())
        assert files == sorted(f"{n}.{e}" for n in NAMES for e in ("svg", "png")), files
        for name in files:
            assert hashlib.sha256((one / name).read_bytes()).digest() == \
                hashlib.sha256((two / name).read_bytes()).digest(), name

    def test_svg(self):
        folder = self.draw()
        for name in NAMES:
            text = (folder / f"{name}.svg").read_text(encoding="utf-8")
            root = ET.fromstring(text)
            assert root.tag == SVG + "svg" and root.get("role") == "img"
            assert root.find(SVG + "title").text and len(root.find(SVG + "desc").text) > 20
            assert root.get("aria-label") == root.find(SVG + "title").text
            assert "href" not in text and "url(" not in text and "<script" not in text
            width, height = float(root.get("width")), float(root.get("height"))
            for path in root.iter(SVG + "path"):
                numbers = path.get("d").replace("M", " ").replace("L", " ").replace("Z", " ").split()
                xs, ys = map(float, numbers[::2]), map(float, numbers[1::2])
                assert all(-1 <= x <= width + 1 for x in xs), name
                assert all(-1 <= y <= height + 1 for y in ys), name
            for word in root.iter(SVG + "text"):
                assert -1 <= float(word.get("x")) <= width and -1 <= float(word.get("y")) <= height, word.text
        title = ET.parse(folder / "intervals.svg").getroot().find(SVG + "title").text
        assert title == "AUC by group <b>&amp;", title

    def test_words_and_numbers(self):
        folder = self.draw()

        def words(name):
            return [t.text for t in ET.parse(folder / f"{name}.svg").getroot().iter(SVG + "text")]
        assert {"196", "97.0%", "bacterial", "truth", "what the model said"} <= set(words("confusion"))
        assert {"training", "validation", "best: epoch 31", "epoch", "Loss"} <= set(words("curves"))
        assert {"threshold 0.73", "without the finding (n = 202)"} <= set(words("histogram"))
        assert {"0.962 (0.947 to 0.977)", "too few: 3 with, 11 without"} <= set(words("intervals"))
        assert "the upper left corner, enlarged" in words("roc")
        assert "the upper left corner, enlarged" not in words("roc3")  # one curve would hide behind it

    def test_gap_breaks_the_line(self):
        root = ET.parse(self.draw() / "curves.svg").getroot()
        dashed = [p for p in root.iter(SVG + "path")
                  if p.get("class") == "s1" and p.get("d").count("L") > 1]
        assert len(dashed) == 3, len(dashed)  # validation loss, and accuracy before and after its gap

    def test_png(self):
        folder = self.draw()
        for name in NAMES:
            root = ET.parse(folder / f"{name}.svg").getroot()
            picture = Image.open(folder / f"{name}.png")
            assert abs(picture.width - 2 * float(root.get("width"))) <= 1
            assert abs(picture.height - 2 * float(root.get("height"))) <= 1
            pixels = np.asarray(picture.convert("RGB"))
            assert (pixels[0, 0] == 255).all()
            assert 0.005 < (pixels.min(2) < 128).mean() < 0.5, name  # neither empty nor black

    def test_letters_are_drawn(self):
        """Without a font cairo draws boxes or nothing: two words of equal length look different."""
        pixels = np.asarray(Image.open(self.draw() / "confusion.png").convert("L"))
        rows = [pixels[y:y + 40, 60:190] for y in (290, 512, 732)]  # normal, bacterial, viral
        assert all((row < 100).sum() > 150 for row in rows), [(row < 100).sum() for row in rows]
        assert not np.array_equal(rows[0], rows[1]) and not np.array_equal(rows[1], rows[2])

    def test_colours(self):
        """Lines keep a contrast of 3 to light and dark paper, words 4.5 (WCAG 2, 1.4.3, 1.4.11), and the
        first three series differ also where red and green look alike (Machado et al. 2009)."""
        text = (self.draw() / "roc.svg").read_text(encoding="utf-8")
        light, dark = text.split("@media")[0], text.split("@media")[1]
        deuteranopia = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                                 [-0.011820, 0.042940, 0.968881]])
        for style, paper in ((light, "ffffff"), (dark, "14171c")):
            ink = {}
            for k in range(10):
                colour = style.split(f".f{k}{{fill:#")[1].split("}")[0]
                ink[k] = colour if len(colour) == 6 else "".join(2 * c for c in colour)
            assert ink[9] == paper
            for k in range(6):
                assert contrast(ink[k], paper) >= 3, (k, ink[k])
            for k in (6, 7):
                assert contrast(ink[k], paper) >= 4.5, (k, ink[k])
            seen = [deuteranopia @ [int(ink[k][i:i + 2], 16) for i in (0, 2, 4)] for k in range(3)]
            for i in range(3):
                for j in range(i):
                    assert np.linalg.norm(seen[i] - seen[j]) > 50, (i, j)


tap.run(Charts)
