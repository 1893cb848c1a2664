#!/usr/bin/python3
"""Reception: medaid, durable, against storescp --fork +B (which syncs nothing) and Orthanc (which
syncs each file), with the same sender and the same objects, in turn within one run.

usage: bench.py MEDAID MODELS BENCH_SENDER [--quick] [PART...]

Parts: throughput, setup, memory; without one: all. The daemon analyses nothing meanwhile: no study
completes (study.quiet_ms is an hour), so that reception alone is measured.
All that is left in the page cache by one server is written before the next one's turn."""
import os
import statistics
import subprocess
import sys
import tempfile
import time

import servers

KINDS = {"CT": (512, 512), "DX": (2500, 2048)}
TARGETS = [  # (objects, associations, peer, least ratio)
    ("CT", 16, "storescp", 1.2), ("CT", 16, "orthanc", 2.0), ("DX", 4, "storescp", 0.6),
    ("DX", 4, "orthanc", 2.0), ("CT", 1, "storescp", 0.35), ("DX", 1, "storescp", 0.35)]


def settle():
    """Nobody's bytes wait for the disk any more."""
    os.sync()
    time.sleep(0.2)


def throughput(medaid, sender, folder, quick):
    """All three servers, all numbers of associations."""
    all_servers = [servers.Storescp(folder), servers.Orthanc(folder),
                   servers.Medaid(folder, *medaid)]
    rounds = 3
    counts = {"CT": 320 if quick else 480, "DX": 16 if quick else 32}
    associations = {"CT": (1, 16) if quick else (1, 4, 8, 16), "DX": (1, 4) if quick else (1, 4, 8, 16)}
    templates = {kind: servers.make_template(folder + f"/{kind}.dcm", kind, *size)
                 for kind, size in KINDS.items()}
    rates, middles, ends = {}, {}, {}
    run = 0
    for server in all_servers:
        server.start()
    try:
        for server in all_servers:
            servers.send(sender, server, templates["CT"], "throughput", 2, 20, 9999)
        for turn in range(rounds):
            for kind in KINDS:
                for n in associations[kind]:
                    order = all_servers[turn % 3:] + all_servers[:turn % 3]
                    n_objects = counts[kind] // (2 if n == 1 else 1)
                    for server in order:
                        run += 1
                        settle()
                        figures = servers.send(sender, server, templates[kind], "throughput", n,
                                               n_objects, run)
                        key = (kind, n, server.name)
                        rates.setdefault(key, []).append(figures["per_s"])
                        middles.setdefault(key, []).append(figures["p50_ms"])
                        ends.setdefault(key, []).append(figures["p99_ms"])
    finally:
        for server in all_servers:
            server.stop()
    print(f"objects a second, median of {rounds} rounds (p50/p99 ms an object); ratios of medaid")
    print(f"{'':14}" + "".join(f"{s.name:>24}" for s in all_servers) + "   to storescp  to Orthanc")
    for kind in KINDS:
        for n in associations[kind]:
            line, rate = f"{kind} x {n:<8}  ", {}
            for server in all_servers:
                key = (kind, n, server.name)
                rate[server.name] = statistics.median(rates[key])
                line += (f"{rate[server.name]:>9.0f} ({statistics.median(middles[key]):.1f}"
                         f"/{statistics.median(ends[key]):.0f})").rjust(24)
            print(line + f"{rate['medaid'] / rate['storescp']:14.2f}"
                  f"{rate['medaid'] / rate['orthanc']:12.2f}")
    for kind, n, peer, least in TARGETS:
        if (kind, n, peer) in rates:
            ratio = statistics.median(rates[kind, n, "medaid"]) / statistics.median(rates[kind, n, peer])
            print(f"target {kind} x {n} against {peer}: at least {least}, is {ratio:.2f}: "
                  f"{'met' if ratio >= least else 'NOT met'}")
    print(flush=True)


