#!/usr/bin/python3
"""A study through medaid where there is no network but the loopback and nothing is installed.

Goes into a network namespace of its own first (as root, or with a user namespace). Where the machine
permits neither, it runs outside and the sockets of the daemon are looked at instead.

usage: air_gap.py FOLDER FILM   FOLDER holds `medaid` and `plugins`"""
import ctypes
import fcntl
import os
import pathlib
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import dicom_client  # noqa: E402
import hospital  # noqa: E402

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def leave_the_network():
    """Whether this process now has only a loopback, which is up."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0 and libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    return True


def foreign_sockets(pid):
    """The addresses that are not of the loopback among the sockets of a process."""
    inodes = set()
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(fd)
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    foreign = []
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in pathlib.Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and not fields[1].startswith("0100007F:"):
                foreign.append(fields[1])
    return foreign


def main():
    """The daemon from the folder, with the environment of nobody."""
    folder, film = pathlib.Path(sys.argv[1]), dicom_client.Object(sys.argv[2])
    gone = leave_the_network()
    pacs = dicom_client.Receiver()
    with hospital.Hospital("air-gap") as site:
        medaid = site.medaid(destinations=[pacs.destination()],
                             plugins={"paths": [str(folder / "plugins")]})
        medaid.command[0] = str(folder / "medaid")
        sanitizer = {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}
        os.environ.clear()
        os.environ.update(sanitizer)
        medaid.start()
        assert dicom_client.store_all(medaid.port, [film]) == [0]
        end = time.monotonic() + hospital.PATIENCE_S
        while not pacs.stored and time.monotonic() < end and medaid.alive():
            assert gone or not foreign_sockets(medaid.pid)
            time.sleep(0.05)
        assert [c for c, _, _ in pacs.stored] == [hospital.SR_CLASS], medaid.log()
        assert medaid.stop() == 0
    print("a report without network" if gone else
          "this machine permits no network namespace: a report with sockets on loopback alone")


main()
