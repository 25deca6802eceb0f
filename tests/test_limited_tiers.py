"""Tiers that can't do all that a tier may do: the suite minds what they say, and a cache decides where it can be decided."""

import pytest
from tiers_made import made

from forecache import TierUnavailable
from forecache.flow import run
from forecache.testing import DictTier, FaultyTier, check_tier
from forecache.tiers.breaker import Breaker
from forecache.tiers.tier import Stored


class Unlisting(DictTier):
    lists = False

    def scan(self, cursor, pattern):
        yield from ()
        return None, []


class Undeciding(DictTier):
    """Finds out that it can't when it is asked to."""

    decides = True

    def swap(self, key, version, entry):
        yield from ()
        self.decides = False
        raise TierUnavailable("this store has no conditional writes")


class Small(DictTier):
    largest = 2**17

    def set_many(self, entries, *, absent=False):
        large = {key for key, entry in entries.items() if len(entry.payload) > self.largest}
        if not absent:
            yield from super().delete_many(list(large))
        yield from super().set_many({key: entry for key, entry in entries.items() if key not in large}, absent=absent)
        return Stored(large)


@pytest.mark.parametrize("kind", [Unlisting, Undeciding, Small])
@pytest.mark.parametrize("layer", [lambda tier: tier, Breaker, FaultyTier], ids=["bare", "breaker", "faulty"])
def test_the_suite_minds_what_a_tier_is_limited_to(kind, layer):
    entries = {}

    def opened(now):
        entries.clear()
        return layer(kind(entries, shared=True, now=now))

    check_tier(opened, again=lambda _, now: layer(kind(entries, shared=True, now=now)), shared=True)


class Liar(Unlisting):
    scan = DictTier.scan


class Swapping(DictTier):
    decides = False


class Hiding(Small):
    largest = 2**20

    def set_many(self, entries, *, absent=False):
        self.largest = 2**17
        stored = yield from super().set_many(entries, absent=absent)
        self.largest = 2**20
        return stored


@pytest.mark.parametrize(
    ("kind", "said"), [(Liar, r"scan: expected \[\]"), (Swapping, "doesn't decide"), (Hiding, "refused of size:1048576")], ids=str
)
def test_the_suite_finds_a_tier_that_is_not_as_limited_as_it_says(kind, said):
    with pytest.raises(AssertionError, match=said):
        check_tier(lambda now: kind(now=now))


def test_a_cache_decides_in_the_tier_above_one_that_can_not(clock):
    upper, lower = DictTier(name="upper", shared=True), Undeciding(name="lower", shared=True)
    face = made((upper, "through"), (lower, "through"), clock=clock)
    assert [face.incr("count") for _ in range(3)] == [1, 2, 3]
    assert "count" in upper.entries
    assert not lower.decides
    assert face.pop("count") == 3
    assert not upper.entries
    assert not lower.entries
    assert face.cache.stats().tiers[1].failures == 1  # it was asked once


def test_what_only_the_lower_tier_has_is_decided_above_it(clock):
    upper, lower = DictTier(name="upper", shared=True), Undeciding(name="lower", shared=True)
    face = made((upper, "through"), (lower, "through"), clock=clock)
    face.set("count", 5)
    run(upper.clear())
    other = made((upper, "through"), (lower, "through"), clock=clock)
    assert other.incr("count") == 6
    assert run(upper.get_many(["count"]))
    assert not lower.entries  # what it had is no longer so


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_where_no_shared_tier_decides_a_decision_says_what_to_do(clock, colour):
    face = made((Undeciding(name="objects", shared=True), "through"), colour=colour, clock=clock)
    face.set("key", 1)
    for decision in (lambda: face.incr("key"), lambda: face.pop("key"), lambda: face.compare_and_set("key", 1, 2)):
        with pytest.raises(TierUnavailable, match=r"'objects' can't decide between processes.*add a tier that can"):
            decision()
    assert face.get("key") == 1
