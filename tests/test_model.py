"""The model: a cache is a dict that may forget, never one that lies."""

import math
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from forecache import MISSING, POLICIES, Cache, ImmutableError
from forecache.testing import FakeClock

KEYS = st.sampled_from([f"k{n}" for n in range(12)])
VALUES = st.one_of(st.integers(0, 9), st.none(), st.text(max_size=3), st.binary(min_size=50, max_size=400))
TIMES = st.sampled_from([None, 1, 5, 20])
STEP = 0.001


@dataclass
class Entry:
    value: object
    born: float
    used: float
    ttl: float
    tti: float
    said: dict

    def end(self):
        return min(self.born + self.ttl, self.used + self.tti)


class CacheIsADictThatMayForget(RuleBasedStateMachine):
    """`known` is what the cache may hold: nothing else may be found, and only a small cache may lack some of it."""

    @initialize(
        policy=st.sampled_from(POLICIES),
        small=st.booleans(),
        tti=st.sampled_from([None, 10]),
        copy=st.booleans(),
        seed=st.integers(0, 9),
    )
    def make(self, policy, small, tti, copy, seed):
        self.clock = FakeClock()
        self.small = small
        self.default_tti = tti or math.inf
        capacity = "3KB" if small else "10MB"
        self.cache = Cache(capacity, policy=policy, tti=tti, copy=copy, seed=seed, clock=self.clock, on_remove=self.left)
        self.known = {}
        self.pinned = set()
        self.told = []

    def left(self, key, value, cause):
        self.told.append((key, value, cause))

    def now(self):
        return self.clock.time()

    def live(self, key):
        """The entry as the model has it, if its time isn't up."""
        entry = self.known.get(key)
        if entry is not None and entry.end() <= self.now():
            del self.known[key]
            return None
        return entry

    def forgive(self, key):
        """The cache doesn't have a key that the model has: fine if it is small and the entry isn't pinned."""
        if key in self.known:
            assert self.small, "forgotten without need"
            assert key not in self.pinned, "forgotten though it was pinned"
            del self.known[key]

    def check(self, key, found):
        """What a look-up found is what was stored, or nothing."""
        entry = self.live(key)
        if found is MISSING:
            self.forgive(key)
        else:
            assert entry is not None, f"{key} came back from nowhere: {found!r}"
            assert found == entry.value

    def remember(self, key, value, ttl=None, **said):
        now = self.now()
        self.known[key] = Entry(value, now, now, ttl or math.inf, said.get("tti") or self.default_tti, said)
        self.pinned.discard(key)

    def forget(self, key):
        self.known.pop(key, None)
        self.pinned.discard(key)

    def is_there(self, key):
        """Whether the cache has it, made out without an effect."""
        there = self.cache.exists(key)
        if not there:
            self.live(key)
            self.forgive(key)
            self.pinned.discard(key)
        else:
            assert self.live(key) is not None
        return there

    @rule(key=KEYS)
    def get(self, key):
        found = self.cache.get(key, MISSING)
        self.check(key, found)
        if found is not MISSING:
            self.known[key].used = self.now()

    @rule(keys=st.lists(KEYS, max_size=5))
    def get_many(self, keys):
        found = self.cache.get_many(keys)
        for key in set(keys):
            self.check(key, found.get(key, MISSING))
            if key in found:
                self.known[key].used = self.now()

    @rule(
        key=KEYS,
        value=VALUES,
        ttl=TIMES,
        tti=TIMES,
        tags=st.sets(st.sampled_from("xy")),
        owner=st.sampled_from([None, "o"]),
        immutable=st.integers(0, 5).map(lambda n: n == 0),
    )
    def set(self, key, value, ttl, tti, tags, owner, immutable):
        standing = self.known[key] if self.is_there(key) and self.known[key].said.get("immutable") else None
        try:
            taken = self.cache.set(key, value, ttl=ttl, tti=tti, tags=tags, owner=owner, immutable=immutable)
        except ImmutableError:
            assert standing is not None
            assert standing.value != value
            return
        if standing is not None:
            assert standing.value == value
        elif taken:
            self.remember(key, value, ttl, tti=tti, tags=tags, owner=owner, immutable=immutable)
        else:
            assert self.small
            self.forget(key)

    @rule(key=KEYS, value=VALUES)
    def add(self, key, value):
        there = self.is_there(key)
        if self.cache.add(key, value):
            assert not there
            self.remember(key, value)
        else:
            assert there or self.small

    @rule(items=st.dictionaries(KEYS, VALUES, max_size=4), ttl=TIMES)
    def set_many(self, items, ttl):
        items = {key: value for key, value in items.items() if not (self.is_there(key) and self.known[key].said.get("immutable"))}
        taken = self.cache.set_many(items, ttl=ttl)
        assert taken == len(items) or self.small
        for key, value in items.items():
            self.remember(key, value, ttl)
            self.check(key, self.cache._peek(key, MISSING))

    @rule(key=KEYS)
    def delete(self, key):
        there = self.is_there(key)
        assert self.cache.delete(key) == there
        self.forget(key)

    @rule(key=KEYS)
    def pop(self, key):
        self.check(key, self.cache.pop(key, MISSING))
        self.forget(key)

    @rule(key=KEYS, value=VALUES, ttl=TIMES)
    def get_or_load(self, key, value, ttl):
        there = self.is_there(key)
        found = self.cache.get_or_load(key, lambda: value, ttl=ttl)
        if there:
            self.check(key, found)
            self.known[key].used = self.now()
        else:
            assert found == value
            self.remember(key, value, ttl)
            self.check(key, self.cache._peek(key, MISSING))

    @rule(key=KEYS, amount=st.integers(-3, 3))
    def incr(self, key, amount):
        if self.is_there(key):
            entry = self.known[key]
            if type(entry.value) is not int or entry.said.get("immutable"):
                return
            entry.value += amount
            entry.used = self.now()
            assert self.cache.incr(key, amount) == entry.value
        else:
            assert self.cache.incr(key, amount, initial=5) == 5 + amount
            self.remember(key, 5 + amount)
        self.check(key, self.cache._peek(key, MISSING))

    @rule(key=KEYS, expected=VALUES, value=VALUES)
    def compare_and_set(self, key, expected, value):
        there = self.is_there(key)
        entry = self.known.get(key)
        if entry is not None and entry.said.get("immutable"):
            return
        done = self.cache.compare_and_set(key, expected, value)
        assert not done or (there and entry.value == expected)
        if there and entry.value == expected:
            if done:
                entry.value, entry.used = value, self.now()
            else:
                assert self.small
                self.forget(key)
        self.check(key, self.cache._peek(key, MISSING))

    @rule(key=KEYS, ttl=st.sampled_from([1, 5, 20]))
    def touch(self, key, ttl):
        there = self.is_there(key)
        assert self.cache.touch(key, ttl=ttl) == there
        if there:
            entry = self.known[key]
            entry.born, entry.ttl = self.now(), ttl
            remaining = self.cache.ttl(key)
            assert remaining is not None
            assert remaining <= ttl
            entry.used = min(self.now(), self.now() + remaining - entry.tti) if entry.tti < math.inf else self.now()

    @rule(key=KEYS)
    def ttl(self, key):
        there = self.is_there(key)
        remaining = self.cache.ttl(key)
        if not there:
            assert remaining == 0.0
        else:
            expected = self.known[key].end() - self.now()
            assert remaining is None if expected == math.inf else abs(remaining - expected) < STEP

    @rule(key=KEYS)
    def pin(self, key):
        there = self.is_there(key)
        assert self.cache.pin(key) == there
        if there:
            self.pinned.add(key)

    @rule(key=KEYS)
    def unpin(self, key):
        there = self.is_there(key)
        assert self.cache.unpin(key) == there
        self.pinned.discard(key)

    @rule(tags=st.sets(st.sampled_from("xy"), min_size=1))
    def invalidate(self, tags):
        self.cache.invalidate(tags=tags)
        for key in [key for key, entry in self.known.items() if tags & entry.said.get("tags", set())]:
            self.forget(key)

    @rule(owner=st.sampled_from([None, "o", "nobody"]))
    def clear(self, owner):
        self.cache.clear(owner=owner)
        for key in [key for key, entry in self.known.items() if owner in (None, entry.said.get("owner"))]:
            self.forget(key)

    @rule(seconds=st.sampled_from([0.5, 1, 4, 10]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule()
    def scan(self):
        found = dict(self.cache.items())
        assert len(found) == len(self.cache)
        assert set(self.cache.scan("k*")) == set(found)
        for key in {*found, *self.known}:
            self.check(key, found.get(key, MISSING))

    @invariant()
    def budget_is_kept(self):
        stats = self.cache.stats()
        assert stats.weight <= stats.capacity
        assert len(self.cache) <= len(self.known)


TestModel = CacheIsADictThatMayForget.TestCase
TestModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
