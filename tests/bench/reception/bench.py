#!/usr/bin/python3
"""Reception: medaid, durable, against storescp --fork +B (which syncs nothing) and Orthanc (which
syncs each file), with the same sender and the same objects, in turn within one run.

usage: bench.py MEDAID MODELS BENCH_SENDER [--quick] [PART...]

Parts: throughput, setup, hostile, memory; without one: all. The daemon analyses nothing meanwhile: no study
completes (study.quiet_ms is an hour), so that reception alone is measured.
All that is left in the page cache by one server is written before the next one's turn."""
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import servers

ROUNDS = 3
# Objects of a round by the number of associations: enough for half a second of the quickest.
COUNTS = {("CT", False): {1: 400, 4: 800, 8: 1200, 16: 1600}, ("CT", True): {1: 400, 16: 1600},
          ("DX", False): {1: 32, 4: 64, 8: 64, 16: 64}, ("DX", True): {1: 24, 4: 48}}
KINDS = {"CT": (512, 512), "DX": (2500, 2048)}
TARGETS = [  # (objects, associations, peer, least ratio)
    ("CT", 16, "storescp", 1.2), ("CT", 16, "orthanc", 2.0), ("DX", 4, "storescp", 0.6),
    ("DX", 4, "orthanc", 2.0), ("CT", 1, "storescp", 0.35), ("DX", 1, "storescp", 0.35)]


def settle():
    """Nobody's bytes wait for the disk any more."""
    os.sync()
    time.sleep(0.2)


def spread(folder):
    """ext4 looks at each lately deleted file of a block group whenever it makes a file there, up to
    1 ms: let folders below this one lie in groups of their own, where no test has cleaned up."""
    subprocess.run(["chattr", "+T", folder], capture_output=True, check=False)


def rounds_of(kind, medaid, sender, folder, quick):
    """Objects of one kind to all three servers in turn; {(associations, server): [figures]}."""
    os.mkdir(folder)
    spread(folder)
    template = servers.make_template(folder + f"/{kind}.dcm", kind, *KINDS[kind])
    all_servers = [servers.Storescp(folder), servers.Orthanc(folder),
                   servers.Medaid(folder, *medaid)]
    figures, run = {}, 0
    try:
        for server in all_servers:
            servers.send(sender, server.start(), template, "throughput", 2, 4, 9999)
        for turn in range(ROUNDS):
            for n, n_objects in COUNTS[kind, quick].items():
                for server in all_servers[turn % 3:] + all_servers[:turn % 3]:
                    run += 1
                    settle()
                    figures.setdefault((n, server.name), []).append(
                        servers.send(sender, server, template, "throughput", n, n_objects, run))
                run += 1
                settle()
                os.mkdir(f"{folder}/disk-{run}")
                figures.setdefault((n, "disk"), []).append(servers.send(
                    sender, all_servers[0], template, "disk", n, n_objects, f"{folder}/disk-{run}"))
    finally:
        for server in all_servers:
            server.stop()
    return figures


def throughput(medaid, sender, folder, quick):
    """All three servers, all numbers of associations."""
    names = ("storescp", "orthanc", "medaid")
    print("disk alone: new files, written and fdatasync for each, without network, names or database")
    print(f"objects a second, median of {ROUNDS} rounds (p50/p99 ms an object); ratios of medaid")
    print(f"{'':12}" + "".join(f"{name:>24}" for name in names) + "   to storescp  to Orthanc   disk alone")
    ratios = {}
    for kind in KINDS:
        figures = rounds_of(kind, medaid, sender, f"{folder}/{kind}", quick)
        for n in COUNTS[kind, quick]:
            disk = statistics.median(f["per_s"] for f in figures[n, "disk"])
            line, rate = f"{kind} x {n:<6}", {}
            for name in names:
                middle = {field: statistics.median(f[field] for f in figures[n, name])
                          for field in ("per_s", "p50_ms", "p99_ms")}
                rate[name] = middle["per_s"]
                line += (f"{middle['per_s']:.0f} ({middle['p50_ms']:.1f}/{middle['p99_ms']:.0f})"
                         ).rjust(24)
            for peer in names[:2]:
                ratios[kind, n, peer] = rate["medaid"] / rate[peer]
            print(line + f"{ratios[kind, n, 'storescp']:14.2f}{ratios[kind, n, 'orthanc']:12.2f}{disk:12.0f}",
                  flush=True)
        shutil.rmtree(f"{folder}/{kind}")
    for kind, n, peer, least in TARGETS:
        ratio = ratios[kind, n, peer]
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


BAD_CLIENTS = {  # what each says, and every how many seconds it says it again
    "silent": (b"", None), "one byte a second": (b"\x01", 1.0),
    "garbage": (bytes(range(255, 0, -1)), 0.05), "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0.05),
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 0.05),
    "a PDU of 2 GiB": (b"\x01\x00\x7f\xff\xff\xff\x00\x01", 0.05)}


def be_bad(port, words, period_s, stop):
    """Ten clients of one kind, again and again, until told to stop."""
    clients = []
    while not stop.is_set():
        while len(clients) < 10:
            clients.append(socket.create_connection(("127.0.0.1", port)))
            clients[-1].setblocking(False)
        for client in list(clients):
            try:
                if words:
                    client.send(words)
                if client.recv(1) == b"":
                    raise ConnectionResetError
            except BlockingIOError:
                continue
            except OSError:
                clients.remove(client)
                client.close()
        stop.wait(period_s)
    for client in clients:
        client.close()


def hostile(medaid, sender, folder, quick):
    """C-ECHO on a new association while others misbehave."""
    server = servers.Medaid(folder, *medaid)
    template = servers.make_template(folder + "/CT.dcm", "CT", *KINDS["CT"])
    server.start()
    n = 100 if quick else 300
    try:
        alone = servers.send(sender, server, template, "short", n, 1)
        print(f"association, C-ECHO and release: alone p50 {alone['p50_ms']:.2f} p99 "
              f"{alone['p99_ms']:.2f} ms; beside ten clients of each kind (target 50 ms):")
        for kind, (words, period_s) in BAD_CLIENTS.items():
            stop = threading.Event()
            bad = threading.Thread(target=be_bad, args=(server.port, words, period_s, stop))
            bad.start()
            time.sleep(0.3)
            figures = servers.send(sender, server, template, "short", n, 1)
            stop.set()
            bad.join()
            print(f"  {kind:18} p50 {figures['p50_ms']:.2f} p99 {figures['p99_ms']:.2f} ms", flush=True)
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


PARTS = {"throughput": throughput, "setup": setup, "hostile": hostile, "memory": memory}


def main():
    arguments = [a for a in sys.argv[1:] if a != "--quick"]
    medaid = arguments[0], os.path.abspath(arguments[1])
    sender, parts = arguments[2], arguments[3:] or list(PARTS)
    quick = "--quick" in sys.argv
    print(__doc__.split("all. ")[1].replace("\n", " "))
    for part in parts:
        with tempfile.TemporaryDirectory(prefix=f"bench-reception-{part}-", dir=".") as folder:
            spread(folder)
            PARTS[part](medaid, sender, os.path.abspath(folder), quick)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as failed:
        sys.exit(str(failed))
