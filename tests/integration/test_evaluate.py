#!/usr/bin/python3
"""medaid-train evaluate, as it is installed: a model on films of known truth, and the reports that medaid
wrote against a truth file. The network's scores can be computed by hand, so every figure is known."""
import csv
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jsonschema
import numpy as np
import pydicom
from PIL import Image
from sklearn import metrics

root = pathlib.Path(os.environ["MEDAID_SOURCE_ROOT"])
sys.path.insert(0, str(root / "tests" / "support"))
import tap  # noqa: E402
import tiny_model  # noqa: E402

BUILD = pathlib.Path(os.environ["MEDAID_BUILD_ROOT"])
SCHEMA = json.loads((root / "docs" / "evaluation.schema.json").read_text(encoding="utf-8"))
SIDE = 256

RECIPE = """medaid_recipe: 1
name: brightness
seed: 3
run_folder: run
threads: 1
data:
  classes: [dark, bright]
  folders: [films]
  patient_pattern: "p([0-9]+)_"
  split: {train: 0.5, validation: 0.5}
preprocess: {values: display, fit: stretch, width: 32, height: 32, filter: area, channels: 1, mean: [0], std: [1]}
network: {name: lenet}
training: {batch: 4, epochs: 1, optimizer: sgd, learning_rate: 0.1}
"""


def evaluate(*args):
    return subprocess.run([BUILD / "daemon" / "medaid-train", "evaluate", *map(str, args)], capture_output=True,
                          text=True, check=False)


def load(folder, kind):
    answer = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    jsonschema.validate(answer, SCHEMA)
    assert answer["kind"] == kind
    return answer


