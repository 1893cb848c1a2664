#!/usr/bin/python3
"""One film of 2048 x 2500, cold process to written report: medaid against pydicom and torch, in turn; the
film uncompressed (10 MB) and as lossless JPEG 2000.

usage: bench.py BUILD [rounds]. Prints medians, ratios and where medaid's time went (--timing); asserts that
both compute the same score. Wanted: 150 ms for the whole process.
"""
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import yaml

build = pathlib.Path(sys.argv[1])
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
root = pathlib.Path(__file__).resolve().parents[3]
here = pathlib.Path(__file__).resolve().parent
WANTED_MS = 150


def measure(command, environment, stderr=None):
    """Wall seconds, CPU seconds, peak MiB and standard output of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=environment)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output


def calibrated(logits, calibration):
    """Pneumonia (all but class 0) from the logits, as docs/model-package.md says."""
    tempered = calibration["method"] == "temperature"
    scaled = [x / (calibration["temperature"] if tempered else 1) for x in logits]
    odds = math.log(sum(math.exp(x) for x in scaled[1:])) - scaled[0]
    if calibration["method"] == "platt":
        odds = calibration["a"] * odds + calibration["b"]
    return 1 / (1 + math.exp(-odds))


def row(name, runs):
    wall, cpu, peak = (statistics.median(r[i] for r in runs) for i in range(3))
    worst = max(r[0] for r in runs)
    print(f"  {name:<22} wall {wall * 1e3:7.1f} ms (worst {worst * 1e3:7.1f})   "
          f"CPU {cpu * 1e3:7.1f} ms   peak {peak:6.1f} MiB")
    return wall, cpu


def breakdown(runs):
    """Medians of the stages of --timing."""
    stages = [json.loads(run[3])["timing_ms"] for run in runs]
    medians = {stage: statistics.median(one[stage] for one in stages) for stage in stages[0]}
    text = ", ".join(f"{stage} {ms:.1f}" for stage, ms in medians.items() if ms >= 0.05)
    print(f"    ms: {text}")


def compare(name, film, folder, forced):
    environment = dict(os.environ)
    if not forced:
        environment.pop("OPENBLAS_CORETYPE", None)
        environment.pop("OPENBLAS_L2_SIZE", None)
    print(f"{name}, {os.path.getsize(film) / 1e6:.1f} MB, {rounds} rounds, OPENBLAS_CORETYPE "
          f"{environment.get('OPENBLAS_CORETYPE', 'unset')}", flush=True)
    medaid = [build / "daemon/medaid", "--oneshot", film, "--config", root / "conf/medaid.yaml",
              "--output", os.path.join(folder, "results"), "--overwrite", "--json"]
    peer = ["/usr/bin/python3", here / "peer.py", film, os.path.join(folder, "network.pt"),
            str(pre["mean"][0]), str(pre["std"][0])]
    ours, theirs, timed = [], [], []
    for _ in range(rounds):
        ours.append(measure(medaid, environment))
        theirs.append(measure(peer, environment))
        timed.append(measure([*medaid, "--timing"], dict(environment), stderr=subprocess.DEVNULL))
    our_wall, _ = row("medaid --oneshot", ours)
    breakdown(timed)
    their_wall, _ = row("pydicom + torch", theirs)
    print(f"  medaid is {their_wall / our_wall:.1f} times as fast; wanted: {WANTED_MS} ms, had: "
          f"{our_wall * 1e3:.0f} ms")
    score = json.loads(ours[0][3])["results"][0]["findings"][0]["score"]
    other = calibrated(json.loads(theirs[0][3])[0], manifest["calibration"])
    print(f"  pneumonia score {score:.5f} and {other:.5f}", flush=True)
    assert abs(score - other) < 0.01, "the two do not compute the same"


manifest = yaml.safe_load((root / "plugins/chest/model.yaml").read_text())
pre = manifest["preprocess"]
with tempfile.TemporaryDirectory() as temporary:
    plain, j2k = pathlib.Path(temporary, "film.dcm"), pathlib.Path(temporary, "j2k.dcm")
    subprocess.run([build / "tests/support/medaid-phantom", "--output", plain], check=True,
                   stdout=subprocess.DEVNULL)
    # in a process of its own: what this one has in memory counts as the peak of its children
    subprocess.run(["/usr/bin/python3", root / "tests/support/transfer_syntax.py", plain, j2k,
                    "1.2.840.10008.1.2.4.90"], check=True)
    subprocess.run(["/usr/bin/python3", here / "to_torch.py", root / "plugins/chest/model.onnx",
                    os.path.join(temporary, "network.pt")], check=True)
    for is_forced in (True, False):
        compare("uncompressed", plain, temporary, is_forced)
    compare("JPEG 2000 lossless", j2k, temporary, False)