def setup(medaid, sender, folder, quick):
    """Many associations: 300 idle and 16 busy, 500 at once, 5,000 short ones."""
    server = servers.Medaid(folder, *medaid, max_associations=1000)
    template = servers.make_template(folder + "/CT.dcm", "CT", *KINDS["CT"])
    server.start()
    try:
        held = servers.send(sender, server, template, "setup", 300, 16, 200 if quick else 500, 1)
        ratio = held["loaded_p99_ms"] / held["alone_p99_ms"]
        print(f"300 idle and 16 busy associations ({held['busy_per_s']:.0f} CT/s), {held['idle_alive']} "
              f"idle ones answered at the end; set-up alone p50 {held['alone_p50_ms']:.2f} p99 "
              f"{held['alone_p99_ms']:.2f} ms, under load p50 {held['loaded_p50_ms']:.2f} p99 "
              f"{held['loaded_p99_ms']:.2f} ms: {ratio:.1f} times (target 5)")
        burst = servers.send(sender, server, template, "burst", 500)
        print(f"500 set-ups at once: all in {burst['all_s']:.2f} s (target 5), p99 {burst['p99_ms']:.0f} ms")
        short = servers.send(sender, server, template, "short", 5000, 32)
        print(f"5,000 short associations, 32 at a time: {short['all_s']:.2f} s, p50 "
              f"{short['p50_ms']:.1f} p99 {short['p99_ms']:.1f} ms, none failed", flush=True)
    finally:
        server.stop()
    print()


def wait_for_end(server, n_instances):
    """Until the study of so many instances is in a final state; the study."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        for study in server.ask("studies", "--limit", "10")["studies"]:
            if study["instances"] == n_instances and study["state"] in ("done", "failed",
                                                                          "quarantined"):
                return study
        time.sleep(0.2)
    raise SystemExit(f"the study of {n_instances} instances did not end")


def memory(medaid, sender, folder, quick):
    """Resident memory of the main process after 2,000 and 20,000 small instances, and a large study."""
    most = 8000 if quick else 20000
    server = servers.Medaid(folder, *medaid, quiet_ms=2000)
    small = servers.make_template(folder + "/small.dcm", "CT", 16, 16)
    template = servers.make_template(folder + "/CT.dcm", "CT", *KINDS["CT"])
    server.start()
    try:
        points, n_sent, run = [], 0, 1
        while n_sent < most:
            servers.send(sender, server, small, "throughput", 8, 1000, run)
            n_sent, run = n_sent + 1000, run + 1
            if n_sent % 2000 == 0:
                points.append((n_sent, server.status("VmRSS")))
        slope = 1024 * (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0])
        print("main process after " + ", ".join(f"{n}: {kib / 1024:.1f} MB" for n, kib in points)
              + f" instances; slope {slope:.1f} bytes an instance; peak "
              f"{server.status('VmHWM') / 1024:.1f} MB (target 80)")
        start = time.monotonic()
        figures = servers.send(sender, server, template, "study", 1500, 5000)
        study = wait_for_end(server, 1500)
        print(f"CT study of 1,500 images: received at {figures['per_s']:.0f}/s, '{study['state']}' "
              f"({study['reason']}) {time.monotonic() - start:.1f} s after the first image, 2 s of quiet "
              f"included; main process {server.status('VmRSS') / 1024:.1f} MB", flush=True)
    finally:
        server.stop()
    print()


def main():
    arguments = [a for a in sys.argv[1:] if a != "--quick"]
    medaid = arguments[0], os.path.abspath(arguments[1])
    sender, parts = arguments[2], arguments[3:] or ["throughput", "setup", "memory"]
    quick = "--quick" in sys.argv
    print(__doc__.split("all. ")[1].replace("\n", " "))
    for part in parts:
        with tempfile.TemporaryDirectory(prefix=f"bench-reception-{part}-", dir=".") as folder:
            {"throughput": throughput, "setup": setup, "memory": memory}[part](
                medaid, sender, os.path.abspath(folder), quick)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as failed:
        sys.exit(str(failed))
