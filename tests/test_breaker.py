"""The circuit breaker: when it opens and closes, and that nothing old comes back because of it."""

import asyncio
import logging
import os
import time

import pytest
from breaker_scene import Scene
from hypothesis import given, settings
from hypothesis import strategies as st

from forecache import TierClosed, TierOpened, TierReadOnly, TierUnavailable
from forecache._core import Entry
from forecache.flow import arun, run
from forecache.testing import Delay, DictTier, FakeClock, FaultyTier, Garble, Hang, Lose, Raise
from forecache.tiers.breaker import Breaker
from forecache.tiers.tier import Stored, wall_time

PATIENCE = 20


@pytest.fixture(params=["sync", "async"])
def scene(request):
    return Scene(request.param)


def test_failures_one_after_the_other_open_it(scene):
    scene.set("a", b"1")
    scene.tier.always(Raise(OSError("no such device")))
    for state in ("up", "up", "down"):
        assert scene.get("a") == {}
        assert (scene.stats().state, scene.stats().reason) == (state, "OSError: no such device")
    assert scene.events == [TierOpened("dict", "OSError: no such device")]
    assert scene.stats().failures == 3


def test_an_answer_between_failures_keeps_it_closed(scene):
    scene.set("a", b"1")
    for _ in range(5):
        scene.tier.plan("get_many", Raise(), Raise())
        assert [scene.get("a"), scene.get("a"), scene.get("a")] == [{}, {}, {"a": b"1"}]
    assert (scene.stats().state, scene.stats().reason, scene.events) == ("up", None, [])


@pytest.mark.parametrize("late", [Raise(TimeoutError("no answer in time")), "its client's own"], ids=str)
def test_two_calls_that_waited_in_vain_open_it(late):
    scene = Scene(failures=5, timeout=2)

    class Slow(DictTier):
        def get_many(self, keys):
            scene.clock.advance(1.99)
            raise OSError("its client's own")
            yield

    if isinstance(late, str):
        scene.breaker.tier = Slow()
    scene.tier.always(late)
    states = []
    for _ in range(2):
        scene.get("a")
        states.append(scene.stats().state)
    assert states == ["up", "down"]


def test_failures_count_whoever_meets_them(crew):
    scene = Scene(failures=5, timeout=0.05)
    scene.tier.always(Hang())
    for _ in range(2):
        crew.send(scene.get, "a")
    crew.back()
    assert scene.stats().state == "down"
    scene.tier.release()


class Frozen(DictTier):
    """Takes no changes while it is `frozen`."""

    frozen, knows = True, True

    def _refuse(self, *keys):
        if self.frozen:
            error = TierReadOnly("it can only be read")
            error.holds = set(keys) & set(self.entries) if self.knows else None
            raise error

    def set_many(self, entries, *, absent=False):
        self._refuse(*entries)
        return super().set_many(entries, absent=absent)

    def delete_many(self, keys):
        self._refuse(*keys)
        return super().delete_many(keys)

    def clear(self, **what):
        self._refuse()
        return super().clear(**what)


@pytest.mark.parametrize("knows", [True, False])
def test_a_tier_that_can_only_be_read_stays_up_and_shows_nothing_that_was_changed(scene, knows):
    for key in "abcd":
        scene.set(key, b"old", tags=["red"] if key == "d" else [])
    frozen = scene.breaker.tier = Frozen(scene.held.entries, now=wall_time(scene.clock))
    frozen.knows = knows
    for _ in range(5):
        scene.set("a", b"new")
        assert scene.delete("b", "absent") == set()
    assert scene.get("a", "b", "c", "d") == {"c": b"old", "d": b"old"}
    assert scene.do(scene.breaker.clear(tags=["red"])) is None
    assert scene.get("a", "b", "c", "d") == {"c": b"old"}
    assert (scene.stats().state, scene.stats().owed, scene.stats().dropped) == ("up", 2 if knows else 3, 5)
    assert {(event.tier, event.verb, event.keys) for event in scene.events} == {
        ("dict", "set_many", ("a",)),
        ("dict", "delete_many", ("b", "absent")),
        ("dict", "clear", ()),
    }
    frozen.frozen = False
    scene.set("c", b"new")
    assert set(frozen.entries) == {"c"}
    assert (scene.stats().reason, scene.stats().owed) == (None, 0)


