"""What the workers of the campaign do, and what each of them knows must hold.

- What is added to a counter, swapped in by comparison or handed over as a token is there exactly once, whoever does the same.
- A key that only one worker writes holds its latest value or nothing, and nothing once it was deleted or has expired.
- One load a key at a time, and a value is always one that was meant for its key.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from forecache import MISSING

Call = tuple[str, tuple[Any, ...], dict[str, Any]]
Steps = Generator[Call, Any, None]
SHARED, PRIVATE, COUNTERS, TOKENS = 2000, 50, 5, 30
CAPACITIES = (1_000_000, 1_500_000, 2_000_000)
SIZES = (10, 100, 1000, 5000, 20_000)
TOO_LARGE = bytes(3_000_000)
LATE = 0.05
"""Seconds after its end in which an entry may still be read: the clock's resolution, and room for a busy machine."""


@dataclass
class Ledger:
    """What the workers share beside the cache."""

    loading: set[str] = field(default_factory=set)
    failures: list[BaseException] = field(default_factory=list)
    worst_excess: int = 0
    over: threading.Event = field(default_factory=threading.Event)


def call(method: str, *arguments: Any, **options: Any) -> Call:
    """A request to the driver, which calls the method of the sync face, or awaits that of the async one."""
    return method, arguments, options


class Worker:
    """A random walk over the cache's methods, in no colour: `steps` yields calls and gets their results."""

    def __init__(self, name: str, ledger: Ledger, seed: int) -> None:
        self.name, self.ledger, self.random = name, ledger, random.Random(seed)
        self.latest: dict[str, tuple[Any, float]] = {}
        self.number = 0
        self.load: Callable[[str], Any] = self.load_here
        self.added: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.walks = [
            self.share, self.share, self.share, self.read, self.read, self.read, self.batches, self.own, self.own, self.own,
            self.count, self.compare, self.pass_tokens, self.fetch, self.fetch, self.remove, self.resize, self.check,
        ]  # fmt: skip

    def steps(self) -> Steps:
        """Goes on until the ledger is closed."""
        while not self.ledger.over.is_set():
            walk = self.random.choice(self.walks)
            self.done[walk.__name__] += 1
            yield from walk()

    def value(self, key: str) -> tuple[str, int, bytes]:
        """Something new, of any size, that tells its key."""
        self.number += 1
        return key, self.number, bytes(self.random.choice(SIZES))

    def shared(self) -> str:
        """A key that all workers use."""
        return f"shared:{self.random.randrange(SHARED)}"

    def share(self) -> Steps:
        """Sets something with any times, tags and owner."""
        key = self.shared()
        ttl = self.random.choice((None, None, 0.005, 0.05, 1))
        tags = self.random.choice((None, None, ["red"], ["red", "blue"]))
        owner = self.random.choice((None, None, "ada", "bob"))
        yield call("set", key, self.value(key), ttl=ttl, tags=tags, owner=owner, tti=self.random.choice((None, None, 0.1)))

    def read(self) -> Steps:
        """Gets what anybody has set."""
        key = self.shared()
        self.belongs(key, (yield call("get", key, MISSING)))

    def batches(self) -> Steps:
        """Sets some and gets many."""
        keys = [self.shared() for _ in range(20)]
        yield call("set_many", {key: self.value(key) for key in keys[:5]}, ttl=0.5)
        for key, value in (yield call("get_many", keys)).items():
            self.belongs(key, value)

    def own(self) -> Steps:
        """A key that nobody else touches."""
        key = f"{self.name}:{self.random.randrange(PRIVATE)}"
        expected, deadline = self.latest.get(key, (MISSING, 0.0))
        may_be_there = expected is not MISSING and time.monotonic() < deadline + LATE
        found = yield call("get", key, MISSING)
        if found is not MISSING:
            must(may_be_there, f"{key}: read {found[:2]} after it was deleted, refused or had expired")
            must(found == expected, f"{key}: read {found[:2]}, which isn't the latest, {expected[:2]}")
        match self.random.randrange(8):
            case 0:
                yield call("delete", key)
                self.latest[key] = (MISSING, 0.0)
            case 1:
                must((yield call("set", key, TOO_LARGE)) is False, f"{key}: a value larger than the cache was taken")
                self.latest[key] = (MISSING, 0.0)
            case _:
                value, ttl = self.value(key), self.random.choice((0.005, 0.05, 60))
                if (yield call("set", key, value, ttl=ttl)):
                    self.latest[key] = (value, time.monotonic() + ttl)

    def count(self) -> Steps:
        """Adds to a counter."""
        key, amount = f"counter:{self.random.randrange(COUNTERS)}", self.random.randrange(1, 10)
        yield call("incr", key, amount)
        self.added[key] += amount

    def compare(self) -> Steps:
        """Adds one as those do who have only compare_and_set."""
        key = f"compared:{self.random.randrange(COUNTERS)}"
        while True:
            there = yield call("get", key, MISSING)
            if (yield call("compare_and_set", key, there, there + 1)):
                self.added[key] += 1
                return

    def pass_tokens(self) -> Steps:
        """Leaves a token for anybody, or takes one that anybody has left."""
        key = f"token:{self.random.randrange(TOKENS)}"
        if self.random.random() < 0.5:
            self.added["tokens"] += bool((yield call("add", key, key, pin=True)))
        else:
            self.added["taken"] += (yield call("pop", key)) is not None

    def fetch(self) -> Steps:
        """Gets or loads."""
        key = self.shared()
        self.belongs(key, (yield call("get_or_load", key, self.load, ttl=self.random.choice((0.01, 1)))))

    def load_here(self, key: str) -> Any:
        """The sync loader."""
        self.enter(key)
        if self.random.random() < 0.1:
            time.sleep(0.001)
        self.ledger.loading.discard(key)
        return self.value(key)

    async def load_awaited(self, key: str) -> Any:
        """The async loader."""
        self.enter(key)
        await asyncio.sleep(self.random.choice((0, 0, 0.001)))
        self.ledger.loading.discard(key)
        return self.value(key)

    def enter(self, key: str) -> None:
        """Notes that a load runs."""
        must(key not in self.ledger.loading, f"{key}: loaded twice at a time")
        self.ledger.loading.add(key)

    def remove(self) -> Steps:
        """Deletes, invalidates, clears, shortens."""
        match self.random.randrange(40):
            case 0:
                yield call("invalidate", tags=["blue"])
            case 1:
                yield call("clear", owner="ada")
            case 2:
                yield call("delete_many", [self.shared() for _ in range(10)])
            case 3:
                yield call("touch", self.shared(), ttl=0.01)
            case _:
                yield call("delete", self.shared())

    def resize(self) -> Steps:
        """Now and then another capacity."""
        if self.random.random() < 0.1:
            yield call("resize", self.random.choice(CAPACITIES))

    def check(self) -> Steps:
        """What statistics say at any moment."""
        stats = yield call("stats")
        self.ledger.worst_excess = max(self.ledger.worst_excess, stats.weight - stats.capacity)
        removed = sum(stats.removed.values())  # those of an owner that was emptied count when they are swept up
        must(stats.sets - removed >= stats.entries, f"{stats.sets} sets, {removed} removals, but {stats.entries} entries")

    def belongs(self, key: str, value: Any) -> None:
        """A value that was read must have been meant for its key."""
        must(value is MISSING or value[0] == key, f"{key}: read a value of {value and value[0]}")


def must(holds: bool, otherwise: str) -> None:
    """An assertion that `python -O` leaves in."""
    if not holds:
        raise AssertionError(otherwise)
