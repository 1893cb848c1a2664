#!/usr/bin/python3
"""medaid-train head, as it is installed: a finding that a known network can see is learnt from few films,
the package serves, its network computed by hand says the same; what is wrong is said in one line."""
import os
import pathlib
import subprocess
import sys

import numpy as np
import onnx
import onnx.numpy_helper
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import tap  # noqa: E402
import tiny_model  # noqa: E402

BUILD = pathlib.Path(os.environ["MEDAID_BUILD_ROOT"])
TRAIN, MEDAID = BUILD / "daemon/medaid-train", BUILD / "daemon/medaid"
CODE = "111213,DCM,Bright, or so"


class Case:
    folder = ""

    def set_up(self, n=24, noise=0.0, **options):
        """Films of which those above the middle have the finding, two of each patient."""
        self.home = pathlib.Path(self.folder)
        self.model = tiny_model.write(self.home / "models" / "tiny", **options)
        random = np.random.RandomState(4)
        (self.home / "films").mkdir()
        rows = ["file,glow,patient,part"]
        for i in range(n):
            level = 40 + 170 * i / (n - 1)
            pixels = random.randint(0, 40, (240, 320)) + level
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(self.home / f"films/zebra{i}.png")
            label = int(level > 125) if random.rand() >= noise else int(level <= 125)
            rows.append(f"films/zebra{i}.png,{label},p{i // 2},{'validation' if i % 6 in (4, 5) else 'train'}")
        (self.home / "parts.csv").write_text("\n".join(rows) + "\n")
        (self.home / "all.csv").write_text("\n".join(row.rsplit(",", 1)[0] for row in rows) + "\n")

    def head(self, *arguments, code=0, data="all.csv", model=None, finding="glow"):
        done = subprocess.run([TRAIN, "head", model or self.model, self.home / data, "--finding", finding, *arguments],
                              capture_output=True, text=True, check=False)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        assert "zebra" not in done.stdout + done.stderr, "a film's name"
        return done

    def test_learns_and_serves(self):
        self.set_up()
        out = self.home / "served" / "glow"
        out.parent.mkdir()
        done = self.head("--code", CODE, "--out", out)
        assert "learnt from 24 films of 12 patients, 12 with the finding, 2 numbers each" in done.stdout, done.stdout
        assert "Area under the ROC curve" in done.stdout and "1.0000" in done.stdout, done.stdout
        names = sorted(p.name for p in out.iterdir())
        assert names == ["README.md", "model.onnx", "model.yaml", "selftest-input.f32", "selftest-output.f32"]
        text = (out / "model.yaml").read_text() + (out / "README.md").read_text()
        assert "Bright, or so" in text and "cross-validation" in text and "zebra" not in text
        assert text.count("chosen on the same scores") == 2 and "chosen on these same scores" in text, text
        assert "chosen on these same scores" in done.stdout, done.stdout
        assert str(self.home) not in text, "a path of this machine"
        configuration = self.home / "medaid.yaml"
        configuration.write_text(f"plugins: {{paths: ['{out.parent}']}}\n")
        listed = subprocess.run([MEDAID, "--list-models", "--config", configuration], capture_output=True, text=True,
                                check=False)
        assert "glow" in listed.stdout, (listed.stdout, listed.stderr)
        # by hand: the decision rises with the brightness, and the self-test is what is computed
        model = onnx.load(out / "model.onnx")
        onnx.checker.check_model(model)
        assert [node.op_type for node in model.graph.node] == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
        weights = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
        assert "fc_w" not in weights, "the last layer of before"
        gemm = model.graph.node[-1]
        assert gemm.output[0] == model.graph.output[0].name

        def logit(image):  # the network by hand: the mean of the picture and of its negative
            mean = float(image.mean())
            return float(weights[gemm.input[1]] @ np.array([mean, 1 - mean]) + weights[gemm.input[2]][0])

        logits = [logit(np.full((32, 32), v, np.float32)) for v in (0.1, 0.4, 0.6, 0.9)]
        assert logits == sorted(logits) and logits[1] < 0.0 < logits[3], logits
        inputs = np.fromfile(out / "selftest-input.f32", np.float32)
        expected = np.fromfile(out / "selftest-output.f32", np.float32)
        assert expected.size == 1 and abs(logit(inputs) - expected[0]) < 1e-4, (logit(inputs), expected)
        # and medaid measures the same of it as of any package
        evaluated = subprocess.run([TRAIN, "evaluate", out, "--data", self.home / "all.csv"], capture_output=True,
                                   text=True, check=False)
        assert evaluated.returncode == 0 and "1.000" in evaluated.stdout, (evaluated.stdout, evaluated.stderr)

    def test_holds_back_and_draws(self):
        self.set_up(n=72)
        done = self.head("--curve", "10,16,40", "--draws", "3", "--charts", self.home, "--seed", "5",
                         data="parts.csv")
        assert "on films held back, 24 films of 12 patients" in done.stdout, done.stdout
        assert "chosen on these same scores" not in done.stdout, done.stdout
        points = [line.split() for line in done.stdout.splitlines() if line.strip()[:2] in ("10", "16", "40")]
        assert [p[0] for p in points] == ["10", "16"], points  # there are no 40 patients
        assert all(float(p[1]) > 0.95 for p in points), points
        assert (self.home / "curve.svg").stat().st_size > 500 and (self.home / "curve.png").stat().st_size > 500
        again = self.head("--curve", "10,16,40", "--draws", "3", "--seed", "5", data="parts.csv")
        assert again.stdout.splitlines()[:-1] == done.stdout.splitlines()[:-1]

    def test_folder(self):
        self.set_up()
        for i, path in enumerate(sorted((self.home / "films").iterdir(), key=lambda p: int(p.stem[5:]))):
            to = self.home / "sorted" / ("glow" if i >= 12 else "plain")
            to.mkdir(parents=True, exist_ok=True)
            path.rename(to / path.name)
        done = self.head(data="sorted")
        assert "learnt from 24 films of 24 patients, 12 with the finding" in done.stdout, done.stdout

    def test_says_what_is_wrong(self):
        self.set_up(n=36)
        out = self.home / "out"
        out.mkdir()
        whole = ["--code", CODE, "--out", out]
        few = (self.home / "all.csv").read_text().splitlines()
        (self.home / "few.csv").write_text("\n".join([few[0], *few[1:13], few[20]]) + "\n")
        (self.home / "one.csv").write_text("\n".join(few[:10]) + "\n")
        (self.home / "word.csv").write_text("\n".join([few[0], few[1].replace(",0,", ",perhaps,")]) + "\n")
        parts = (self.home / "parts.csv").read_text().splitlines()
        assert parts[1].endswith(",p0,train") and parts[5].endswith(",p2,validation"), parts
        (self.home / "leak.csv").write_text("\n".join([*parts[:5], parts[5].replace(",p2,", ",p0,"), *parts[6:]]) + "\n")
        (self.home / "empty").mkdir()
        (self.home / "broken.csv").write_text("\n".join(few + ["gone.png,1,p99", "all.csv,0,p98"]) + "\n")
        rows = [
            ("exists", whole, {}, 2), ("at least 5", [], {"data": "few.csv"}, 2),
            ("at least 5", [], {"data": "one.csv"}, 2), ("neither 1 nor 0", [], {"data": "word.csv"}, 3),
            ("needs a column", [], {"finding": "glimmer"}, 3), ("no film in a sub-folder", [], {"data": "empty"}, 3),
            ("small letters", [], {"finding": "Glow"}, 2), ("what is", ["--curve", "0"], {}, 2),
            ("what is", ["--curve", "20,x"], {}, 2), ("part 'validation'", ["--curve", "20"], {}, 2),
            ("at least 10", ["--curve", "4"], {"data": "parts.csv"}, 2), ("what is", ["--code", "1,2"], {}, 2),
            ("leakage: films of one patient", [], {"data": "leak.csv"}, 2),
            ("what is", ["--threshold", "1.5"], {}, 2), ("no such", [], {"model": self.home / "none"}, 3),
        ]
        for words, arguments, options, code in rows:
            done = self.head(*arguments, code=code, **options)
            assert words.lower() in done.stderr.lower(), (words, done.stderr)
        done = self.head(data="broken.csv")
        assert done.stderr.count("left out: ") == 2 and "left out: 2 films" in done.stdout, done

    def test_without_a_last_layer(self):
        """Logits that no linear layer makes: refused, and told why."""
        self.set_up(network=tiny_model.graph(divide=True))
        done = self.head(code=5)
        assert "linear layer" in done.stderr, done.stderr


if __name__ == "__main__":
    tap.run(Case)
