#!/usr/bin/env python3
"""Four processes in one directory of the disk tier: `python benchmarks/disk_shared.py --seconds 60 --check`.

Each reads, writes and deletes values of 100 bytes to 1 MB, of many more keys than there is room for, so that all evict; they
count together to 40,000; and each deletes keys of its own, which the others must not read 10 ms later. Meanwhile the blocks that
the directory has are sampled. Then one process does the same operations alone, once with and once without admission. `--check`
fails where a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from ctypes import c_uint64
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any, TypeAlias

from disk_parts import allocated, draws_of, now, number_of, open_disk, value
from forecache import Cache
from forecache._core import Entry
from walks import must

PROCESSES = 4
COUNT_TO = 40_000
SIGNALS = 64
"""Keys that are set and deleted by one process and watched by the others."""
STALE = 10_000_000
"""Nanoseconds after which nobody may read what another process deleted."""
MOST_BLOCKS = 1.02
MOST_DIFFERENCE = 0.01

Results = dict[str, Any]


class DiskPort:
    """What a trial needs of a cache, by the disk tier itself."""

    def __init__(self, directory: Path, capacity: int, admission: str) -> None:
        self.disk = open_disk(directory, capacity, policy="adaptive", admission=admission)

    def get(self, key: str) -> bytes | None:
        """The value."""
        entry = self.disk.get(key, now(), None)
        return entry.payload if isinstance(entry, Entry) else None

    def set(self, key: str, payload: bytes) -> bool:
        """Whether it was stored."""
        return self.disk.set_many({key: Entry(payload, written=now())}, now(), absent=False, wait=True) == []

    def delete(self, key: str) -> None:
        """In line."""
        self.disk.delete_many([key], now(), wait=True)

    def add_one(self, key: str) -> None:
        """Counts."""
        while True:
            entry = self.disk.get(key, now(), None)
            version, count = (entry.version, int(entry.payload)) if isinstance(entry, Entry) else (None, 0)
            if self.disk.swap(key, version, Entry(b"%d" % (count + 1), written=now(), pinned=True), now(), wait=True):
                return

    def close(self) -> None:
        """Gives it back."""
        self.disk.close()


class CachePort:
    """The same by a cache, as users have one: memory for a few entries, and writes in line."""

    def __init__(self, directory: Path, capacity: int, admission: str) -> None:
        url = f"disk://{directory}?capacity={capacity}&policy=adaptive&admission={admission}&write=through&strict=on"
        self.cache = Cache.from_url("memory://?capacity=10GB&max_entries=200", url)
        self.get, self.delete, self.add_one, self.close = self.cache.get, self.cache.delete, self.cache.incr, self.cache.close

    def set(self, key: str, payload: bytes) -> bool:
        """Whether it was stored, as far as the cache says."""
        self.cache.set(key, payload)
        return True


Port: TypeAlias = DiskPort | CachePort
PORTS = {"disk": DiskPort, "cache": CachePort}


def length_of(number: int) -> int:
    """The length of a key's values: 100 bytes to 1 MB, each order of magnitude as likely."""
    return int(100 * 10 ** (4 * draws_of(number).random()))


def traffic(seed: int, keys: int) -> Iterator[tuple[str, int]]:
    """Operations and numbers of keys, the first asked for most."""
    draws = draws_of(seed)
    while True:
        what = draws.choices(("get", "set", "delete"), (92, 5, 3))[0]
        yield what, int(keys ** draws.random())


class Worker:
    """One stream of operations on a cache, and what became of them."""

    def __init__(self, port: Port, seed: int, keys: int) -> None:
        self.port, self.operations, self.done = port, traffic(seed, keys), Counter[str]()

    def step(self) -> None:
        """Does one."""
        what, number = next(self.operations)
        key = f"key:{number}"
        self.done["operations"] += 1
        if what == "delete":
            self.port.delete(key)
        elif what == "set":
            self.store(key, number)
        else:
            payload = self.port.get(key)
            self.done["gets"] += 1
            if payload is None:
                self.store(key, number)
            else:
                number_of(key, payload)
                self.done["hits"] += 1

    def store(self, key: str, number: int) -> None:
        """A fresh value."""
        payload = value(key, time.monotonic_ns(), length_of(number))
        if self.port.set(key, payload):
            self.done["bytes written"] += len(payload)


class Signals:
    """Keys that one process sets and deletes and all others watch: of each, the last number that was deleted, and when."""

    def __init__(self, shared: Any, process: int) -> None:
        self.shared, self.process, self.number, self.draws = shared, process, 0, draws_of(process)

    def step(self, port: Port) -> None:
        """Sets and deletes a key of its own, or looks at one of another's."""
        at = self.draws.randrange(SIGNALS)
        key = f"signal:{at}"
        if at % PROCESSES == self.process:
            self.number += 1
            port.set(key, value(key, self.number, 100))
            port.delete(key)
            self.shared[2 * at + 1] = time.monotonic_ns()
            self.shared[2 * at] = self.number
            return
        deleted, when = self.shared[2 * at], self.shared[2 * at + 1]
        begin = time.monotonic_ns()
        payload = port.get(key)
        if payload is not None and begin - when > STALE:
            number = number_of(key, payload)
            must(number > deleted, f"{key}: value {number} read {(begin - when) / 1e6:.1f} ms after {deleted} was deleted")


