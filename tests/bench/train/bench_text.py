#!/usr/bin/python3
"""Training steps of text networks in medaid and in Debian's PyTorch in turn, same network, batches and
threads. usage: bench_text.py BENCH-TEXT FOLDER [SECONDS [NAME...]], NAME of lstm, gru, rnn

The texts have 20 to 128 tokens; PyTorch runs packed and padded to the longest of a batch, with as many
threads of OpenBLAS as of its own; the better one counts. Prints a table of tokens a second and exits with 1
where medaid is slower (ratio of the best of each)."""
import os
import pathlib
import subprocess
import sys

import numpy as np

BENCH, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
SECONDS = sys.argv[3] if len(sys.argv) > 3 else "3"
NAMES = sys.argv[4:] or ["lstm"]
TORCH = pathlib.Path(__file__).parent / "torch_text.py"
BATCH, LENGTH, ROUNDS = 32, 128, 2


def rate(command, threads):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False,
                          env={**os.environ, "OPENBLAS_NUM_THREADS": threads})
    if done.returncode != 0:
        sys.exit(f"{command}: {done.stderr[-500:]}")
    return float(done.stdout.split()[0]), done.stdout.strip()


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(1)
    tokens = np.zeros((16 * BATCH, LENGTH), np.int64)
    for row in tokens:
        length = random.randint(20, LENGTH + 1)
        row[:length] = 1 + np.minimum(random.zipf(1.3, length) - 1, 7998)
    (FOLDER / "tokens").write_bytes(tokens.tobytes())
    slower = 0
    print("| network | threads | PyTorch packed | padded | medaid onednn | openblas | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name in NAMES:
        model = FOLDER / f"text-{name}.onnx"
        subprocess.run([BENCH, "write", f"text-{name}", model], check=True)
        for threads in ("1", "2"):
            theirs = [sys.executable, TORCH, name, FOLDER / "tokens", str(BATCH), threads, SECONDS]
            ours = [BENCH, "run", model, FOLDER / "tokens", str(BATCH), threads, SECONDS]
            runs = {"packed": [*theirs, "packed"], "onednn": [*ours, "onednn"], "padded": [*theirs, "padded"],
                    "openblas": [*ours, "openblas"]}
            best = dict.fromkeys(runs, 0.0)
            for _ in range(ROUNDS):
                for kind, command in runs.items():
                    value, text = rate(command, threads)
                    best[kind] = max(best[kind], value)
                    print(f"{name}, {threads} threads, {kind}: {text}", file=sys.stderr)
            ratio = best["onednn"] / max(best["packed"], best["padded"])
            slower += ratio < 1.0
            print(f"| text-{name} | {threads} | " + " | ".join(f"{best[k]:.0f}" for k in (
                "packed", "padded", "onednn", "openblas")) + f" | {ratio:.2f} |", flush=True)
    sys.exit(1 if slower else 0)


if __name__ == "__main__":
    main()
