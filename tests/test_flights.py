"""One load a key at a time: across threads, tasks and loops, under exceptions, cancellation and death."""

import asyncio
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import PATIENCE
from gates import Gate, joined, soon, waiters


def test_threads_share_one_load(cache, crew):
    gate = Gate()
    for _ in range(8):
        crew.send(cache.get_or_load, "a", gate)
    joined(cache, "a", 8)
    gate.open.set()
    assert crew.back().results == ["loaded"] * 8
    assert gate.calls == 1
    assert cache.stats().loads.count == 1


def test_tasks_share_one_load(cache):
    async def program():
        calls, release = [], asyncio.Event()

        async def load():
            calls.append(1)
            await release.wait()
            return "loaded"

        tasks = [asyncio.create_task(cache.aio.get_or_load("a", load)) for _ in range(8)]
        await soon(lambda: waiters(cache, "a") == 8)
        release.set()
        assert await asyncio.gather(*tasks) == ["loaded"] * 8
        assert len(calls) == 1

    asyncio.run(program())


def test_threads_and_tasks_of_several_loops_share_one_load(cache, crew):
    gate = Gate()

    def loop_of_tasks():
        async def program():
            return await asyncio.gather(*(cache.aio.get_or_load("a", gate) for _ in range(3)))

        return asyncio.run(program())

    crew.send(loop_of_tasks)
    crew.send(cache.get_or_load, "a", gate)
    crew.send(loop_of_tasks)
    crew.send(cache.get_or_load, "a", gate)
    joined(cache, "a", 8)
    gate.open.set()
    assert sorted(map(str, crew.back().results)) == ["['loaded', 'loaded', 'loaded']"] * 2 + ["loaded"] * 2
    assert gate.calls == 1


def test_a_thread_waits_for_the_load_of_a_task(cache, crew):
    async def program():
        release = asyncio.Event()

        async def load():
            await release.wait()
            return "from the task"

        leader = asyncio.create_task(cache.aio.get_or_load("a", load))
        await soon(lambda: waiters(cache, "a") == 1)
        crew.send(cache.get_or_load, "a", lambda: pytest.fail("loaded twice"))
        await soon(lambda: waiters(cache, "a") == 2)
        release.set()
        return await leader

    assert asyncio.run(program()) == "from the task"
    assert crew.back().results == ["from the task"]


def test_who_asks_twice_in_one_miss_loads_once(cache, crew):
    """A caller who missed before a flight landed, and boards after, finds the value instead of loading it again."""
    cache.get_or_load("a", lambda: 1)
    from forecache import loads
    from forecache.flow import run

    assert run(loads.get_or_load(cache, "a", loads.call_of(lambda: 2, "a"), None, {})) == 1


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_flight_may_land_between_boarding_and_waiting(cache, colour):
    from forecache.boarding import Join

    flights = cache._flights
    flight, leads = flights.board("a", None)
    assert (leads, flights.board("a", None)) == (True, (flight, False))
    flights.land(flight, "loaded")
    join = Join(flights, flight)
    assert (join.run() if colour == "sync" else asyncio.run(join.arun())) == "loaded"


def test_an_exception_reaches_every_thread_and_nothing_is_kept(cache, crew):
    gate = Gate(KeyError("no such row"))
    for _ in range(4):
        crew.send(cache.get_or_load, "a", gate)
    joined(cache, "a", 4)
    gate.open.set()
    errors = crew.back().errors
    assert [str(error) for error in errors] == ["'no such row'"] * 4
    assert len({id(error) for error in errors}) == 4
    for error in errors:
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert frames[0] == "work"
        assert frames[-1] == "__call__"
        assert frames.count("get_or_load") <= 3, "a caller's traceback has nothing of the others'"
    assert cache.get_or_load("a", lambda: 1) == 1
    assert cache.stats().loads.failures == 1


def test_an_exception_reaches_every_task_and_nothing_is_kept(cache):
    async def program():
        calls = []

        async def load():
            calls.append(1)
            await asyncio.sleep(0)
            raise OSError(5, "gone")

        answers = await asyncio.gather(*(cache.aio.get_or_load("a", load) for _ in range(4)), return_exceptions=True)
        assert [repr(answer) for answer in answers] == ["OSError(5, 'gone')"] * 4
        assert len(calls) == 1
        assert await cache.aio.get_or_load("a", lambda: 1) == 1

    asyncio.run(program())


