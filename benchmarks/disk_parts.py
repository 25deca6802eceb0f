"""What the trials of the disk tier share: values that prove themselves, and what a key may hold after a crash."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from forecache._core import Disk, Entry, Packing
from walks import must

PERIOD = 4093
"""Bytes after which a value repeats itself: a prime, so that a value shifted by pages or sectors is another one."""
HEAD = struct.Struct("<QI")
LARGE = 1_200_000
"""Bytes of a value that has a file of its own."""


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def value(key: str, number: int, length: int) -> bytes:
    """The value that was stored under a key with this number; no other key or number has it."""
    head = HEAD.pack(number, length)
    period = hashlib.shake_128(head + key.encode()).digest(PERIOD)
    return head + (period * (length // PERIOD + 1))[:length]


def number_of(key: str, payload: bytes) -> int:
    """The number that a value was stored with. Raises `AssertionError` if it isn't one of this key's, to the last byte."""
    number, length = HEAD.unpack_from(payload)
    must(length == len(payload) - HEAD.size, f"{key}: {len(payload)} bytes of {length}")
    must(payload == value(key, number, length), f"{key}: a wrong byte in value {number}")
    return int(number)


def draws_of(seed: str | int) -> random.Random:
    """Numbers drawn as the seed says."""
    return random.Random(seed)


def some_length(draws: random.Random, most: int) -> int:
    """A length from 10 bytes to `most`, each order of magnitude as likely."""
    return int(10 * (most / 10) ** draws.random())


def open_disk(directory: Path, capacity: int, *, policy: str = "lru", admission: str = "all") -> Disk:
    """The directory's store, opened or made."""
    return Disk(str(directory), namespace="trial", capacity=capacity, policy=policy, admission=admission, packing=Packing())


def read_all(disk: Disk, keys: Sequence[str]) -> dict[str, int]:
    """The numbers of the values that keys hold now, in a batch and each by itself; what is wrong raises."""
    found, too_large = disk.get_many(keys, now(), None)
    must(not too_large, f"{too_large} called too large")
    numbers = {key: number_of(key, entry.payload) for key, entry in found.items()}
    for key in keys:
        entry = disk.get(key, now(), None)
        number = number_of(key, entry.payload) if isinstance(entry, Entry) else None
        must(number == numbers.get(key), f"{key}: {number} by get and {numbers.get(key)} by get_many")
    return numbers


def files(directory: Path) -> list[Path]:
    """All files below."""
    return [Path(folder) / name for folder, _, names in os.walk(directory) for name in names]


def allocated(directory: Path) -> int:
    """Bytes of the blocks that the files have, while nobody changes them."""
    with (directory / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return sum(path.stat().st_blocks * 512 for path in files(directory))


class History:
    """What keys held since the last flush, in order, and what is under way."""

    def __init__(self) -> None:
        self.held: dict[str, list[int | None]] = {}
        self.begun: tuple[str, int, Sequence[str]] | None = None

    def begin(self, what: str, number: int, keys: Sequence[str]) -> None:
        """An operation begins: `set`, `delete` or `flush`."""
        self.begun = what, number, keys

    def end(self) -> None:
        """The operation that began last is done."""
        must(self.begun is not None, "nothing has begun")
        (what, number, keys), self.begun = self.begun, None
        if what == "flush":
            self.held = {key: numbers[-1:] for key, numbers in self.held.items()}
        for key in keys:
            self.held.setdefault(key, [None]).append(number if what == "set" else None)

    def _under_way(self, key: str) -> set[int | None]:
        what, number, keys = self.begun or ("", 0, ())
        return {number if what == "set" else None} if key in keys else set()

    def check_kill(self, numbers: dict[str, int], *, full: bool) -> None:
        """Holds what was read after a process was killed against what was done: nothing that was done may be lost."""
        for key, held in self.held.items():
            allowed = {held[-1]} | self._under_way(key) | ({None} if full else set())
            must(numbers.get(key) in allowed, f"{key} holds {numbers.get(key)}, not one of {allowed}")

    def check_crash(self, numbers: dict[str, int]) -> None:
        """The same after the machine crashed: anything not older than the last flush, or nothing."""
        for key, number in numbers.items():
            allowed = {*self.held.get(key, []), *self._under_way(key)}
            must(number in allowed, f"{key} holds {number}, not one of {allowed}")

    def observe(self, keys: Iterable[str], numbers: dict[str, int]) -> None:
        """Goes on from what was read."""
        self.begun = None
        self.held = {key: [numbers.get(key)] for key in keys}


class Work:
    """Random operations on some keys, one after the other, each told before and after it."""

    def __init__(self, disk: Disk, history: History, seed: str, *, keys: int, most: int, start: int = 1) -> None:
        self.disk, self.history = disk, history
        self.draws = draws_of(seed)
        self.keys = [f"key:{number}" for number in range(keys)]
        self.most = most
        self.number = start

    def step(self) -> str:
        """Does one; says what it was."""
        self.number += 1
        what = self.draws.choices(["set", "swap", "delete", "flush"], [60, 10, 25, 5])[0]
        keys = [] if what == "flush" else self.draws.sample(self.keys, self.draws.randint(1, 4) if what == "set" else 1)
        self.history.begin("set" if what == "swap" else what, self.number, keys)
        if what == "flush":
            self.disk.flush()
        else:
            getattr(self, f"_{what}")(keys)
        self.history.end()
        return what

    def _entry(self, key: str) -> Entry:
        length = LARGE if self.draws.random() < 0.01 and self.most > LARGE // 10 else some_length(self.draws, self.most)
        return Entry(value(key, self.number, length), written=now())

    def _set(self, keys: Sequence[str]) -> None:
        refused = self.disk.set_many({key: self._entry(key) for key in keys}, now(), absent=False, wait=True)
        must(refused == [], f"{refused} refused")

    def _swap(self, keys: Sequence[str]) -> None:
        (key,) = keys
        there = self.disk.get(key, now(), None)
        version = there.version if isinstance(there, Entry) else None
        must(self.disk.swap(key, version, self._entry(key), now(), wait=True) is True, f"{key}: not swapped")

    def _delete(self, keys: Sequence[str]) -> None:
        self.disk.delete_many(keys, now(), wait=True)
