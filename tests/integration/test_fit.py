#!/usr/bin/python3
"""medaid-train fit, as it is installed, on films that the test paints: the model learns, its file is a
whole ONNX network that gives what the log says, a run that is killed again and again ends with the same
bytes, and what is wrong is said in one line."""
import errno
import hashlib
import json
import math
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import onnx.numpy_helper
import torch
import torch.nn.functional as F
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import tap  # noqa: E402
from faults import Faults  # noqa: E402

TRAIN = str(pathlib.Path(os.environ["MEDAID_BUILD_ROOT"]) / "daemon" / "medaid-train")
SIDE = 48
CLASSES = ["disc", "cross", "bars"]
PATIENCE_S = 240

RECIPE = """medaid_recipe: 1
name: shapes
seed: 7
run_folder: run
threads: 2
data:
  classes: [disc, cross, bars]
  folders: [films]
  patient_pattern: "p([0-9]+)_"
  split: {train: 0.7, validation: 0.3}
preprocess:
  values: display
  fit: stretch
  width: 48
  height: 48
  filter: triangle
  channels: 1
  mean: [0.4]
  std: [0.25]
augment:
  flip_horizontal: 0.5
  brightness: {low: -0.1, high: 0.1}
  noise: {probability: 0.5, low: 0, high: 0.05}
  mixup: {probability: 0.2}
network: {name: resnet-small, width: 0.25}
training:
  batch: 16
  epochs: 8
  sizes: [{epochs: 3, size: 32}]
  optimizer: sgd
  momentum: 0.9
  nesterov: true
  weight_decay: 1.0e-4
  learning_rate: 0.05
  schedule: cosine
  warmup_epochs: 1
  average: 0.9
  clip_norm: 5
  label_smoothing: 0.05
"""