def test_what_caused_an_exception_stays_with_it(face, cache, crew):
    gate = Gate()

    def load():
        gate()
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner

    crew.send(face.get_or_load, "a", load)
    assert gate.entered.wait(PATIENCE)
    crew.send(cache.get_or_load, "a", load)
    joined(cache, "a", 2)
    gate.open.set()
    assert [repr(error.__cause__) for error in crew.back().errors] == ["KeyError('inner')"] * 2


def test_a_caller_who_is_cancelled_as_the_load_fails_is_cancelled(cache):
    async def program():
        release = asyncio.Event()

        async def load():
            await release.wait()
            raise OSError("failed")

        caller = asyncio.create_task(cache.aio.get_or_load("a", load))
        await soon(lambda: waiters(cache, "a") == 1)
        cache._flights._running["a"].landing.add_done_callback(lambda _: caller.cancel())
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await caller

    asyncio.run(program())


class StubbornError(Exception):
    """Can't be copied."""

    def __init__(self, *, code):
        super().__init__(f"code {code}")


class GrowingError(Exception):
    """Isn't the same when it is copied."""

    def __init__(self, code):
        super().__init__(f"code {code}")


@pytest.mark.parametrize("error", [StubbornError(code=5), GrowingError(5)])
def test_an_exception_that_cannot_be_copied_is_shared(cache, crew, error):
    gate = Gate(error)
    for _ in range(3):
        crew.send(cache.get_or_load, "a", gate)
    joined(cache, "a", 3)
    gate.open.set()
    assert crew.back().errors == [error] * 3


def test_a_loader_that_raises_stop_iteration_is_told_as_that(face):
    with pytest.raises(RuntimeError, match="the loader raised StopIteration"):
        face.get_or_load("a", lambda: next(iter([])))


@pytest.mark.parametrize("death", [KeyboardInterrupt(), SystemExit(1), asyncio.CancelledError()])
def test_a_waiter_takes_over_from_a_thread_that_is_killed(cache, crew, death):
    gate = Gate(death)
    crew.send(cache.get_or_load, "a", gate)
    assert gate.entered.wait(PATIENCE)
    for _ in range(3):
        crew.send(cache.get_or_load, "a", lambda: "from a waiter")
    joined(cache, "a", 4)
    gate.open.set()
    assert crew.back().results == ["from a waiter"] * 3
    assert crew.errors == [death]
    assert cache.stats().loads.count == 2


def test_a_cancelled_caller_takes_nothing_from_the_others(cache):
    async def program():
        entered, release = asyncio.Event(), asyncio.Event()

        async def load():
            entered.set()
            await release.wait()
            return "loaded"

        leader = asyncio.create_task(cache.aio.get_or_load("a", load))
        await entered.wait()
        waiter = asyncio.create_task(cache.aio.get_or_load("a", load))
        await soon(lambda: waiters(cache, "a") == 2)
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        release.set()
        assert await waiter == "loaded"

    asyncio.run(program())


def test_a_load_is_cancelled_when_the_last_who_waits_is_gone(cache):
    async def program():
        entered, ended = asyncio.Event(), asyncio.Event()

        async def load():
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        callers = [asyncio.create_task(cache.aio.get_or_load("a", load)) for _ in range(2)]
        await entered.wait()
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        await asyncio.wait_for(ended.wait(), PATIENCE)
        assert await cache.aio.get_or_load("a", lambda: "next") == "next"

    asyncio.run(program())


def test_who_joins_a_load_that_is_being_cancelled_loads_anew(cache):
    async def program():
        entered, cleaning, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def load():
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                cleaning.set()
                await done.wait()

        first = asyncio.create_task(cache.aio.get_or_load("a", load))
        await entered.wait()
        first.cancel()
        await asyncio.wait_for(cleaning.wait(), PATIENCE)
        second = asyncio.create_task(cache.aio.get_or_load("a", lambda: "next"))
        await soon(lambda: waiters(cache, "a") == 1)
        done.set()
        assert await second == "next"

    asyncio.run(program())


def test_a_caller_who_comes_back_in_time_keeps_the_load_alive(cache):
    async def program():
        entered, release = asyncio.Event(), asyncio.Event()

        async def load():
            entered.set()
            await release.wait()
            return "loaded"

        first = asyncio.create_task(cache.aio.get_or_load("a", load))
        await entered.wait()
        first.cancel()
        second = asyncio.create_task(cache.aio.get_or_load("a", lambda: pytest.fail("loaded twice")))
        await asyncio.sleep(0)
        release.set()
        assert await second == "loaded"

    asyncio.run(program())


