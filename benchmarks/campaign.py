#!/usr/bin/env python3
"""One cache hammered by two threads and two tasks: `python benchmarks/campaign.py --seconds 60`, or `make campaign`.

Each worker does at random all that a cache offers, in a budget that is always full and often resized. Nothing may be lost or
stale (see walks.py), the budget is exceeded by no more than an entry a worker, in the end there were as many removals as sets,
and the process doesn't grow. `tests/test_hammer.py` runs a short form.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable

from footprint import resident
from forecache import Cache
from walks import CAPACITIES, COUNTERS, SIZES, Ledger, Worker, must

MOST_GROWTH = 16_000_000
"""Bytes that the process may grow after the first fifth of the time."""


def in_thread(worker: Worker, cache: Cache) -> None:
    """Drives a worker through the sync face."""
    steps = worker.steps()
    result = None
    while True:
        try:
            method, arguments, options = steps.send(result)
        except StopIteration:
            return
        result = getattr(cache, method)(*arguments, **options)


async def in_task(worker: Worker, cache: Cache) -> None:
    """Drives a worker through the async face."""
    worker.load = worker.load_awaited
    steps = worker.steps()
    result = None
    while True:
        try:
            method, arguments, options = steps.send(result)
        except StopIteration:
            return
        result = await getattr(cache.aio, method)(*arguments, **options)
        if worker.random.random() < 0.1:
            await asyncio.sleep(0)


def guarded(ledger: Ledger, drive: Callable[[], None]) -> None:
    """Runs `drive`; what it raises ends all workers."""
    try:
        drive()
    except BaseException as error:  # told at the end, on the main thread
        ledger.failures.append(error)
        ledger.over.set()


def hammer(seconds: float, seed: int = 1) -> dict[str, float]:
    """Hammers for so long; raises what a worker found wrong, else says what was done."""
    ledger, cache = Ledger(), Cache(CAPACITIES[0], seed=seed)
    names = [f"{kind}:{number}" for kind in ("counter", "compared") for number in range(COUNTERS)]
    for name in names:
        cache.set(name, 0, pin=True)
    workers = [Worker(name, ledger, seed + at) for at, name in enumerate(("thread 1", "thread 2", "task 1", "task 2"))]

    async def tasks() -> None:
        await asyncio.gather(*(in_task(worker, cache) for worker in workers[2:]))

    drives: list[Callable[[], None]] = [
        lambda: in_thread(workers[0], cache),
        lambda: in_thread(workers[1], cache),
        lambda: asyncio.run(tasks()),
    ]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # many more changes of thread than there would be
    threads = [threading.Thread(target=guarded, args=(ledger, drive)) for drive in drives]
    try:
        for thread in threads:
            thread.start()
        ledger.over.wait(seconds / 5)
        early = resident()
        ledger.over.wait(seconds * 4 / 5)
    finally:
        ledger.over.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    if ledger.failures:
        raise ledger.failures[0]
    return settled(cache, ledger, workers, names) | {"grown by": resident() - early}


def settled(cache: Cache, ledger: Ledger, workers: list[Worker], names: list[str]) -> dict[str, float]:
    """What must add up when all is quiet."""
    added = sum((worker.added for worker in workers), Counter[str]())
    for name in names:
        must(cache.get(name) == added[name], f"{name}: {cache.get(name)}, though {added[name]} was added")
    tokens = sum(1 for _ in cache.scan("token:*"))
    must(added["tokens"] - added["taken"] == tokens, f"{added['tokens']} tokens, {added['taken']} taken, but {tokens} left")
    stats = cache.stats()
    must(ledger.worst_excess <= len(workers) * (max(SIZES) + 1000), f"the budget was exceeded by {ledger.worst_excess} bytes")
    must(stats.evictions > 0, "the budget was never full")
    cache.clear()
    stats = cache.stats()
    must((stats.entries, stats.weight) == (0, 0), f"after clear, {stats.entries} entries of {stats.weight} bytes are left")
    must(stats.sets == sum(stats.removed.values()), f"{stats.sets} sets, but {stats.removed} removals, and nothing is left")
    done = sum((worker.done for worker in workers), Counter[str]())
    return {
        "walks": done.total(),
        "increments": done["count"] + done["compare"],
        "tokens handed over": added["taken"],
        "loads": stats.loads.count,
        "evictions": stats.evictions,
        "expiries": stats.removed["expired"],
        "worst excess over the budget": ledger.worst_excess,
    }


def main() -> int:
    """The long form."""
    parser = argparse.ArgumentParser(description="Two threads and two tasks hammer one cache.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    print(f"hammering for {options.seconds:g} s, seed {options.seed}", flush=True)
    done = hammer(options.seconds, options.seed)
    for name, number in done.items():
        print(f"  {name:30}{number:>14,.0f}")
    must(done["grown by"] <= MOST_GROWTH, f"the process grew by {done['grown by']:,} bytes")
    print("nothing lost, nothing stale, nothing over the budget")
    return 0


if __name__ == "__main__":
    sys.exit(main())
