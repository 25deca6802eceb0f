"""The model where tiers fail: whatever a tier that processes share raises, loses, garbles or does late, a read gives what was
stored last, or nothing. Programs are drawn by a seed, `FORECACHE_FAILING` of them.
"""

import asyncio
import os
import random
import threading

import pytest
from conftest import PATIENCE
from tiers_made import Counting

from forecache import MISSING, Cache
from forecache._core import Counters, Memory
from forecache.errors import TierUnavailable
from forecache.testing import Delay, DictTier, FakeClock, FaultyTier, Garble, Hang, Lose, Raise
from forecache.tiers.boundary import Custom
from forecache.tiers.tier import wall_time

PROGRAMS = int(os.environ.get("FORECACHE_FAILING", "60"))
STEPS = 60
KEYS = [f"k{number}" for number in range(4)]
VERBS = ["get_many", "set_many", "delete_many", "swap", "clear"]
TIMEOUT = 0.05
"""Seconds after which a call counts as hanging: also one that the machine had no time for, which is a failure as any."""


class Upper(Counting):
    """As the disk does, it tells of a clearing under every key."""

    def clear(self, *, tags=(), owner=None):
        count = yield from super().clear(tags=tags, owner=owner)
        self._bump(KEYS)
        return count


class Process:
    """A cache with a tier that fails on demand; `entries` are its server's. It may have a tier with counters above it."""

    def __init__(self, chance, clock, entries, upper, journal):
        now = wall_time(clock)
        self.faulty = FaultyTier(DictTier(entries, name="server", shared=True, now=now), clock)
        tiers = [Custom(self.faulty, write=chance.choice(["through", "behind"]), timeout=TIMEOUT)]
        if upper is not None:
            above, counters = upper
            tiers.insert(0, Custom(Upper(above, Counters(counters), now), write=chance.choice(["through", "behind", "demote"])))
        self.cache = Cache("1MB", tiers=tiers, clock=clock, journal=journal)
        self.coherent = upper is not None
        self.watch = self.cache._stack.tiers[-1]._watch
        self.late, self.watch.ended = self.watch.ended, self.ended
        self.settled = threading.Event()

    def ended(self):
        self.late()
        self.settled.set()

    def release(self):
        """What hangs is done now, late as that is."""
        with self.watch.changing:
            hangs = self.watch.abandoned
            self.settled.clear()
        self.faulty.release()
        assert not hangs or self.settled.wait(PATIENCE)

    def do(self, colour, verb, *arguments):
        if colour == "sync":
            return getattr(self.cache, verb)(*arguments)

        async def asked():
            return await getattr(self.cache.aio, verb)(*arguments)

        return asyncio.run(asked())

    def leave(self):
        """Another goes on: what was queued is written, and what memory has counts as old where no counters tell."""
        self.cache.flush()
        if not self.coherent:
            Memory.clear(self.cache)


class Program:
    def __init__(self, seed, directory):
        self.chance = random.Random(seed)
        self.clock = FakeClock()
        entries, upper = {}, ({}, Counters()) if seed % 2 else None
        self.processes = [Process(self.chance, self.clock, entries, upper, directory) for _ in range(2)]
        self.last = self.processes[0]
        self.latest = {}
        self.done = []

    def run(self):
        try:
            for number in range(STEPS):
                self.step(number)
            for process in self.processes:
                process.faulty.heal()
                process.release()
            for process in self.processes * 2:
                self.clock.advance(2)
                for key in KEYS:
                    self.ask(process, "get", key)
        finally:
            for process in self.processes:
                process.faulty.heal()
                process.release()
                process.cache.close()

    def step(self, number):
        chance = self.chance
        if chance.random() < 0.3:
            self.disturb()
        if chance.random() < 0.2:
            self.clock.advance(chance.choice([0.1, 1.1, 15]))
        verb = chance.choices(["get", "set", "delete", "incr", "pop", "get_many", "clear"], [8, 5, 4, 3, 1, 2, 0.3])[0]
        key = chance.choice(KEYS)
        arguments = {"set": (key, number * 1000), "get_many": (KEYS,), "clear": ()}.get(verb, (key,))
        self.ask(chance.choice(self.processes), verb, *arguments)

    def disturb(self):
        process, chance = self.chance.choice(self.processes), self.chance
        faults = [
            lambda: Raise(OSError("broken")),
            lambda: Raise(TierUnavailable("refused")),
            Lose,
            Garble,
            lambda: Delay(1),
            Hang,
        ]
        fault = chance.choice(faults)()
        how = chance.choice(["plan", "always", "heal", "release"])
        if how == "plan":
            process.faulty.plan(chance.choice(VERBS), *[fault] * chance.randint(1, 3))
        elif how == "always" and not isinstance(fault, Hang):
            process.faulty.always(fault, *chance.sample(VERBS, chance.randint(1, 5)))
        elif how == "heal":
            process.faulty.heal()
        elif how == "release":
            process.release()
        self.done.append((how, fault))

    def ask(self, process, verb, *arguments):
        if process is not self.last:
            self.last.leave()
            self.last = process
        colour = self.chance.choice(["sync", "async"])
        told = process.do(colour, verb, *arguments, *([MISSING] if verb in ("get", "pop") else []))
        self.done.append((self.processes.index(process), colour, verb, arguments, told))
        key = arguments[0] if arguments else None
        latest = self.latest.get(key, MISSING) if isinstance(key, str) else None
        if verb in ("get", "pop"):
            assert told is MISSING or told == latest, self.done
        if verb == "get_many":
            assert all(value == self.latest.get(each, MISSING) for each, value in told.items()), self.done
        if verb == "incr":
            # It may have been counted when the answer was lost, and is then counted once more.
            before = [0] if latest is MISSING else [0, latest]
            assert told in [count + more for count in before for more in (1, 2)], self.done
            self.latest[key] = told
        if verb == "set":
            self.latest[key] = arguments[1]
        if verb == "delete" or (verb == "pop" and told is not MISSING):  # what wasn't found is nobody's, and not deleted
            self.latest.pop(key, None)
        if verb == "clear":
            self.latest.clear()


@pytest.mark.parametrize("part", range(4))
def test_whatever_a_shared_tier_fails_at_nothing_old_is_read(part, tmp_path):
    for seed in range(part, PROGRAMS, 4):
        Program(seed, tmp_path / str(seed)).run()
