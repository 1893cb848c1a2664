#!/usr/bin/python3
"""medaid-train export, as it is installed: a run folder as fit leaves it (films that the test paints, a
network of known weights) becomes a package that serves at once; its figures are those that numpy and
torch compute; its network is whole for onnx's checker and gives in ONNX Runtime (where it is installed)
what it gives here; what is wrong is said in one line and leaves nothing behind."""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import torch
import torch.nn.functional as F
import yaml
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import tap  # noqa: E402

BUILD = pathlib.Path(os.environ["MEDAID_BUILD_ROOT"])
TRAIN, MEDAID = BUILD / "daemon/medaid-train", BUILD / "daemon/medaid"
PHANTOM = BUILD / "tests/support/medaid-phantom"
ORT = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / \
    "medaid/onnxruntime-1.30.0/node_modules/onnxruntime-node"
SIDE, CLASSES, N_PATIENTS = 32, ["dark", "grey", "bright"], 140
MEAN, STD = 0.4, 0.25

RECIPE = """medaid_recipe: 1
name: brightness
seed: 5
run_folder: {run}
data:
  classes: [dark, grey, bright]
  folders: [{films}]
  patient_pattern: "p([0-9]+)_"
  split: {{train: 0.2, validation: {validation}, test: {test}, file: {split}}}
preprocess:
  values: display
  fit: stretch
  width: 32
  height: 32
  filter: area
  channels: 1
  mean: [0.4]
  std: [0.25]
network: {{name: resnet-small}}
training: {{batch: 16, epochs: 1, learning_rate: 0.01}}
evaluation: {{bootstrap: 200, calibration: {calibration}, threshold: {threshold}, sensitivity: 0.9{views}}}
export:
  id: brightness
  version: 0.1.0
  name: Brightness of films
  manufacturer: medaid tests
  accepts: {{modality: [DX], body_part: [CHEST]}}
  findings:
    - key: bright
      concept: {{code: "111211", scheme: DCM, meaning: Under exposed}}
      classes: [1, 2]
      threshold: 0.4
      urgent: true
    - key: very-bright
      concept: {{code: "111212", scheme: DCM, meaning: Over exposed}}
      classes: [2]
      threshold: 0.5
  saliency: {{{saliency}}}
  training: {{data: painted by a test}}
  intended_use: For tests, never for people.
"""
EXPORT_PRECISION = "  precision: bf16\n"
FIELDS = dict(validation=0.8, test=0.0, calibration="temperature", threshold="given",
              views="", saliency="method: grad-cam++, features: features")


def network(n_classes=3, odd=False):
    """Conv -> BatchNormalization -> Relu ("features") -> mean -> Gemm, its weights and the same in torch."""
    random = np.random.RandomState(2)
    w = {"conv.weight": random.normal(0, 0.3, (6, 1, 3, 3)), "bn.weight": random.uniform(0.8, 1.2, 6),
         "bn.bias": random.normal(0, 0.1, 6), "bn.mean": random.normal(0, 0.2, 6),
         "bn.var": random.uniform(0.5, 1.5, 6), "fc.weight": random.normal(0, 0.1, (n_classes, 6)),
         "fc.bias": np.zeros(n_classes)}
    w["conv.weight"][0] = 1 / 9  # the first channel is the mean brightness
    w["bn.weight"][0], w["bn.bias"][0], w["bn.mean"][0], w["bn.var"][0] = 1, 2, 0, 1
    w["fc.weight"][:3, 0] = [-6, 0, 6]
    w["fc.bias"][:3] = [11, 1, -13]
    w = {k: v.astype(np.float32) for k, v in w.items()}
    f = onnx.TensorProto.FLOAT
    nodes = [onnx.helper.make_node("Conv", ["image", "conv.weight"], ["conv"], kernel_shape=[3, 3], pads=[1] * 4),
             onnx.helper.make_node("BatchNormalization", ["conv", "bn.weight", "bn.bias", "bn.mean", "bn.var"],
                                   ["bn"], epsilon=1e-5),
             onnx.helper.make_node("Erf" if odd else "Relu", ["bn"], ["features"], name="activation"),
             onnx.helper.make_node("GlobalAveragePool", ["features"], ["mean"]),
             onnx.helper.make_node("Flatten", ["mean"], ["flat"]),
             onnx.helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["logits"], transB=1)]
    graph = onnx.helper.make_graph(
        nodes, "n", [onnx.helper.make_tensor_value_info("image", f, ["N", 1, SIDE, SIDE])],
        [onnx.helper.make_tensor_value_info("logits", f, ["N", n_classes])],
        [onnx.numpy_helper.from_array(v, k) for k, v in w.items()])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)])
    model.ir_version = 7
    onnx.checker.check_model(model)
    t = {k: torch.from_numpy(v).double() for k, v in w.items()}

    def run(x):
        y = F.conv2d(x, t["conv.weight"], padding=1)
        y = F.relu(F.batch_norm(y, t["bn.mean"], t["bn.var"], t["bn.weight"], t["bn.bias"], False, 0, 1e-5))
        return y.mean((2, 3)) @ t["fc.weight"].T + t["fc.bias"]

    return model.SerializeToString(), run


