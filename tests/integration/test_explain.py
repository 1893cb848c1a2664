#!/usr/bin/python3
"""medaid-train explain, as it is installed: a network whose map is known points where the painted spot is;
networks that forget their weights give other maps, the same for the same seed; the phantom says where its
opacity is; what is wrong is said in one line."""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pydicom
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import tap  # noqa: E402
import tiny_model  # noqa: E402

BUILD = pathlib.Path(os.environ["MEDAID_BUILD_ROOT"])
ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAIN, PHANTOM = BUILD / "daemon/medaid-train", BUILD / "tests/support/medaid-phantom"
CAM = "method: grad-cam\n  features: features"


class Case:
    folder = ""

    def set_up(self, **options):
        self.home = pathlib.Path(self.folder)
        self.model = tiny_model.write(self.home / "models" / "tiny", **options)
        random = np.random.RandomState(4)
        rows = ["file,x,y,width,height"]
        (self.home / "films").mkdir()
        for i in range(5):
            pixels = random.randint(20, 60, (240, 320)).astype(np.uint8)
            x, y = random.randint(20, 220), random.randint(20, 150)
            pixels[y:y + 50, x:x + 60] = 230
            Image.fromarray(pixels).save(self.home / f"films/secret{i}.png")
            rows.append(f"films/secret{i}.png,{x},{y},60,50")
        (self.home / "table.csv").write_text("\n".join(rows) + "\n")

    def explain(self, *arguments, code=0, data="table.csv", model=None):
        done = subprocess.run([TRAIN, "explain", model or self.model, "--data", self.home / data, *arguments],
                              capture_output=True, text=True, check=False)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        return done

    def result(self, out="out"):
        return json.loads((self.home / out / "explain.json").read_text())

    def test_points_at_the_spot(self):
        for method in (CAM, "method: grad-cam++\n  features: conv", "method: integrated-gradients\n  cell: 2"):
            self.folder, whole = str(pathlib.Path(self.folder) / "m"), self.folder
            pathlib.Path(self.folder).mkdir()
            self.set_up(**({"edit": (CAM, method)} if method != CAM else {}))
            done = self.explain("--out", self.home / "out", "--films", "0", "--pictures", "2")
            assert "pointing, 5 films: 5 hit" in done.stdout, done.stdout
            r = self.result()
            assert r["pointing"]["hits"] == 5 and r["pointing"]["share"] == 1
            area = 60 * 50 / (240 * 320)
            assert abs(r["pointing"]["area"] - area) < 0.01 and r["pointing"]["energy"] > 3 * area
            assert r["randomised"]["stages"] == [] and r["model"]["id"] == "tiny"
            names = sorted(p.name for p in (self.home / "out").iterdir())
            assert names == ["explain.json", "film-001.png", "film-002.png"], names
            picture = np.asarray(Image.open(self.home / "out/film-001.png")).astype(int)
            assert picture.shape == (240, 2 * 320 + 4, 3)
            colour = picture.max(2) - picture.min(2)
            assert colour[:, :320].max() == 0 and colour[:, 324:].max() > 60
            # the other finding is the darkness: its map is empty, which is a miss
            self.explain("--out", self.home / "dark", "--finding", "dark", "--films", "0")
            assert self.result("dark")["pointing"]["without_map"] == 5
            assert self.result("dark")["pointing"]["hits"] == 0
            self.folder = whole
            (pathlib.Path(self.folder) / "m").rename(pathlib.Path(self.folder) / str(abs(hash(method))))

    def test_misses_what_is_elsewhere(self):
        self.set_up()
        table = self.home / "table.csv"
        rows = table.read_text().splitlines()
        table.write_text("\n".join([rows[0]] + [r.split(",")[0] + ",1,1,4,4" for r in rows[1:]]) + "\n")
        self.explain("--out", self.home / "out", "--films", "0", "--tolerance", "5")
        assert self.result()["pointing"]["hits"] == 0
        # rows without a rectangle are films without a truth
        table.write_text("\n".join([rows[0], rows[1]] + [r.split(",")[0] + ",,,," for r in rows[2:]]) + "\n")
        self.explain("--out", self.home / "out", "--films", "0")
        assert self.result()["pointing"]["films"] == 1 and self.result()["films"] == 5

    def test_randomised_weights(self):
        model = ROOT / "plugins/chest"
        self.set_up()
        films = self.home / "phantoms"
        films.mkdir()
        for seed in (1, 2):
            subprocess.run([PHANTOM, "--rows", "256", "--columns", "300", "--seed", str(seed), "--opacity", "left",
                            "--output", films / f"{seed}.dcm"], check=True)
        for out, seed in (("a", "3"), ("b", "3"), ("c", "4")):
            self.explain("--out", self.home / out, "--seed", seed, "--pictures", "1", data="phantoms", model=model)
        a, b, c = (self.result(out) for out in "abc")
        assert a == b and a["randomised"]["stages"] != c["randomised"]["stages"]
        r = a["randomised"]
        layers = [s["layers"] for s in r["stages"]]
        assert layers == sorted(set(layers)) and layers[0] == 1 and layers[-1] == r["layers"] > 5
        for stage in r["stages"]:
            rank = stage["rank_correlation"]
            assert stage["flat"] + (rank["n"] if rank else 0) == 2 == r["films"]
            for mean in (rank, stage["ssim"]):
                assert mean is None or -1 <= mean["low"] <= mean["mean"] <= mean["high"] <= 1
        # a network that has forgotten all shows something else
        last = r["stages"][-1]
        assert last["rank_correlation"] is None or abs(last["rank_correlation"]["mean"]) < 0.7, last
        assert a["pointing"] is None
        width = Image.open(self.home / "a/film-001.png").width
        assert width == 5 * 320 + 4 * 4, width

    def test_phantom_region(self):
        """Where the phantom says its opacity is, the film with it differs from the one without."""
        home = pathlib.Path(self.folder)
        for side, rows, columns in (("left", 512, 640), ("right", 700, 500)):
            size = ["--rows", str(rows), "--columns", str(columns), "--seed", "9"]
            done = subprocess.run([PHANTOM, *size, "--opacity", side, "--print-region", "--output",
                                   home / "ill.dcm"], check=True, stdout=subprocess.PIPE)
            x, y, width, height = map(float, done.stdout.split(b","))
            assert 0 < x and x + width < columns and 0 < y and y + height < rows
            assert (x + width / 2 > columns / 2) == (side == "left")
            none = subprocess.run([PHANTOM, *size, "--print-region", "--output", home / "well.dcm"], check=True,
                                  stdout=subprocess.PIPE)
            assert none.stdout == b""
            ill, well = (pydicom.dcmread(home / n).pixel_array.astype(int) for n in ("ill.dcm", "well.dcm"))
            change = np.maximum(ill - well, 0)
            box = change[int(y):int(y + height) + 1, int(x):int(x + width) + 1]
            assert box.sum() > 0.7 * change.sum() and box.size < 0.2 * change.size
            peak = np.unravel_index(change.argmax(), change.shape)
            assert y <= peak[0] <= y + height + 1 and x <= peak[1] <= x + width + 1

    def test_refused(self):
        self.set_up()

        def refused(*arguments, words, code, **options):
            said = self.explain(*arguments, code=code, **options).stderr.splitlines()
            assert all(w in said[-1] for w in words), (said, words)

        refused("--finding", "what", words=["no finding 'what'"], code=3)
        refused(words=["no such file"], code=3, data="nothing.csv")
        refused(words=["nowhere"], code=3, data="nowhere")
        (self.home / "empty").mkdir()
        refused(words=["no film"], code=3, data="empty")
        (self.home / "bad.csv").write_text("file,x,y,width,height\nfilms/secret0.png,1,2,3,\n")
        refused(words=["bad.csv:2:", "x, y, width and height"], code=3, data="bad.csv")
        (self.home / "bad.csv").write_text("name\nfilms/secret0.png\n")
        refused(words=["bad.csv:1:", "'file'"], code=3, data="bad.csv")
        (self.home / "bad.csv").write_text("file\nfilms/secret0.png\nfilms/gone.png\n")
        done = self.explain("--films", "0", data="bad.csv")
        assert "1 films, 1 unreadable" in done.stdout and "gone.png" in done.stderr
        plain = tiny_model.write(self.home / "models" / "plain",
                                 edit=(f"saliency:\n  {CAM}\n", ""))
        refused(words=["no 'saliency'"], code=5, model=plain)
        for arguments in (["--films", "x"], ["--films", "-1"], ["--what", "1"], ["--tolerance", "1e9"], ["more"]):
            self.explain(*arguments, code=2)


if __name__ == "__main__":
    tap.run(Case)
