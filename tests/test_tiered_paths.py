"""How values go down to tiers and come up again, in both colours."""

import threading
from datetime import date

import pytest
from conftest import PATIENCE
from tiers_made import Noted, made

from forecache import (
    MISSING,
    CacheClosed,
    writes,
)
from forecache._core import Entry
from forecache.drain import batch
from forecache.tiers.tier import Stored


def test_what_is_written_through_is_in_the_tier_when_set_returns(colour):
    tier = Noted()
    face = made((tier, "through"), colour=colour)
    assert face.set("a", {"b": (1, 2)})
    assert list(tier.entries) == ["a"]
    face.close()


def test_what_is_written_behind_is_in_the_tier_after_a_flush(colour):
    tier = Noted()
    tier.gate.clear()
    face = made((tier, "behind"), colour=colour)
    face.set("a", 1)
    assert not tier.entries
    assert face.stats().tiers[0].queued == 1 if colour == "sync" else True
    tier.gate.set()
    face.flush()
    assert list(tier.entries) == ["a"]
    assert face.cache.stats().tiers[0].queued == 0
    face.close()


def test_close_writes_what_is_queued(colour):
    tier = Noted()
    face = made((tier, "behind"), colour=colour)
    face.set_many({f"k{n}": n for n in range(600)})
    face.close()
    assert len(tier.entries) == 600
    with pytest.raises(CacheClosed):
        face.get("k0")
    face.close()


def test_what_is_demoted_is_written_when_memory_has_no_room(colour):
    tier = Noted()
    face = made((tier, "demote"), colour=colour, capacity="3KB")
    for n in range(20):
        face.set(f"k{n}", "v" * 300)
    assert not tier.of("set")
    face.flush()
    assert tier.entries
    assert all(face.get(f"k{n}") == "v" * 300 for n in range(20))
    face.close()


def test_a_set_deletes_the_older_copy_of_a_demoting_tier():
    tier = Noted()
    face = made((tier, "demote"))
    tier.entries.update({})
    face.set("a", 1, write="through")
    assert "a" in tier.entries
    face.set("a", 2)
    assert "a" not in tier.entries
    assert face.get("a") == 2
    face.close()


def test_a_write_around_leaves_memory_out(colour):
    tier = Noted()
    face = made((tier, "through"), colour=colour)
    face.set("a", 1)
    face.set("a", 2, write="around")
    assert face.cache._peek("a", MISSING) is MISSING
    assert face.get("a") == 2
    assert face.cache._peek("a") == 2, "it didn't climb"
    face.close()


def test_a_hit_climbs_with_its_times_tags_and_owner(colour, clock):
    tier = Noted(clock=clock)
    first = made((tier, "through"), colour=colour, clock=clock)
    first.set("a", date(2020, 2, 2), ttl=10, tti=7, tags=["t"], owner="o")
    second = made((Noted(tier.entries, clock=clock), "through"), colour=colour, clock=clock)
    clock.advance(4)
    assert second.get("a") == date(2020, 2, 2)
    assert second.cache._peek("a") == date(2020, 2, 2)
    assert second.cache.stats().owners[-1].name == "o"
    assert second.cache._tagged("t") == 1
    assert second.ttl("a") == pytest.approx(6, abs=0.01)
    clock.advance(6)
    assert second.get("a", MISSING) is MISSING
    first.close()
    second.close()


def test_get_many_asks_for_a_key_once_that_is_given_twice(colour):
    upper, lower = Noted(name="upper"), Noted(name="lower")
    face = made((upper, "through"), (lower, "through"), colour=colour)
    face.set("b", 1, write="around")
    upper.asked.clear()
    lower.asked.clear()
    assert face.get_many(["a", "b", "a", "b"]) == {"b": 1}
    assert (upper.of("get"), lower.of("get")) == ([["a", "b"]], [["a"]])
    face.close()


def test_get_many_touches_each_tier_once(colour):
    upper, lower = Noted(name="upper"), Noted(name="lower")
    face = made((upper, "through"), (lower, "through"), colour=colour)
    face.set_many({f"k{n}": n for n in range(9)}, write="around")
    upper.entries.pop("k1")
    upper.asked.clear()
    lower.asked.clear()
    assert face.get_many([*(f"k{n}" for n in range(9)), "none"]) == {f"k{n}": n for n in range(9)}
    assert len(upper.of("get")) == 1
    assert lower.of("get") == [["k1", "none"]]
    face.close()


