#!/usr/bin/python3
"""medaid-train quantize and what medaid makes of its grant, with the chest model and its validation set.

usage: test_precision.py BUILD [test...]; run from anywhere.
"""
import csv
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy
from PIL import Image

root = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(root / "tests" / "support"))
import tap  # noqa: E402

BUILD = pathlib.Path(sys.argv[1]).resolve()
FILMS = root.parent / "shared" / "data" / "chest-xray-224" / "train"
MODEL = root / "plugins" / "chest"


def run(program, *args, **environment):
    return subprocess.run([BUILD / "daemon" / program, *args], capture_output=True, text=True, check=False,
                          env={**os.environ, **environment})


class Precision:
    folder = ""

    def package(self, precision):
        folder = pathlib.Path(self.folder) / precision
        shutil.copytree(MODEL, folder, ignore=shutil.ignore_patterns("training"))
        manifest = folder / "model.yaml"
        manifest.write_text(manifest.read_text().replace("precision: f32", f"precision: {precision}"))
        return folder

    def inputs(self, step=1):
        """The preprocessed validation films: 224 x 224 already, so that there is nothing to resize."""
        if not FILMS.is_dir():
            raise tap.Skip("no ../shared/data/chest-xray-224")
        manifest = (MODEL / "model.yaml").read_text()
        mean, std = (float(re.search(rf"{key}: \[([\d.]+)\]", manifest)[1]) for key in ("mean", "std"))
        path = pathlib.Path(self.folder) / "inputs.f32"
        with open(MODEL / "training" / "split.csv", encoding="utf-8") as lines, open(path, "wb") as out:
            names = [row["file"] for row in csv.DictReader(lines) if row["part"] == "validation"]
            for name in names[::step]:
                grey = numpy.asarray(Image.open(FILMS / name).convert("L"), numpy.float32)
                assert grey.shape == (224, 224)
                ((grey / 255 - mean) / std).astype("<f4").tofile(out)
        return path

    def used(self, package, **environment):
        """The precision in which the model serves, and what was said about it."""
        done = run("medaid", "--explain-model", package, **environment)
        assert done.returncode == 0, done
        return re.search(r"precision=(\w+)", done.stdout)[1], done.stderr

    def grant(self, precision, limit, step):
        package = self.package(precision)
        has_it = run("medaid-train", "quantize", package, os.devnull).returncode != 5
        assert self.used(package)[0] == "f32", "used without a grant"
        done = run("medaid-train", "quantize", package, self.inputs(step))
        if not has_it:
            assert done.returncode == 5 and "this processor" in done.stderr, done
            return package
        assert done.returncode == 0, done
        found = re.search(rf"{precision} against f32: (\d+) images, .* score ([\d.]+), (\d+) judged", done.stdout)
        print("#", done.stdout.strip())
        n_images, n_flips = int(found[1]), int(found[3])
        assert n_images == -(-785 // step) and float(found[2]) <= limit and n_flips == 0, done
        assert self.used(package) == (precision, "")
        return package

    def test_bf16(self):
        self.grant("bf16", 0.01, 1)

    def test_int8(self):
        package = self.grant("int8", 0.02, 4)  # all of them take a minute
        grant = package / "precision.grant"
        if not grant.exists():
            return
        # another processor
        precision, said = self.used(package, DNNL_MAX_CPU_ISA="AVX2")
        assert precision == "f32" and "avx512_vnni" in said, said
        precision, said = self.used(package, DNNL_MAX_CPU_ISA="AVX512_CORE_VNNI")
        assert precision == "f32" and "another" in said, said
        # a hostile or damaged file
        whole = grant.read_bytes()
        grant.chmod(0o666)
        precision, said = self.used(package)
        assert precision == "f32" and "may write" in said, said
        for wrong in (whole[:-1], whole.replace(b"range", b"rangE", 1), b"", whole + b"x",
                      whole.replace(b"flips ", b"flips 9")):
            grant.write_bytes(wrong)
            grant.chmod(0o600)
            precision, said = self.used(package)
            assert precision == "f32" and "damaged" in said, (wrong[-20:], said)
        grant.unlink()
        grant.symlink_to(package / "model.yaml")
        assert self.used(package)[0] == "f32"
        # another network
        grant.unlink()
        grant.write_bytes(whole)
        grant.chmod(0o600)
        assert self.used(package)[0] == "int8"

    def test_not_granted(self):
        """Too few films, and a film file that is none; a grant of before does not outlive that."""
        package = self.package("int8")
        (package / "precision.grant").write_text("old")
        done = run("medaid-train", "quantize", package, self.inputs(step=10))
        assert done.returncode == 5, done
        assert "at least 100" in done.stderr or "this processor" in done.stderr, done
        assert not (package / "precision.grant").exists() or "this processor" in done.stderr
        wrong = pathlib.Path(self.folder) / "wrong"
        wrong.write_bytes(b"x" * 1000)
        assert run("medaid-train", "quantize", package, wrong).returncode in (2, 5)
        assert run("medaid-train", "quantize", MODEL, wrong).returncode == 2
        assert run("medaid-train", "quantize", package / "none", wrong).returncode == 3
        assert run("medaid-train").returncode == 2


tap.run(Precision)