def auc(scores, truth):
    """The chance that a positive is above a negative, ties half."""
    a, b = scores[truth == 1], scores[truth == 0]
    return ((a[:, None] > b).mean() + 0.5 * (a[:, None] == b).mean())


class Case:
    folder = ""

    def set_up(self, **changes):
        self.home = pathlib.Path(self.folder)
        self.run_folder, self.out = self.home / "run", self.home / "models" / "brightness"
        random = np.random.RandomState(1)
        self.run_folder.mkdir(exist_ok=True)
        (self.home / "models").mkdir(exist_ok=True)
        rows, self.films = ["file,patient,part"], []
        for patient in range(N_PATIENTS):
            for film in range(2):
                k = random.randint(3)
                level = [70, 105, 140][k] + random.normal(0, 18)
                pixels = np.clip(random.normal(level, 25, (SIDE, SIDE)), 0, 255).astype(np.uint8)
                name = f"{CLASSES[k]}/p{patient}_{film}.png"
                path = self.home / "films" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.exists():
                    Image.fromarray(pixels).save(path)
                part = "train" if patient % 5 == 0 else "validation"
                if changes.get("test") and patient % 5 in (1, 2):
                    part = "test"
                self.films.append((pixels, k, patient, part))
                rows.append(f"{name},{patient},{part}")
        (self.run_folder / "split.csv").write_text("\n".join(rows) + "\n")
        fields = {**FIELDS, **changes}
        precision = fields.pop("precision", "")
        text = RECIPE.format(run=self.run_folder, films=self.home / "films",
                             split=self.run_folder / "split.csv", **fields)
        (self.run_folder / "recipe.yaml").write_text(text + precision)
        onnx_bytes, self.twin = network()
        (self.run_folder / "model.onnx").write_bytes(onnx_bytes)

    def export(self, *more, code=0, out=None):
        done = subprocess.run([TRAIN, "export", self.run_folder, out or self.out, "--threads", "2", *more],
                              capture_output=True, text=True, check=False)
        assert done.returncode == code, (done.returncode, done.stderr)
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        return done.stderr

    def refused(self, *words, code, **options):
        said = self.export(code=code, **options)
        last = said.splitlines()[-1]
        assert last.startswith("medaid-train: ") and all(w in last for w in words), (last, words)
        left = [p.name for p in (self.home / "models").iterdir()]
        assert left in ([], ["brightness"]), left

    def manifest(self):
        return yaml.safe_load((self.out / "model.yaml").read_text())

    def logits(self, part):
        chosen = [f for f in self.films if f[3] == part]
        x = torch.from_numpy(np.stack([f[0] for f in chosen])[:, None].astype(float) / 255)
        z = self.twin((x - MEAN) / STD).numpy()
        return z, np.array([f[1] for f in chosen]), np.array([f[2] for f in chosen])

    def check_figures(self, part, calibration):
        """The manifest's numbers against numpy's, from torch's logits."""
        m = self.manifest()
        z, label, patients = self.logits(part)
        t = m["calibration"]["temperature"] if calibration == "temperature" else 1.0
        e = np.exp(z / t - (z / t).max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        score, truth = p[:, 1] + p[:, 2], (label > 0).astype(int)
        if calibration == "platt":
            odds = np.log(score / (1 - score))
            score = 1 / (1 + np.exp(-(m["calibration"]["a"] * odds + m["calibration"]["b"])))
        said = score >= m["findings"][0]["threshold"]
        figures = m["performance"]
        assert figures["set"] == part and figures["n_images"] == len(label)
        assert figures["n_patients"] == len(set(patients))
        tp, fn = (said & (truth == 1)).sum(), (~said & (truth == 1)).sum()
        tn, fp = (~said & (truth == 0)).sum(), (said & (truth == 0)).sum()
        for key, value in (("accuracy", (tp + tn) / len(label)), ("sensitivity", tp / (tp + fn)),
                           ("specificity", tn / (tn + fp)), ("f1", 2 * tp / (2 * tp + fp + fn)),
                           ("auc", auc(score, truth))):
            got, low, high = figures[key]
            assert abs(got - value) < 1e-4, (key, got, value)
            assert 0 <= low <= got <= high <= 1 and high - low < 0.3 and high > low, (key, figures[key])
        return m, z, label, score, truth

    def test_package(self):
        self.set_up()
        said = self.export()
        assert "measuring" in said
        assert not (self.home / "models/brightness.part").exists()
        m, z, label, _, _ = self.check_figures("validation", "temperature")
        # everything is there and hashed
        names = {p.name for p in self.out.iterdir()}
        assert names == {"model.onnx", "model.yaml", "README.md", "selftest-input.f32", "selftest-output.f32"}
        assert set(m["files"]) == names - {"model.yaml"}
        for name, sha in m["files"].items():
            assert hashlib.sha256((self.out / name).read_bytes()).hexdigest() == sha
            assert (self.out / name).stat().st_mode & 0o777 == 0o644
        assert (self.out / "model.onnx").read_bytes() == (self.run_folder / "model.onnx").read_bytes()
        onnx.checker.check_model(onnx.load(str(self.out / "model.onnx")), full_check=True)
        # the temperature is that of the least loss
        def loss(t):
            y = torch.from_numpy(z) / t
            return float(F.cross_entropy(y, torch.from_numpy(label)))
        t = m["calibration"]["temperature"]
        assert m["calibration"]["method"] == "temperature"
        assert loss(t) <= min(loss(t * 1.01), loss(t / 1.01)), t
        assert m["findings"][0]["threshold"] == 0.4 and m["findings"][1]["threshold"] == 0.5
        assert m["saliency"] == {"method": "grad-cam++", "features": "features"}
        assert m["preprocess"]["mean"] == [0.4] and m["network"]["activation"] == "softmax"
        assert m["training"]["data"] == "painted by a test" and m["training"]["seed"] == "5"
        assert "split" in m["training"] and "recipe" in m["training"]
        # the golden input is drawn, and the output is what torch computes of it
        golden = np.fromfile(self.out / "selftest-input.f32", "<f4").reshape(1, 1, SIDE, SIDE)
        expected = np.fromfile(self.out / "selftest-output.f32", "<f4")
        twin = self.twin(torch.from_numpy(golden.astype(float))).numpy()[0]
        assert abs(expected - twin).max() < 1e-4, (expected, twin)
        pixels = {f[0].tobytes() for f in self.films}
        assert np.round((golden * STD + MEAN) * 255).astype(np.uint8).tobytes() not in pixels
        # no file of the hospital is named
        card = (self.out / "README.md").read_text()
        for text in (card, (self.out / "model.yaml").read_text()):
            assert "p1_" not in text and ".png" not in text and str(self.home) not in text, text
        assert "very-bright" in card and "For tests, never for people." in card and "| bright |" in card
        # the same again is the same
        other = self.home / "models2"
        self.export(out=other)
        for name in names:
            assert (self.out / name).read_bytes() == (other / name).read_bytes(), name

    def test_serves_at_once(self):
        self.set_up(saliency="method: integrated-gradients, steps: 8")
        self.export()
        config = self.home / "medaid.yaml"
        config.write_text(f"plugins: {{paths: [{self.home / 'models'}]}}\n")
        listed = subprocess.run([MEDAID, "--list-models", "--config", config], capture_output=True,
                                text=True, check=False)
        assert listed.returncode == 0 and "brightness" in listed.stdout, listed
        film = self.home / "film.dcm"
        subprocess.run([PHANTOM, "--rows", "512", "--columns", "420", "--output", film], check=True,
                       stdout=subprocess.DEVNULL)
        done = subprocess.run([MEDAID, "--oneshot", film, "--config", config, "--json", "--output",
                               self.home / "results", "--parametric-map"], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)["results"][0]
        assert result["model"]["id"] == "brightness" and len(result["findings"]) == 2
        assert all(f["score_is_probability"] for f in result["findings"])
        shown = [f for f in result["findings"] if f["presence"] != "absent"]
        maps = list((self.home / "results").glob("*map*"))
        assert len(maps) == len(shown) > 0, (result["findings"], maps)

    def test_runtime_agrees(self):
        if not ORT.is_dir() or not shutil.which("node"):
            raise tap.Skip("no onnxruntime-node, see .ci/onnxruntime")
        self.set_up()
        self.export()
        script = """
const ort = require(process.argv[1]), fs = require('fs');
(async () => {
  const s = await ort.InferenceSession.create(process.argv[2], {executionProviders: ['cpu']});
  const b = fs.readFileSync(process.argv[3]);
  const x = new Float32Array(b.buffer, b.byteOffset, b.length / 4);
  const r = await s.run({[s.inputNames[0]]: new ort.Tensor('float32', x, [1, 1, 32, 32])});
  console.log(JSON.stringify(Array.from(r[s.outputNames[0]].data)));
})();"""
        done = subprocess.run(["node", "-e", script, ORT, self.out / "model.onnx",
                               self.out / "selftest-input.f32"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        expected = np.fromfile(self.out / "selftest-output.f32", "<f4")
        difference = abs(np.array(json.loads(done.stdout)) - expected).max()
        print(f"# ONNX Runtime differs by {difference:.3g}")
        assert difference < 1e-4

    def test_platt_youden_and_test_part(self):
        self.set_up(validation=0.4, test=0.4, calibration="platt", threshold="youden")
        self.export()
        m, _, _, score, truth = self.check_figures("test", "platt")
        assert m["calibration"]["method"] == "platt"
        # the threshold is the validation part's, where sensitivity + specificity is largest
        z, label, _ = self.logits("validation")
        e = np.exp(z - z.max(1, keepdims=True))
        p = (e / e.sum(1, keepdims=True))[:, 1:].sum(1)
        odds = np.log(p / (1 - p))
        scores = 1 / (1 + np.exp(-(m["calibration"]["a"] * odds + m["calibration"]["b"])))

        def youden(threshold):
            said, t = scores >= threshold, label > 0
            return said[t].mean() - said[~t].mean()

        assert youden(m["findings"][0]["threshold"]) >= max(youden(s) for s in scores) - 0.02
        assert 0 <= m["calibration"]["error"] < 0.2
        bins = np.minimum((score * 15).astype(int), 14)
        error = sum(abs(score[bins == b].mean() - truth[bins == b].mean()) * (bins == b).mean()
                    for b in set(bins))
        assert abs(m["calibration"]["error"] - error) < 1e-3, (m["calibration"], error)

    def test_views(self):
        """Mirrored and moved views: one set of logits in the export, in the self-test, in `evaluate` of the
        package and of the network, and in the host."""
        self.set_up(views=", test_time: {flip: true, shift: 0.0625}",
                    saliency="method: integrated-gradients, steps: 8")
        plain, step = self.twin, 2

        def views(x):
            places = [x]
            for axis, way in ((3, -1), (3, 1), (2, -1), (2, 1)):
                moved = x.roll(way * step, axis)
                edge = moved.shape[axis] - step if way < 0 else 0
                kept = moved.shape[axis] - step - 1 if way < 0 else step
                for i in range(edge, edge + step):
                    moved.select(axis, i).copy_(moved.select(axis, kept))
                places.append(moved)
            return torch.stack([plain(v) for p in places for v in (p, p.flip(3))]).mean(0)

        self.twin = views
        self.export()
        m, z, _, score, _ = self.check_figures("validation", "temperature")
        assert m["test_time"] == {"flip": True, "shift": 0.0625}
        golden = np.fromfile(self.out / "selftest-input.f32", "<f4").reshape(1, 1, SIDE, SIDE)
        expected = np.fromfile(self.out / "selftest-output.f32", "<f4")
        x = torch.from_numpy(golden.astype(float))
        twin = views(x).numpy()[0]
        assert abs(expected - twin).max() < 1e-4 < abs(expected - plain(x).numpy()[0]).max(), (expected, twin)
        assert "10 times, also at its mirror image, also moved" in (self.out / "README.md").read_text()
        # as it serves: the same figures to the last digit that the manifest has
        def evaluate(model):
            out = self.home / "evaluation"
            shutil.rmtree(out, ignore_errors=True)
            done = subprocess.run([TRAIN, "evaluate", model, "--data", self.run_folder / "recipe.yaml", "--part",
                                   "validation", "--out", out, "--bootstrap", "200"], capture_output=True,
                                  text=True, check=False)
            assert done.returncode == 0, done.stderr
            return json.loads((out / "evaluation.json").read_text())
        served, alone = evaluate(self.out), evaluate(self.run_folder / "model.onnx")
        assert "test_time=flip+shift(0.0625)" in json.dumps(served) and "test_time=flip+" in json.dumps(alone)
        found = served["assessment"]["findings"][0]["figures"]
        assert served["assessment"]["findings"][0]["name"] == "bright"
        for key in ("accuracy", "sensitivity", "specificity", "f1", "auc"):
            assert abs(found["measures"][key]["value"] - m["performance"][key][0]) < 6e-5, key
        listed = subprocess.run([MEDAID, "--explain-model", self.out], capture_output=True, text=True, check=False)
        assert listed.returncode == 0 and "test_time=flip+shift(0.0625)" in listed.stdout, listed
        # a self-test of the picture alone does not pass
        values = plain(x).numpy()[0].astype("<f4").tobytes()
        (self.out / "selftest-output.f32").write_bytes(values)
        text = (self.out / "model.yaml").read_text().replace(m["files"]["selftest-output.f32"],
                                                             hashlib.sha256(values).hexdigest())
        (self.out / "model.yaml").write_text(text)
        bad = subprocess.run([MEDAID, "--explain-model", self.out], capture_output=True, text=True, check=False)
        assert bad.returncode != 0 and "self-test failed" in bad.stderr, bad

    def test_sensitivity(self):
        self.set_up(calibration="none", threshold="sensitivity")
        self.export()
        m, _, _, score, truth = self.check_figures("validation", "none")
        assert m["calibration"]["method"] == "none"
        assert m["performance"]["sensitivity"][0] >= 0.9
        above = score[truth == 1] >= m["findings"][0]["threshold"] + 0.02
        assert above.mean() < 0.95

    def test_precision(self):
        self.set_up(precision=EXPORT_PRECISION)
        said = self.export("--keep-inputs", self.home / "inputs.f32")
        assert self.manifest()["network"]["precision"] == "bf16"
        n = sum(f[3] == "validation" for f in self.films)
        assert (self.home / "inputs.f32").stat().st_size == 4 * n * SIDE * SIDE
        assert (self.home / "inputs.f32").stat().st_mode & 0o777 == 0o600
        granted = (self.out / "precision.grant").exists()
        assert ("bf16 granted on this machine" in said) == granted
        assert granted or "bf16 not granted on this machine: " in said
        if granted:
            again = subprocess.run([TRAIN, "quantize", self.out, self.home / "inputs.f32"], check=False)
            assert again.returncode == 0
        # without --keep-inputs no pixels stay
        shutil.rmtree(self.out)
        self.export()
        assert sorted(p.name for p in (self.home / "models").iterdir()) == ["brightness"]

    def test_refused(self):
        self.set_up()
        recipe, model = self.run_folder / "recipe.yaml", self.run_folder / "model.onnx"
        text, good = recipe.read_text(), model.read_bytes()
        self.out.mkdir()
        self.refused("exists", code=2)
        self.out.rmdir()
        recipe.write_text(text[:text.index("export:")])
        self.refused("key 'export' is missing", code=2)
        recipe.write_text(text.replace("  id: brightness", "  idd: brightness"))
        self.refused("recipe.yaml:", "idd", code=3)
        recipe.write_text(text.replace("features: features", "features: nothing"))
        self.refused("nothing", code=3)
        recipe.write_text(text)
        model.unlink()
        self.refused("model.onnx", code=3)
        model.write_bytes(good[:len(good) // 2])
        self.refused("model.onnx", code=3)
        model.write_bytes(network(n_classes=4)[0])
        self.refused("the network gives 4 values, the recipe has 3 classes", code=3)
        recipe.write_text(text.replace("method: grad-cam++, features: features", "method: smooth-grad"))
        model.write_bytes(network(odd=True)[0])
        self.refused("smooth-grad", "Erf", "activation", code=5)
        recipe.write_text(text)
        model.write_bytes(good)
        # a film that is gone
        gone = next((self.home / "films").rglob("p3_*.png"))
        gone.rename(self.home / "away.png")
        self.refused("p3_", code=3)
        (self.home / "away.png").rename(gone)
        # a full disk is no half package
        self.export()
        for arguments in ([], ["a"], ["a", "b", "c"], ["a", "b", "--threads", "0"], ["a", "b", "--what"]):
            done = subprocess.run([TRAIN, "export", *arguments], capture_output=True, check=False)
            assert done.returncode == 2, (arguments, done)


if __name__ == "__main__":
    tap.run(Case)
