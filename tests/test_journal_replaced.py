"""Another server answers in the place of one: what it may lack is owed."""

from forecache import TierUnavailable
from forecache._core import Entry
from forecache.flow import run
from forecache.testing import DictTier, FakeClock
from forecache.tiers import owed as bounds
from forecache.tiers.breaker import Breaker
from forecache.tiers.tier import wall_time


class Replaced(DictTier):
    """A tier whose server fails over: what was changed since `snapshot` is lost."""

    on_replaced = None

    def snapshot(self):
        self._kept = dict(self.entries)

    def fail_over(self):
        self.entries.clear()
        self.entries.update(self._kept)
        self.on_replaced()


def test_what_was_changed_lately_is_owed_when_another_server_answers():
    clock = FakeClock()
    now = wall_time(clock)
    tier = Replaced(now=now)
    breaker = Breaker(tier, now=now)
    run(breaker.set_many({key: Entry(b"old") for key in ("kept", "deleted", "overwritten", "swapped")}))
    run(breaker.set_many({"cleared": Entry(b"old", owner="acme")}))
    tier.snapshot()
    clock.advance(11)
    run(breaker.set_many({"overwritten": Entry(b"new")}))
    run(breaker.delete_many(["deleted"]))
    run(breaker.clear(owner="acme"))
    version = run(breaker.get_many(["swapped"]))["swapped"].version
    assert run(breaker.swap("swapped", version, Entry(b"new")))
    tier.fail_over()
    assert breaker.stats().owed == 3
    found = run(breaker.get_many(["kept", "deleted", "cleared", "overwritten", "swapped"]))
    assert {key: entry.payload for key, entry in found.items()} == {"kept": b"old"}


def test_what_was_changed_long_before_the_last_answer_is_not_owed():
    clock = FakeClock()
    now = wall_time(clock)
    tier = Replaced(now=now)
    breaker = Breaker(tier, now=now)
    run(breaker.set_many({"a": Entry(b"1")}))
    run(breaker.clear(owner="acme"))
    tier.snapshot()
    clock.advance(10.001)
    run(breaker.get_many(["b"]))
    tier.fail_over()
    assert breaker.stats().owed == 0
    assert run(breaker.get_many(["a"]))


def test_what_was_changed_shortly_before_a_long_silence_is_owed(monkeypatch):
    clock = FakeClock()
    now = wall_time(clock)
    tier = Replaced(now=now)
    breaker = Breaker(tier, now=now)
    run(breaker.set_many({"a": Entry(b"1"), "b": Entry(b"1", owner="acme")}))
    tier.snapshot()
    clock.advance(20)
    run(breaker.get_many(["a"]))
    run(breaker.delete_many(["a"]))
    run(breaker.clear(owner="acme"))
    clock.advance(3600)

    def fails(entries, absent):
        tier.fail_over()
        raise TierUnavailable("another server answers")

    with monkeypatch.context() as patch:
        patch.setattr(tier, "set_many", fails)
        run(breaker.set_many({"c": Entry(b"1")}))
    assert run(breaker.get_many(["a", "b"])) == {}


def test_more_changes_than_are_remembered_owe_everything(monkeypatch):
    monkeypatch.setattr(bounds, "MOST_KEYS", 10)
    clock = FakeClock()
    now = wall_time(clock)
    tier = Replaced(now=now)
    breaker = Breaker(tier, now=now)
    for number in range(11):
        run(breaker.set_many({f"key {number}": Entry(b"1")}))
    tier.snapshot()
    tier.fail_over()
    assert breaker.stats().owed is None
