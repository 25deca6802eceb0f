"""What is decided in a tier that others share is decided by what it has, whatever memory or a disk above still has of it."""

import pytest
from tiers_made import Counting, made

from forecache import MISSING
from forecache._core import Counters
from forecache.testing import DictTier


class Choosy(DictTier):
    """Takes nothing below 100 bytes, as an object store does; what is decided it takes whatever its size."""

    smallest = 100

    def set_many(self, entries, *, absent=False):
        small = {key for key, entry in entries.items() if len(entry.payload) < self.smallest}
        yield from self.delete_many(list(small))
        stored = yield from super().set_many({key: entry for key, entry in entries.items() if key not in small}, absent=absent)
        return stored._replace(refused=small)


@pytest.fixture(params=["memory", "disk", "own disks"])
def pair(request, colour):
    """Two processes over a tier they share: with memory alone, with a disk in common above it, or with one each."""
    below, disks, counters = {}, [{}, {}], Counters()
    if request.param == "disk":
        disks[1] = disks[0]

    def cache(number):
        tiers = [(DictTier(below, shared=True), "through")]
        if request.param != "memory":
            view = Counters(counters) if request.param == "disk" else Counters()
            tiers.insert(0, (Counting(disks[number], view), "demote"))
        return made(*tiers, colour=colour)

    both = cache(0), cache(1)
    yield both
    for each in both:
        each.close()


def seen_by_both(pair, key, value):
    ours, theirs = pair
    ours.set(key, value)
    assert theirs.get(key) == value
    return pair


def test_what_another_has_popped_is_popped_once(pair):
    ours, theirs = seen_by_both(pair, "job", 1)
    assert (ours.pop("job"), theirs.pop("job"), ours.pop("job")) == (1, None, None)
    assert theirs.get("job") is None


def test_a_lock_that_was_given_back_can_be_taken_by_who_saw_it(pair):
    ours, theirs = seen_by_both(pair, "lock", "ours")
    ours.delete("lock")
    assert theirs.add("lock", "theirs")
    assert not ours.add("lock", "ours")
    assert ours.get("lock") == "theirs"


def test_a_count_that_was_deleted_begins_anew(pair):
    ours, theirs = seen_by_both(pair, "count", 5)
    ours.delete("count")
    assert (theirs.incr("count"), ours.incr("count"), theirs.incr("count")) == (1, 2, 3)


def test_what_another_has_deleted_is_no_base_for_a_swap(pair):
    ours, theirs = seen_by_both(pair, "a", 1)
    ours.delete("a")
    assert not theirs.compare_and_set("a", 1, 2)
    assert theirs.get("a") is None
    assert theirs.compare_and_set("a", MISSING, 3)
    assert not theirs.touch("b", ttl=5)


def test_who_lost_a_swap_reads_what_won(pair):
    ours, theirs = seen_by_both(pair, "a", 1)
    ours.set("a", 2)
    assert not theirs.compare_and_set("a", 1, 5)
    assert theirs.get("a") == 2
    assert theirs.compare_and_set("a", 2, 3)
    assert not ours.add("a", 9)
    assert ours.get("a") == 3


def test_a_loop_of_get_and_swap_ends(pair):
    ours, theirs = seen_by_both(pair, "a", 0)
    for _ in range(5):
        for each in (ours, theirs):
            tries = 0
            while not each.compare_and_set("a", value := each.get("a"), value + 1):
                tries += 1
                assert tries < 3
    assert ours.incr("a", 0) == 10


def test_what_the_tier_takes_nothing_of_is_decided_by_who_has_it(colour):
    below = {}
    ours, theirs = (made((Choosy(below, shared=True), "through"), colour=colour) for _ in range(2))
    ours.set("a", 1)
    assert below == {}
    assert not ours.add("a", 2)
    assert (ours.incr("a"), theirs.incr("a"), ours.incr("a")) == (2, 3, 4)
    assert theirs.get("a") == 4
    assert ours.pop("a") == 4
    assert (theirs.pop("a"), theirs.get("a")) == (None, None), "what was decided there doesn't stay in memory"
    assert ours.add("lock", 1)
    assert theirs.get_many(["lock"]) == {"lock": 1}
    ours.delete("lock")
    assert theirs.add("lock", 2)
    for each in (ours, theirs):
        each.close()


def test_what_lies_below_the_deciding_tier_counts(colour):
    class Silent(DictTier):
        decides = False

    lower, upper = {}, {}
    ours = made(
        (DictTier(upper, name="upper", shared=True), "through"),
        (Silent(lower, name="lower", shared=True), "through"),
        colour=colour,
    )
    ours.set("a", 5)
    ours.flush()
    upper.clear()  # it was evicted there
    assert ours.incr("a") == 6
    ours.close()


def test_values_that_are_no_simple_equals_are_agreed_on(colour):
    class Odd(list):
        def __eq__(self, other):
            raise ValueError("the truth of it is ambiguous")

        __hash__ = None

    below = {}
    ours, theirs = (made((DictTier(below, shared=True), "through"), colour=colour) for _ in range(2))
    ours.set("a", [1])
    theirs.set("b", 1)
    theirs.cache._swap("a", MISSING, Odd([1]))  # as a codec of somebody's own might give it
    assert not theirs.add("a", 2)
    assert theirs.get("a") == [1]
    for each in (ours, theirs):
        each.close()
