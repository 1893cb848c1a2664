#!/usr/bin/python3
"""Run mutations of a fuzz target's seeds (seeds.py): replay.py PROGRAM TARGET RUNS. RUNS is for each
seed; the same mutations each time, so that a failure can be had again. What fuzzing has grown is run as
it is."""
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def main():
    program, target, runs = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="medaid-fuzz-") as folder:
        subprocess.run([sys.executable, HERE / "seeds.py", target, folder], check=True)
        files = sorted(path for path in pathlib.Path(folder).iterdir() if path.stat().st_size < 150_000)
        grown = [path for path in files if path.name.startswith("corpus-")]
        seeds = [path for path in files if path not in set(grown)]
        print(f"{len(seeds)} seeds, {len(grown)} files of the corpus", flush=True)
        for number, paths in ((runs, seeds), ("0", grown)):
            if paths and subprocess.run([program, number, "1", *paths], check=False).returncode != 0:
                sys.exit(1)


if __name__ == "__main__":
    main()
