#!/usr/bin/python3
"""Run mutations of a fuzz target's seeds (seeds.py): replay.py PROGRAM TARGET RUNS. RUNS is for each
seed; the same mutations each time, so that a failure can be had again."""
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def main():
    program, target, runs = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="medaid-fuzz-") as folder:
        subprocess.run([sys.executable, HERE / "seeds.py", target, folder], check=True)
        seeds = sorted(path for path in pathlib.Path(folder).iterdir() if path.stat().st_size < 150_000)
        print(f"{len(seeds)} seeds", flush=True)
        sys.exit(subprocess.run([program, runs, "1", *seeds], check=False).returncode)


if __name__ == "__main__":
    main()