def test_set_many_touches_each_tier_once(colour):
    tier = Noted()
    face = made((tier, "through"), colour=colour)
    assert face.set_many({f"k{n}": n for n in range(9)}) == 9
    assert len(tier.of("set")) == 1
    assert face.delete_many([f"k{n}" for n in range(12)]) == 9
    assert len(tier.of("delete")) == 1
    face.close()


def test_a_delete_cancels_what_is_queued_and_waits_for_what_is_in_flight(crew, colour):
    tier = Noted()
    tier.gate.clear()
    face = made((tier, "behind"), colour=colour)
    face.set("a", 1)
    assert tier.held.acquire(timeout=PATIENCE)
    face.set("b", 2)
    crew.send(face.delete, "b")
    assert tier.held.acquire(timeout=PATIENCE)
    crew.send(face.delete, "a")
    tier.gate.set()
    assert crew.back().results == [True, True]
    assert not crew.errors
    face.flush()
    assert not tier.entries
    assert not any("b" in keys for keys in tier.of("set"))
    face.close()


def test_the_latest_of_many_writes_is_what_stays(crew):
    tier = Noted()
    face = made((tier, "behind"))

    def write(number):
        for n in range(200):
            face.set(f"k{number}", n)

    for number in range(4):
        crew.send(write, number)
    crew.back()
    face.flush()
    other = made((Noted(tier.entries), "behind"))
    assert [other.get(f"k{number}") for number in range(4)] == [199] * 4
    face.close()
    other.close()


def test_a_full_queue_has_writers_wait(crew, colour):
    tier = Noted()
    tier.gate.clear()
    face = made((tier, "behind"), colour=colour, options={"queue": "2KB"})
    face.set("a", b"x" * 1500)
    assert tier.held.acquire(timeout=PATIENCE)
    waited = []
    wait = face.cache._stack.signal.wait

    def noted():
        waited.append((face.cache._peek("b"), tier.gate.is_set()))
        tier.gate.set()
        return wait()

    face.cache._stack.signal.wait = noted
    crew.send(face.set, "b", b"y" * 1500)
    assert crew.back().results == [True]
    assert waited[0] == (None, False), "it didn't wait"
    face.flush()
    assert set(tier.entries) == {"a", "b"}
    face.close()


def test_a_full_queue_may_refuse_and_leaves_nothing_older_below(crew, colour):
    tier = Noted()
    face = made((tier, "behind"), colour=colour, options={"queue": "2KB", "when_full": "refuse"})
    face.set("b", "old")
    face.flush()
    tier.gate.clear()
    face.set("a", b"x" * 1500)
    assert tier.held.acquire(timeout=PATIENCE)
    crew.send(face.set, "b", b"y" * 1500)
    assert tier.held.acquire(timeout=PATIENCE), "what is older isn't being deleted"
    tier.gate.set()
    assert crew.back().results == [True]
    assert tier.of("delete") == [["b"]]
    assert face.cache.stats().tiers[0].refused == 1
    assert face.get("b") == b"y" * 1500
    face.flush()
    assert set(tier.entries) == {"a"}
    face.close()


def test_what_a_tier_evicts_sinks_to_the_next(colour):
    upper, lower = Noted(name="upper"), Noted(name="lower")
    face = made((upper, "through"), (lower, "demote"), colour=colour)
    upper.evicts = {"old": Entry(b"sunk")}
    face.set("a", 1)
    face.flush()
    assert list(lower.entries) == ["old"]
    assert face.get("old") == b"sunk"
    face.close()


def test_what_was_changed_while_it_left_a_tier_does_not_sink():
    upper, lower = Noted(name="upper"), Noted(name="lower")
    face = made((upper, "through"), (lower, "demote"))

    class Meanwhile(Noted):
        def set_many(self, entries, *, absent=False):
            stored = yield from super().set_many(entries, absent=absent)
            if "a" in entries:
                face.delete("old")
                return Stored((), {"old": Entry(b"outdated")})
            return stored

    upper.__class__ = Meanwhile
    face.set("a", 1)
    face.flush()
    assert face.get("old", MISSING) is MISSING
    assert not lower.entries
    face.close()


def test_what_a_loader_finds_in_a_lower_tier_is_not_loaded(colour):
    tier = Noted()
    face = made((tier, "through"), colour=colour)
    face.set("a", 1, write="around")
    tier.asked.clear()
    assert face.get_or_load("a", lambda: pytest.fail("loaded")) == 1
    assert len(tier.of("get")) == 1
    assert face.get_or_load("b", lambda: 2, ttl=5) == 2
    assert len(tier.of("get")) == 2
    assert "b" in tier.entries
    face.close()


