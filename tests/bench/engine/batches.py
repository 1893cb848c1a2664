#!/usr/bin/python3
"""Several images at once, and threads against workers: batches.py BENCH-NETWORK MODEL.onnx...

For each network, one and two threads: the time of a run of 1, 2, 4, 8 and 16 images, in turn, and what that is
for each image, wall and CPU. A study of several images is analysed sooner, or with less CPU, by such a run if
the figures for each image fall. Then images a second of two workers with one thread each, as the daemon runs
them by default on two cores, and of one worker with two.
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time

import onnx

bench_network, models = sys.argv[1], sys.argv[2:]
IMAGES, ROUNDS, SECONDS = (1, 2, 4, 8, 16), 5, 3


class Program:
    def __init__(self, model, threads, images):
        self.process = subprocess.Popen([bench_network, model, str(threads), "onednn", "f32", str(images)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask("load")
        self.ask("run 2")

    def tell(self, line):
        print(line, file=self.process.stdin, flush=True)

    def hear(self):
        return self.process.stdout.readline().split()

    def ask(self, line):
        self.tell(line)
        return self.hear()

    def cpu_ms(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def batches(name, model, threads):
    programs = {n: Program(model, threads, n) for n in IMAGES}
    times, cpu = {n: [] for n in IMAGES}, dict.fromkeys(IMAGES, 0.0)
    for _ in range(ROUNDS):
        for n, program in programs.items():
            before = program.cpu_ms()
            times[n] += [float(t) / 1e3 for t in program.ask(f"run {2 * IMAGES[-1] // n}")]
            cpu[n] += program.cpu_ms() - before
    for n, program in programs.items():
        median, n_images = statistics.median(times[n]), ROUNDS * 2 * IMAGES[-1]
        print(f"{name}, {threads} thread{'s' if threads > 1 else ''}, {n:2} images at once: {median:8.2f} ms, for each "
              f"{median / n:7.2f} (best {min(times[n]) / n:7.2f}), CPU {cpu[n] / n_images:7.2f}", flush=True)
        program.end()


def throughput(name, model, workers, threads):
    programs = [Program(model, threads, 1) for _ in range(workers)]
    n, start = 0, time.monotonic()
    while time.monotonic() - start < SECONDS:
        for program in programs:
            program.tell("run 20")
        for program in programs:
            n += len(program.hear())
    seconds = time.monotonic() - start
    print(f"{name}, {workers} worker{'s' if workers > 1 else ''} of {threads} thread"
          f"{'s' if threads > 1 else ''}: {n / seconds:7.1f} images/s", flush=True)
    for program in programs:
        program.end()


with tempfile.TemporaryDirectory() as scratch:
    for path in models:
        name = os.path.basename(path).removesuffix(".onnx")
        network = onnx.load(path)
        for port in list(network.graph.input) + list(network.graph.output):
            port.type.tensor_type.shape.dim[0].dim_param = "N"
        symbolic = os.path.join(scratch, f"{name}.onnx")
        onnx.save(network, symbolic)
        for threads in (1, 2):
            batches(name, symbolic, threads)
        throughput(name, symbolic, 2, 1)
        throughput(name, symbolic, 1, 2)
