#!/usr/bin/python3
"""Support vector machines against scikit-learn's on its breast cancer data: the same decisions, as good
probabilities and as good a choice of c and gamma.

usage: check_svm.py SVM-TOOL
"""
import subprocess
import sys

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

tool = sys.argv[1]
n_tests = 0
good = True


def fit(x, kinds, kernel, c=1.0, gamma=0.0, balanced=False, groups=None):
    groups = np.arange(len(x)) if groups is None else groups
    done = subprocess.run([tool, kernel, repr(c), repr(gamma), str(int(balanced)), str(len(x)), str(x.shape[1])],
                          input=b"".join(np.ascontiguousarray(a, np.float64).tobytes() for a in (x, kinds, groups)),
                          stdout=subprocess.PIPE, check=True)
    found = {}
    for line in done.stdout.decode().splitlines():
        name, *numbers = line.split()
        found.setdefault(name, []).append([float(v) for v in numbers])
    return {name: np.array(rows) for name, rows in found.items()}


def check(title, holds, note):
    global n_tests, good
    n_tests += 1
    good &= bool(holds)
    print(f"{'ok' if holds else 'not ok'} {n_tests} - {title} # {note}")


x, kinds = load_breast_cancer(return_X_y=True)
kinds = 1 - kinds  # 1: malignant
scaled = StandardScaler().fit_transform(x)
folds = StratifiedKFold(5, shuffle=True, random_state=0)
for kernel, c, gamma, balanced in [("linear", 1.0, 0.0, False), ("linear", 0.01, 0.0, True),
                                   ("rbf", 1.0, 0.03, False), ("rbf", 30.0, 0.003, True)]:
    peer = SVC(C=c, kernel=kernel, gamma=gamma or "scale", class_weight="balanced" if balanced else None, tol=1e-9)
    theirs = peer.fit(scaled, kinds).decision_function(scaled)
    ours = fit(x, kinds, kernel, c, gamma, balanced)
    title = f"{kernel}, c {c:g}{', balanced' if balanced else ''}"
    worst = np.abs(ours["row"][:, 0] - theirs).max() / np.abs(theirs).max()
    check(f"{title}: decisions", worst < 1e-6, f"worst {worst:.1e}")
    peer_cross = cross_val_predict(peer.set_params(tol=1e-3), scaled, kinds, cv=folds, method="decision_function")
    peer_auc = roc_auc_score(kinds, peer_cross)
    check(f"{title}: cross-validated AUC", abs(ours["auc"][0, 0] - peer_auc) < 0.006,
          f"{ours['auc'][0, 0]:.4f}, scikit-learn {peer_auc:.4f}")
    if kernel == "rbf" and not balanced:
        probability = CalibratedClassifierCV(peer, method="sigmoid", cv=folds, ensemble=False).fit(
            scaled, kinds).predict_proba(scaled)[:, 1]
        briers = brier_score_loss(kinds, ours["row"][:, 1]), brier_score_loss(kinds, probability)
        check(f"{title}: Brier score of the probabilities", briers[0] < briers[1] + 0.005,
              f"{briers[0]:.4f}, scikit-learn {briers[1]:.4f}")

again = fit(x, kinds, "rbf", 1.0, 0.03)
check("the same rows give the same model", np.array_equal(again["row"], fit(x, kinds, "rbf", 1.0, 0.03)["row"]), "")
constant = np.c_[x, np.full(len(x), 1e6 + 0.1)]
check("a column that never varies changes nothing",
      np.allclose(fit(constant, kinds, "linear")["row"], fit(x, kinds, "linear")["row"], rtol=1e-6, atol=1e-9), "")

ours = fit(x, kinds, "search")
grid = {"svc__C": [0.1, 1.0, 10.0], "svc__gamma": [0.003, 0.03, 0.3]}
theirs = GridSearchCV(make_pipeline(StandardScaler(), SVC(class_weight="balanced")), grid, scoring="roc_auc", cv=folds)
theirs.fit(x, kinds)
best = ours["trial"][:, 2].max()
check("grid search: as good a best", abs(best - theirs.best_score_) < 0.005,
      f"AUC {best:.4f}, scikit-learn {theirs.best_score_:.4f}")
at = ours["trial"][np.argmax(ours["trial"][:, 2])]
check("grid search: the best is what was chosen", np.allclose(ours["chosen"][0], at[:2]), f"c {at[0]:g}, gamma {at[1]:g}")
# three noisy copies of each row, all in one group: their copies must not vouch for them
random = np.random.default_rng(3)
noise, labels = np.repeat(random.normal(size=(60, 40)), 3, 0), np.repeat(np.arange(60) % 2, 3)
noise = noise + 0.01 * random.normal(size=noise.shape)
together = fit(noise, labels, "rbf", 10.0, 0.03, groups=np.repeat(np.arange(60), 3))["auc"][0, 0]
apart = fit(noise, labels, "rbf", 10.0, 0.03)["auc"][0, 0]
check("rows of one group stay in one fold", together < 0.7 < 0.95 < apart, f"AUC {together:.2f}, not kept {apart:.2f}")
print(f"1..{n_tests}")
sys.exit(not good)
