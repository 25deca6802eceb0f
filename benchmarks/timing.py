"""How calls are timed: loops of compiled statements, interleaved, the best of several rounds.

Each statement gets a function of its own, so that Python's specialising interpreter learns each apart. Looked-up keys are equal
to the stored ones but other objects, in an order of their own, their hashes known.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

from contestants import HOUR, Contestant

Times = dict[str, float]
Timed = Callable[..., Any]
CLOCK = time.perf_counter_ns
BATCH = 100
PASSES = 4
VALUE = b"v" * 100
FRESH = 4
"""Keys for evictions, in multiples of the entries."""
THREAD_TURNS = 20
"""Turns through the keys with several threads: one is over before the interpreter lets the other thread run (5 ms)."""

LOOP = """
def loop(cache, keys, lock):
    value = VALUE
    for key in keys:
        {statement}
"""
SINGLES = """
def singles(cache, keys, times):
    value = VALUE
    for at, key in enumerate(keys):
        start = CLOCK()
        {statement}
        times[at] = CLOCK() - start
"""
MANY = """
def loop(cache, batches, lock):
    for batch in batches:
        keys = KEYS[id(batch)]
        {statement}
"""


def compiled(template: str, statement: str, **names: Any) -> Timed:
    """The template's function with `statement` in its loop."""
    space: dict[str, Any] = {"VALUE": VALUE, "CLOCK": CLOCK, "HOUR": HOUR, **names}
    exec(template.format(statement=statement), space)  # noqa: S102 - our own text
    return next(space[name] for name in ("loop", "singles") if name in space)  # type: ignore[no-any-return]


@dataclass
class Workload:
    """What all contestants are asked for."""

    entries: int
    keys: list[str] = field(init=False)
    asked: list[str] = field(init=False)
    absent: list[str] = field(init=False)
    fresh: Iterator[str] = field(init=False)
    batches: list[dict[str, bytes]] = field(init=False)

    def __post_init__(self) -> None:
        def named(prefix: str, count: int) -> list[str]:
            return [f"{prefix}:{number}:profile" for number in range(count)]

        self.keys, self.asked, self.absent = named("user", self.entries), named("user", self.entries), named("gone", self.entries)
        random.Random(1).shuffle(self.asked)
        self.fresh = cycle(named("new", FRESH * self.entries))
        self.batches = [dict.fromkeys(self.asked[at : at + BATCH], VALUE) for at in range(0, self.entries, BATCH)]
        for key in (*self.asked, *self.absent):
            hash(key)

    def keys_of(self, operation: str) -> list[Any]:
        """What one round of `operation` goes through."""
        if operation == "evict":
            return list(islice(self.fresh, self.entries))
        if operation.endswith("many"):
            return self.batches
        return self.absent if operation == "miss" else self.asked

    def filled(self, contestant: Contestant) -> Any:
        """A cache of `contestant`'s with all keys in it."""
        cache = contestant.make(self.entries)
        compiled(LOOP, contestant.set)(cache, self.keys, None)
        return cache


class Lane:
    """One contestant doing one operation over and over, and its best times."""

    def __init__(self, contestant: Contestant, operation: str, work: Workload, threads: int = 1) -> None:
        self.contestant, self.operation, self.work, self.threads = contestant, operation, work, threads
        self.cache = work.filled(contestant)
        statement = contestant.statement(operation)
        if threads > 1 and not contestant.threadsafe:
            statement = f"with lock: {statement}"
        names = {"KEYS": {id(batch): list(batch) for batch in work.batches}}
        self.loop = compiled(MANY if operation.endswith("many") else LOOP, statement, **names)
        self.empty = compiled(MANY if operation.endswith("many") else LOOP, "pass", **names)
        self.singles = None if operation.endswith("many") or threads > 1 else compiled(SINGLES, statement)
        self.pair = compiled(SINGLES, "pass")
        self.best: Times = {}

    def round(self) -> None:
        """Times everything once and keeps what is better than before. Of a few passes the first only warms the CPU's caches."""
        for _ in range(PASSES):
            keys = self.work.keys_of(self.operation)
            if self.threads > 1:
                keys = keys * THREAD_TURNS
            self._keep({"loop": self._elapsed(self.loop, keys), "empty": self._elapsed(self.empty, keys)})
        if self.singles is not None:
            keys = self.work.keys_of(self.operation)
            times, empty = [0] * len(keys), [0] * len(keys)
            self.pair(self.cache, keys, empty)
            self.singles(self.cache, keys, times)
            self._keep(percentiles(times, empty))

    def times(self) -> Times:
        """Nanoseconds a call: `mean`, and `p50`, `p95`, `p99` of single calls."""
        rest = {name: time for name, time in self.best.items() if name not in ("loop", "empty")}
        return {"mean": self.best["loop"] - self.best["empty"], **rest}

    def _elapsed(self, loop: Timed, keys: list[Any]) -> float:
        """Nanoseconds a call; of all threads together."""
        lock = threading.Lock()
        if self.threads == 1:
            start = CLOCK()
            loop(self.cache, keys, lock)
            return (CLOCK() - start) / len(keys)
        return threaded(lambda: loop(self.cache, keys, lock), self.threads) / len(keys) / self.threads

    def _keep(self, times: Times) -> None:
        self.best = {**self.best, **{name: min(time, self.best.get(name, time)) for name, time in times.items()}}


def threaded(work: Callable[[], object], threads: int) -> int:
    """Nanoseconds from the first thread's start to the last one's end."""
    ready, spans = threading.Barrier(threads), []

    def run() -> None:
        ready.wait()
        start = CLOCK()
        work()
        spans.append((start, CLOCK()))

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return max(end for _, end in spans) - min(start for start, _ in spans)


def percentiles(times: list[int], empty: list[int]) -> Times:
    """p50, p95 and p99 of single calls, less the median of a pair of clock readings with nothing between."""
    times, empty = sorted(times), sorted(empty)
    return {f"p{share}": max(times[len(times) * share // 100] - empty[len(empty) // 2], 0) for share in (50, 95, 99)}


def race(lanes: list[Lane], rounds: int, progress: Callable[[str], None]) -> None:
    """All lanes in turn, `rounds` times, so that a noisy moment hits them alike."""
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        for lane in lanes:
            lane.round()
