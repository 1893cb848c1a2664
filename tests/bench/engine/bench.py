#!/usr/bin/python3
"""The engine against ONNX Runtime, whole networks, batch 1, in turn in one run.

usage: bench.py BENCH-NETWORK NETWORK-FOLDER CHEST.onnx [rounds [network...]]

For each network and thread count all programs are loaded side by side and run 8 times in turn, `rounds`
rounds. Printed are median, 99th percentile, the ratio of the medians to ONNX Runtime's float32, the best time
and its ratio (other work on the machine disturbs it least), and the largest difference of the
outputs relative to the largest output; of LOADS processes of each program, started fresh in turn with the files
in the page cache, the median from load to first result and its ratio; and peak memory above the idle process,
after all runs, and its ratio. Asserts that float32 results differ by at most 1e-4. Ratios of bf16
and int8 are to ONNX Runtime's float32 too, and int8 takes its ranges from the bench's own input. ONNX
Runtime's own int8 is the network in QDQ form (make_qdq.py) with the same ranges.
"""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

bench_network, folder, chest = sys.argv[1:4]
rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 12
wanted = sys.argv[5:]
here = pathlib.Path(__file__).resolve().parent
peer_module = subprocess.run(["sh", here.parents[2] / ".ci/onnxruntime"], check=True, text=True,
                             stdout=subprocess.PIPE).stdout.strip()
RUNS, LOADS = 8, 5


class Program:
    """A process that loads a network and runs it when told to."""

    def __init__(self, label, command, environment):
        self.label, self.times = label, []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)

    def ask(self, line):
        print(line, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().split()
        assert answer, f"{self.label} ended"
        return answer

    def load(self):
        loaded, first, before = self.ask("load")
        self.first_ms, self.before = float(first) / 1e3, int(before)

    def run(self):
        self.times += [float(t) / 1e3 for t in self.ask(f"run {RUNS}")]

    def finish(self, path):
        self.ask(f"output {path}")
        self.output = np.fromfile(path, np.float32)
        self.peak_mb = (int(self.ask("peak")[0]) - self.before) / 1024
        self.end()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def environment(forced):
    """With or without the OpenBLAS kernels that this machine's environment forces."""
    result = dict(os.environ)
    if not forced:
        result.pop("OPENBLAS_CORETYPE", None)
        result.pop("OPENBLAS_L2_SIZE", None)
    return result


def programs(model, threads):
    def ours(*arguments):
        return [bench_network, model, str(threads), *arguments]

    def peer(path):
        return ["node", here / "ort.js", peer_module, path, str(threads)]

    yield Program("ONNX Runtime f32", peer(model), environment(False))
    yield Program("ONNX Runtime int8", peer(quantized(model)), environment(False))
    yield Program("medaid f32", ours("onednn"), environment(True))
    yield Program("medaid bf16", ours("onednn", "bf16"), environment(True))
    yield Program("medaid int8", ours("onednn", "int8"), environment(True))
    yield Program("medaid f32, OpenBLAS", ours("openblas"), environment(False))
    if "OPENBLAS_CORETYPE" in os.environ:
        yield Program(f"medaid f32, OpenBLAS {os.environ['OPENBLAS_CORETYPE']}", ours("openblas"),
                      environment(True))


def quantized(model):
    """The network in QDQ form, made once."""
    made = os.path.join(folder, os.path.basename(model).removesuffix(".onnx") + ".qdq")
    if model == chest:
        made = os.path.join(folder, "chest.qdq")
    if not os.path.exists(made) or os.path.getmtime(made) < os.path.getmtime(model):
        program = Program("ranges", [bench_network, model, "1", "openblas"], environment(False))
        program.ask(f"ranges {made}.ranges")
        program.end()
        subprocess.run([sys.executable, here / "make_qdq.py", model, f"{made}.ranges", made], check=True)
    return made


def load_fresh(model, threads):
    """For each label the median milliseconds to the first result."""
    first = {}
    for _ in range(LOADS):
        for program in programs(model, threads):
            program.load()
            first.setdefault(program.label, []).append(program.first_ms)
            program.end()
    return {label: statistics.median(times) for label, times in first.items()}


def compare(name, model, threads, scratch):
    first = load_fresh(model, threads)
    running = list(programs(model, threads))
    for program in running:
        program.load()
        time.sleep(0.05)
    for _ in range(rounds):
        for program in running:
            program.run()
            time.sleep(0.02)  # ONNX Runtime's threads spin for a while after a run
    print(f"{name}, {threads} thread{'s' if threads > 1 else ''}, {rounds * RUNS} runs, {LOADS} loads")
    peer = running[0]
    for program in running:
        program.finish(os.path.join(scratch, "output"))
        median, p99 = statistics.median(program.times), sorted(program.times)[len(program.times) * 99 // 100]
        error = np.abs(program.output - peer.output).max() / np.abs(peer.output).max()
        label = program.label
        print(f"  {label:<30} p50 {median:7.2f} ms  p99 {p99:7.2f}  ratio "
              f"{median / statistics.median(peer.times):5.2f}  (best {min(program.times):7.2f} ms "
              f"{min(program.times) / min(peer.times):5.2f})   first result {first[label]:7.1f} ms "
              f"{first[label] / first[peer.label]:5.2f}   peak {program.peak_mb:6.1f} MiB "
              f"{program.peak_mb / peer.peak_mb:5.2f}   difference {error:.1e}", flush=True)
        assert error <= (1e-4 if "f32" in label else 0.1), "results differ"


def gradcam(model, features):
    """What a heat-map costs, in turn with plain runs."""
    program = Program("gradcam", [bench_network, model, "1", "onednn"], environment(True))
    program.load()
    program.ask("run 20")
    times = [float(t) for t in program.ask(f"gradcam {features} 200")]
    plain, with_map = statistics.median(times[::2]), statistics.median(times[1::2])
    print(f"Grad-CAM of the chest model: {with_map / plain:.3f} of a plain run "
          f"({plain / 1e3:.2f} and {with_map / 1e3:.2f} ms)")
    assert with_map <= 1.3 * plain
    program.end()


networks = {path.stem: str(path) for path in sorted(pathlib.Path(folder).glob("*-[0-9]*.onnx"))}
networks["chest"] = chest
with tempfile.TemporaryDirectory() as scratch:
    for name, model in networks.items():
        if not wanted or name in wanted:
            for threads in (1, 2):
                compare(name, model, threads, scratch)
    gradcam(chest, "features")
