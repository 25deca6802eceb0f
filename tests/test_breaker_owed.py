"""What a tier missed while its breaker was open is made good before it answers again."""

import pytest
from breaker_scene import Scene

from forecache._core import Entry
from forecache.testing import Garble, Lose, Raise
from forecache.tiers import owed


@pytest.fixture(params=["sync", "async"])
def scene(request):
    return Scene(request.param)


def test_what_was_deleted_or_overwritten_meanwhile_does_not_come_back(scene):
    for key in ("deleted", "overwritten", "kept"):
        scene.set(key, b"old")
    scene.fall()
    scene.delete("deleted")
    scene.set("overwritten", b"new")
    assert scene.stats().owed == 2
    scene.rise()
    assert scene.get("deleted", "overwritten", "kept") == {"kept": b"old"}
    assert scene.stats().owed == 0
    assert sorted(scene.held.entries) == ["kept"]


def test_what_is_owed_is_done_though_nobody_asks_for_it(scene):
    scene.set("deleted", b"old")
    scene.fall()
    scene.delete("deleted")
    scene.rise()
    scene.get("other")
    assert dict(scene.held.entries) == {}


def test_a_write_after_it_recovered_stays(scene):
    scene.set("a", b"old")
    scene.fall()
    scene.delete("a")
    scene.rise()
    scene.set("a", b"new")
    assert scene.get("a") == {"a": b"new"}


def test_a_demotion_that_was_dropped_takes_nothing_away(scene):
    scene.set("a", b"1")
    scene.fall()
    scene.set("a", b"1", absent=True)
    assert scene.stats().owed == 0
    scene.rise()
    assert scene.get("a") == {"a": b"1"}


def test_clearings_are_made_good_first(scene):
    scene.set("red", b"1", tags=["red"])
    scene.set("acme", b"2", owner="acme")
    scene.set("plain", b"3")
    scene.fall()
    scene.do(scene.breaker.clear(tags=["red"]))
    scene.do(scene.breaker.clear(owner="acme"))
    scene.rise()
    assert scene.get("red", "acme", "plain") == {"plain": b"3"}


def test_a_tier_that_was_cleared_meanwhile_is_empty(scene):
    scene.set("a", b"1")
    scene.fall()
    scene.delete("b")
    scene.do(scene.breaker.clear())
    assert scene.stats().owed is None
    scene.rise()
    assert scene.get("a") == {}
    assert scene.stats().owed == 0
    scene.set("a", b"2")
    assert scene.get("a") == {"a": b"2"}


def test_a_tier_that_is_owed_too_much_is_cleared(scene):
    scene.set("kept", b"1")
    scene.set("key:7", b"2")
    scene.fall()
    scene.delete(*(f"key:{number}" for number in range(owed.MOST_KEYS)))
    assert scene.stats().owed == owed.MOST_KEYS
    scene.delete("one more")
    assert scene.stats().owed is None
    scene.rise()
    assert scene.get("kept", "key:7") == {}
    assert dict(scene.held.entries) == {}


def test_what_is_owed_is_settled_by_flush_and_close(scene):
    for number in range(600):
        scene.set(f"key:{number}", b"1")
    scene.fall()
    scene.delete(*(f"key:{number}" for number in range(599)))
    scene.rise()
    scene.do(scene.breaker.flush())
    assert (list(scene.held.entries), scene.stats().owed) == (["key:599"], 0)
    scene.fall()
    scene.delete("key:599")
    scene.rise()
    scene.do(scene.breaker.close())
    assert dict(scene.held.entries) == {}


def test_what_is_owed_is_settled_by_close_though_the_pause_is_not_over(scene):
    scene.set("a", b"1")
    scene.fall()
    scene.delete("a")
    scene.tier.heal()
    scene.do(scene.breaker.close())
    assert scene.tier.calls.count("delete_many") == 1
    assert scene.stats().owed == 0


def test_closing_closes_a_tier_that_is_down(scene):
    scene.fall()
    scene.tier.heal()
    scene.do(scene.breaker.close())
    assert scene.tier.calls[-1] == "close"


def test_a_write_whose_answer_was_lost_is_not_trusted(scene):
    scene.set("a", b"old")
    scene.tier.plan("set_many", Lose())
    scene.set("a", b"new")
    assert scene.get("a") == {}


@pytest.mark.parametrize(
    ("verb", "call"),
    [
        ("get_many", lambda breaker: breaker.get_many(["a"])),
        ("set_many", lambda breaker: breaker.set_many({"a": Entry(b"1")})),
        ("delete_many", lambda breaker: breaker.delete_many(["a"])),
        ("scan", lambda breaker: breaker.scan(0, None)),
        ("clear", lambda breaker: breaker.clear()),
        ("flush", lambda breaker: breaker.flush()),
    ],
)
def test_an_answer_that_is_none_is_a_failure(scene, verb, call):
    scene.tier.plan(verb, Garble({"a": "garbage"}))
    scene.do(call(scene.breaker))
    assert scene.stats().failures == 1
    assert "garbage" in scene.stats().reason


@pytest.mark.parametrize(
    ("verb", "owe"),
    [("delete_many", lambda breaker: breaker.delete_many(["a"])), ("clear", lambda breaker: breaker.clear())],
)
def test_what_is_owed_stays_so_until_it_is_known_to_be_done(scene, verb, owe):
    scene.set("a", b"old")
    scene.tier.plan(verb, Raise(OSError("gone")), Garble())
    scene.do(owe(scene.breaker))
    assert scene.get("a") == {}
    assert scene.stats().reason == "its answer was 'garbage'"
    assert scene.stats().owed != 0
    scene.set("b", b"kept")
    assert scene.get("a", "b") == {"b": b"kept"}
    assert scene.stats().owed == 0