def test_a_tier_that_was_down_and_can_only_be_read_is_up_again(scene):
    scene.set("a", b"old")
    scene.fall()
    scene.breaker.tier = Frozen(scene.held.entries, now=wall_time(scene.clock))
    scene.clock.advance(10)
    scene.set("b", b"new")
    assert (scene.stats().state, scene.get("a")) == ("up", {"a": b"old"})


def test_while_it_is_open_the_tier_is_not_asked(scene):
    scene.set("a", b"1")
    scene.fall()
    scene.tier.heal()
    before = list(scene.tier.calls)
    assert scene.get("a") == {}
    assert scene.set("b", b"2") == Stored()
    assert scene.delete("a") == set()
    assert scene.do(scene.breaker.scan(0, None)) == (None, [])
    assert scene.do(scene.breaker.clear()) is None
    scene.do(scene.breaker.flush())
    assert scene.tier.calls == before
    assert scene.stats().dropped == 1


def test_after_the_pause_a_call_that_is_answered_closes_it(scene):
    scene.set("a", b"1")
    scene.fall()
    scene.clock.advance(9.999)
    scene.tier.heal()
    assert scene.get("a") == {}
    scene.clock.advance(0.001)
    assert scene.get("a") == {"a": b"1"}
    assert scene.events[1:] == [TierClosed("dict", 10.0)]
    assert (scene.stats().state, scene.stats().reason) == ("up", None)


def test_a_probe_that_fails_begins_another_pause(scene):
    scene.set("a", b"1")
    scene.fall()
    scene.clock.advance(10)
    assert scene.get("a") == {}
    scene.tier.heal()
    scene.clock.advance(9)
    assert scene.get("a") == {}
    scene.clock.advance(1)
    assert scene.get("a") == {"a": b"1"}
    assert [type(event) for event in scene.events] == [TierOpened, TierClosed]


class Replacing(DictTier):
    """A tier that finds, as often as it is told, that another server answers than before; or it is down."""

    on_replaced = None
    down, times, asked = False, 0, 0

    def get_many(self, keys):
        self.asked += 1
        if self.down:
            raise TierUnavailable("refused")
        if self.times:
            self.times -= 1
            self.on_replaced()
            raise TierUnavailable("another server answers")
        return (yield from super().get_many(keys))


def replacing(clock):
    """Such a tier, which was down and answers now, and its breaker, whose pause is over."""
    now = wall_time(clock)
    tier = Replacing(now=now)
    breaker = Breaker(tier, failures=1, pause=10, now=now)
    tier.down = True
    run(breaker.get_many(["a"]))
    tier.down = False
    clock.advance(10)
    return tier, breaker


def test_who_finds_another_server_in_the_place_of_one_has_the_next_call_probe():
    tier, breaker = replacing(FakeClock())
    tier.times = 1
    assert run(breaker.get_many(["a"])) == {}
    assert breaker.stats().state == "down"
    run(breaker.get_many(["a"]))
    assert breaker.stats().state == "up"


def test_a_server_that_is_another_each_time_is_left_alone_between_probes():
    clock = FakeClock()
    tier, breaker = replacing(clock)
    tier.times, before = 1000, tier.asked
    for _ in range(100):
        run(breaker.get_many(["a"]))
        clock.advance(1)
    assert tier.asked - before <= 2 * 100 / 10


def test_a_clock_that_goes_back_makes_no_pause_longer():
    moment = [1_000_000]
    tier = FaultyTier(DictTier())
    breaker = Breaker(tier, failures=1, pause=10, now=lambda: moment[0])
    tier.plan("get_many", Raise())
    run(breaker.get_many(["a"]))
    moment[0] -= 500_000
    run(breaker.get_many(["a"]))
    assert breaker.stats().state == "up"


