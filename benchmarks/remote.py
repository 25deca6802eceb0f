#!/usr/bin/env python3
"""The Redis tier beside redis-py, in one run: `python benchmarks/remote.py [--check] [--url redis://host:port]`, a minute.

Without a URL it starts a redis-server of its own. Memory holds a single entry, so that every `get` goes past it; both sides have
hiredis, and the values of 1 KiB are random, so that nothing is compressed. Both take turns, round by round, and the round of the
best median of each counts: a noisy moment hits nobody for long.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio

from forecache import Cache, Redis

KEYS = 2_000
SIZE = 1024
BATCH = 100
ROUNDS = 9
ABOVE = 25.0
"""Microseconds that a `get` may take above redis-py's own."""
TIMES = 1.2
"""How many times as long as a pipelined MGET a `get_many` may take."""


@dataclass(frozen=True)
class Times:
    """Of single calls, in microseconds."""

    median: float
    p95: float

    @classmethod
    def of(cls, taken: list[int]) -> Times:
        """From nanoseconds."""
        taken.sort()
        return cls(taken[len(taken) // 2] / 1e3, taken[len(taken) * 95 // 100] / 1e3)


@dataclass(frozen=True)
class Line:
    """One row: what was timed, ours and theirs, and the promise."""

    what: str
    ours: Times
    theirs: Times
    promise: str
    kept: bool


def times(call: Callable[[Any], object], arguments: list[Any]) -> Times:
    """Calls once for each argument."""
    clock = time.perf_counter_ns
    taken = []
    for argument in arguments:
        began = clock()
        call(argument)
        taken.append(clock() - began)
    return Times.of(taken)


async def atimes(call: Callable[[Any], Awaitable[object]], arguments: list[Any]) -> Times:
    """The same in a loop."""
    clock = time.perf_counter_ns
    taken = []
    for argument in arguments:
        began = clock()
        await call(argument)
        taken.append(clock() - began)
    return Times.of(taken)


def best(rounds: list[tuple[Times, Times]]) -> tuple[Times, Times]:
    """The rounds of the best medians."""
    mine, theirs = zip(*rounds, strict=True)
    return min(mine, key=lambda each: each.median), min(theirs, key=lambda each: each.median)


def lines(colour: str, rounds: dict[str, list[tuple[Times, Times]]]) -> Iterator[Line]:
    """What was promised, and whether it was kept."""
    for what, measured in rounds.items():
        mine, theirs = best(measured)
        if what == "get":
            promise, kept = f"within {ABOVE:g} µs", mine.median - theirs.median <= ABOVE
        elif what.startswith("get_many"):
            promise, kept = f"within {TIMES:g}x", mine.median <= TIMES * theirs.median
        else:
            promise, kept = "-", True
        yield Line(f"{what}, {colour}", mine, theirs, promise, kept)


def plain(url: str, keys: list[str], cache: Cache) -> Iterator[Line]:
    """Threads."""
    client = redis.Redis.from_url(url)
    rounds: dict[str, list[tuple[Times, Times]]] = {"get": [], f"get_many of {BATCH}": [], "set": []}

    def mget(batch: list[str]) -> object:
        pipeline = client.pipeline(transaction=False)
        pipeline.mget(batch)
        return pipeline.execute()

    for _ in range(ROUNDS):
        asked = random.sample(keys, KEYS)
        batches = [random.sample(keys, BATCH) for _ in range(KEYS // BATCH * 2)]
        content = random.randbytes(SIZE)
        rounds["get"].append((times(cache.get, asked), times(client.get, asked)))
        rounds[f"get_many of {BATCH}"].append((times(cache.get_many, batches), times(mget, batches)))
        rounds["set"].append(
            (
                times(lambda key, content=content: cache.set(key, content), asked),
                times(lambda key, content=content: client.set(key, content), asked),
            )
        )
    client.close()
    return lines("sync", rounds)


async def awaited(url: str, keys: list[str], cache: Cache) -> list[Line]:
    """Tasks."""
    client = redis.asyncio.Redis.from_url(url)
    rounds: dict[str, list[tuple[Times, Times]]] = {"get": [], f"get_many of {BATCH}": [], "set": []}

    async def mget(batch: list[str]) -> object:
        pipeline = client.pipeline(transaction=False)
        pipeline.mget(batch)
        return await pipeline.execute()

    for _ in range(ROUNDS):
        asked = random.sample(keys, KEYS)
        batches = [random.sample(keys, BATCH) for _ in range(KEYS // BATCH * 2)]
        content = random.randbytes(SIZE)
        rounds["get"].append((await atimes(cache.aio.get, asked), await atimes(client.get, asked)))
        rounds[f"get_many of {BATCH}"].append((await atimes(cache.aio.get_many, batches), await atimes(mget, batches)))
        rounds["set"].append(
            (
                await atimes(lambda key, content=content: cache.aio.set(key, content), asked),
                await atimes(lambda key, content=content: client.set(key, content), asked),
            )
        )
    await client.aclose()
    return list(lines("async", rounds))


@contextmanager
def server() -> Iterator[str]:
    """The URL of a redis-server, which ends with the block."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("there is no redis-server; type: sudo apt-get install redis-server, or give --url")
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            client = redis.Redis(port=port)
            ends = time.monotonic() + 10
            while True:
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    if time.monotonic() > ends:
                        raise
            client.close()
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait()


def measure(url: str) -> Iterator[Line]:
    """Fills both, and times them."""
    keys = [f"user:{number}:profile" for number in range(KEYS)]
    tier = Redis(url, timeout=5)
    with (
        Cache("10MB", max_entries=1, namespace=f"benchmark {os.getpid()}", tiers=[tier]) as cache,
        redis.Redis.from_url(url) as client,
    ):
        try:
            for key in keys:
                content = random.randbytes(SIZE)
                cache.set(key, content)
                client.set(key, content)
            yield from plain(url, keys, cache)
            yield from asyncio.run(awaited(url, keys, cache))
            told = cache.stats().tiers[0]
            if told.failures or told.hits < KEYS * ROUNDS * 2 * 0.99:
                raise SystemExit(f"it didn't measure hits: {told.hits} hits, {told.failures} failures, {told.reason}")
        finally:
            client.delete(*keys)
            cache.clear()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit code 1 if a promise isn't kept")
    parser.add_argument("--url", help="a server that runs already")
    arguments = parser.parse_args()
    random.seed(0)
    print(f"redis-py {redis.__version__}, Python {sys.version.split()[0]}")
    print(f"{'median and p95, µs':<26}{'forecache':>18}{'redis-py':>18}{'above':>9}{'ratio':>8}  promised")
    kept = True
    with server() if arguments.url is None else contextmanager(lambda: iter([arguments.url]))() as url:
        for line in measure(url):
            mine, theirs = line.ours, line.theirs
            above, ratio = mine.median - theirs.median, mine.median / theirs.median
            told = "" if line.promise == "-" else f": {'kept' if line.kept else 'NOT KEPT'}"
            print(
                f"{line.what:<26}{mine.median:>9.1f}{mine.p95:>9.1f}{theirs.median:>9.1f}{theirs.p95:>9.1f}{above:>+9.1f}{ratio:>7.2f}x"
                f"  {line.promise}{told}",
                flush=True,
            )
            kept = kept and line.kept
    if arguments.check and not kept:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
