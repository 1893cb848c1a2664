#!/usr/bin/python3
"""check_assess.py ASSESS_TOOL SCHEMA: assessment and page against numpy and scikit-learn, in TAP."""
import html.parser
import json
import os
import pathlib
import subprocess
import sys

import jsonschema
import numpy as np
from sklearn import metrics

sys.path.insert(0, os.path.join(os.environ["MEDAID_SOURCE_ROOT"], "tests/support"))
import tap

TOOL, SCHEMA = sys.argv.pop(1), json.loads(pathlib.Path(sys.argv.pop(1)).read_text(encoding="utf-8"))
VOID = {"meta", "br", "path", "circle"}


class Page(html.parser.HTMLParser):
    """Every element is closed, nothing is loaded from elsewhere, no script; keeps the words."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.headings, self.elements = [], [], [], set()
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        for key, value in attrs:
            assert key not in ("src", "href", "onload", "onclick") and "url(" not in (value or ""), (tag, key)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.add(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-3:])
        self.open.pop()

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
            if self.open and self.open[-1] == "h2":
                self.headings.append(data)

    def text(self):
        return " ".join("".join(self.words).split())


class Assess:
    def rows(self, n=785, seed=1, classes=3):
        rng = np.random.default_rng(seed)
        patients = np.sort(rng.integers(0, max(1, n * 2 // 3), n))
        truths = rng.choice(classes, n)
        z = rng.normal(size=(n, classes))
        z[np.arange(n), truths] += 1.5
        p = np.exp(z)
        p = (p / p.sum(1, keepdims=True)).astype(np.float32)
        return patients, rng.choice(list("FM?"), n, p=[.495, .495, .01]), truths, p

    def run(self, rows, classes="normal,bacterial,viral", threshold=0.4):
        text = "".join(f"{a} {s} {t} {' '.join(repr(float(x)) for x in p)}\n" for a, s, t, p in zip(*rows))
        done = subprocess.run([TOOL, self.folder, str(threshold), classes], input=text, text=True,
                              stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            return done.stderr, None
        folder = pathlib.Path(self.folder)
        answer = json.loads((folder / "assessment.json").read_text(encoding="utf-8"))
        jsonschema.validate(answer, {**SCHEMA["$defs"]["assessment"], "$defs": SCHEMA["$defs"]})
        return answer, Page((folder / "report.html").read_text(encoding="utf-8"))

    def test_figures(self):
        rows = self.rows()
        patients, sexes, truths, p = rows
        answer, _ = self.run(rows)
        assert answer["n"] == 785 and answer["n_patients"] == len(set(patients))
        said = p.argmax(1)
        assert answer["classes"]["confusion"] == metrics.confusion_matrix(truths, said).tolist()
        assert abs(answer["classes"]["accuracy"]["value"] - (said == truths).mean()) < 1e-12
        assert abs(answer["classes"]["balanced_accuracy"]["value"] -
                   metrics.balanced_accuracy_score(truths, said)) < 1e-12
        for k, finding in enumerate(answer["findings"]):
            m, y, s = finding["figures"]["measures"], truths == k, p[:, k].astype(float)
            for name, value in (("sensitivity", metrics.recall_score(y, s >= 0.4)),
                                ("precision", metrics.precision_score(y, s >= 0.4)),
                                ("auc", metrics.roc_auc_score(y, s)),
                                ("average_precision", metrics.average_precision_score(y, s)),
                                ("brier", metrics.brier_score_loss(y, s))):
                assert abs(m[name]["value"] - value) < 1e-9, (name, m[name], value)
                assert m[name]["low"] < value < m[name]["high"], (name, m[name])
                assert 0.01 < m[name]["high"] - m[name]["low"] < 0.2, (name, m[name])
            assert m["auc"]["interval"] == "delong" and m["sensitivity"]["interval"] == "bootstrap"
            for group in finding["groups"]:
                here = sexes == {"female": "F", "male": "M", "not <known>": "?"}[group["group"]]
                assert group["figures"]["n"] == here.sum()
                if group["too_small"]:
                    assert min(y[here].sum(), (~y[here]).sum()) < 10
                    assert group["figures"]["measures"]["auc"]["value"] is None
                else:
                    value = metrics.roc_auc_score(y[here], s[here])
                    assert abs(group["figures"]["measures"]["auc"]["value"] - value) < 1e-9
            assert sum(g["too_small"] for g in finding["groups"]) == 1
            roc = finding["roc"]
            assert roc[0]["threshold"] is None and roc[-1]["true_positive"] == y.sum()
            assert len(roc) <= 1001

    def test_crosswise_fit(self):
        """Scores that are too sure are repaired by both fits, also on patients not seen."""
        patients, sexes, truths, p = self.rows(n=3000)
        sharp = p.astype(float) ** 4
        sharp = (sharp / sharp.sum(1, keepdims=True)).astype(np.float32)
        answer, _ = self.run((patients, sexes, truths, sharp))
        for finding in answer["findings"]:
            before = finding["figures"]["measures"]["calibration_error"]["value"]
            for fit in finding["calibration"].values():
                assert fit["calibration_error_crosswise"] < before / 2, (fit, before)
                assert 0.1 < fit["a"] < 0.5 and not fit["at_limit"], fit

    def test_the_same_again(self):
        rows = self.rows(n=200)
        one, _ = self.run(rows)
        two, _ = self.run(rows)
        assert one == two

    def test_one_class_missing(self):
        patients, sexes, truths, p = self.rows(n=60)
        answer, page = self.run((patients, sexes, np.zeros_like(truths), p))
        m = answer["findings"][1]["figures"]["measures"]
        assert m["auc"]["value"] is None and m["sensitivity"]["value"] is None
        assert m["specificity"]["value"] is not None
        assert answer["findings"][1]["thresholds"]["youden"] is None
        assert answer["findings"][1]["calibration"]["platt"] is None
        assert "not defined" in page.text() and "none was there" in page.text()
        assert "no threshold does this" in page.text() and "could not be fitted" in page.text()

    def test_unknown_truths(self):
        patients, sexes, truths, p = self.rows(n=300)
        hidden = np.where(np.arange(300) % 3 == 0, -1, truths)
        answer, page = self.run((patients, sexes, hidden, p))
        assert answer["findings"][0]["n_without_truth"] == 100
        assert answer["findings"][0]["figures"]["n"] == 200
        assert sum(map(sum, answer["classes"]["confusion"])) == 200
        assert "100 more have no known truth" in page.text()

    def test_one_row_and_none(self):
        patients, sexes, truths, p = self.rows(n=1)
        answer, page = self.run((patients, sexes, truths, p))
        assert answer["n"] == 1 and page is not None
        message, _ = self.run(([], [], [], []))
        assert message == "nothing to measure on: no rows\n", message

    def test_no_error_at_all(self):
        patients, sexes, truths, p = self.rows(n=100, classes=2)
        sure = np.eye(2, dtype=np.float32)[truths]
        answer, page = self.run((patients, sexes, truths, sure), "a,b", 0.5)
        m = answer["findings"][0]["figures"]["measures"]
        assert m["auc"] == {"value": 1.0, "low": None, "high": None, "interval": "none"}
        assert m["f1"]["interval"] == "none"  # all replicates are equal: nothing is known of its spread
        assert m["sensitivity"]["interval"] == "wilson" and 0.85 < m["sensitivity"]["low"] < 0.97
        assert "the limit: no error to fit to" in page.text()

    def test_bad_scores(self):
        patients, sexes, truths, p = self.rows(n=5)
        p[3, 1] = 1.5
        message, _ = self.run((patients, sexes, truths, p))
        assert message == "'bacterial', row 3: score 1.5 is not in 0..1\n", message

    def test_page(self):
        answer, page = self.run(self.rows(), classes="<i>normal</i>,bact\x01erial\u202e,vi&ral")
        assert page.headings == ["What it is for", "In short", "Model and data", "Figures",
                                 "What is taken for what", "Threshold", "Can a score be read as a probability?",
                                 "Groups of patients", "What helped", "Limits", "What the terms mean"]
        text = page.text()
        assert "script" not in page.elements and "i" not in page.elements and "known" not in page.elements
        for words in ("Chest <b>model</b> 'x'", "First paragraph. Same one.", "Second & last.",
                      "One hospital <script>alert(1)</script> only.", "resnet18 & <more>", "<i>normal</i>",
                      "bact?erial?", "vi&ral", "without \"mixup\"", "too few to tell", "DeLong, patients as clusters"):
            assert words in text, words
        m = answer["findings"][0]["figures"]["measures"]
        se, auc = m["sensitivity"], m["auc"]
        assert f"it finds about {100 * se['value']:.0f} (95% interval: {100 * se['low']:.0f} to " in text
        assert f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})" in text
        names = {p.name for p in pathlib.Path(self.folder).iterdir()}
        assert {"roc.svg", "roc.png", "confusion.svg", "precision-recall.png", "histogram-_i_normal__i_.svg",
                "reliability-vi_ral.png"} <= names, names


tap.run(Assess)
