"""Layers around a tier: what is tried again, what is asked twice, and that all else passes through."""

import asyncio
import threading

import pytest

from forecache import TierUnavailable
from forecache._core import Entry
from forecache.flow import All, Call, Either, First, Sleep, arun, run
from forecache.testing import Delay, DictTier, FakeClock, FaultyTier, Lose, Raise, check_tier
from forecache.tiers.breaker import Breaker
from forecache.tiers.calls import Watch
from forecache.tiers.hedge import Hedge
from forecache.tiers.layer import Layer
from forecache.tiers.retry import FIRST, Retry
from forecache.tiers.tier import wall_time

PATIENCE = 20
REFUSED, RESET = ConnectionRefusedError("refused"), ConnectionResetError("reset")


def broken(**marks):
    error = TierUnavailable("broken")
    for name, value in marks.items():
        setattr(error, name, value)
    return error


class Scene:
    """A tier that fails as planned, with a `Retry` around it, whose waits only move the clock."""

    def __init__(self, retries=2, timeout=None):
        self.clock = FakeClock()
        now = wall_time(self.clock)
        self.held = DictTier(now=now)
        self.tier = FaultyTier(self.held, self.clock)
        self.retry = Retry(self.tier, retries, timeout, now)
        self.waits = []

    def do(self, flow):
        try:
            request = next(flow)
            while True:
                if isinstance(request, Sleep):
                    self.waits.append(request.seconds)
                    self.clock.advance(request.seconds)
                    request = flow.send(None)
                else:
                    request = flow.send(request.run())
        except StopIteration as end:
            return end.value


