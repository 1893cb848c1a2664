#!/usr/bin/python3
"""Run the libFuzzer targets one after the other: run.py BUILD SECONDS ONNX_TESTDATA [TARGET...].

Each starts from its seeds (seeds.py) and what it has grown in BUILD/corpus. A finding is left in
BUILD/findings and ends the run with 1."""
import os
import pathlib
import subprocess
import sys

TARGETS = ("dicom", "j2k", "rle", "jpeg", "jls", "onnx", "manifest")
HERE = pathlib.Path(__file__).resolve().parent


def run(build, target, seconds, onnx_testdata):
    corpus, seeds, findings = (build / folder / target for folder in ("corpus", "seeds", "findings"))
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, HERE / "seeds.py", target, seeds, onnx_testdata], check=True)
    environment = dict(os.environ, ASAN_OPTIONS="allow_user_segv_handler=0", OMP_NUM_THREADS="1")
    print(f"{target}: {seconds} s", flush=True)
    return subprocess.run(
        [build / "tests/fuzz" / f"fuzz_{target}", f"-max_total_time={seconds}", "-max_len=100000",
         "-timeout=20", "-rss_limit_mb=4096", "-print_final_stats=1", "-close_fd_mask=1",
         f"-artifact_prefix={findings}/", corpus, seeds], env=environment, check=False).returncode


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    wanted = sys.argv[4:] or TARGETS
    failed = [target for target in wanted if run(build, target, sys.argv[2], sys.argv[3]) != 0]
    if failed:
        sys.exit("findings: " + ", ".join(failed))


if __name__ == "__main__":
    main()
