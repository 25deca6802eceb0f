"""The model over tiers: a cache over any combination of tiers and write modes is a dict that may forget, never one that lies.

A second cache on the same shared tier stands for another process. `FORECACHE_PROGRAMS` says how many random programs are run.
"""

import asyncio
import math
import os
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tiers_made import Counting

from forecache import MISSING, Cache
from forecache._core import Counters
from forecache.testing import DictTier, FakeClock
from forecache.tiers.boundary import Custom
from forecache.tiers.tier import wall_time
from forecache.tiers.zmemory import ZMemory

PROGRAMS = int(os.environ.get("FORECACHE_PROGRAMS", "330"))
KEYS = st.sampled_from([f"k{n}" for n in range(8)])
VALUES = st.one_of(
    st.integers(0, 9), st.none(), st.text(max_size=3), st.binary(min_size=50, max_size=600), st.tuples(st.integers(0, 3))
)
TIMES = st.sampled_from([None, None, 1, 5, 20])
MODES = st.sampled_from(["through", "behind", "demote"])
WRITES = st.sampled_from([None, None, "behind", "through", "around"])
WHO = st.integers(0, 1)


@dataclass
class Entry:
    value: object
    hard: float
    tti: float
    used: float
    tags: frozenset = frozenset()
    owner: str | None = None

    def end(self):
        return min(self.hard, self.used + self.tti)


