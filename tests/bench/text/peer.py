#!/usr/bin/python3
"""A text network against scikit-learn's TF-IDF and logistic regression on the same split.

    peer.py MEDAID_TRAIN RUN_FOLDER [RUN_FOLDER...]

The peer may choose n-grams and C on the validation part, for each label by itself; both are then
measured on the test part. Intervals: bootstrap by patient, 1,000 times, seed 1, paired for the
difference."""
import csv
import json
import re
import subprocess
import sys
import warnings

import numpy as np
import yaml
from scipy.stats import rankdata
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

warnings.filterwarnings("ignore")


def auc(truth, score):
    n = int(truth.sum())
    rest = len(truth) - n
    if n == 0 or rest == 0:
        return np.nan
    return (rankdata(score)[truth == 1].sum() - n * (n + 1) / 2) / (n * rest)


def read(run):
    """Texts and labels of each part, as the recipe has them."""
    recipe = yaml.safe_load(open(run + "/recipe.yaml", encoding="utf-8"))
    data = recipe["data"]
    part_of = {row["patient"]: row["part"]
               for row in csv.DictReader(open(run + "/split.csv", encoding="utf-8"))}
    parts = {"train": ([], []), "validation": ([], []), "test": ([], [])}
    unknown = re.compile(data["unknown_pattern"])
    for row in csv.DictReader(open(data["table"], encoding="utf-8")):
        part = part_of.get(row[data["patient_column"]], "none")
        text = "\r".join(row[c] for c in recipe["text"]["columns"]).replace("\n", "\r")
        labels = []
        for name in data["classes"]:
            label = np.nan
            for pattern in data["label_patterns"]:
                value = row[pattern["column"]]
                if pattern["class"] == name and value and not unknown.search(value):
                    label = max(0.0 if np.isnan(label) else label,
                                float(re.search(pattern["matches"], value) is not None))
            labels.append(label)
        if part in parts:
            parts[part][0].append(text)
            parts[part][1].append(labels)
    return data["classes"], {k: (v[0], np.array(v[1])) for k, v in parts.items()}


def peer(parts):
    """Scores of the test part [n, labels]."""
    texts, truth = parts["train"]
    best = [(-1.0, None)] * truth.shape[1]
    for grams in ((1, 1), (1, 2)):
        vectorizer = TfidfVectorizer(ngram_range=grams, sublinear_tf=True, min_df=2)
        x = vectorizer.fit_transform(texts)
        validation = vectorizer.transform(parts["validation"][0])
        test = vectorizer.transform(parts["test"][0])
        for k in range(truth.shape[1]):
            for c in (0.3, 1.0, 3.0, 10.0):
                model = LogisticRegression(C=c, max_iter=2000).fit(x, truth[:, k])
                value = auc(parts["validation"][1][:, k], model.decision_function(validation))
                if value > best[k][0]:
                    best[k] = (value, model.decision_function(test))
    return np.array([b[1] for b in best]).T


def ours(program, run, texts, classes):
    done = subprocess.run([program, "read", run, "--jsonl"], input="\n".join(texts) + "\n",
                          capture_output=True, text=True, check=True, encoding="utf-8")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(texts)
    return np.array([[line["scores"][c] for c in classes] for line in lines])


def interval(values):
    values = values[~np.isnan(values)]
    return np.percentile(values, 2.5), np.percentile(values, 97.5)


def compare(program, run):
    classes, parts = read(run)
    texts, truth = parts["test"]
    a, b = ours(program, run, texts, classes), peer(parts)
    random = np.random.default_rng(1)
    draws = [random.integers(0, len(texts), len(texts)) for _ in range(1000)]
    print(f"{run.rstrip('/').split('/')[-1]}: test part, {len(texts)} texts")
    print(f"{'label':22}{'with it':>8}{'medaid':>8}   {'95%':14}{'sklearn':>8}   {'95%':14}"
          f"{'difference':>11}   95%")
    means = []
    for k, name in enumerate(classes + ["mean"] if len(classes) > 1 else classes):
        if name == "mean":
            both = [(np.mean([auc(truth[d, j], s[d, j]) for j in range(len(classes))]))
                    for s in (a, b) for d in draws[:200]]
            va, vb = np.mean([m[0] for m in means]), np.mean([m[1] for m in means])
            ra, rb = np.array(both[:200]), np.array(both[200:])
            n = ""
        else:
            va, vb = auc(truth[:, k], a[:, k]), auc(truth[:, k], b[:, k])
            ra = np.array([auc(truth[d, k], a[d, k]) for d in draws])
            rb = np.array([auc(truth[d, k], b[d, k]) for d in draws])
            means.append((va, vb))
            n = int(truth[:, k].sum())
        (al, ah), (bl, bh), (dl, dh) = interval(ra), interval(rb), interval(ra - rb)
        print(f"{name:22}{n:>8}{va:8.4f}   {al:.4f}-{ah:.4f} {vb:8.4f}   {bl:.4f}-{bh:.4f} "
              f"{va - vb:+11.4f}   {dl:+.4f} to {dh:+.4f}")


def main():
    for run in sys.argv[2:]:
        compare(sys.argv[1], run)


if __name__ == "__main__":
    main()
