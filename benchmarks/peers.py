#!/usr/bin/env python3
"""Replays a trace through a policy of libCacheSim: `python benchmarks/peers.py TRACE POLICY CAPACITY...` prints JSON.

Each policy has a process of its own, so that one that crashes (some do where a trace deletes) costs only its own figures. What
counts as an access, a hit and a miss is what `forecache replay` counts, with deletes and times to live: docs/replay.md.
"""

from __future__ import annotations

import heapq
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

POLICIES = (
    *("LRU", "FIFO", "Clock", "LFU", "ARC", "TwoQ", "LIRS", "SLRU", "LRUK", "MQ"),
    *("S3FIFO", "Sieve", "Clock2QPlus", "WTinyLFU", "LeCaR", "Cacheus", "LHD", "Hyperbolic", "GDSF", "Random"),
)
QUICK = ("LRU", "ARC", "LIRS", "S3FIFO", "Sieve", "WTinyLFU")
CHUNK = 1 << 16
Measured = list[tuple[float, float]]
"""For each capacity the share of the accesses, and of the bytes, that missed."""


def installed() -> str | None:
    """The version of libCacheSim that is there."""
    try:
        return version("libcachesim")
    except PackageNotFoundError:
        return None


def rows(trace: Any) -> Iterator[tuple[Any, ...]]:
    """All rows of a trace, with keys as numbers."""
    numbers: dict[str, int] = {}
    for start in range(0, len(trace), CHUNK):
        for time, key, size, operation, ttl, _, _ in trace.rows(start, start + CHUNK):
            yield time, numbers.setdefault(key, len(numbers)), size, operation, ttl


def replay(policy: str, trace: list[tuple[Any, ...]], requests: Sequence[Any], capacity: int) -> tuple[float, float]:
    """The share of the accesses, and of the bytes, that missed; every object counts as one."""
    import libcachesim

    cache = getattr(libcachesim, policy)(cache_size=capacity)
    get, remove = cache.get, cache.remove
    deadlines: dict[int, int] = {}
    due: list[tuple[int, int]] = []
    accesses = misses = asked = missed = 0
    for time, number, size, operation, ttl in trace:
        while due and due[0][0] <= time:
            deadline, expired = heapq.heappop(due)
            if deadlines[expired] == deadline:
                remove(expired)
        if operation == "delete":
            remove(number)
            continue
        hit = get(requests[number])
        if ttl is not None and (operation == "set" or not hit):
            deadlines[number] = time + ttl
            heapq.heappush(due, (time + ttl, number))
        accesses += 1
        asked += size
        if not hit:
            misses += 1
            missed += size
    return misses / accesses, missed / asked if asked else 0.0


def measure(path: Path, policies: Sequence[str], capacities: Sequence[int]) -> dict[str, Measured]:
    """What each policy makes of a trace at these capacities, on all cores; those whose process fails are missing."""

    def run(policy: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, __file__, str(path), policy, *map(str, capacities)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = zip(policies, pool.map(run, policies), strict=True)
        return {policy: json.loads(done.stdout.splitlines()[-1]) for policy, done in runs if done.returncode == 0}


def main() -> None:
    """One policy, one trace."""
    import libcachesim

    from forecache import _core

    path, policy, *capacities = sys.argv[1:]
    trace = list(rows(_core.Trace.open(path)))
    requests = [libcachesim.Request(obj_id=number, obj_size=1) for number in range(1 + max(row[1] for row in trace))]
    print(json.dumps([replay(policy, trace, requests, int(capacity)) for capacity in capacities]))


if __name__ == "__main__":
    main()
