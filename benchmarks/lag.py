#!/usr/bin/env python3
"""How long an event loop stands still while tiers are read and written through `cache.aio`: `python benchmarks/lag.py`, 30 s.

Requests arrive 1,000 a second, a tenth of them writes, values of 1 KiB to 1 MiB (as many of each octave), none of them in memory
and all of them in the page cache, or with `--redis` in a redis-server that it starts. A ticker on the same loop says how late it
was woken; so it does while the loop is idle. The longest turn is the most CPU time that the loop took between two looks at what
is ready: what its lag would be with a processor of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import selectors
import sys
import tempfile
import time
from asyncio import events
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forecache import Cache, Disk, Redis

RATE = 1_000
TICK = 0.001
KEYS = 500


class Callbacks:
    """Seconds of CPU time that each callback of the loop took."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __enter__(self) -> Callbacks:
        self._run = original = events.Handle._run
        taken = self.seconds

        def run(handle: events.Handle) -> None:
            began = time.thread_time()
            original(handle)
            taken.append(time.thread_time() - began)

        events.Handle._run = run  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        events.Handle._run = self._run  # type: ignore[method-assign]


class Turns(selectors.DefaultSelector):
    """Notes the CPU time of the longest turn of a loop."""

    longest = 0.0
    began: float | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors.BaseSelector`."""
        if self.began is not None:
            self.longest = max(self.longest, time.thread_time() - self.began)
        ready = super().select(timeout)
        self.began = time.thread_time()
        return ready


def run(work: Coroutine[Any, Any, list[float]]) -> tuple[list[float], float]:
    """What `work` comes to in a loop of its own, and the longest turn of that."""
    turns = Turns()
    loop = asyncio.SelectorEventLoop(turns)
    try:
        done = loop.run_until_complete(work)
        longest = turns.longest
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        return done, longest
    finally:
        loop.close()


async def ticker(late: list[float]) -> None:
    """Notes by how many seconds it was woken too late."""
    while True:
        due = time.perf_counter() + TICK
        await asyncio.sleep(TICK)
        late.append(time.perf_counter() - due)


async def lateness(seconds: float, cache: Cache | None = None) -> list[float]:
    """Of a loop that is idle, or busy with `cache`."""
    late: list[float] = []
    watch = asyncio.create_task(ticker(late))
    if cache is None:
        await asyncio.sleep(seconds)
    else:
        await requests(seconds, cache)
    watch.cancel()
    return late


async def requests(seconds: float, cache: Cache) -> None:
    """Sends them at their times, however long the earlier ones take."""
    began, sent = time.perf_counter(), 0
    running: set[asyncio.Task[object]] = set()
    while sent < seconds * RATE:
        while sent < (time.perf_counter() - began) * RATE:
            key = f"item:{random.randrange(KEYS)}"
            write = random.random() < 0.1
            task: asyncio.Task[object] = asyncio.create_task(cache.aio.set(key, value()) if write else cache.aio.get(key))
            running.add(task)
            task.add_done_callback(running.discard)
            sent += 1
        await asyncio.sleep(TICK)
    await asyncio.gather(*running)


NOISE = random.randbytes(1 << 20)


def value() -> bytes:
    """1 KiB to 1 MiB, half random; cheap to make, since it is made on the loop."""
    size = int(1024 * 2 ** random.uniform(0, 10))
    return NOISE[: size // 2] + bytes(size - size // 2)


@contextmanager
def disk() -> Iterator[Disk]:
    """A disk tier in a folder that is removed."""
    with tempfile.TemporaryDirectory() as folder:
        yield Disk(Path(folder) / "d", capacity="2GB")


@contextmanager
def redis() -> Iterator[Redis]:
    """A Redis tier of a server of its own."""
    from remote import server

    with server() as url:
        yield Redis(url, timeout=5)


def main() -> None:
    """Prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit code 1 if a promise isn't kept")
    parser.add_argument("--redis", action="store_true", help="a Redis tier, not a disk")
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    random.seed(0)
    with redis() if arguments.redis else disk() as tier, Cache("10MB", max_entries=1, tiers=[tier]) as cache:
        for number in range(KEYS):
            cache.set(f"item:{number}", value())
        cache.flush()
        idle, rests = run(lateness(arguments.seconds))
        with Callbacks() as callbacks:
            busy, works = run(lateness(arguments.seconds, cache))
        stats = cache.stats().tiers[-1]
    short = sum(seconds < 1e-3 for seconds in callbacks.seconds) / len(callbacks.seconds)
    more = max(busy) - max(idle)
    print(f"{stats.hits:,} hits and {stats.sets:,} sets; {len(callbacks.seconds):,} callbacks, {short:.3%} under 1 ms of CPU "
          f"(promised 99.9 %), longest {max(callbacks.seconds) * 1e3:.2f} ms")  # fmt: skip
    print(
        f"longest lag: idle {max(idle) * 1e3:.2f} ms, busy {max(busy) * 1e3:.2f} ms: {more * 1e3:+.2f} ms (promised at most +2)"
    )
    print(f"longest turn: idle {rests * 1e3:.2f} ms of CPU, busy {works * 1e3:.2f} ms")
    if stats.failures:
        sys.exit(f"{stats.failures} calls failed: {stats.reason}")
    sys.exit(bool(arguments.check and not (short >= 0.999 and more <= 2e-3)))


if __name__ == "__main__":
    main()
