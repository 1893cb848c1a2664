#!/usr/bin/python3
"""The table that the example is fitted to: 4,000 made-up studies. Nothing in it comes from a patient.

usage: make_table.py table.csv

The chance that a study "had to be read at once" is drawn with these log-odds, chosen by hand:

    -4.2 + 4.5 pneumonia + 3.0 abnormal + 0.02 (age - 50) + 0.08 hours (up to 24) + 0.0 female

pneumonia and abnormal are scores as an image model and one of the order text give them; a third has no order text
(abnormal missing), a tenth no known sex. Patients have one to three studies.
"""
import csv
import sys

import numpy as np

random = np.random.default_rng(20261124)
rows = []
patient = 0
while len(rows) < 4000:
    patient += 1
    age = float(np.clip(random.normal(58, 19), 0, 100))
    female = random.random() < 0.48
    for _ in range(random.integers(1, 4)):
        ill = random.random() < 0.25
        pneumonia = float(random.beta(5, 2) if ill else random.beta(1.2, 6))
        abnormal = float(random.beta(4, 2) if random.random() < (0.5 if ill else 0.15) else random.beta(1.5, 6))
        hours = float(np.minimum(random.exponential(3), 240))
        odds = -4.2 + 4.5 * pneumonia + 3.0 * abnormal + 0.02 * (age - 50) + 0.08 * min(hours, 24)
        at_once = random.random() < 1 / (1 + np.exp(-odds))
        rows.append([f"P{patient:05d}", f"{pneumonia:.4f}", "" if random.random() < 1 / 3 else f"{abnormal:.4f}",
                     f"{age:.1f}", "" if random.random() < 0.1 else "F" if female else "M", f"{min(hours, 24):.2f}",
                     int(at_once)])
with open(sys.argv[1], "w", newline="", encoding="utf-8") as out:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["patient", "pneumonia", "abnormal", "age", "sex", "hours", "at_once"])
    writer.writerows(rows[:4000])
