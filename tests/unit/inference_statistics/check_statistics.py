#!/usr/bin/python3
"""check_statistics.py TOOL: inference/statistics against numpy, scipy and scikit-learn, in TAP."""
import os
import subprocess
import sys

import numpy as np
from scipy import optimize, stats
from sklearn import metrics
from sklearn.calibration import _SigmoidCalibration

sys.path.insert(0, os.path.join(os.environ["MEDAID_SOURCE_ROOT"], "tests/support"))
import tap

TOOL = sys.argv.pop(1)


def cases():
    """Scores with and without ties, few positives, patients with several rows."""
    for seed, n, share, decimals in ((1, 400, 0.5, 9), (2, 400, 0.3, 1), (3, 60, 0.1, 2), (4, 2000, 0.9, 3)):
        rng = np.random.default_rng(seed)
        patients = np.sort(rng.integers(0, n // 2, n))
        effect = rng.normal(size=n)[patients]  # shared by the rows of a patient
        truths = (rng.random(n) < share).astype(int)
        scores = 1 / (1 + np.exp(-(1.5 * truths - 1 + effect + rng.normal(size=n))))
        seconds = 1 / (1 + np.exp(-(1.2 * truths - 1 + effect + rng.normal(size=n))))
        yield np.clip(scores.round(decimals), 0.01, 0.99), truths, patients, seconds.round(decimals)


def ask(scores, truths, patients, seconds, threshold=0.5, method="percentile"):
    rows = "".join(f"{s!r} {t} {p} {q!r}\n" for s, t, p, q in
                   zip(scores.tolist(), truths.tolist(), patients.tolist(), seconds.tolist()))
    out = subprocess.run([TOOL, str(threshold), method], input=rows, text=True, check=True,
                         stdout=subprocess.PIPE).stdout.split("\n")
    points = np.array([[float(x) for x in line.split()[1:]] for line in out if line.startswith("point ")])
    normal = [line.split()[1:] for line in out if line.startswith("normal ")]
    single = {line.split()[0]: float(line.split()[1]) for line in out if len(line.split()) == 2}
    return single, points, normal


def near(name, ours, reference, tolerance=1e-9):
    assert np.allclose(ours, reference, rtol=tolerance, atol=tolerance), f"{name}: {ours} is not {reference}"


def delong_by_definition(scores, truths):
    """Every pair of rows, as DeLong et al. 1988 write it."""
    a, b = scores[truths == 1], scores[truths == 0]
    psi = (a[:, None] > b) + 0.5 * (a[:, None] == b)
    return psi.mean(1), psi.mean(0)


def clustered_by_definition(scores, truths, patients):
    """Obuchowski 1997, sums over patients."""
    v10, v01 = delong_by_definition(scores, truths)
    area = v10.mean()
    ids = np.unique(patients)
    x = np.array([(v10[patients[truths == 1] == i] - area).sum() for i in ids])
    y = np.array([(v01[patients[truths == 0] == i] - area).sum() for i in ids])
    m, n, i = len(v10), len(v01), len(ids)
    i10, i01 = len(np.unique(patients[truths == 1])), len(np.unique(patients[truths == 0]))
    return (i10 / (i10 - 1) * (x * x).sum() / m**2 + i01 / (i01 - 1) * (y * y).sum() / n**2 +
            2 * i / (i - 1) * (x * y).sum() / (m * n))


class Statistics:
    def test_counts_and_curves(self):
        for scores, truths, patients, seconds in cases():
            ours, points, _ = ask(scores, truths, patients, seconds)
            called = scores >= 0.5
            near("accuracy", ours["accuracy"], metrics.accuracy_score(truths, called))
            near("precision", ours["precision"], metrics.precision_score(truths, called))
            near("recall", ours["recall"], metrics.recall_score(truths, called))
            near("specificity", ours["specificity"], metrics.recall_score(truths, called, pos_label=0))
            near("f1", ours["f1"], metrics.f1_score(truths, called))
            near("auc", ours["auc"], metrics.roc_auc_score(truths, scores))
            near("average_precision", ours["average_precision"],
                 metrics.average_precision_score(truths, scores))
            fpr, tpr, thresholds = metrics.roc_curve(truths, scores, drop_intermediate=False)
            near("roc thresholds", points[1:, 0], thresholds[1:])
            near("roc tpr", points[:, 1] / truths.sum(), tpr)
            near("roc fpr", points[:, 2] / (1 - truths).sum(), fpr)
            near("youden", ours["youden"], (tpr - fpr).max())
            near("at sensitivity", ours["specificity_at_sensitivity_90"], 1 - fpr[tpr >= 0.9].min())
            near("at specificity", ours["sensitivity_at_specificity_90"], tpr[1 - fpr >= 0.9].max())

    def test_calibration(self):
        for scores, truths, patients, seconds in cases():
            ours, _, _ = ask(scores, truths, patients, seconds)
            near("brier", ours["brier"], metrics.brier_score_loss(truths, scores))
            near("log_loss", ours["log_loss"], metrics.log_loss(truths, scores))
            bins = np.minimum((scores * 15).astype(int), 14)
            error = sum(abs(scores[bins == k].mean() - truths[bins == k].mean()) * (bins == k).mean()
                        for k in set(bins))
            near("ece", ours["ece"], error)
            odds = np.log(scores / (1 - scores))

            def loss(t):
                return np.logaddexp(0, -(2 * truths - 1) * odds / t).mean()
            best = optimize.minimize_scalar(loss, bounds=(0.01, 100), method="bounded",
                                            options={"xatol": 1e-10}).x
            near("temperature", ours["temperature"], best, 1e-5)
            near("temperature_softmax", ours["temperature_softmax"], ours["temperature"], 1e-6)
            platt = _SigmoidCalibration().fit(odds, truths)  # Platt's targets, by BFGS
            near("platt_a", ours["platt_a"], -platt.a_, 1e-3)
            near("platt_b", ours["platt_b"], -platt.b_, 1e-3)
            # and the gradient of Platt's loss there is zero
            n1, n0 = truths.sum(), (1 - truths).sum()
            target = np.where(truths == 1, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
            miss = 1 / (1 + np.exp(-(ours["platt_a"] * odds + ours["platt_b"]))) - target
            near("platt gradient", [miss.sum() / len(miss), (miss * odds).sum() / len(miss)], 0, 1e-7)

    def test_delong(self):
        for scores, truths, patients, seconds in cases():
            ours, _, _ = ask(scores, truths, patients, seconds)
            v10, v01 = delong_by_definition(scores, truths)
            near("variance", ours["delong_variance"],
                 v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01))
            w10, w01 = delong_by_definition(seconds, truths)
            difference = v10.mean() - w10.mean()
            variance = (v10 - w10).var(ddof=1) / len(v10) + (v01 - w01).var(ddof=1) / len(v01)
            near("difference", ours["difference"], difference)
            near("difference_variance", ours["difference_variance"], variance)
            near("difference_p", ours["difference_p"],
                 2 * stats.norm.sf(abs(difference) / np.sqrt(variance)))
            near("clustered", ours["clustered_variance"],
                 clustered_by_definition(scores, truths, patients))

    def test_bootstrap(self):
        """The ends are themselves drawn: 20,000 replicates know them to a few hundredths of the width."""
        for scores, truths, patients, seconds in list(cases())[:3]:
            for method, name in (("percentile", "percentile"), ("bca", "BCa")):
                ours, _, _ = ask(scores, truths, patients, seconds, method=method)
                groups = [np.flatnonzero(patients == p) for p in np.unique(patients)]
                right = np.array([((scores[g] >= 0.5) == truths[g]).sum() for g in groups])
                total = np.array([scores[g].sum() for g in groups])
                size = np.array([len(g) for g in groups])
                for key, of in (("accuracy", right), ("mean", total)):
                    done = stats.bootstrap((of, size), lambda a, b, axis: a.sum(axis) / b.sum(axis),
                                           paired=True, method=name, n_resamples=20000, vectorized=True,
                                           random_state=1).confidence_interval
                    width = done.high - done.low
                    for end in ("low", "high"):
                        miss = abs(ours[f"bootstrap_{key}_{end}"] - getattr(done, end)) / width
                        # accuracy moves in steps of one row
                        assert miss < 0.04 + (1.5 / len(scores) / width if key == "accuracy" else 0), (
                            method, key, end, miss)

    def test_normal_and_wilson(self):
        scores, truths, patients, seconds = next(cases())
        ours, _, normal = ask(scores, truths, patients, seconds)
        assert len(normal) == 7
        for k, below, quantile in normal:
            near("cdf", float(below), stats.norm.cdf(int(k) - 4), 1e-13)
            near("ppf", float(quantile), stats.norm.ppf(int(k) / 1e3), 1e-13)
        n = len(scores)
        wilson = stats.binomtest(n // 3, n).proportion_ci(method="wilson")
        near("wilson", [ours["wilson_low"], ours["wilson_high"]], [wilson.low, wilson.high])


tap.run(Statistics)