def test_one_call_probes_while_the_others_go_on_without(crew):
    scene = Scene()
    scene.set("a", b"1")
    scene.fall()
    scene.rise()
    scene.tier.plan("get_many", Hang())
    crew.send(scene.get, "a")
    assert scene.tier.hanging.acquire(timeout=PATIENCE)
    assert (scene.stats().state, scene.get("a")) == ("probing", {})
    scene.tier.release()
    crew.back()
    assert (crew.results, scene.stats().state) == ([{"a": b"1"}], "up")


def test_a_swap_that_was_not_decided_raises(scene):
    for fault in (Raise(OSError("gone")), Lose(), Garble()):
        scene.tier.plan("swap", fault)
        with pytest.raises(TierUnavailable, match="dict: "):
            scene.do(scene.breaker.swap("a", None, Entry(b"1")))
    assert scene.stats().state == "down"
    with pytest.raises(TierUnavailable, match="dict: its answer was 'garbage'"):
        scene.do(scene.breaker.swap("a", None, Entry(b"1")))


def test_a_strict_one_raises_and_still_remembers(scene):
    scene = Scene(scene.colour, strict=True)
    scene.set("a", b"1")
    scene.tier.always(Raise(OSError("no such device")))
    for call in (lambda: scene.get("a"), lambda: scene.set("b", b"2"), lambda: scene.delete("a"), lambda: scene.get("a")):
        with pytest.raises(TierUnavailable, match="dict: OSError: no such device"):
            call()
    scene.rise()
    assert scene.get("a") == {}


