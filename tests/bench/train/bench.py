#!/usr/bin/python3
"""Training steps of medaid and of Debian's PyTorch in turn, same network, batch and threads.
usage: bench.py BENCH-TRAIN FOLDER [SECONDS [NETWORK...]]

PyTorch runs channels_last and contiguous, the better one counts. Prints a table and exits with 1
where medaid's f32 is slower than PyTorch's f32 (ratio of the best of each)."""
import pathlib
import subprocess
import sys

BENCH, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
SECONDS = sys.argv[3] if len(sys.argv) > 3 else "6"
NETWORKS = sys.argv[4:] or ["resnet18", "classic-cnn"]
TORCH = pathlib.Path(__file__).parent / "torch_step.py"
BATCH = "32"
ROUNDS = 2


def rate(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command}: {done.stderr[-500:]}")
    return float(done.stdout.split()[0]), done.stdout.strip()


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    slower = 0
    print("| network | threads | PyTorch channels_last | contiguous | medaid f32 | ratio | medaid bf16 | of f32 |")
    print("|---|---|---|---|---|---|---|---|")
    for network in NETWORKS:
        model = FOLDER / f"{network}.onnx"
        subprocess.run([BENCH, "write", network, model], check=True)
        for threads in ("1", "2"):
            torch_run = [sys.executable, TORCH, model, BATCH, threads, SECONDS]
            ours_run = [BENCH, "run", model, BATCH, threads, SECONDS]
            runs = {"last": [*torch_run, "channels_last"], "f32": [*ours_run, "f32"],
                    "contiguous": [*torch_run, "contiguous"], "bf16": [*ours_run, "bf16"]}
            best = {name: 0.0 for name in runs}
            for _ in range(ROUNDS):
                for name, command in runs.items():
                    value, text = rate(command)
                    best[name] = max(best[name], value)
                    print(f"{network}, {threads} threads, {name}: {text}", file=sys.stderr)
            ratio = best["f32"] / max(best["last"], best["contiguous"])
            slower += ratio < 1.0
            print(f"| {network} | {threads} | {best['last']:.1f} | {best['contiguous']:.1f} | {best['f32']:.1f} "
                  f"| {ratio:.2f} | {best['bf16']:.1f} | {best['bf16'] / best['f32']:.2f} |", flush=True)
    sys.exit(1 if slower else 0)


if __name__ == "__main__":
    main()
