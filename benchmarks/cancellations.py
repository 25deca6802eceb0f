#!/usr/bin/env python3
"""Requests to a Redis below a cache cancelled at random points: `python benchmarks/cancellations.py`, minutes.

Tasks ask for keys of which each has a value that says its name, for counters of which each belongs to one task, and whether keys
are there; replies come through a proxy, late by a random time. A request has so long that one of three is answered, however busy
the machine is, so it is cancelled in any of its stages. Every answer must be that of the question, and when it is over no more
connections are open than the tier may have.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from forecache import Cache
from outage_parts import Proxy, Server, open_cache, process

TASKS, KEYS, CONNECTIONS = 16, 500, 16
PROCESSES = 2
LATEST = 0.001, 0.2
"""Seconds after which a request that isn't over is cancelled, at most: between these, so that one of three is answered."""
LATER = 1.05
"""By how much that bound grows with a request that was cancelled; with one that was answered it shrinks by twice that."""


class Asker:
    """A task's worth of requests. What it was answered wrongly is in `wrong`."""

    def __init__(self, cache: Cache, number: int) -> None:
        self.cache, self.counter, self.step = cache, f"counter:{number}", 1_009 + number
        self.draws = random.Random(number)
        self.latest = LATEST[1] / 10
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def ask(self, cancelled: int) -> None:
        """Goes on until so many of its requests were cancelled."""
        verbs = [self.get, self.get, self.get_many, self.exists, self.missing, self.set, self.incr]
        while self.counts["cancelled"] < cancelled:
            request = asyncio.ensure_future(self.draws.choice(verbs)())
            if self.draws.random() < 0.2:  # in its first steps
                for _ in range(self.draws.randrange(20)):
                    await asyncio.sleep(0)
            else:
                await asyncio.wait([request], timeout=self.latest * self.draws.random())
                self.latest *= LATER**-2 if request.done() else LATER
                self.latest = min(max(self.latest, LATEST[0]), LATEST[1])
            request.cancel()
            try:
                await request
                self.counts["answered"] += 1
            except asyncio.CancelledError:
                self.counts["cancelled"] += 1
            except Exception as error:
                self.wrong.append(f"{type(error).__name__}: {error}")

    def key(self) -> str:
        """One of those that have values."""
        return f"key:{self.draws.randrange(KEYS)}"

    def must_be(self, good: bool, question: str, answer: object) -> None:
        """Notes a wrong answer."""
        if not good:
            self.wrong.append(f"{question}: {answer!r:.80}")

    async def get(self) -> None:
        """A value."""
        answer = await self.cache.aio.get(key := self.key())
        self.must_be(answer in {None, value(key)}, f"get {key}", answer)

    async def get_many(self) -> None:
        """Some values."""
        keys = [self.key() for _ in range(self.draws.randrange(1, 8))]
        answer = await self.cache.aio.get_many(keys)
        self.must_be(all(found == value(key) for key, found in answer.items()), f"get_many {keys}", answer)

    async def exists(self) -> None:
        """Whether a key is there."""
        answer = await self.cache.aio.exists(key := self.key())
        self.must_be(isinstance(answer, bool), f"exists {key}", answer)

    async def missing(self) -> None:
        """A key that never was."""
        answer = await self.cache.aio.get("absent", "none")
        self.must_be(answer == "none", "get absent", answer)

    async def set(self) -> None:
        """A key's value, as it was."""
        await self.cache.aio.set(key := self.key(), value(key))

    async def incr(self) -> None:
        """The task's own counter, in steps of its own. It may begin anew: if a change was cancelled the key is deleted."""
        answer = await self.cache.aio.incr(self.counter, self.step)
        self.must_be(answer > 0 and answer % self.step == 0, f"incr {self.counter} by {self.step}", answer)


def value(key: str) -> bytes:
    """Each key's own, of a length of its own."""
    return f"{key} ".encode() * (1 + hash_of(key) % 100)


def hash_of(key: str) -> int:
    """The same in every process."""
    return sum(key.encode()) * 7919


async def campaign(cache: Cache, proxy: Proxy, cancelled: int, first: int) -> list[Asker]:
    """All tasks, while the proxy's delay changes."""
    for number in range(KEYS):
        await cache.aio.set(f"key:{number}", value(f"key:{number}"))
    askers = [Asker(cache, number) for number in range(first, first + TASKS)]
    work = asyncio.gather(*(asker.ask(-(-cancelled // TASKS)) for asker in askers))
    while not work.done():
        await asyncio.to_thread(proxy.delay, random.choice([0, 0.0005, 0.001, 0.002]))
        await asyncio.wait([work], timeout=0.2)
    await work
    for asker in askers:  # nobody is out of step
        for number in range(0, KEYS, 25):
            key = f"key:{number}"
            asker.must_be(await cache.aio.get(key) in {None, value(key)}, f"get {key} afterwards", "")
    return askers


def trial(server: Server, folder: Path, cancelled: int, first: int = 0) -> tuple[Counter[str], list[str]]:
    """How many requests ended how, and what was wrong; tasks draw by numbers from `first` on."""
    with Proxy(server.address) as proxy:
        idle = int(server.info("clients")["connected_clients"])
        with open_cache(proxy.through(server.url), folder, max_entries=1, connections=CONNECTIONS, timeout=10) as cache:
            askers = asyncio.run(campaign(cache, proxy, cancelled, first))
            stats: Any = cache.stats().tiers[-1]
        wrong = [each for asker in askers for each in asker.wrong]
        # A record says whose it is, so another's would come as a damaged one, and another's number as an error.
        wrong += [f"{stats.corrupt} records of other keys"] * bool(stats.corrupt)
        wrong += [f"{stats.failures} failures, the last: {stats.reason}"] * bool(stats.failures)
        counts = sum((asker.counts for asker in askers), Counter())
        counts["connections"] = proxy.accepted
        counts["hits"] = stats.hits
        process.wait_until(lambda: int(server.info("clients")["connected_clients"]) <= idle, "connections stay open")
    return counts, wrong


def alone(number: int, cancelled: int) -> tuple[Counter[str], list[str]]:
    """The same in a process of its own, on a server of its own."""
    server = Server()
    try:
        server.start()
        with tempfile.TemporaryDirectory() as folder:
            return trial(server, Path(folder), cancelled, number * TASKS)
    finally:
        process.end_all()


def main() -> None:
    """Prints what was found; exit code 1 if an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cancelled", type=int, default=100_000, help="how many requests to cancel (default: %(default)s)")
    arguments = parser.parse_args()
    began, each = time.perf_counter(), -(-arguments.cancelled // PROCESSES)
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        parts = list(pool.map(alone, range(PROCESSES), [each] * PROCESSES))
    counts, wrong = sum((part for part, _ in parts), Counter()), [one for _, ones in parts for one in ones]
    print(", ".join(f"{count:,} {name}" for name, count in counts.items()), f"in {time.perf_counter() - began:.0f} s")
    print(f"{len(wrong)} wrong answers", *wrong[:5], sep="\n  ")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
