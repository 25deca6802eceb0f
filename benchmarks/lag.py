#!/usr/bin/env python3
"""How long an event loop stands still while tiers are read and written through `cache.aio`: `python benchmarks/lag.py`, 30 s.

Requests arrive 1,000 a second, a tenth of them writes, values of 1 KiB to 1 MiB (as many of each octave), none of them in memory
and all of them in the page cache. A ticker on the same loop says how late it was woken; so it does while the loop is idle.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from asyncio import events
from pathlib import Path

from forecache import Cache, Disk

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


def main() -> None:
    """Prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit code 1 if a promise isn't kept")
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    random.seed(0)
    with (
        tempfile.TemporaryDirectory() as folder,
        Cache("10MB", max_entries=1, tiers=[Disk(Path(folder) / "d", capacity="2GB")]) as cache,
    ):
        for number in range(KEYS):
            cache.set(f"item:{number}", value())
        cache.flush()
        idle = asyncio.run(lateness(arguments.seconds))
        with Callbacks() as callbacks:
            busy = asyncio.run(lateness(arguments.seconds, cache))
        stats = cache.stats().tiers[-1]
    short = sum(seconds < 1e-3 for seconds in callbacks.seconds) / len(callbacks.seconds)
    more = max(busy) - max(idle)
    print(f"{stats.hits:,} hits and {stats.sets:,} sets; {len(callbacks.seconds):,} callbacks, {short:.3%} under 1 ms of CPU "
          f"(promised 99.9 %), longest {max(callbacks.seconds) * 1e3:.2f} ms")  # fmt: skip
    print(
        f"longest lag: idle {max(idle) * 1e3:.2f} ms, busy {max(busy) * 1e3:.2f} ms: {more * 1e3:+.2f} ms (promised at most +2)"
    )
    sys.exit(bool(arguments.check and not (short >= 0.999 and more <= 2e-3)))


if __name__ == "__main__":
    main()