class Evaluate:
    folder = ""

    def path(self, name):
        return pathlib.Path(self.folder) / name

    def film(self, name, mean, seed=0):
        """Two grey fields with this mean, and noise that has none."""
        rng = np.random.default_rng(seed)
        grey = np.full((SIDE, SIDE), mean)
        grey[:SIDE // 2] += 0.1
        grey[SIDE // 2:] -= 0.1
        grey += rng.choice([-0.02, 0.02], SIDE * SIDE).reshape(SIDE, SIDE)
        pixels = np.clip(grey * 255, 0, 255).round().astype(np.uint8)
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return pixels.mean() / 255

    def films(self, n=80):
        """Films, with the scores that the tiny network gives them, before its temperature of 2."""
        rng = np.random.default_rng(5)
        rows = []
        for i in range(n):
            truth = int(rng.random() < 0.5)
            mean = float(np.clip(0.5 + 0.06 * (2 * truth - 1) + 0.1 * rng.normal(), 0.2, 0.8))
            name = f"films/{'bright' if truth else 'dark'}/p{i // 2:03d}_{i}.png"
            logit = 10 * (self.film(name, mean, i) - 0.5)
            rows.append({"file": name, "patient": f"P{i // 2}", "sex": "FM"[i // 2 % 2], "truth": truth,
                         "logit": logit, "age": 3 + i % 50})
        return rows

    def table(self, rows, name="truth.csv"):
        path = self.path(name)
        with open(path, "w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["file", "patient", "sex", "age", "bright", "dark"])
            for r in rows:
                writer.writerow([r["file"], r["patient"], r["sex"], r["age"], r["truth"], 1 - r["truth"]])
        return path

    def check(self, measures, truths, scores, threshold):
        called = scores >= threshold
        for name, value in (("auc", metrics.roc_auc_score(truths, scores)),
                            ("average_precision", metrics.average_precision_score(truths, scores)),
                            ("sensitivity", metrics.recall_score(truths, called)),
                            ("specificity", metrics.recall_score(truths, called, pos_label=0)),
                            ("precision", metrics.precision_score(truths, called)),
                            ("f1", metrics.f1_score(truths, called)),
                            ("brier", metrics.brier_score_loss(truths, scores))):
            m = measures[name]
            assert abs(m["value"] - value) < 1e-4, (name, m, value)
            assert m["low"] <= m["value"] <= m["high"], (name, m)

    def test_package_on_table(self):
        rows = self.films()
        package = tiny_model.write(self.path("tiny"))
        blank = self.path("films/blank.png")
        Image.fromarray(np.full((SIDE, SIDE), 99, np.uint8)).save(blank)
        cut = self.path("films/cut.png")
        cut.write_bytes(self.path(rows[0]["file"]).read_bytes()[:500])
        odd = [{**rows[0], "file": "films/blank.png", "patient": "B"},
               {**rows[0], "file": "films/cut.png", "patient": "C"}]
        out = self.path("out")
        done = evaluate(package, "--data", self.table(rows + odd), "--out", out, "--bootstrap", 500, "--threads", 1)
        assert done.returncode == 0, done
        assert "part all: 82 films, 1 unreadable, 1 refused, 0 failed" in done.stdout, done.stdout
        assert "blank.png: contrast" in done.stderr and "cut.png: broken PNG" in done.stderr, done.stderr
        answer = load(out, "model")
        assert answer["model"]["id"] == "tiny" and answer["model"]["sha256"] == tiny_model.sha(tiny_model.graph())
        finding = answer["assessment"]["findings"][0]
        truths = np.array([r["truth"] for r in rows])
        logits = np.array([r["logit"] for r in rows])
        self.check(finding["figures"]["measures"], truths, 1 / (1 + np.exp(-logits / 2)), 0.5)
        assert finding["figures"]["n"] == 80 and finding["figures"]["n_patients"] == 40
        assert finding["n_without_score"] == 2 and finding["threshold"] == 0.5
        # the fits start from the logits without the manifest's temperature
        before = finding["calibration"]["temperature"]["a"]
        best = min((float(np.logaddexp(0, -(2 * truths - 1) * logits * a).mean()), a)
                   for a in np.arange(0.01, 2, 0.001))[1]
        assert abs(before - best) < 0.002, (before, best)
        groups = {(g["column"], g["group"]): g for g in finding["groups"]}
        women = np.array([r["sex"] == "F" for r in rows])
        assert groups["sex", "female"]["figures"]["n"] == women.sum() == 40
        self.check({**groups["sex", "female"]["figures"]["measures"]}, truths[women],
                   1 / (1 + np.exp(-logits[women] / 2)), 0.5)
        assert groups["age", "1 to under 5 years"]["too_small"], groups
        assert {p.name for p in out.iterdir()} >= {"report.html", "roc.svg", "roc.png", "reliability-bright.png"}
        page = (out / "report.html").read_text(encoding="utf-8")
        assert "For tests, never for people." in page and "1 films would get no answer" in page
        again = self.path("again")
        assert evaluate(package, "--data", self.path("truth.csv"), "--out", again, "--bootstrap", 500,
                        "--threads", 2).returncode == 0
        for name in ("evaluation.json", "report.html", "roc.png"):
            assert (out / name).read_bytes() == (again / name).read_bytes(), name

    def test_network_on_recipe(self):
        rows = self.films(60)
        network = self.path("model.onnx")
        network.write_bytes(tiny_model.graph())
        recipe = self.path("recipe.yaml")
        recipe.write_text(RECIPE, encoding="utf-8")
        out = self.path("out")
        done = evaluate(network, "--data", recipe, "--out", out, "--bootstrap", 300)
        assert done.returncode == 0, done
        answer = load(out, "model")
        # which films are in the part, the same split says again
        part = evaluate(network, "--data", recipe, "--part", "train", "--bootstrap", 300)
        n = [int(re.search(r"part \w+: (\d+) films", d.stdout)[1]) for d in (done, part)]
        assert sum(n) == 60 and min(n) > 20, n
        assert answer["data"]["part"] == "validation" and answer["data"]["n_images"] == n[0]
        dark, bright = answer["assessment"]["findings"]
        assert (dark["name"], bright["name"]) == ("dark", "bright")
        for a, b in (("sensitivity", "specificity"), ("specificity", "sensitivity"), ("auc", "auc")):
            assert abs(dark["figures"]["measures"][a]["value"] - bright["figures"]["measures"][b]["value"]) < 1e-6
        table = answer["assessment"]["classes"]["confusion"]
        assert sum(map(sum, table)) == n[0]
        assert table[1][1] == bright["figures"]["counts"]["true_positive"]
        package = tiny_model.write(self.path("tiny"))
        out2 = self.path("out2")
        done = evaluate(package, "--data", recipe, "--out", out2, "--bootstrap", 300)
        assert done.returncode == 0, done
        served = load(out2, "model")["assessment"]
        assert served["classes"]["confusion"] == table
        assert served["findings"][0]["roc"][3]["true_positive"] == bright["roc"][3]["true_positive"]
        assert len(rows) == 60

    def test_refused(self):
        rows = self.films(6)
        package = tiny_model.write(self.path("tiny"))
        table = self.table(rows)
        text = table.read_text(encoding="utf-8")
        cases = [
            ((package,), 2, "name a model and --data"),
            (("--reports", "x"), 2, "go together"),
            ((package, "--data", table, "--truth", "x"), 2, "go without a model"),
            ((package, "--data", table, "--bootstrap", "7"), 2, "--bootstrap takes a whole number"),
            ((package, "--data", table, "--colour"), 2, "what is '--colour'?"),
            ((package, "--data", table, "--part", "all"), 2, "--part takes train, validation or test"),
            ((package, "--data", table, "--part", "test"), 2, "no column 'part'"),
            ((package, "--data", self.path("none.csv")), 3, "none.csv"),
            ((self.path("none"), "--data", table), 2, "an ONNX file needs --data with a recipe"),
        ]
        changes = [("bright,dark", "bright,darc", "finding 'dark' needs a column"),
                   (",1,0", ",2,0", ": column 'bright' is neither 1 nor 0"),
                   ("P0,F,3,", "P0,F,old,", "truth-2.csv:2: the age is not a number of years")]
        for i, (old, new, message) in enumerate(changes):
            changed = self.path(f"truth-{i}.csv")
            changed.write_text(text.replace(old, new, 1), encoding="utf-8")
            assert changed.read_text(encoding="utf-8") != text, old
            cases.append(((package, "--data", changed), 3, message))
        for args, code, message in cases:
            done = evaluate(*args)
            assert done.returncode == code and message in done.stderr, (args, done)
        done = evaluate(package, "--data", table, "--bootstrap", 100, "--out", "/dev/null/x")
        assert done.returncode == 7, done

    def write_reports(self, n=40):
        """Reports of phantoms of the tiny network; returns (truth rows, SR files by study)."""
        tiny_model.write(self.path("models/tiny"))
        config = self.path("medaid.yaml")
        config.write_text("ae: {title: TEST}\nplugins: {paths: [models]}\n", encoding="utf-8")
        studies = []
        for i in range(n):
            film = self.path(f"in/{i}.dcm")
            film.parent.mkdir(exist_ok=True)
            subprocess.run([BUILD / "tests" / "support" / "medaid-phantom", "--output", film, "--rows", "256",
                            "--columns", "256", "--seed", str(i), "--age", str(2 + i % 30), "--patient-name",
                            "MARKER^NAME", "--patient-id", f"MARKERID{i // 2}", "--accession", f"MARKERACC{i}",
                            "--study-uid", f"1.2.99.{i}", "--series-uid", f"1.2.99.{i}.1", "--sop-uid",
                            f"1.2.99.{i}.1.1"], check=True)
            dataset = pydicom.dcmread(film)
            top = (1 << dataset.BitsStored) - 1
            pixels = dataset.pixel_array.astype(float)
            shift = (i % 7 - 3) * 0.08 * top  # some brighter, some darker
            dataset.PixelData = np.clip(pixels + shift, 0, top).astype(np.uint16).tobytes()
            if i == n - 1:
                dataset.PixelData = np.full(pixels.shape, top // 2, np.uint16).tobytes()  # blank: no analysis
            dataset.save_as(film)
            studies.append(f"1.2.99.{i}")
        reports = self.path("reports")
        done = subprocess.run([BUILD / "daemon" / "medaid", "--oneshot", self.path("in"), "--config", config,
                               "--output", reports, "--json"], capture_output=True, text=True, check=False)
        answers = {}
        for line in done.stdout.splitlines():
            answer = json.loads(line)
            answers[answer["study_instance_uid"]] = answer
        assert set(answers) == set(studies), done.stderr[-500:]
        return reports, answers

    def truth(self, answers, key="study", edit=None):
        rng = np.random.default_rng(8)
        path = self.path(f"truth-{key}.csv")
        truths = {}
        with open(path, "w", encoding="utf-8") as out:
            out.write(f"{key},bright,DCM:111212\n")
            for i, study in enumerate(sorted(answers, key=lambda s: int(s.split(".")[-1]))):
                score = next((f["score"] for r in answers[study]["results"] for f in r["findings"]
                              if f["key"] == "bright"), 0.5)
                truths[study] = int(score + 0.15 * rng.normal() > 0.5)
                name = study if key == "study" else f"MARKERACC{i}"
                out.write(f"{name},{['no', 'yes'][truths[study]]},?\n")
            out.write(edit or "")
        return path, truths

    def test_audit(self):
        reports, answers = self.write_reports()
        srs = {str(pydicom.dcmread(p, stop_before_pixels=True).StudyInstanceUID): p
               for p in sorted(reports.glob("*sr.dcm"))}
        assert len(srs) >= 39, len(srs)
        path, truths = self.truth(answers, edit="9.9.9,yes,no\n")  # a study without a report
        # the same report again; one that is damaged; one of somebody else; no DICOM at all
        shutil.copy(srs["1.2.99.0"], reports / "copy.dcm")
        whole = srs["1.2.99.1"].read_bytes()
        (reports / "sub").mkdir()
        (reports / "sub" / "cut.dcm").write_bytes(whole[:len(whole) // 2])
        foreign = pydicom.dcmread(srs["1.2.99.2"])
        foreign.Manufacturer, foreign.SOPInstanceUID = "Another", "1.2.3.4"
        foreign.save_as(reports / "foreign.dcm")
        (reports / "note.txt").write_text("MARKER")
        # a report that replaces an earlier one, with the other answer
        later = pydicom.dcmread(srs["1.2.99.3"])
        old_uid, later.SOPInstanceUID = later.SOPInstanceUID, "1.2.3.5"
        reference = pydicom.Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = later.SOPClassUID, old_uid
        series = pydicom.Dataset()
        series.SeriesInstanceUID, series.ReferencedSOPSequence = later.SeriesInstanceUID, [reference]
        study = pydicom.Dataset()
        study.StudyInstanceUID, study.ReferencedSeriesSequence = later.StudyInstanceUID, [series]
        later.PredecessorDocumentsSequence = [study]
        groups = [g for c in later.ContentSequence if c.ConceptNameCodeSequence[0].CodeValue == "126010"
                  for g in c.ContentSequence]
        changed = 0.0123
        for item in groups[0].ContentSequence:
            name = item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else ""
            if name in ("122157", "246262008"):
                percent = item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "%"
                item.MeasuredValueSequence[0].NumericValue = str(changed * (100 if percent else 1))
            if name == "121052":
                item.ConceptCodeSequence[0].CodeValue = "272519000"
        later.save_as(reports / "later.dcm")
        out = self.path("audit")
        done = evaluate("--reports", reports, "--truth", path, "--out", out, "--bootstrap", 300)
        assert done.returncode == 0, done
        answer = load(out, "reports")
        counts = answer["reports"]
        expected = {"unreadable": 1, "repeated": 1, "replaced": 1, "studies": 41, "in_force": len(srs),
                    "without_truth": 0, "other_model": 0}
        assert {k: counts[k] for k in expected} == expected, counts
        assert counts["without_report"] == 41 - len(srs)
        scores, known = [], []
        for uid, one in answers.items():
            found = [f["score"] for r in one["results"] for f in r["findings"] if f["key"] == "bright"]
            if found:
                scores.append(changed if uid == "1.2.99.3" else found[0])
                known.append(truths[uid])
        assert len(scores) == 39
        finding = answer["assessment"]["findings"][0]
        self.check(finding["figures"]["measures"], np.array(known), np.array(scores), 0.5)
        bright, dark = answer["results"]
        assert bright["present"] + bright["absent"] == 39 and bright["contradicting"] == 0
        assert bright["failed"] + bright["missing"] == 2, bright
        assert dark["undetermined"] == 39 and dark["present"] == 0, dark
        assert answer["models"] == [{"id": "tiny", "version": "1.2.3", "n_reports": len(srs),
                                     "sha256": tiny_model.sha(tiny_model.graph())}]
        assert {g["column"] for g in finding["groups"]} >= {"age"}
        # two films a patient, by the reports' own Patient ID
        assert finding["figures"]["n_patients"] == 20
        self.no_patient(done.stdout + done.stderr, out)
        named = evaluate("--reports", reports, "--truth", path, "--names", "--bootstrap", 100)
        assert "cut.dcm: " in named.stderr and "cut.dcm" not in done.stderr, named.stderr

        by_accession, _ = self.truth(answers, "accession")
        done = evaluate("--reports", reports, "--truth", by_accession, "--bootstrap", 300)
        assert done.returncode == 0, done
        value = finding["figures"]["measures"]["auc"]["value"]
        assert f"Area under the ROC curve (AUC)           {value:.4f} " in done.stdout, done.stdout
        self.refused_truths(reports)

    def no_patient(self, text, folder):
        for path in folder.iterdir():
            text += path.read_text(encoding="latin1")
        for marker in ("MARKER", "1.2.99.", "9.9.9"):
            assert marker not in text, marker

    def refused_truths(self, reports):
        for text, code, message in (
                ("study,bright\n", 3, "no row below the header"),
                ("patient,bright\nMARKER,1\n", 3, ":1: one of the columns 'study'"),
                ("study,accession,bright\na,b,1\n", 3, ":1: one of the columns 'study'"),
                ("study\n1.2\n", 3, ":1: no column names a finding"),
                ("study,bright\n1.2,MARKER\n", 3, ":2: column 2 is none of 1, yes"),
                ("study,bright\n,1\n", 3, ":2: no study"),
                ("study,bright\n1.2,1\n1.3,0\n1.2,0\n", 3, ":4: the same study as in line 2"),
                ("study,birght\n1.2,1\n", 2, ":1: column 2 is no finding of these reports; one that is: 'bright'"),
                ("study,bright,age\n1.2,1,old\n", 3, ":2: the age is not a number")):
            path = self.path("bad.csv")
            path.write_text(text, encoding="utf-8")
            done = evaluate("--reports", reports, "--truth", path)
            assert done.returncode == code and message in done.stderr, (text, done)
            assert "MARKER" not in done.stderr and done.stdout == "", done
        good = self.path("good.csv")
        good.write_text("study,bright\n1.2.99.1,1\n", encoding="utf-8")
        done = evaluate("--reports", reports, "--truth", good, "--model", "chest")
        assert done.returncode == 3 and "no report of the model 'chest'" in done.stderr, done
        empty = self.path("empty")
        empty.mkdir()
        done = evaluate("--reports", empty, "--truth", good)
        assert done.returncode == 3 and "no report of medaid" in done.stderr, done
        done = evaluate("--reports", self.path("nowhere"), "--truth", good)
        assert done.returncode == 3 and "no such folder" in done.stderr, done


tap.run(Evaluate)