def work(process: int, kind: str, directory: str, capacity: int, seconds: float, keys: int, shared: Any, answers: Any) -> None:
    """What each process does."""
    try:
        port = PORTS[kind](Path(directory), capacity, "all")
        worker, signals, counted = Worker(port, process, keys), Signals(shared, process), 0
        end = time.monotonic() + seconds
        while time.monotonic() < end or counted < COUNT_TO // PROCESSES:
            if time.monotonic() < end:
                worker.step()
                signals.step(port)
            for _ in range(min(10, COUNT_TO // PROCESSES - counted)):
                port.add_one("count")
                counted += 1
        port.close()
        answers.put((process, dict(worker.done), None))
    except BaseException as error:
        answers.put((process, {}, f"{type(error).__name__}: {error}"))
        raise


def together(kind: str, directory: Path, capacity: int, seconds: float, keys: int) -> Results:
    """All processes at once."""
    spawn = multiprocessing.get_context("spawn")
    shared, answers = RawArray(c_uint64, 2 * SIGNALS), spawn.Queue()
    most, samples = 0, 0
    port = PORTS[kind](directory, capacity, "all")
    arguments = (kind, str(directory), capacity, seconds, keys, shared, answers)
    processes = [spawn.Process(target=work, args=(number, *arguments)) for number in range(PROCESSES)]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes) and answers.qsize() < PROCESSES:
        most, samples = max(most, allocated(directory)), samples + 1
        processes[samples % PROCESSES].join(min(1.0, seconds / 60))
    given = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    errors = [f"process {number}: {error}" for number, _, error in given if error]
    count = port.get("count")
    port.close()
    done = [counts for _, counts, _ in sorted(given, key=lambda answer: answer[0])]
    total = sum((Counter(counts) for counts in done), Counter[str]())
    return {
        "errors": errors,
        "operations": [counts.get("operations", 0) for counts in done],
        "hit ratio": total["hits"] / max(1, total["gets"]),
        "most blocks of the capacity": most / capacity,
        "samples of the blocks": samples,
        "counted": int(count or 0),
    }


def alone(kind: str, directory: Path, capacity: int, operations: list[int], keys: int, admission: str) -> Results:
    """One process, so many operations of each stream, all streams in turn."""
    port = PORTS[kind](directory, capacity, admission)
    shared = RawArray(c_uint64, 2 * SIGNALS)
    workers = [(Worker(port, number, keys), Signals(shared, number)) for number in range(len(operations))]
    for turn in range(max(operations)):
        for (worker, signals), most in zip(workers, operations, strict=True):
            if turn < most:
                worker.step()
                signals.step(port)
            for _ in range(10 if turn < COUNT_TO / len(operations) / 10 else 0):
                port.add_one("count")
    port.close()
    total = sum((worker.done for worker, _ in workers), Counter[str]())
    return {"hit ratio": total["hits"] / max(1, total["gets"]), "bytes written": total["bytes written"]}


def trial(
    seconds: float, capacity: int = 64_000_000, keys: int = 20_000, difference: float = MOST_DIFFERENCE, kind: str = "disk"
) -> Results:
    """All of it, and which bars were missed."""
    with tempfile.TemporaryDirectory() as folder:
        shared = together(kind, Path(folder) / "shared", capacity, seconds, keys)
        missed = list(shared["errors"])
        operations = shared["operations"]
        one = alone(kind, Path(folder) / "one", capacity, operations, keys, "all")
        admitting = alone(kind, Path(folder) / "admitting", capacity, operations, keys, "doorkeeper")
    if abs(shared["hit ratio"] - one["hit ratio"]) > difference:
        missed.append(f"hit ratio {shared['hit ratio']:.4f}, {one['hit ratio']:.4f} in one process")
    if shared["most blocks of the capacity"] > MOST_BLOCKS:
        missed.append(f"blocks {shared['most blocks of the capacity']:.3f} of the capacity; at most {MOST_BLOCKS}")
    if shared["counted"] != COUNT_TO:
        missed.append(f"counted to {shared['counted']}, not {COUNT_TO}")
    saved = 1 - admitting["bytes written"] / max(1, one["bytes written"])
    return {
        **shared,
        "hit ratio of one process": one["hit ratio"],
        "hit ratio with admission": admitting["hit ratio"],
        "bytes written that admission saves": saved,
        "missed": missed,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--capacity", type=int, default=64_000_000)
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--cache", action="store_true", help="whole caches, and not the directory alone")
    parser.add_argument("--check", action="store_true", help="fail where a bar is missed")
    options = parser.parse_args()
    results = trial(options.seconds, options.capacity, options.keys, kind="cache" if options.cache else "disk")
    print(json.dumps(results, indent=2))
    if options.check and results["missed"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
