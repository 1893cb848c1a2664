#!/usr/bin/python3
"""Linear regression and ridge against scikit-learn, and their uncertainty against R's lm, on the diabetes
data of python3-sklearn and the lung cancer data of r-cran-survival: 1e-6 relative.

usage: check_linear.py LINEAR-TOOL
"""
import subprocess
import sys

import numpy as np
from scipy import stats
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression, Ridge

tool = sys.argv[1]
n_tests = 0


def fit(x, y, ridge=0.0, confidence=0.95):
    done = subprocess.run([tool, repr(ridge), repr(confidence), str(len(x)), str(x.shape[1])],
                          input=np.ascontiguousarray(x, np.float64).tobytes() + np.asarray(y, np.float64).tobytes(),
                          stdout=subprocess.PIPE, check=True)
    found = {}
    for line in done.stdout.decode().splitlines():
        name, *numbers = line.split()
        found.setdefault(name, []).append(np.array(numbers, float))
    return {name: np.squeeze(np.array(rows)) for name, rows in found.items()}


def same(title, ours, theirs, tolerance=1e-6):
    global n_tests
    n_tests += 1
    worst = np.max(np.abs(np.asarray(ours) - theirs) / (np.abs(theirs) + 1e-9 * np.max(np.abs(theirs))))
    print(f"{'ok' if worst <= tolerance else 'not ok'} {n_tests} - {title} # worst {worst:.1e}")
    return worst <= tolerance


def r(script, text=None):
    done = subprocess.run(["Rscript", "--vanilla", "-e", script], input=text, text=True,
                          stdout=subprocess.PIPE, check=True)
    return [np.array(line.split(), float) for line in done.stdout.splitlines()]


def against_r(title, x, y, data):
    """`data` is R code that makes the frame d with the target y first."""
    shown = r(data + """; m <- lm(y ~ ., data = d); s <- summary(m)
        say <- function(v) cat(format(v, digits = 17), "\\n", sep = " ")
        say(coef(m)); say(s$coefficients[, 2]); say(s$sigma^2); say(s$r.squared)
        say(residuals(m)); say(hatvalues(m))
        p <- predict(m, d, interval = "confidence", level = 0.8)
        q <- suppressWarnings(predict(m, interval = "prediction", level = 0.8))
        say(t(cbind(p, q[, 2:3])))""")
    ours = fit(x, y, confidence=0.8)
    ok = same(f"{title}: coefficients", ours["coefficients"], shown[0][1:])
    ok &= same(f"{title}: intercept", ours["others"][0], shown[0][0])
    ok &= same(f"{title}: standard errors", ours["errors"], shown[1][1:])
    ok &= same(f"{title}: standard error of the intercept", ours["others"][1], shown[1][0])
    ok &= same(f"{title}: residual variance and R squared", ours["others"][3:], np.r_[shown[2], shown[3]])
    ok &= same(f"{title}: residuals", ours["residuals"], shown[4], 1e-5)
    ok &= same(f"{title}: leverages", ours["leverages"], shown[5])
    return ok & same(f"{title}: 80% intervals", ours["prediction"].ravel(), shown[6])


def ridge_errors(x, y, ridge):
    """The header's formulas by plain linear algebra."""
    centred = x - x.mean(0)
    gram = centred.T @ centred
    c = np.linalg.inv(gram + ridge * np.eye(x.shape[1]))
    b = c @ centred.T @ (y - y.mean())
    df = len(x) - 1 - np.trace(c @ gram)
    variance = np.sum((y - y.mean() - centred @ b) ** 2) / df
    covariance = c @ gram @ c
    spread = 1 / len(x) + np.einsum("ij,jk,ik->i", centred, covariance, centred)
    t = stats.t.ppf(0.95, df)
    said = y.mean() + centred @ b
    return (np.sqrt(variance * np.diag(covariance)), df,
            said - t * np.sqrt(variance * (1 + spread)))


good = True
x, y = load_diabetes(return_X_y=True)
theirs = LinearRegression().fit(x, y)
good &= same("diabetes: coefficients as scikit-learn", fit(x, y)["coefficients"], theirs.coef_)
csv = "\n".join(" ".join(map(repr, [b, *a])) for a, b in zip(x.tolist(), y.tolist()))
for strength in (0.01, 1.0, 100.0):
    theirs = Ridge(alpha=strength, solver="svd").fit(x, y)
    ours = fit(x, y, strength, 0.9)
    good &= same(f"diabetes: ridge {strength}", np.r_[ours["coefficients"], ours["others"][0]],
                 np.r_[theirs.coef_, theirs.intercept_])
    errors, df, low = ridge_errors(x, y, strength)
    good &= same(f"ridge {strength}: errors, degrees of freedom, interval",
                 np.r_[ours["errors"], ours["others"][2], ours["prediction"][:, 3]], np.r_[errors, df, low])
# more columns than rows, where only ridge has an answer
wide = x[:8]
theirs = Ridge(alpha=0.1, solver="svd").fit(wide, y[:8])
good &= same("8 rows of 10 columns: ridge", fit(wide, y[:8], 0.1)["coefficients"], theirs.coef_)
# columns of very different size and far from zero
far = x * 10.0 ** np.arange(-5, 5) + 1e4 * 10.0 ** np.arange(-5, 5)
theirs = LinearRegression().fit(far - far.mean(0), y)
good &= same("diabetes, shifted and scaled", fit(far, y)["coefficients"], theirs.coef_)

path = sys.argv[2]
with open(path, "w", encoding="ascii") as file:
    file.write(csv)
good &= against_r("diabetes, R", x, y, f"d <- read.table('{path}'); names(d)[1] <- 'y'")
lung = "library(survival); d <- na.omit(lung[, c('time', 'age', 'sex', 'ph.ecog', 'ph.karno', 'wt.loss')]);"
rows = np.array(r(lung + "cat(apply(format(as.matrix(d), digits = 17), 1, paste, collapse = ' '), sep = '\\n')"))
good &= against_r("lung, R", rows[:, 1:], rows[:, 0], lung + "names(d)[1] <- 'y'")
print(f"1..{n_tests}")
sys.exit(not good)