class TieredCacheIsADictThatMayForget(RuleBasedStateMachine):
    """`known` is what a cache may hold: nothing else may be found. Before the other is asked, what was queued is written."""

    @initialize(
        small=st.booleans(),
        zmemory=st.sampled_from([None, "demote", "through", "behind"]),
        plain=st.sampled_from([None, "demote", "through", "behind"]),
        shared=st.sampled_from([None, "through", "behind"]),
        colour=st.sampled_from(["sync", "async"]),
        copy=st.booleans(),
    )
    def make(self, small, zmemory, plain, shared, colour, copy):
        self.clock = FakeClock()
        self.colour = colour
        self.loop = asyncio.new_event_loop() if colour == "async" else None
        self.known = {}
        self.last = 0
        now = wall_time(self.clock)
        entries, counters = {}, Counters()
        if not (zmemory or plain or shared):
            plain = "behind"

        def cache(view):
            tiers = [ZMemory("4KB" if small else "1MB", write=zmemory, seed=1)] if zmemory else []
            tiers += [Custom(DictTier(now=now), write=plain)] if plain else []
            tiers += [Custom(Counting(entries, view, now), write=shared)] if shared else []
            return Cache("2KB" if small else "1MB", tiers=tiers, clock=self.clock, copy=copy, seed=1)

        self.caches = [cache(counters)]
        if shared:
            self.caches.append(cache(Counters(counters)))
        self.may_forget = small and not (plain or shared)

    def teardown(self):
        for cache in getattr(self, "caches", ()):
            cache.close()
        if getattr(self, "loop", None):
            self.loop.close()

    def do(self, who, verb, *args, **kwargs):
        """Asks one of the caches, after the other has written what it queued."""
        who = who % len(self.caches)
        if who != self.last:
            self.caches[self.last].flush()
            self.last = who
        cache = self.caches[who]
        if self.colour == "sync":
            return getattr(cache, verb)(*args, **kwargs)

        async def ask():
            return await getattr(cache.aio, verb)(*args, **kwargs)

        return self.loop.run_until_complete(ask())

    def now(self):
        return self.clock.time()

    def live(self, key):
        entry = self.known.get(key)
        if entry is not None and entry.end() <= self.now():
            del self.known[key]
            return None
        return entry

    def check(self, key, found):
        entry = self.live(key)
        if found is MISSING:
            assert entry is None or self.may_forget or entry.tti < math.inf, f"{key} was forgotten without need"
            self.known.pop(key, None)
        else:
            assert entry is not None, f"{key} came back from nowhere: {found!r}"
            assert found == entry.value
            assert type(found) is type(entry.value)
            entry.used = self.now()

    def remember(self, key, value, ttl=None, tti=None, tags=(), owner=None):
        now = self.now()
        self.known[key] = Entry(value, now + (ttl or math.inf), tti or math.inf, now, frozenset(tags), owner)

    @rule(who=WHO, key=KEYS)
    def get(self, who, key):
        self.check(key, self.do(who, "get", key, MISSING))

    @rule(who=WHO, keys=st.lists(KEYS, max_size=5))
    def get_many(self, who, keys):
        found = self.do(who, "get_many", keys)
        assert set(found) <= set(keys)
        for key in set(keys):
            self.check(key, found.get(key, MISSING))

    @rule(
        who=WHO,
        key=KEYS,
        value=VALUES,
        ttl=TIMES,
        tti=TIMES,
        tags=st.sets(st.sampled_from("xy")),
        owner=st.sampled_from([None, "o"]),
        write=WRITES,
    )
    def set(self, who, key, value, ttl, tti, tags, owner, write):
        if self.do(who, "set", key, value, ttl=ttl, tti=tti, tags=tags, owner=owner, write=write):
            self.remember(key, value, ttl, tti, tags, owner)
        else:
            assert self.may_forget
            self.known.pop(key, None)

    @rule(who=WHO, key=KEYS, value=VALUES)
    def add(self, who, key, value):
        known = self.live(key)
        if self.do(who, "add", key, value):
            assert known is None or self.may_forget or known.tti < math.inf
            self.remember(key, value)
        else:
            assert known is not None or self.may_forget

    @rule(who=WHO, items=st.dictionaries(KEYS, VALUES, max_size=4), ttl=TIMES, write=WRITES)
    def set_many(self, who, items, ttl, write):
        taken = self.do(who, "set_many", items, ttl=ttl, write=write)
        assert taken == len(items) or self.may_forget
        for key, value in items.items():
            self.remember(key, value, ttl)

    @rule(who=WHO, key=KEYS)
    def delete(self, who, key):
        known = self.live(key)
        there = self.do(who, "delete", key)
        assert there == (known is not None) or self.may_forget or (known is not None and known.tti < math.inf)
        self.known.pop(key, None)

    @rule(who=WHO, keys=st.lists(KEYS, max_size=4))
    def delete_many(self, who, keys):
        self.do(who, "delete_many", keys)
        for key in keys:
            self.known.pop(key, None)

    @rule(who=WHO, key=KEYS)
    def pop(self, who, key):
        self.check(key, self.do(who, "pop", key, MISSING))
        self.known.pop(key, None)

    @rule(who=WHO, key=KEYS, value=VALUES, ttl=TIMES)
    def get_or_load(self, who, key, value, ttl):
        calls = []
        found = self.do(who, "get_or_load", key, lambda: calls.append(1) or value, ttl=ttl)
        if calls:
            assert found == value
            self.check(key, MISSING)
            self.remember(key, value, ttl)
        else:
            self.check(key, found)

    @rule(who=WHO, key=KEYS, amount=st.integers(-3, 3))
    def incr(self, who, key, amount):
        known = self.live(key)
        if known is not None and (type(known.value) is not int or known.tti < math.inf or self.may_forget):
            return
        sum_ = self.do(who, "incr", key, amount, initial=5)
        if known is None:
            assert sum_ == 5 + amount
            self.remember(key, sum_)
        else:
            known.value += amount
            assert sum_ == known.value

    @rule(who=WHO, key=KEYS, expected=VALUES, value=VALUES)
    def compare_and_set(self, who, key, expected, value):
        known = self.live(key)
        done = self.do(who, "compare_and_set", key, expected, value)
        if done:
            assert known is not None
            assert known.value == expected
            known.value = value
            known.used = self.now()
        elif known is not None and known.value == expected:
            assert self.may_forget or known.tti < math.inf
            self.known.pop(key)

    @rule(who=WHO, key=KEYS, ttl=st.sampled_from([1, 5, 20]))
    def touch(self, who, key, ttl):
        known = self.live(key)
        if self.do(who, "touch", key, ttl=ttl):
            assert known is not None
            known.hard, known.used = self.now() + ttl, self.now()
        else:
            self.check(key, MISSING)

    @rule(who=WHO, key=KEYS)
    def ttl(self, who, key):
        known = self.live(key)
        left = self.do(who, "ttl", key)
        if left == 0.0:
            assert known is None or self.may_forget or known.tti < math.inf
        elif left is None:
            assert known is not None
            assert known.end() == math.inf
        else:
            assert known is not None
            assert left <= min(known.hard - self.now(), known.tti) + 0.01

    @rule(who=WHO, key=KEYS)
    def exists(self, who, key):
        if not self.do(who, "exists", key):
            self.check(key, MISSING)
        else:
            assert self.live(key) is not None

    @rule(who=WHO, tags=st.sets(st.sampled_from("xy"), min_size=1))
    def invalidate(self, who, tags):
        self.do(who, "invalidate", tags=tags)
        for key in [key for key, entry in self.known.items() if tags & entry.tags]:
            del self.known[key]

    @rule(who=WHO, owner=st.sampled_from([None, "o", "nobody"]))
    def clear(self, who, owner):
        self.do(who, "clear", owner=owner)
        for key in [key for key, entry in self.known.items() if owner in (None, entry.owner)]:
            del self.known[key]

    @rule(seconds=st.sampled_from([0.5, 1, 4, 10]))
    def wait(self, seconds):
        self.caches[self.last].flush()
        self.clock.advance(seconds)

    @rule(who=WHO)
    def flush(self, who):
        self.do(who, "flush")

    @rule(who=WHO)
    def items(self, who):
        self.do(who, "exists", "k0")
        found = dict(self.caches[self.last].items())
        for key in {*found, *self.known}:
            self.check(key, found.get(key, MISSING))


TestModel = TieredCacheIsADictThatMayForget.TestCase
TestModel.settings = settings(max_examples=PROGRAMS, stateful_step_count=30, deadline=None)
