#!/usr/bin/python3
"""From the last image received to the report stored in a real Orthanc, for 10 MB DX films with the
chest model, by each study's own clock; the quiet time that completes a study is taken off.

usage: bench.py MEDAID MODELS BENCH_SENDER PHANTOM [--quick]

One film at a time, then 4 studies a second. Where the machine sets OPENBLAS_CORETYPE, once with it
and once without."""
import datetime
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "reception"))
import servers  # noqa: E402 (beside this folder)

QUIET_MS = 300
PATIENCE_S = 120


def milliseconds(text):
    """Of a time in RFC 3339 as medaid writes it."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000


def studies_of(daemon):
    """All that it keeps."""
    return daemon.ask("studies", "--limit", "1000")["studies"]


def wait_until_done(daemon, n):
    """The n studies, all done."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        studies = studies_of(daemon)
        if len(studies) == n and all(s["state"] == "done" for s in studies):
            return studies
        if any(s["state"] in ("failed", "quarantined") for s in studies):
            raise SystemExit("a study failed: " + next(s["reason"] for s in studies if s["reason"]))
        time.sleep(0.2)
    raise SystemExit(f"{n} studies were not done within {PATIENCE_S} s")


def parts_of(study):
    """Milliseconds: to the end (without the quiet time), in the queue, analysing, sending."""
    clock = {name: milliseconds(text) for name, text in study["clock"].items() if text}
    return (clock["stored"] - clock["last_received"] - QUIET_MS,
            clock["analysis_start"] - clock["last_received"] - QUIET_MS,
            clock["analysis_end"] - clock["analysis_start"],
            clock["stored"] - clock["analysis_end"])


def share(values, part):
    """A percentile of a list."""
    return sorted(values)[round(part * (len(values) - 1))]


def measure(programs, folder, quick):
    """One daemon, one Orthanc: both loads."""
    medaid, models, sender, phantom = programs
    template = pathlib.Path(folder) / "film.dcm"
    subprocess.run([phantom, "--output", template, "--study-uid", servers.UIDS["StudyInstanceUID"],
                    "--series-uid", servers.UIDS["SeriesInstanceUID"], "--sop-uid",
                    servers.UIDS["SOPInstanceUID"], "--opacity", "left"], check=True)
    orthanc = servers.Orthanc(folder)
    daemon = servers.Medaid(folder, medaid, models, quiet_ms=QUIET_MS, destination=orthanc.port,
                            workers=2)
    orthanc.start()
    try:
        daemon.start()
        servers.send(sender, daemon, template, "paced", 2, 1000, 9999)  # the workers are warm
        known = {s["study"] for s in wait_until_done(daemon, 2)}
        for run, (name, n, period_ms) in enumerate((("one at a time", 5 if quick else 20, 1200),
                                                    ("4 studies/s", 32 if quick else 120, 250))):
            servers.send(sender, daemon, template, "paced", n, period_ms, run)
            fresh = [s for s in wait_until_done(daemon, len(known) + n) if s["study"] not in known]
            known |= {s["study"] for s in fresh}
            parts = [parts_of(s) for s in fresh]
            column = [[p[i] for p in parts] for i in range(4)]
            print(f"  {name:14} {n:4} films: last image to stored report p50 {share(column[0], 0.5):.0f} "
                  f"ms, p99 {share(column[0], 0.99):.0f} ms (p50 of: completed and claimed "
                  f"{share(column[1], 0.5):.0f}, analysed {share(column[2], 0.5):.0f}, sent and stored "
                  f"{share(column[3], 0.5):.0f})", flush=True)
        stored = orthanc.get("/statistics")["CountInstances"]
        if stored != len(known):
            raise SystemExit(f"Orthanc has {stored} objects, not the {len(known)} reports")
    finally:
        daemon.stop()
        orthanc.stop()


def main():
    programs = [os.path.abspath(p) for p in sys.argv[1:5]]
    settings = [os.environ.get("OPENBLAS_CORETYPE")]
    if settings[0] is not None:
        settings.append(None)
    print(f"10 MB DX, chest model, 2 workers, quiet time of {QUIET_MS} ms taken off")
    for setting in settings:
        os.environ.pop("OPENBLAS_CORETYPE", None)
        if setting is not None:
            os.environ["OPENBLAS_CORETYPE"] = setting
        print(f"OPENBLAS_CORETYPE {setting or 'unset'}:")
        with tempfile.TemporaryDirectory(prefix="bench-latency-", dir=".") as folder:
            measure(programs, os.path.abspath(folder), "--quick" in sys.argv)


if __name__ == "__main__":
    main()
