#!/usr/bin/python3
"""medaid-train for texts, as it is installed: word vectors are learnt and asked, a fit reads sentences, and a package
that is read says what it serves: calibrated, by its findings, with its thresholds."""
import json
import math
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import tap  # noqa: E402

TRAIN = pathlib.Path(os.environ["MEDAID_BUILD_ROOT"]) / "daemon/medaid-train"
FILLER = ["heart normal", "lungs clear", "bones intact", "device in place", "comparison none"]
PRESENT = ["effusion", "small effusion", "large effusion seen", "effusion on the left"]
DENIED = ["no effusion", "without effusion", "no large effusion", "negative for effusion"]
RECIPE = """medaid_recipe: 1
name: words
run_folder: run
seed: 7
data:
  classes: [abnormal, effusion]
  task: multi-label
  table: t.csv
  patient_column: uid
  label_patterns:
    - {class: abnormal, column: labels, matches: '^(?!normal$)'}
    - {class: effusion, column: labels, matches: 'effusion'}
text: {columns: [said], tokens: 12, min_count: 2, attributes: [Report]}
network: {name: text-gru, embedding: 8, hidden: 8, pooling: 8}
training: {epochs: 8, batch: 16, optimizer: adam, learning_rate: 0.02}
evaluation: {bootstrap: 0, calibration: platt, threshold: youden}
export:
  id: words
  version: 0.1.0
  name: Words
  manufacturer: tests
  accepts: {modality: [CR]}
  findings:
    - {key: fluid, concept: {code: "60046008", scheme: SCT, meaning: Effusion}, classes: [1], threshold: 0.5}
  intended_use: For tests, never for people.
"""


class Case:
    folder = ""

    def run(self, *arguments, code=0, text=None):
        done = subprocess.run([TRAIN, *arguments], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        return done

    def set_up(self):
        self.home = pathlib.Path(self.folder)
        rows = ["uid,said,labels"]
        for i in range(400):
            a, yes = (i * 2654435761 % 2**32) >> 7, i % 2
            said = (PRESENT if yes else DENIED)[a // 5 % 4]
            if i % 10 == 0:  # labels as people write them: else the scores know no doubt
                yes = 1 - yes
            rows.append(f"p{i},{FILLER[a % 5]}. {said}. {FILLER[a // 20 % 5]},{'effusion' if yes else 'normal'}")
        (self.home / "t.csv").write_text("\n".join(rows) + "\n")
        self.recipe = self.home / "r.yaml"
        self.recipe.write_text(RECIPE)

    def test_words(self):
        self.set_up()
        out = self.home / "out.vec"
        done = self.run("words", self.recipe, out, "--width", "8", "--epochs", "5")
        assert re.search(r"epoch 5  loss [0-9.]+\n\d+ vectors of 8 from \d+ texts\n$", done.stdout), done.stdout
        near = [line.split() for line in self.run("words", out, "--near", "effusion").stdout.splitlines()]
        assert len(near) == 10 and "effusion" not in [word for word, _ in near], near
        values = [float(value) for _, value in near]
        assert values == sorted(values, reverse=True) and all(-1 <= v <= 1 for v in values), values
        there = self.run("words", out, "--analogy", "heart", "normal", "lungs").stdout.split()[::2]
        assert len(there) == 10 and not {"heart", "normal", "lungs"} & set(there), there
        assert "no word of the vocabulary" in self.run("words", out, "--near", "xylographia", code=2).stderr
        for wrong in ([], [out], ["--near", "a", "--analogy", "x", "y", "z"], ["--near", "a"],
                      [self.recipe, out, "--near", "a"], [out, "--near", "a", "--analogy", "x", "y", "z"],
                      [out, "--near"], [self.recipe, out, "--width", "0"]):
            assert "medaid-train words: " in self.run("words", *wrong, code=2).stderr, wrong

    def test_read(self):
        self.set_up()
        run, package = self.home / "run", self.home / "package"
        self.run("fit", self.recipe, "--threads", "1")
        self.run("export", run, package)
        lines = "Bones intact. Effusion, small.\n\nheart normal, no effusion seen\n"
        network = [json.loads(line) for line in self.run("read", run, "--jsonl", text=lines).stdout.splitlines()]
        served = [json.loads(line) for line in self.run("read", package, "--jsonl", text=lines).stdout.splitlines()]
        assert [len(answers) for answers in (network, served)] == [3, 3], (network, served)
        assert network[1] == served[1] == {"error": "the text has no word"}, (network, served)
        manifest = (package / "model.yaml").read_text()
        a, b = (float(re.search(rf"\b{key}: ([-+.e0-9]+)", manifest).group(1)) for key in "ab")
        threshold = float(re.search(r"threshold: ([-+.e0-9]+)", manifest).group(1))
        assert abs(a - 1) > 0.05, manifest
        for i, presence in ((0, "present"), (2, "absent")):
            assert list(network[i]["scores"]) == ["abnormal", "effusion"] and "findings" not in network[i], network[i]
            p = network[i]["scores"]["effusion"]
            wanted = 1 / (1 + math.exp(-(a * math.log(p / (1 - p)) + b)))
            assert list(served[i]["scores"]) == ["fluid"], served[i]
            score = served[i]["scores"]["fluid"]
            assert abs(score - wanted) < 1e-3 and (score >= threshold) == (presence == "present"), (score, wanted)
            assert served[i]["findings"] == {"fluid": presence}, served[i]
            words = served[i]["words"]
            assert abs(sum(word["attention"] for word in words) - 1) < 1e-3, words
            said = lines.splitlines()[i]
            assert all(said[word["begin"]:word["end"]] == word["word"] for word in words), words
        # for people: a line without a word is said to be so, and the next is read
        for folder, label in ((run, "effusion "), (package, "fluid ")):
            text = self.run("read", folder, text=lines).stdout
            assert text.count("\n" + label) + text.startswith(label) == 2 and text.count("not read: ") == 1, text
        one = self.run("read", package, "Effusion.").stdout
        assert re.match(r"fluid +0\.\d{4}  present \(threshold 0\.\d+\)\nwords, by attention: Effusion\[100%\]\n$", one), one
        assert "no word" in self.run("read", package, "--", code=3).stderr
        (package / "vocabulary.txt").write_text("changed\n")
        assert "vocabulary.txt" in self.run("read", package, "Effusion.", code=3).stderr


if __name__ == "__main__":
    tap.run(Case)