def test_a_key_that_is_no_text_is_not_the_tiers_fault():
    scene = Scene()
    scene.tier.plan("get_many", Raise(UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")))
    with pytest.raises(UnicodeEncodeError):
        scene.get("\ud800")
    assert (scene.stats().failures, scene.stats().reason) == (0, None)


def test_what_is_no_text_and_no_key_is_the_tiers_fault():
    scene = Scene()
    scene.tier.plan("get_many", Raise(UnicodeEncodeError("utf-8", "its password \ud800", 0, 1, "surrogates not allowed")))
    assert scene.get("a") == {}
    assert scene.stats().failures == 1
    assert "password" not in scene.stats().reason


def test_an_answer_that_comes_too_late_is_used_but_counts_as_a_failure(scene):
    scene = Scene(scene.colour, timeout=2)
    scene.set("a", b"1")
    scene.tier.always(Delay(3), "get_many")
    assert [scene.get("a") for _ in range(3)] == [{"a": b"1"}] * 3
    assert (scene.stats().state, scene.stats().reason) == ("down", "it took 3 s")


def test_a_long_batch_may_take_longer():
    scene = Scene(timeout=2, failures=1)
    scene.tier.always(Delay(3), "get_many")
    scene.get(*(f"key:{number}" for number in range(256)))
    assert scene.stats().state == "up"
    scene.get(*(f"key:{number}" for number in range(255)))
    assert scene.stats().state == "down"


def test_a_call_that_hangs_is_given_up_and_what_it_does_later_is_undone(scene):
    scene = Scene(scene.colour, timeout=0.05)
    scene.set("a", b"old")
    scene.tier.plan("set_many", Hang())
    scene.set("a", b"late")
    assert "0.05 s" in scene.stats().reason
    # Until it has ended the tier isn't asked: what would be done now might be done before it.
    assert scene.get("a") == {}
    assert scene.tier.calls.count("get_many") == 0
    scene.delete("a")
    scene.set("a", b"new")
    scene.tier.release()
    deadline = time.monotonic() + PATIENCE
    while scene.stats().owed:
        assert scene.get("a", "b") == {}
        assert time.monotonic() < deadline, "what was given up doesn't end"
    assert dict(scene.held.entries) == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_child_does_not_wait_for_what_was_given_up_in_its_parent():
    scene = Scene(timeout=0.05, failures=1)
    scene.tier.plan("get_many", Hang())
    scene.get("a")
    child = os.fork()
    if child == 0:
        try:
            scene.clock.advance(10)
            scene.set("a", b"1")
            os._exit(0 if scene.stats().state == "up" else 1)
        finally:
            os._exit(2)
    scene.tier.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_writer_who_is_cancelled_leaves_nothing_old():
    scene = Scene(timeout=None)
    scene.set("a", b"old")
    scene.tier.plan("set_many", Hang())

    async def cancel():
        writing = asyncio.ensure_future(arun(scene.breaker.set_many({"a": Entry(b"new")})))
        while not scene.tier.hanging.acquire(blocking=False):
            await asyncio.sleep(0)
        writing.cancel()
        scene.tier.release()
        await asyncio.wait((writing,))

    asyncio.run(cancel())
    assert scene.get("a") in ({}, {"a": b"new"})


def test_the_child_of_a_fork_waits_for_no_call_of_its_parent(crew):
    scene = Scene(timeout=0.05, pause=0.001)
    scene.set("a", b"1")
    scene.set("b", b"2")
    scene.tier.plan("get_many", Hang())
    scene.get("a")
    scene.delete("b")
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if scene.get("a", "b") == {"a": b"1"} else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert scene.get("a") == {}
    scene.tier.release()


def test_the_log_says_it_once_a_minute(caplog):
    scene = Scene()
    with caplog.at_level(logging.WARNING, "forecache"):
        scene.tier.always(Raise(OSError("no such device")))
        for _ in range(59):
            scene.get("a")
            scene.clock.advance(1)
        assert len(caplog.messages) == 1
        assert "tier dict: OSError: no such device" in caplog.messages[0]
        scene.clock.advance(11)
        scene.get("a")
        assert len(caplog.messages) == 2


KEYS = st.sampled_from(["a", "b", "c"])
FAULTS = st.sampled_from([Raise(), Lose(), Garble()])
STEPS = st.one_of(
    st.tuples(st.just("set"), KEYS),
    st.tuples(st.just("demote"), KEYS),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("get"), KEYS),
    st.tuples(st.just("swap"), KEYS),
    st.tuples(st.just("clear"), st.sampled_from([None, "red", "blue"])),
    st.tuples(st.just("fault"), st.tuples(st.sampled_from(["get_many", "set_many", "delete_many", "swap", "clear"]), FAULTS)),
    st.tuples(st.just("wait"), st.integers(0, 11)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_whatever_fails_no_older_value_is_ever_read(steps):
    scene = Scene()
    latest = {}
    colours = {"a": ["red"], "b": ["blue"], "c": ["red", "blue"]}
    for number, (verb, what) in enumerate(steps):
        value = b"%d" % number
        if verb == "set":
            latest[what] = {value}
            scene.set(what, value, tags=colours[what])
        elif verb == "demote" and len(latest.get(what, ())) == 1:
            scene.set(what, *latest[what], absent=True, tags=colours[what])
        elif verb == "delete":
            latest.pop(what, None)
            scene.delete(what)
        elif verb == "get":
            found = scene.get(what)
            assert found.get(what) in {None, *latest.get(what, ())}
        elif verb == "swap":
            there = run(scene.breaker.get_many([what])).get(what)
            try:
                if run(scene.breaker.swap(what, there.version if there else None, Entry(value, tags=colours[what]))):
                    latest[what] = {value}
            except TierUnavailable:  # it may have been made
                latest[what] = {value, *latest.get(what, ())}
        elif verb == "clear":
            latest = {key: each for key, each in latest.items() if what and what not in colours[key]}
            run(scene.breaker.clear(tags=[what] if what else ()))
        elif verb == "fault":
            scene.tier.plan(*what)
        elif verb == "wait":
            scene.clock.advance(what)
