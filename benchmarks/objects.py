#!/usr/bin/env python3
"""The object tier beside obstore's own calls, on one real S3 server in the same run: `python benchmarks/objects.py [--check]`,
a minute.

Calls of both come in turn, so that a noisy moment hits both. Values are random: nothing is gained by compression. `cache` is a
`get` or `set` through a cache whose memory has no room for them.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import obstore

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from servers import process
from servers.s3 import S3

from forecache import Cache, ObjectStore
from forecache._core import Entry
from forecache.flow import arun, run
from forecache.tiers.objects.tier import ObjectTier

SIZES = {"4 KiB": 2**12, "64 KiB": 2**16, "1 MiB": 2**20}
CALLS = 400
MOST = 1.1
"""Times obstore's own median that a call of the tier may take."""
SLOWEST = 200.0
"""Milliseconds that a `get` may take at the 95th percentile."""
KEYS = {"access_key": "any", "secret_key": "any"}
"""The server takes all."""
Call = Callable[[int], Any]


def in_turn(calls: dict[str, Call], turns: int) -> dict[str, list[float]]:
    """Milliseconds of each call, sorted."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(turns):
        random.shuffle(names)
        for name in names:
            began = time.perf_counter_ns()
            calls[name](turn)
            taken[name].append((time.perf_counter_ns() - began) / 1e6)
    return {name: sorted(times[turns // 10 :]) for name, times in taken.items()}


async def in_turn_awaited(calls: dict[str, Callable[[int], Awaitable[Any]]], turns: int) -> dict[str, list[float]]:
    """The same for coroutines."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(turns):
        random.shuffle(names)
        for name in names:
            began = time.perf_counter_ns()
            await calls[name](turn)
            taken[name].append((time.perf_counter_ns() - began) / 1e6)
    return {name: sorted(times[turns // 10 :]) for name, times in taken.items()}


def report(what: str, times: dict[str, list[float]]) -> bool:
    """Prints a line for each contestant, and says whether the tier kept what was promised."""
    own = statistics.median(times["obstore"])
    kept = True
    for name, taken in times.items():
        median, p95 = statistics.median(taken), taken[len(taken) * 95 // 100]
        if name == "tier":
            kept = median <= MOST * own and p95 < SLOWEST
        print(f"{what:22} {name:8} median {median:7.2f} ms   p95 {p95:7.2f} ms   {median / own:5.2f}x")
    return kept


def main() -> int:
    """Returns 1 if a promise isn't kept that is to be checked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS, help="calls of each kind")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a promise isn't kept")
    arguments = parser.parse_args()
    server = S3()
    server.start()
    try:
        kept = [each for name, size in SIZES.items() for each in measured(server, name, size, arguments.calls)]
    finally:
        process.end_all()
    print("kept" if all(kept) else f"NOT kept: a call of the tier takes {MOST} times obstore's at most, p95 under {SLOWEST:g} ms")
    return int(arguments.check and not all(kept))


def measured(server: S3, name: str, size: int, turns: int) -> list[bool]:
    """One size."""
    options = ObjectStore(f"s3://{server.bucket}/bench", endpoint=server.url, **KEYS, retries=0)
    tier = ObjectTier(options)
    tier.load()
    plain = obstore.store.S3Store(
        server.bucket,
        endpoint=server.url,
        access_key_id=KEYS["access_key"],
        secret_access_key=KEYS["secret_key"],
        client_options={"allow_http": True},
    )
    value = random.randbytes(size)
    entry = Entry(value)
    run(tier.set_many({"key": entry}))
    obstore.put(plain, "bench/plain", value)
    with Cache("1KB", tiers=[options]) as cache:
        cache.set("key", value)
        gets: dict[str, Call] = {
            "obstore": lambda _: bytes(obstore.get(plain, "bench/plain").bytes()),
            "tier": lambda _: run(tier.get_many(("key",))),
            "cache": lambda _: cache.get("key"),
        }
        puts: dict[str, Call] = {
            "obstore": lambda turn: obstore.put(plain, f"bench/plain{turn % 8}", value, mode="overwrite"),
            "tier": lambda turn: run(tier.set_many({f"key{turn % 8}": entry})),
            "cache": lambda turn: cache.set(f"key{turn % 8}", value),
        }
        kept = [report(f"get {name}, sync", in_turn(gets, turns)), report(f"put {name}, sync", in_turn(puts, turns))]

    async def awaited() -> list[bool]:
        async def get(_: int) -> bytes:
            return bytes(await (await obstore.get_async(plain, "bench/plain")).bytes_async())

        gets = {"obstore": get, "tier": lambda _: arun(tier.get_many(("key",)))}
        puts = {
            "obstore": lambda turn: obstore.put_async(plain, f"bench/plain{turn % 8}", value, mode="overwrite"),
            "tier": lambda turn: arun(tier.set_many({f"key{turn % 8}": entry})),
        }
        return [
            report(f"get {name}, async", await in_turn_awaited(gets, turns)),
            report(f"put {name}, async", await in_turn_awaited(puts, turns)),
        ]

    kept += asyncio.run(awaited())
    run(tier.close())
    return kept


if __name__ == "__main__":
    raise SystemExit(main())
