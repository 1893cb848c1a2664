#!/usr/bin/python3
"""Run the libFuzzer targets: run.py BUILD SECONDS ONNX_TESTDATA [TARGET[=SECONDS]...].

SECONDS are of each target's own CPU time, so that the figure means the same on a busy machine. --jobs
says how many run side by side; --pid-file names a file that always holds the ids of the running ones, for
who wants to pause them. Each starts from its seeds (seeds.py) and what it has grown in BUILD/corpus; its
output goes to BUILD/logs. A finding is left in BUILD/findings and ends the run with 1. An input that
took long by the clock is tried again by CPU time before it counts, as the machine may have been busy."""
import argparse
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time

TARGETS = ("dicom", "j2k", "rle", "jpeg", "jls", "onnx", "manifest", "report")
HERE = pathlib.Path(__file__).resolve().parent
INTERRUPTED = 72  # libFuzzer's exit code after SIGINT
SLOW_CPU_S = 20
TICKS = os.sysconf("SC_CLK_TCK")
ENVIRONMENT = dict(os.environ, ASAN_OPTIONS="allow_user_segv_handler=0",
                   UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1", OMP_NUM_THREADS="1")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Fuzzer:
    """One target that runs until its CPU seconds are spent."""

    def __init__(self, build, target, seconds, onnx_testdata):
        self.target, self.seconds, self.cpu_s, self.ended = target, seconds, 0.0, False
        self.program = build / "tests/fuzz" / f"fuzz_{target}"
        corpus, seeds, self.findings, logs = (build / folder / target
                                              for folder in ("corpus", "seeds", "findings", "logs"))
        for folder in (corpus, self.findings, logs.parent):
            folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, HERE / "seeds.py", target, seeds, onnx_testdata], check=True)
        self.log = logs.with_suffix(".log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [self.program, "-max_len=100000", "-timeout=3600", "-report_slow_units=10",
                 "-rss_limit_mb=4096", "-print_final_stats=1", "-close_fd_mask=1",
                 f"-artifact_prefix={self.findings}/", corpus, seeds],
                env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)

    def poll(self):
        """True while it runs; asks it to end when its time is spent."""
        if self.process.poll() is not None:
            return False
        self.cpu_s = cpu_seconds(self.process.pid)
        if self.cpu_s >= self.seconds and not self.ended:
            self.interrupt()
        return True

    def interrupt(self):
        self.ended = True
        self.process.send_signal(signal.SIGINT)

    def is_slow(self, path):
        def limit():
            resource.setrlimit(resource.RLIMIT_CPU, (SLOW_CPU_S, SLOW_CPU_S + 5))
        return subprocess.run([self.program, "-timeout=3600", path], env=ENVIRONMENT, check=False,
                              capture_output=True, preexec_fn=limit).returncode != 0

    def report(self):
        """Print what it did; True when it found nothing."""
        text = self.log.read_text(errors="replace")
        executed = re.findall(r"number_of_executed_units: (\d+)", text)
        covered = re.findall(r"^#\d+.* cov: (\d+) ft: (\d+) corp: (\S+)", text, re.M)
        found = [path.name for path in sorted(self.findings.iterdir())
                 if not path.name.startswith(("slow-unit-", "timeout-")) or self.is_slow(path)]
        good = not found and self.ended and self.process.returncode == INTERRUPTED
        print(f"{self.target}: {self.cpu_s:.0f} CPU s, {executed[-1] if executed else '?'} inputs, "
              "edges {}, features {}, corpus {}".format(*(covered[-1] if covered else "???"))
              + f", {', '.join(found) or ('nothing found' if good else f'ended early, see {self.log}')}",
              flush=True)
        return good


def note_pids(path, running):
    if path is not None:
        temporary = path.with_name(path.name + ".new")
        temporary.write_text(" ".join(str(fuzzer.process.pid) for fuzzer in running))
        temporary.replace(path)


def run_all(options, waiting):
    running, failed = [], []
    try:
        while waiting or running:
            while waiting and len(running) < options.jobs:
                target, seconds = waiting.pop(0)
                print(f"{target}: {seconds} CPU s from now", flush=True)
                running.append(Fuzzer(options.build, target, seconds, options.onnx_testdata))
                note_pids(options.pid_file, running)
            time.sleep(1)
            for fuzzer in [fuzzer for fuzzer in running if not fuzzer.poll()]:
                running.remove(fuzzer)
                note_pids(options.pid_file, running)
                if not fuzzer.report():
                    failed.append(fuzzer.target)
    except KeyboardInterrupt:
        for fuzzer in running:
            fuzzer.poll()
            fuzzer.interrupt()
            fuzzer.process.wait()
            if not fuzzer.report():
                failed.append(fuzzer.target)
    finally:
        note_pids(options.pid_file, [])
    return failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("seconds", type=int)
    parser.add_argument("onnx_testdata")
    parser.add_argument("targets", nargs="*", default=TARGETS)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--pid-file", type=pathlib.Path)
    options = parser.parse_args()
    wanted = []
    for text in options.targets:
        target, _, seconds = text.partition("=")
        if target not in TARGETS:
            parser.error(f"target {target}: not one of {', '.join(TARGETS)}")
        wanted.append((target, int(seconds or options.seconds)))
    for number in (signal.SIGINT, signal.SIGTERM):  # the first is ignored in the background of a shell
        signal.signal(number, signal.default_int_handler)
    failed = run_all(options, wanted)
    if failed:
        sys.exit("findings: " + ", ".join(failed))


if __name__ == "__main__":
    main()
