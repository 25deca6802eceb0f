"""A remote disk for the demo: a sparse file of the recorded device's size, and the latency of a network, simulated."""

from __future__ import annotations

import os
import random
import struct
import time
from pathlib import Path

PAGE = 4096
LATENCY = 500e-6
"""Seconds until it answers a request: half a millisecond, usual for network disks of clouds."""
HEADER = struct.Struct("<QQ")


class Origin:
    """Pages filled from their number and from how often they were written: half of a page is random, the rest compresses.

    >>> import tempfile
    >>> origin = Origin(Path(tempfile.mkdtemp()) / "disk", size=1 << 20, latency=0)
    >>> first = origin.read("7")
    >>> first == origin.read("7"), first == origin.read("8"), first == origin.write(7), origin.pages, origin.requests
    (True, False, False, 3, 1)
    """

    def __init__(self, path: Path, size: int, latency: float = LATENCY) -> None:
        """Makes the file at `path`, or goes on with the one that is there."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.truncate(self._file, size)
        self._noise = random.Random(0).randbytes(1 << 20)
        self._latency = latency
        self._answered = False
        self.pages = self.requests = 0
        self.seconds = 0.0

    def request(self) -> None:
        """The guest sends another request. However many of its pages are read here, they arrive together."""
        self._answered = False

    def read(self, key: str) -> bytes:
        """Loads a page: this is the cache's loader."""
        began = time.perf_counter()
        if not self._answered:
            time.sleep(self._latency)
            self._answered = True
            self.requests += 1
        content = self.look(int(key))
        self.pages += 1
        self.seconds += time.perf_counter() - began
        return content

    def look(self, page: int) -> bytes:
        """What a page holds, at once, to compare with."""
        content = os.pread(self._file, PAGE, page * PAGE)
        return content if HEADER.unpack_from(content)[0] == page + 1 else self._fill(page, 0)

    def write(self, page: int) -> bytes:
        """The guest writes (or trims) a page, which is different from now on; gives what it holds."""
        number, version = HEADER.unpack(os.pread(self._file, HEADER.size, page * PAGE))
        return self._fill(page, version + 1 if number else 1)

    def _fill(self, page: int, version: int) -> bytes:
        start = (page + version * 97) * 2654435761 % (len(self._noise) - PAGE)
        content = (HEADER.pack(page + 1, version) + self._noise[start : start + PAGE // 2]).ljust(PAGE, b"\0")
        os.pwrite(self._file, content, page * PAGE)
        return content