VERBS = {
    "get_many": lambda tier: tier.get_many(["a"]),
    "set_many": lambda tier: tier.set_many({"a": Entry(b"1")}),
    "delete_many": lambda tier: tier.delete_many(["a"]),
    "scan": lambda tier: tier.scan(0, None),
    "clear": lambda tier: tier.clear(),
    "flush": lambda tier: tier.flush(),
}
ATOMIC = {
    "swap": lambda tier: tier.swap("a", None, Entry(b"1")),
    "set_many": lambda tier: tier.set_many({"a": Entry(b"1")}, absent=True),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("error", [REFUSED, RESET, broken(lost=True)], ids=str)
def test_what_broke_off_is_tried_again(verb, error):
    scene = Scene()
    scene.tier.plan(verb, Raise(error), Lose(error))
    scene.do(VERBS[verb](scene.retry))
    assert scene.tier.calls == [verb] * 3
    assert scene.retry.stats().retried == 2


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("error", [TimeoutError("late"), broken(), OSError("disk"), ValueError("garbage")], ids=str)
def test_what_failed_otherwise_is_not(verb, error):
    scene = Scene()
    scene.tier.plan(verb, Raise(error))
    with pytest.raises(type(error)):
        scene.do(VERBS[verb](scene.retry))
    assert scene.tier.calls == [verb]


@pytest.mark.parametrize("verb", ATOMIC)
def test_an_atomic_change_is_tried_again_only_if_nothing_was_sent(verb):
    for error in (RESET, broken(lost=True)):
        scene = Scene()
        scene.tier.plan(verb, Lose(error))
        with pytest.raises(type(error)):
            scene.do(ATOMIC[verb](scene.retry))
        assert scene.tier.calls == [verb]
    for error in (REFUSED, broken(unsent=True)):
        scene = Scene()
        scene.tier.plan(verb, Raise(error))
        scene.do(ATOMIC[verb](scene.retry))
        assert list(scene.held.entries) == ["a"]


def test_tries_end_and_waits_grow():
    scene = Scene(retries=5)
    scene.tier.always(Raise(RESET))
    with pytest.raises(ConnectionResetError):
        scene.do(scene.retry.get_many(["a"]))
    assert len(scene.waits) == 5
    assert all(0 <= wait <= FIRST * 2**number for number, wait in enumerate(scene.waits))


def test_no_try_begins_when_the_time_is_over():
    scene = Scene(retries=5, timeout=2)
    scene.tier.plan("get_many", Raise(RESET))
    scene.tier.always(Delay(3), "delete_many")
    scene.do(scene.retry.get_many(["a"]))
    assert scene.tier.calls == ["get_many"] * 2

    class Slow(DictTier):
        def get_many(self, keys):
            scene.clock.advance(3)
            raise RESET
            yield

    slow = Retry(Slow(), 5, 2, wall_time(scene.clock))
    with pytest.raises(ConnectionResetError):
        scene.do(slow.get_many(["a"]))
    assert slow.stats().retried == 0


class Held(DictTier):
    """A tier whose first read waits until it is let go, in either colour; the others answer at once."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.asked = 0
        self.cancelled = 0

    def get_many(self, keys):
        self.asked += 1
        yield Either(self._wait, self._await, (self.asked,))
        return (yield from super().get_many(keys))

    def _wait(self, number):
        if number == 1:
            assert self.gate.wait(PATIENCE)

    async def _await(self, number):
        try:
            if number == 1:
                await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def test_a_read_that_takes_long_is_sent_again_and_the_first_answer_counts():
    tier = Held()
    hedge = Hedge(tier, 0.001)
    run(tier.set_many({"a": Entry(b"1")}))
    assert run(hedge.get_many(["a"]))["a"].payload == b"1"
    assert (tier.asked, hedge.stats().hedged) == (2, 1)
    tier.gate.set()


def test_the_other_task_is_cancelled():
    tier = Held()
    hedge = Hedge(tier, 0.001)

    async def read():
        await arun(tier.set_many({"a": Entry(b"1")}))
        found = await arun(hedge.get_many(["a"]))
        await asyncio.sleep(0)
        return found["a"].payload

    assert asyncio.run(read()) == b"1"
    assert (tier.asked, tier.cancelled) == (2, 1)


def test_few_reads_are_sent_again_where_all_are_slow():
    class Slow(DictTier):
        def get_many(self, keys):
            yield Either(None, asyncio.sleep, (0.002,))
            return (yield from super().get_many(keys))

    hedge = Hedge(Slow(), 0.0001)

    async def read():
        await arun(hedge.set_many({"a": Entry(b"1")}))
        return await asyncio.gather(*(arun(hedge.get_many(["a"])) for _ in range(300)))

    found = asyncio.run(read())
    assert all(each["a"].payload == b"1" for each in found)
    assert 0 < hedge.stats().hedged <= 50


def test_a_caller_who_is_cancelled_leaves_no_task():
    tier = Held()

    async def read():
        reading = asyncio.ensure_future(arun(Hedge(tier, PATIENCE).get_many(["a"])))
        while not tier.asked:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait((reading,))
        await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    assert asyncio.run(read()) == 1
    assert tier.cancelled == 1


@pytest.fixture(params=["sync", "async"])
def drive(request):
    return run if request.param == "sync" else lambda flow: asyncio.run(arun(flow))


def answers(value, seen=None):
    if seen is not None:
        seen.append(value)
    yield Either(int, _zero)
    return value


async def _zero():
    return 0


def fails(error):
    yield Either(int, _zero)
    raise error


def late(gate, flow):
    async def wait():
        while not gate.is_set():
            await asyncio.sleep(0)

    yield Either(lambda: gate.wait(PATIENCE), wait)
    return (yield from flow)


def as_flow(request):
    return (yield request)


def test_the_second_is_not_begun_if_the_first_ends(drive):
    seen = []
    assert drive(as_flow(First(answers(1, seen), answers(2, seen), PATIENCE))) == 1
    assert seen == [1]


def test_an_error_waits_for_the_other_answer(drive):
    gate = threading.Event()

    def second():
        gate.set()
        return (yield from fails(OSError("second")))

    assert drive(as_flow(First(late(gate, answers(1)), second(), 0.001))) == 1
    gate.clear()
    with pytest.raises(OSError, match=r"first|second"):
        drive(as_flow(First(late(gate, fails(OSError("first"))), second(), 0.001)))


def test_a_flow_that_yields_nothing_costs_no_thread():
    def threads():
        return threading.get_ident()
        yield

    assert run(as_flow(First(threads(), threads(), 1))) == threading.get_ident()


def test_a_watch_leaves_alone_what_bounds_itself_and_bounds_what_lies_inside_others(drive):
    bounded = []

    def asks():
        bounded.append((yield Call(lambda: 1)))
        return (yield Either(lambda: 2, _two))

    async def _two():
        return 2

    flows = list(Watch(5)._bounded(All([asks()]), None).flows)
    assert next(flows[0]).timeout == 5
    first = Watch(5)._bounded(First(asks(), asks(), 1), None)
    assert next(first.flow).timeout == next(first.other).timeout == 5
    assert drive(Watch(5).whole(as_flow(All([asks(), asks()])))) == [2, 2]
    assert drive(Watch(5).whole(as_flow(First(asks(), asks(), 1)))) == 2


LAYERS = {
    "layer": lambda now: Layer(DictTier(now=now)),
    "retry": lambda now: Retry(DictTier(now=now), 2, 1, now),
    "hedge": lambda now: Hedge(DictTier(now=now), 1),
    "all": lambda now: Breaker(Hedge(Retry(DictTier(now=now), 2), 1), timeout=5, strict=True, now=now),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_layers_keep_what_tiers_promise(make):
    check_tier(make)


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_layers_have_what_their_tier_has(make):
    layer = make(wall_time())
    inner = layer
    while hasattr(inner, "tier"):
        inner = inner.tier
    for name in ("lists", "largest", "decides", "counters", "express", "index", "on_replaced"):
        assert not hasattr(layer, name)
        setattr(inner, name, name)
        assert getattr(layer, name) == name
    layer.on_replaced = print
    assert inner.on_replaced is print
