"""A tier with counters is told of a change after what lies below it: who looks anew must find nothing old."""

import pytest
from conftest import PATIENCE
from servers.process import wait_until
from tiers_made import Counting, Noted, made

from forecache import drain
from forecache._core import Counters
from forecache.flow import Call, run
from forecache.testing import DictTier, FakeClock
from forecache.tiers.tier import wall_time


class Picky(Counting):
    """Has no room for anything new."""

    def set_many(self, entries, *, absent=False):
        yield from self.delete_many(list(entries))
        return (yield from super().set_many({}))._replace(refused=set(entries))


def pair(kind, write, **options):
    """A cache whose changes of its lower tier can be held up, that tier, and another process's cache."""
    upper, below, counters = {}, {}, Counters()
    lower = Noted(below, name="lower", shared=True)
    theirs = made((Counting(upper, Counters(counters)), write), (Noted(below, name="lower", shared=True), "through"))
    return made((kind(upper, counters), write), (lower, "through"), **options), lower, theirs


def held(ours, lower, crew, verb, *arguments):
    """Has a thread make a change, which has come to the lower tier when this returns."""
    lower.gate.clear()
    crew.send(getattr(ours, verb), *arguments)
    assert lower.held.acquire(timeout=PATIENCE)


@pytest.fixture(autouse=True)
def _no_thread_but_the_tests(monkeypatch):
    monkeypatch.setattr(drain, "LINGER", PATIENCE)


@pytest.mark.parametrize(("kind", "write"), [(Counting, "demote"), (Picky, "behind"), (Counting, "behind")])
@pytest.mark.parametrize(("verb", "arguments"), [("set", ("a", 2)), ("set_many", ({"a": 2},)), ("delete", ("a",))])
def test_what_is_written_behind_does_not_come_before_what_is_below(colour, crew, kind, write, verb, arguments):
    ours, lower, theirs = pair(kind, write, colour=colour)
    ours.set("a", 1)
    held(ours, lower, crew, verb, *arguments)
    run(drain.batch(ours.cache, 0))  # as the thread that writes behind does
    assert theirs.get("a") == 1
    lower.gate.set()
    crew.back()
    ours.flush()
    assert theirs.get("a") == (None if verb == "delete" else 2)
    ours.close()
    theirs.close()


def test_a_flush_waits_for_what_is_below(crew):
    ours, lower, theirs = pair(Counting, "demote")
    ours.set("a", 1)
    held(ours, lower, crew, "set", "a", 2)
    waits = ours.cache._stack.signal._waiting
    crew.send(ours.flush)
    wait_until(lambda: waits, "the flush waits")
    assert theirs.get("a") == 1
    lower.gate.set()
    crew.back()
    assert theirs.get("a") == 2
    ours.close()
    theirs.close()


def test_what_waits_for_the_tier_below_is_written_once_that_is_done(crew, monkeypatch):
    monkeypatch.setattr(drain, "LINGER", 0)
    ours, lower, theirs = pair(Counting, "behind")
    held(ours, lower, crew, "set", "a", 1)
    ours.set("b", 2, write="behind")  # it waits behind a key that waits
    lower.gate.set()
    crew.back()
    wait_until(lambda: not ours.cache._keys(0) and not ours.cache._keys(1), "all is written")
    assert {"a", "b"} == set(ours.cache._stack.tiers[0].tier.entries)
    ours.close()
    theirs.close()


def test_a_tier_that_is_demoted_to_forgets_after_what_is_written_behind_below_it(colour):
    upper, below, counters = {}, {}, Counters()
    ours = made((Counting(upper, counters), "demote"), (Noted(below, name="lower", shared=True), "behind"), colour=colour)
    theirs = made((Counting(upper, Counters(counters)), "demote"), (Noted(below, name="lower", shared=True), "behind"))
    ours.set("a", 1)
    ours.flush()
    assert theirs.get("a") == 1
    ours.set("a", 2)
    assert ours.get("a") == 2
    assert theirs.get("a") == 1
    ours.flush()
    assert theirs.get("a") == 2
    ours.set_many({"a": 3})
    assert theirs.get("a") == 2
    ours.flush()
    assert theirs.get("a") == 3
    ours.close()
    theirs.close()


def test_where_no_thread_can_be_started_who_finds_a_queue_full_writes_what_is_below_first(crew, monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(drain.Worker, "_start", start)
    lower = Noted(name="lower", shared=True)
    ours = made((Counting({}, Counters()), "behind"), (lower, "behind"), options={"queue": 1000})
    crew.send(lambda: [ours.set(str(number), b"x" * 100) for number in range(50)])
    crew.back()
    ours.close()


class Undecided(Noted):
    """Decides nothing, and has `between` called before it is changed."""

    decides = False
    between = staticmethod(lambda: None)

    def set_many(self, entries, *, absent=False):
        yield Call(self.between)
        return (yield from super().set_many(entries, absent=absent))

    def delete_many(self, keys):
        yield Call(self.between)
        return (yield from super().delete_many(keys))


@pytest.mark.parametrize(("verb", "arguments"), [("pop", ("a",)), ("compare_and_set", ("a", 1, 2)), ("incr", ("a",))])
def test_what_is_decided_above_is_not_read_below_for_ever(colour, verb, arguments):
    upper, below, counters = {}, {}, Counters()
    lower = Undecided(below, name="lower", shared=True)
    ours = made((Counting(upper, counters), "through"), (lower, "through"), colour=colour)
    theirs = made((Counting(upper, Counters(counters)), "through"), (Undecided(below, name="lower", shared=True), "through"))
    ours.set("a", 1)
    seen = []

    def look():
        upper.clear()  # evicted at once
        seen.append(theirs.get("a"))

    lower.between = look
    getattr(ours, verb)(*arguments)
    assert seen == [1]
    assert theirs.get("a") is None
    ours.close()
    theirs.close()


def test_a_delete_does_not_count_what_an_earlier_change_replaced(colour):
    clock, upper, below, counters = FakeClock(), {}, {}, Counters()
    now = wall_time(clock)
    before = made(
        (Counting(upper, Counters(counters), now), "through"), (DictTier(below, shared=True, now=now), "through"), clock=clock
    )
    before.set("a", 1)
    ours = made(
        (Counting(upper, counters, now), "demote"), (DictTier(below, shared=True, now=now), "behind"), colour=colour, clock=clock
    )
    ours.set("a", 2, ttl=5)
    assert "a" in upper, "what was replaced there is yet to be deleted"
    clock.advance(6)
    assert ours.delete("a") is False
    assert "a" not in upper
    ours.close()
    before.close()