class Evicting(Noted):
    """A shared tier that has something done in the middle of a swap."""

    def swap(self, key, version, entry):
        swapped = yield from super().swap(key, version, entry)
        self.meanwhile()
        return swapped


def test_what_leaves_memory_during_a_decision_does_not_come_back(colour):
    tier = Evicting(shared=True)
    face = made((tier, "demote"), colour=colour)
    face.set("n", 1)

    def meanwhile():
        tier.gate.clear()  # nothing goes down until the end
        face.cache.resize("1B")
        assert face.cache._queued(0, ["n"]), "it wasn't evicted"
        face.cache.resize("1MB")

    tier.meanwhile = meanwhile
    assert face.incr("n") == 2
    assert face.get("n") == 2
    tier.gate.set()
    assert face.get("n") == 2
    face.close()


def test_what_is_on_its_way_down_stays_out_of_memory_while_all_is_cleared(crew):
    tier = Noted()
    face = made((tier, "demote"))
    face.set("a", 1)
    tier.gate.clear()
    face.cache.resize("1B")
    assert tier.held.acquire(timeout=PATIENCE), "it isn't in flight"
    face.cache.resize("1MB")
    cleared = threading.Event()

    def clear():
        face.clear()
        cleared.set()

    crew.send(clear)
    assert not cleared.is_set()
    for _ in range(PATIENCE * 1000):
        if face.cache._stack.signal._waiting:  # it waits for what is in flight
            break
        threading.Event().wait(0.001)
    face.get("a")
    tier.gate.set()
    crew.back()
    assert face.get("a", MISSING) is MISSING
    face.close()


@pytest.mark.parametrize("options", [{"ttl": 5}, {"tti": 5}])
def test_what_ends_on_its_way_down_is_a_miss(colour, clock, options):
    tier = Noted(clock=clock)
    face = made((tier, "behind"), colour=colour, clock=clock)
    face.set("a", "older", write="through")
    tier.gate.clear()
    face.set("a", 1, **options)
    clock.advance(6)
    assert face.get("a", MISSING) is MISSING
    assert face.get_many(["a"]) == {}
    assert not face.exists("a")
    tier.gate.set()
    face.close()


def test_what_leaves_memory_is_not_written_again_to_a_tier_that_hosts_share(colour):
    tier = Noted(shared=True)
    face = made((tier, "through"), colour=colour, capacity="3KB")
    for n in range(20):
        face.set(f"k{n}", "v" * 300)
    assert all(face.get(f"k{n}") == "v" * 300 for n in range(20))
    face.flush()
    assert len(tier.of("set")) == 20
    assert not tier.of("demote")
    face.close()


def test_what_another_host_deleted_does_not_come_back_from_memory_that_makes_room(colour):
    upper, lower = {}, {}
    tiers = [(Noted(entries, name=name, shared=True), "through") for entries, name in ((upper, "upper"), (lower, "lower"))]
    face, other = made(*tiers, colour=colour, options=None, max_entries=1), made(*tiers)
    face.set("a", 1)
    face.set("b", 2)
    assert face.get("a") == 1
    other.delete("a")
    assert face.get("b") == 2
    face.flush()
    assert "a" not in upper
    assert "a" not in lower
    face.close()


def test_what_is_read_in_a_lower_tier_fills_the_shared_ones_above_it(colour):
    upper, lower = Noted(name="upper", shared=True), Noted(name="lower", shared=True)
    face = made((upper, "through"), (lower, "through"), colour=colour)
    face.set_many({"a": 1, "b": 2})
    upper.entries.clear()
    face.cache.resize("1B")
    face.cache.resize("1MB")
    assert face.get("a") == 1
    assert face.get_many(["b"]) == {"b": 2}
    face.flush()
    assert sorted(upper.entries) == ["a", "b"]
    assert upper.of("demote"), "whoever wrote meanwhile would be overwritten"
    face.close()


def test_a_delete_that_the_writing_thread_was_faster_with_says_what_was_there(colour, monkeypatch):
    face = made((Noted(), "behind"), colour=colour, max_entries=1)
    face.set_many({"a": 1, "b": 2})
    face.flush()
    settle_all = writes.settle_all

    def late(cache, mask, keys):
        yield from batch(cache, 0)
        return (yield from settle_all(cache, mask, keys))

    monkeypatch.setattr(writes, "settle_all", late)
    assert face.delete("a") is True
    assert face.delete("a") is False
    assert not face.cache._stack.deleting
    face.close()
