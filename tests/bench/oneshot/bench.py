#!/usr/bin/python3
"""One 10 MB film, cold process to written report: medaid against pydicom and torch, in turn.

usage: bench.py BUILD [rounds]. Prints medians and ratios; asserts that both compute the same score.
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


def measure(command, environment):
    """Wall seconds, CPU seconds, peak MiB and standard output of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
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


with tempfile.TemporaryDirectory() as folder:
    film = os.path.join(folder, "film.dcm")
    subprocess.run([build / "tests/support/medaid-phantom", "--output", film], check=True,
                   stdout=subprocess.DEVNULL)
    network = os.path.join(folder, "network.pt")
    subprocess.run(["/usr/bin/python3", here / "to_torch.py", root / "plugins/chest/model.onnx",
                    network], check=True)
    manifest = yaml.safe_load((root / "plugins/chest/model.yaml").read_text())
    pre = manifest["preprocess"]
    medaid = [build / "daemon/medaid", "--oneshot", film, "--config", root / "conf/medaid.yaml",
              "--output", os.path.join(folder, "results"), "--overwrite", "--json"]
    peer = ["/usr/bin/python3", here / "peer.py", film, network, str(pre["mean"][0]),
            str(pre["std"][0])]
    size = os.path.getsize(film) / 1e6
    for forced in (True, False):
        environment = dict(os.environ)
        if not forced:
            environment.pop("OPENBLAS_CORETYPE", None)
            environment.pop("OPENBLAS_L2_SIZE", None)
        print(f"film {size:.1f} MB, {rounds} rounds, OPENBLAS_CORETYPE "
              f"{environment.get('OPENBLAS_CORETYPE', 'unset')}")
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(measure(medaid, environment))
            theirs.append(measure(peer, environment))
        our_wall, _ = row("medaid --oneshot", ours)
        their_wall, _ = row("pydicom + torch", theirs)
        print(f"  medaid is {their_wall / our_wall:.1f} times as fast")
        score = json.loads(ours[0][3])["results"][0]["findings"][0]["score"]
        other = calibrated(json.loads(theirs[0][3])[0], manifest["calibration"])
        print(f"  pneumonia score {score:.5f} and {other:.5f}")
        assert abs(score - other) < 0.01, "the two do not compute the same"