def test_a_loader_that_ends_as_cancelled_ends_its_caller_and_the_others_load(cache):
    async def program():
        entered, release = asyncio.Event(), asyncio.Event()

        async def load():
            entered.set()
            await release.wait()
            raise asyncio.CancelledError

        leader = asyncio.create_task(cache.aio.get_or_load("a", load))
        await entered.wait()
        waiter = asyncio.create_task(cache.aio.get_or_load("a", lambda: "from the waiter"))
        await soon(lambda: waiters(cache, "a") == 2)
        release.set()
        assert await waiter == "from the waiter"
        with pytest.raises(asyncio.CancelledError):
            await leader

    asyncio.run(program())


def test_a_load_in_a_thread_goes_on_when_its_caller_is_cancelled(cache):
    gate = Gate()

    async def program():
        caller = asyncio.create_task(cache.aio.get_or_load("a", gate))
        await soon(gate.entered.is_set)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        second = asyncio.create_task(cache.aio.get_or_load("a", lambda: pytest.fail("a second load beside the first")))
        await soon(lambda: waiters(cache, "a") == 1)
        gate.open.set()
        assert await second == "loaded"

    asyncio.run(program())


def test_a_thread_takes_over_from_a_loop_that_ends(cache, crew):
    async def program():
        entered = asyncio.Event()

        async def load():
            entered.set()
            await asyncio.Event().wait()

        leader = asyncio.create_task(cache.aio.get_or_load("a", load))
        await entered.wait()
        crew.send(cache.get_or_load, "a", lambda: "from the thread")
        await soon(lambda: waiters(cache, "a") == 2)
        return leader

    asyncio.run(program())
    assert crew.back().results == ["from the thread"]


@pytest.mark.filterwarnings("ignore")  # what such a loop leaves behind is told by asyncio
@pytest.mark.parametrize("waits", ["thread", "loop", "nobody"])
def test_a_loop_closed_over_a_load_is_noticed(cache, crew, waits):
    async def load():
        await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    leader = loop.create_task(cache.aio.get_or_load("a", load))
    loop.run_until_complete(asyncio.sleep(0.01))
    if waits == "thread":
        crew.send(cache.get_or_load, "a", lambda: "next")
    elif waits == "loop":
        crew.send(lambda: asyncio.run(cache.aio.get_or_load("a", lambda: "next")))
    if waits != "nobody":
        joined(cache, "a", 2)
    loop.close()
    if waits == "nobody":
        crew.send(cache.get_or_load, "a", lambda: "next")
    assert crew.back().results == ["next"]
    assert not leader.done()


def test_two_event_loops_in_a_row_use_one_cache(cache):
    async def program():
        async def load():
            await asyncio.sleep(0)
            return 1

        assert await cache.aio.incr("runs") > 0
        return await asyncio.gather(*(cache.aio.get_or_load(key, load) for key in "abca"))

    assert asyncio.run(program()) == asyncio.run(program()) == [1] * 4
    assert cache.get("runs") == 2


def test_a_storm_of_threads_and_tasks_loads_each_key_once_at_a_time(cache):
    running, most, lock = {}, [], threading.Lock()

    def load(key):
        with lock:
            running[key] = running.get(key, 0) + 1
            most.append(running[key])
        threading.Event().wait(0.0005)
        with lock:
            running[key] -= 1
        return key

    async def aload(key):
        return await asyncio.to_thread(load, key)

    def threads():
        for turn in range(60):
            assert cache.get_or_load(f"k{turn % 7}", load) == f"k{turn % 7}"
            cache.delete(f"k{(turn + 3) % 7}")

    def tasks():
        async def program():
            for turn in range(30):
                keys = [f"k{(turn + shift) % 7}" for shift in range(4)]
                assert await asyncio.gather(*(cache.aio.get_or_load(key, aload) for key in keys)) == keys
                await cache.aio.delete_many(keys[:2])

        asyncio.run(program())

    with ThreadPoolExecutor(6) as pool:
        for work in [pool.submit(threads if n % 2 else tasks) for n in range(6)]:
            work.result(PATIENCE)
    assert max(most) == 1
    assert not cache._flights