def paint(kind, random):
    """A shape somewhere, on noise."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    cy, cx = random.uniform(14, 34, 2)
    shape = {"disc": (y - cy) ** 2 + (x - cx) ** 2 < 64,
             "cross": (abs(y - cy) < 2.5) | (abs(x - cx) < 2.5),
             "bars": (x + int(cx)) % 8 < 3}[kind]
    picture = 90 + 70 * shape + random.normal(0, 12, (SIDE, SIDE))
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Case:
    """Each test in a folder of its own, with films and a recipe."""

    def set_up(self, recipe=RECIPE, patients=24):
        self.home = pathlib.Path(self.folder)
        random = np.random.RandomState(3)
        for kind in CLASSES:
            (self.home / "films" / kind).mkdir(parents=True, exist_ok=True)
            for patient in range(patients):
                for film in range(2):
                    number = patient + 100 * CLASSES.index(kind)
                    paint(kind, random).save(self.home / "films" / kind / f"p{number}_{film}.png")
        self.write(recipe)
        self.run_folder = self.home / "run"

    def write(self, recipe):
        (self.home / "recipe.yaml").write_text(recipe)

    def start(self, *arguments, **more):
        return subprocess.Popen([TRAIN, "fit", str(self.home / "recipe.yaml"), *arguments],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)

    def fit(self, *arguments, **more):
        """Exit code, standard output, standard error."""
        process = self.start(*arguments, **more)
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out, err

    def log(self):
        path = self.run_folder / "log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def epochs(self):
        return [line for line in self.log() if line["event"] == "epoch"]

    def good(self, done):
        assert done[0] == 0, done

    def test_a_model_is_trained_and_its_file_gives_what_the_log_says(self):
        self.set_up()
        done = self.fit()
        self.good(done)
        names = {p.name for p in self.run_folder.iterdir()}
        assert {"recipe.yaml", "split.csv", "log.jsonl", "checkpoint.bin", "checkpoint.previous.bin", "model.onnx",
                "best.onnx", "last.onnx", "curves.svg", "curves.png", "confusion.svg", "confusion.png",
                "report.html"} <= names, names
        epochs = self.epochs()
        assert [e["epoch"] for e in epochs] == list(range(1, 9))
        assert [e["width"] for e in epochs] == [32] * 3 + [48] * 5
        assert epochs[-1]["loss"] < 0.6 * epochs[0]["loss"]
        assert epochs[-1]["auc"] > 0.95 and epochs[-1]["accuracy"] > 0.85, epochs[-1]
        assert [e["event"] for e in self.log()] == ["start"] + ["epoch"] * 8 + ["done"]
        memory = self.log()[0]["memory_mib"]
        assert 1 <= memory < 200 and "memory: " in done[1] + done[2], memory
        model = onnx.load(self.run_folder / "model.onnx")
        onnx.checker.check_model(model, full_check=True)
        assert any(n.op_type == "BatchNormalization" for n in model.graph.node)
        # the network as torch computes it, on the films of the split's validation part
        rows = [line.split(",") for line in (self.run_folder / "split.csv").read_text().splitlines()[1:]]
        validation = [row[0] for row in rows if row[2] == "validation"]
        assert len(validation) >= 30
        pixels = np.stack([np.asarray(Image.open(self.home / "films" / name), np.float32) for name in validation])
        said = run_onnx(model, torch.from_numpy((pixels[:, None] / 255 - 0.4) / 0.25)).argmax(1).numpy()
        truth = np.array([CLASSES.index(name.split("/")[0]) for name in validation])
        assert abs((said == truth).mean() - epochs[-1]["accuracy"]) < 1e-6
        # and once more in another folder: the same bytes
        self.write(RECIPE.replace("run_folder: run", "run_folder: again"))
        self.good(self.fit())
        assert digest(self.home / "again" / "model.onnx") == digest(self.run_folder / "model.onnx")
        # two runs in one folder are a mistake
        code, _, err = self.fit()
        assert code == 3 and "holds a run already: go on with --resume" in err, (code, err)
        # resuming what is done changes nothing
        before = digest(self.run_folder / "model.onnx")
        self.write(RECIPE)
        self.good(self.fit("--resume"))
        assert digest(self.run_folder / "model.onnx") == before

    def kill_when(self, condition, *arguments):
        """Kill -9 as soon as the condition holds; False when the run was done before."""
        process = self.start(*arguments)
        while process.poll() is None and not condition():
            time.sleep(0.005)
        alive = process.poll() is None
        if alive:
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)
        return alive

    def test_kill_9_at_any_time_ends_with_the_same_bytes(self):
        self.set_up()
        self.good(self.fit())
        wanted = {name: digest(self.run_folder / name) for name in ("model.onnx", "best.onnx", "last.onnx")}
        seconds = self.log()[-1]["seconds"]
        self.write(RECIPE.replace("run_folder: run", "run_folder: killed"))
        self.run_folder = self.home / "killed"
        killed = 0
        checkpoint = self.run_folder / "checkpoint.bin"
        # before anything is there, while a checkpoint is written, after so many epochs, between two
        for moment in (lambda: self.run_folder.exists(), lambda: (self.run_folder / "log.jsonl").exists(),
                       lambda: any(self.run_folder.glob("checkpoint.bin.*.part")) or len(self.epochs()) >= 2,
                       lambda: checkpoint.exists() and len(self.epochs()) >= 3,
                       lambda: len(self.epochs()) >= 4 and time.sleep(seconds / 16) is None,
                       lambda: any(self.run_folder.glob("*.part")) or len(self.epochs()) >= 7):
            killed += self.kill_when(moment, "--resume")
        assert killed >= 4, killed
        self.good(self.fit("--resume"))
        for name, sha in wanted.items():
            assert digest(self.run_folder / name) == sha, name
        assert [e["epoch"] for e in self.epochs()] == list(range(1, 9))
        assert not list(self.run_folder.glob("*.part"))

    def test_signals_and_the_clock_stop_with_a_checkpoint(self):
        self.set_up()
        self.good(self.fit())
        wanted = digest(self.run_folder / "model.onnx")
        self.write(RECIPE.replace("run_folder: run", "run_folder: stopped"))
        self.run_folder = self.home / "stopped"
        for number in (signal.SIGTERM, signal.SIGINT):
            process = self.start("--resume")
            n = len(self.epochs())
            while process.poll() is None and len(self.epochs()) < n + 2:
                time.sleep(0.005)
            process.send_signal(number)
            _, err = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 5 and re.search(r"stopped by a signal after step \d+ of \d+", err), err
        code, _, err = self.fit("--resume", "--max-minutes", "0.01")
        assert code in (0, 5) and (code == 0 or "stopped by --max-minutes" in err), (code, err)
        self.good(self.fit("--resume"))
        assert digest(self.run_folder / "model.onnx") == wanted

    def test_a_changed_recipe_or_film_does_not_resume(self):
        self.set_up()
        process = self.start()
        while process.poll() is None and len(self.epochs()) < 2:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
        self.write(RECIPE.replace("learning_rate: 0.05", "learning_rate: 0.04"))
        code, _, err = self.fit("--resume")
        assert code == 2 and "the recipe has changed since the checkpoint" in err, (code, err)
        self.write(RECIPE)
        paint("disc", np.random.RandomState(99)).save(self.home / "films" / "disc" / "p0_0.png")
        code, _, err = self.fit("--resume")
        assert code == 2 and "the films, their labels or the split have changed" in err, (code, err)

    def test_a_damaged_checkpoint_is_passed_over(self):
        self.set_up()
        self.good(self.fit())
        wanted = digest(self.run_folder / "model.onnx")
        path = self.run_folder / "checkpoint.bin"
        whole = path.read_bytes()
        path.write_bytes(whole[:-100])
        (self.run_folder / "model.onnx").unlink()
        self.good(self.fit("--resume"))
        assert digest(self.run_folder / "model.onnx") == wanted
        for name in ("checkpoint.bin", "checkpoint.previous.bin"):
            (self.run_folder / name).write_bytes(whole[:1000])
        code, _, err = self.fit("--resume")
        assert code == 3 and "the checkpoint is damaged" in err, (code, err)

    def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(self):
        # rises by 1.5 orders of magnitude each epoch until sums overflow
        recipe = RECIPE.replace("  clip_norm: 5\n", "").replace("  average: 0.9\n", "") \
            .replace("  nesterov: true\n", "").replace("learning_rate: 0.05", "learning_rate: 100") \
            .replace("schedule: cosine", "schedule: constant").replace("network: {name: resnet-small, width: 0.25}",
                                                                       "network: {name: vgg11, width: 0.1}") \
            .replace("epochs: 8", "epochs: 60").replace("warmup_epochs: 1", "warmup_epochs: 50")
        recipe = recipe.replace("vgg11, width: 0.1", "classic-cnn")
        self.set_up(recipe, patients=10)
        code, _, err = self.fit()
        assert code == 5, (code, err)
        said = re.search(r"(the loss|a gradient|a weight|the validation loss) is -?(nan|inf) at step \d+ of epoch (\d+)",
                         err)
        assert said, err
        last = self.log()[-1]
        assert last["event"] == "not_finite" and last["epoch"] == int(said.group(3)) - 1, last
        assert all(math.isfinite(e["loss"]) for e in self.epochs())
        if self.epochs():
            assert (self.run_folder / "checkpoint.bin").exists()
        assert not (self.run_folder / "model.onnx").exists()
        # again from the last good checkpoint: the same end
        code, _, again = self.fit("--resume")
        assert code == 5 and again == err, (again, err)

    def test_a_full_disk_keeps_what_was_there(self):
        self.set_up()
        self.good(self.fit())
        wanted = digest(self.run_folder / "model.onnx")
        self.write(RECIPE.replace("run_folder: run", "run_folder: full"))
        self.run_folder = self.home / "full"
        faults = Faults(self.home)
        process = self.start(env={**os.environ, **faults.environment()})
        while process.poll() is None and len(self.epochs()) < 3:
            time.sleep(0.005)
        faults.set(write_ppm=1000000, error=errno.ENOSPC)
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 7 and os.strerror(errno.ENOSPC) in err, (process.returncode, err)
        assert (self.run_folder / "checkpoint.bin").exists()
        self.good(self.fit("--resume"))
        assert digest(self.run_folder / "model.onnx") == wanted

    def test_mistakes_in_recipe_and_command_line(self):
        self.set_up()
        rows = [
            (("epochs: 8", "epoch: 8"), "recipe.yaml:28"),
            (("learning_rate: 0.05", "learning_rate: fast"), "training.learning_rate"),
            (("name: resnet-small", "name: resnet-smal"), "resnet-smal"),
            (("warmup_epochs: 1", "warmup_epochs: 8"), "warmup_epochs"),
            (("[disc, cross, bars]", "[disc, cross, stars]"), "has no label"),
            (("folders: [films]", "folders: [nowhere]"), "nowhere"),
            (("network: {name: resnet-small, width: 0.25}",
              "network: {layers: [{conv: 8}, {flatten: true}, {conv: 4}, {fully_connected: 3}]}"),
             "it needs a picture"),
            (("  clip_norm: 5", "  clip_norm: 5\n  max_mib: 1"), "the limit is 1: take smaller batches"),
            (("sizes: [{epochs: 3, size: 32}]", "sizes: [{epochs: 1, size: 32}, {epochs: 1, size: 512}]\n"
              "  max_mib: 64"), "pictures of 512 x 512: training with batches of 16"),
            (("  clip_norm: 5", "  clip_norm: 5\n  max_mib: 0.5"), "training.max_mib"),
        ]
        for (old, new), text in rows:
            assert old in RECIPE, old
            self.write(RECIPE.replace(old, new))
            code, out, err = self.fit()
            assert code in (2, 3) and text in err and err.count("\n") == 1, (new, code, out, err)
            assert not (self.run_folder / "checkpoint.bin").exists()
        for arguments in (["--threads", "0"], ["--threads"], ["--max-minutes", "x"], ["--fast"], ["more.yaml"]):
            assert self.fit(*arguments)[0] == 2, arguments

    def test_several_labels_some_unknown_with_early_stopping(self):
        recipe = RECIPE.replace("[disc, cross, bars]\n", "[disc, cross, bars]\n  task: multi-label\n  table: labels.csv\n") \
            .replace("network: {name: resnet-small, width: 0.25}", """network:
  layers:
    - {conv: 8, stride: 2, bias: true}
    - {batch_norm: true}
    - {activation: step}
    - {conv: 16, kernel: 5, stride: 2}
    - {batch_norm: true}
    - {activation: hard-swish}
    - {residual: [{conv: 16}, {batch_norm: true}]}
    - {squeeze_excite: 4}
    - {global_average_pool: true}
    - {fully_connected: 3}""") \
            .replace("optimizer: sgd\n  momentum: 0.9\n  nesterov: true", "optimizer: adamw") \
            .replace("learning_rate: 0.05\n  schedule: cosine", "learning_rate: 0.01\n  schedule: one-cycle") \
            .replace("epochs: 8", "epochs: 40\n  early_stopping_epochs: 2\n  backend: openblas")
        self.set_up(recipe)
        rows = ["file,disc,cross,bars"]
        for path in sorted((self.home / "films").rglob("*.png")):
            kind = path.parent.name
            # of every third film it is not known whether there are bars
            known = "" if len(rows) % 3 == 0 else str(int(kind == "bars"))
            rows.append(f"{kind}/{path.name},{int(kind == 'disc')},{int(kind == 'cross')},{known}")
        (self.home / "labels.csv").write_text("\n".join(rows) + "\n")
        self.good(self.fit())
        epochs = self.epochs()
        best = max(epochs, key=lambda e: (e["auc"], -e["validation_loss"]))
        done = self.log()[-1]
        assert done["event"] == "done" and done["best_epoch"] == best["epoch"], (done, best)
        assert best["auc"] > 0.9 and set(best["class_auc"]) == set(CLASSES), best
        assert len(epochs) == 40 or len(epochs) == best["epoch"] + 2, (len(epochs), best)
        assert digest(self.run_folder / "model.onnx") == digest(self.run_folder / "best.onnx")
        assert (self.run_folder / "report.html").stat().st_size > 10000
        onnx.checker.check_model(onnx.load(self.run_folder / "model.onnx"), full_check=True)

    def test_fine_tuning_with_frozen_layers(self):
        self.set_up()
        self.good(self.fit())
        first = {t.name: onnx.numpy_helper.to_array(t) for t in
                 onnx.load(self.run_folder / "model.onnx").graph.initializer}
        self.write(RECIPE.replace("run_folder: run", "run_folder: tuned")
                   .replace("network: {name: resnet-small, width: 0.25}",
                            "network: {file: run/model.onnx, freeze: [stem, layer1]}")
                   .replace("epochs: 8", "epochs: 3").replace("{epochs: 3, size: 32}", "{epochs: 1, size: 32}"))
        self.good(self.fit())
        self.run_folder = self.home / "tuned"
        for t in onnx.load(self.run_folder / "model.onnx").graph.initializer:
            same = (onnx.numpy_helper.to_array(t) == first[t.name]).all()
            assert same == (t.name.startswith(("stem", "layer1")) or t.name == "dropout.ratio"), t.name
        assert self.epochs()[-1]["auc"] > 0.95


def run_onnx(model, x):
    """The operators of the small networks, by torch."""
    values = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    values[model.graph.input[0].name] = x
    for node in model.graph.node:
        a = {p.name: onnx.helper.get_attribute_value(p) for p in node.attribute}
        i = [values[name] for name in node.input]
        y = {
            "Conv": lambda: F.conv2d(i[0], i[1], i[2] if len(i) > 2 else None, a["strides"], a["pads"][:2],
                                     a["dilations"], a["group"]),
            "BatchNormalization": lambda: F.batch_norm(i[0], i[3], i[4], i[1], i[2], eps=a["epsilon"]),
            "Relu": lambda: F.relu(i[0]),
            "MaxPool": lambda: F.max_pool2d(i[0], a["kernel_shape"], a["strides"], a["pads"][:2]),
            "AveragePool": lambda: F.avg_pool2d(i[0], a["kernel_shape"], a["strides"], a["pads"][:2]),
            "Add": lambda: i[0] + i[1],
            "GlobalAveragePool": lambda: i[0].mean((2, 3), keepdim=True),
            "Flatten": lambda: i[0].flatten(1),
            "Dropout": lambda: i[0],
            "Gemm": lambda: F.linear(i[0], i[1], i[2]),
        }[node.op_type]()
        values[node.output[0]] = y
    return values[model.graph.output[0].name]


if __name__ == "__main__":
    sys.argv = sys.argv[:1] + ["-"] + sys.argv[1:]  # tap takes names from the second argument on
    tap.run(Case)
