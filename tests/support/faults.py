"""Steers libmedaid-faults.so (faults.c): a disk that fails or is full, without root.

    faults = Faults(folder)
    medaid.environment.update(faults.environment())
    faults.set(sync_ppm=10000, error=errno.EIO)
    faults.set()"""
import errno
import mmap
import os
import struct

import hospital

NAMES = ["write_ppm", "sync_ppm", "rename_ppm", "error", "n_failed"]  # uint32 each
FREE_AT = 24  # uint64, behind the padding
N_BYTES = 32


class Faults:
    """One control file, for any number of processes."""

    def __init__(self, folder):
        self.path = folder / "faults"
        self.path.write_bytes(bytes(N_BYTES))
        with open(self.path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), N_BYTES)
        self.set()

    def environment(self):
        """What a program needs to obey; its workers do not see it."""
        # a sanitizer wants to be the first library; what is wrapped here it wraps as well
        options = f"{os.environ.get('ASAN_OPTIONS', '')}:verify_asan_link_order=0"
        return {"LD_PRELOAD": str(hospital.FAULTS), "MEDAID_FAULTS": str(self.path),
                "ASAN_OPTIONS": options.lstrip(":")}

    def set(self, write_ppm=0, sync_ppm=0, rename_ppm=0, error=errno.EIO, free_bytes=0):
        """From now on; what is not named does not fail."""
        struct.pack_into("<4I", self.map, 0, write_ppm, sync_ppm, rename_ppm, error)
        struct.pack_into("<Q", self.map, FREE_AT, free_bytes)

    def n_failed(self):
        """How many calls were made to fail."""
        return struct.unpack_from("<I", self.map, 4 * NAMES.index("n_failed"))[0]
