#!/usr/bin/python3
"""Random forests against scikit-learn's, five folds of its breast cancer and diabetes data: as accurate
within the noise of the folds; and what missing values, importance and contributions do.

usage: check_forest.py FOREST-TOOL
"""
import subprocess
import sys

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import mean_squared_error, roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold

tool = sys.argv[1]
n_tests = 0
good = True


def grow(classify, x, y, asked, groups=None):
    groups = np.arange(len(x)) if groups is None else groups
    done = subprocess.run([tool, str(int(classify)), str(len(x)), str(x.shape[1])],
                          input=b"".join(np.ascontiguousarray(a, np.float32).tobytes() for a in (x, y, groups, asked)),
                          stdout=subprocess.PIPE, check=True)
    found = {}
    for line in done.stdout.decode().splitlines():
        name, *numbers = line.split()
        found.setdefault(name, []).append([float(v) for v in numbers])
    return {name: np.array(rows) for name, rows in found.items()}


def check(title, holds, note=""):
    global n_tests, good
    n_tests += 1
    good &= bool(holds)
    print(f"{'ok' if holds else 'not ok'} {n_tests} - {title} # {note}")


def folds_of(classify, x, y):
    """Of each fold our and scikit-learn's error: 1 - AUC, or the mean squared one."""
    errors = []
    splitter = (StratifiedKFold if classify else KFold)(5, shuffle=True, random_state=1)
    for train, test in splitter.split(x, y):
        ours = grow(classify, x[train], y[train], x[test])["row"][:, 0]
        if classify:
            peer = RandomForestClassifier(200, min_samples_leaf=3, random_state=1).fit(x[train], y[train])
            theirs = peer.predict_proba(x[test])[:, 1]
            errors.append([1 - roc_auc_score(y[test], s) for s in (ours, theirs)])
        else:
            peer = RandomForestRegressor(200, min_samples_leaf=3, max_features=1 / 3, random_state=1)
            theirs = peer.fit(x[train], y[train]).predict(x[test])
            errors.append([mean_squared_error(y[test], s) for s in (ours, theirs)])
    return np.array(errors)


x, y = load_breast_cancer(return_X_y=True)
y = 1 - y
for title, classify, data in (("breast cancer", True, (x, y)), ("diabetes", False, load_diabetes(return_X_y=True))):
    errors = folds_of(classify, *data)
    noise = errors[:, 1].std(ddof=1)
    ours, theirs = errors.mean(0)
    check(f"{title}: as accurate", ours - theirs < noise, f"error {ours:.4g}, scikit-learn {theirs:.4g}, folds +-{noise:.2g}")
    whole = grow(classify, *data, data[0])
    error = 1 - whole["cross"][0, 1] if classify else whole["cross"][0, 0] ** 2
    check(f"{title}: the stated error on rows not seen", abs(error - ours) < 2 * noise, f"{error:.4g}")
    check(f"{title}: start and contributions make the answer",
          np.allclose(whole["row"][:, 0], whole["row"][:, 1], rtol=1e-9, atol=1e-9))
    check(f"{title}: importance adds up", abs(whole["importance"].sum() - 1) < 1e-9)
    check(f"{title}: no answer outside the targets",
          whole["row"].min() >= data[1].min() - 1e-6 and whole["row"].max() <= data[1].max() + 1e-6)
    check(f"{title}: again the same", np.array_equal(grow(classify, *data, data[0])["row"], whole["row"]))

random = np.random.default_rng(5)
noise = np.c_[x, random.normal(size=(len(x), 3))]
found = grow(True, noise, y, noise[:1])["importance"][0]
check("importance: noise matters least", found[-3:].max() < 0.02 < found[:-3].max(), f"noise {found[-3:].max():.4f}")
holes = np.where(random.random(x.shape) < 0.3, np.nan, x)
auc = 1 - np.mean([1 - roc_auc_score(y[test], grow(True, holes[train], y[train], holes[test])["row"][:, 0])
                   for train, test in StratifiedKFold(5, shuffle=True, random_state=2).split(x, y)])
check("30% of the values missing", auc > 0.97, f"AUC {auc:.4f}")
nothing = grow(True, holes, y, np.full((1, x.shape[1]), np.nan))["row"][0, 0]
check("a row without any value has an answer", 0.0 <= nothing <= 1.0, f"{nothing:.3f}")
whether = np.where(y == 1, np.nan, 1.0)                  # the lack alone tells
found = grow(True, np.c_[whether, random.normal(size=len(y))], y, np.array([[np.nan, 0.0], [1.0, 0.0]]))["row"][:, 0]
check("what is missing can tell", found[0] > 0.8 > 0.2 > found[1], f"{found[0]:.2f}, {found[1]:.2f}")
print(f"1..{n_tests}")
sys.exit(not good)
