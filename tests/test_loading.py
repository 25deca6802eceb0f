"""One load a key at a time: across threads, tasks and loops, under exceptions, cancellation and re-entrance."""

import asyncio
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial

import pytest
from conftest import PATIENCE

from forecache import Cache, ConfigError, ReentrantLoad


class Gate:
    """A loader that tells when it was entered and returns when it is let, and counts its calls."""

    def __init__(self, value="loaded"):
        self.entered = threading.Event()
        self.open = threading.Event()
        self.value = value
        self.calls = 0

    def __call__(self):
        self.calls += 1
        self.entered.set()
        assert self.open.wait(PATIENCE)
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value


def joined(cache, key, count):
    """Waits until so many callers are on the flight of a key."""
    for _ in range(PATIENCE * 1000):
        flight = cache._flights._running.get(key)
        if flight is not None and flight.waiters == count:
            return
        threading.Event().wait(0.001)
    pytest.fail("nobody joined")


async def soon(condition):
    """Lets the loop run until the condition holds."""
    for _ in range(PATIENCE * 1000):
        if condition():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it never happened")


def waiters(cache, key):
    flight = cache._flights._running.get(key)
    return flight.waiters if flight else 0


def test_a_missing_value_is_loaded_and_kept(face):
    assert face.get_or_load("a", lambda: 1, ttl=10) == 1
    assert face.get_or_load("a", lambda: 2) == 1
    assert face.ttl("a") == 10


def test_options_of_a_load_are_those_of_set(face, cache):
    face.get_or_load("a", lambda: 1, tti=5, tags=["t"], owner="o", cost=2.0, immutable=True, pin=True)
    assert face.ttl("a") == 5
    assert [owner.name for owner in cache.stats().owners] == ["o"]
    assert face.invalidate(tags=["t"]) == 1


class Table:
    def __init__(self):
        self.rows = {"a": 1}

    def row(self, key):
        return self.rows[key]

    def all(self):
        return len(self.rows)

    def __call__(self, key):
        return self.rows[key]


class Unhashable(Table):
    __hash__ = None


@pytest.mark.parametrize(
    ("loader", "value"),
    [
        (lambda: 7, 7),
        (lambda key: key * 2, "aa"),
        (lambda number=3: number, 3),
        (lambda *keys: len(keys), 0),
        (lambda *, key=1: key, 1),
        (Table().row, 1),
        (Table().all, 1),
        (Table(), 1),
        (Unhashable(), 1),
        (Table().rows.get, 1),
        (partial(lambda x, key: (x, key), 0), (0, "a")),
        (partial(lambda x: x, 5), 5),
        (list, []),
        (dict, {}),
    ],
)
def test_a_loader_gets_the_key_if_it_asks_for_it(face, loader, value):
    assert face.get_or_load("a", loader) == value
    face.delete("a")
    assert face.get_or_load("a", loader) == value


def test_a_loader_that_cannot_be_called_is_a_type_error(face):
    with pytest.raises(TypeError, match="the loader of 'a' must be callable, and int isn't"):
        face.get_or_load("a", 7)


def test_nothing_found_is_remembered_for_the_negative_ttl(face, clock):
    assert face.get_or_load("a", lambda: None, ttl=100, negative_ttl=5) is None
    assert face.exists("a")
    assert face.ttl("a") == 5
    assert face.get_or_load("b", lambda: None, negative_ttl=0) is None
    assert not face.exists("b")
    assert face.get_or_load("c", lambda: None, ttl=100) is None
    assert face.ttl("c") == 100
    assert face.get_or_load("d", lambda: 1, ttl=100, negative_ttl="5s") == 1
    assert face.ttl("d") == 100
    with pytest.raises(ConfigError, match="negative_ttl: got -1"):
        face.get_or_load("e", lambda: None, negative_ttl=-1)


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
    from forecache import engine
    from forecache.flow import run

    assert run(engine.get_or_load(cache, "a", engine.call_of(lambda: 2, "a"), None, {})) == 1


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_flight_may_land_between_boarding_and_waiting(cache, colour):
    from forecache.flow import Join

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


def test_a_loader_that_asks_for_its_own_key_is_an_error(face):
    def load():
        return face.cache.get_or_load("a", load)

    with pytest.raises(ReentrantLoad, match="the loader of 'a' asks the cache for itself"):
        face.get_or_load("a", load)
    assert face.get_or_load("a", lambda: face.cache.get_or_load("b", lambda: 2)) == 2, "other keys are fine"


def test_an_async_loader_that_asks_for_its_own_key_is_an_error(cache):
    async def load(key):
        other = "b" if key == "a" else "a"
        return await cache.aio.get_or_load(other, load)

    async def program():
        with pytest.raises(ReentrantLoad, match="whose load waits for that of"):
            await asyncio.wait_for(cache.aio.get_or_load("a", load), PATIENCE)

    asyncio.run(program())


def test_a_ring_through_two_caches_is_an_error(cache):
    other = Cache()

    def load():
        return other.get_or_load("a", lambda: cache.get_or_load("a", load))

    with pytest.raises(ReentrantLoad):
        cache.get_or_load("a", load)


@pytest.mark.parametrize("colours", ["threads", "tasks", "mixed"])
def test_a_ring_of_loads_is_an_error_and_no_deadlock(cache, crew, colours):
    both = threading.Barrier(2, timeout=PATIENCE)

    def load(key):
        both.wait()
        return cache.get_or_load("b" if key == "a" else "a", load)

    async def aload(key):
        await asyncio.to_thread(both.wait)
        return await cache.aio.get_or_load("b" if key == "a" else "a", aload)

    def arun(*keys):
        async def program():
            return await asyncio.gather(*(cache.aio.get_or_load(key, aload) for key in keys), return_exceptions=True)

        for answer in asyncio.run(asyncio.wait_for(program(), PATIENCE)):
            raise answer

    if colours == "tasks":
        crew.send(arun, "a", "b")
    else:
        crew.send(cache.get_or_load, "a", load)
        crew.send(arun, "b") if colours == "mixed" else crew.send(cache.get_or_load, "b", load)
    crew.back()
    assert crew.errors
    assert all(type(error) is ReentrantLoad for error in crew.errors)


def test_blocking_a_loop_for_a_load_of_its_own_is_an_error(cache):
    async def program():
        release = asyncio.Event()
        task = asyncio.create_task(cache.aio.get_or_load("a", release.wait))
        await soon(lambda: waiters(cache, "a") == 1)
        with pytest.raises(ReentrantLoad, match=r"use `await cache.aio.get_or_load\(…\)`"):
            cache.get_or_load("a", lambda: 1)
        release.set()
        assert await task is True

    asyncio.run(program())


def test_a_load_that_needs_a_blocked_loop_is_an_error(cache, crew):
    """A thread loads "b"; the loop blocks on "b"; then the thread's loader asks for "a", which a task of that loop loads."""
    blocked = threading.Event()

    def load():
        assert blocked.wait(PATIENCE)
        joined(cache, "b", 2)
        return cache.get_or_load("a", lambda: 1)

    async def program():
        task = asyncio.create_task(cache.aio.get_or_load("a", lambda: asyncio.Event().wait()))
        await soon(lambda: waiters(cache, "a") == 1)
        crew.send(cache.get_or_load, "b", load)
        await soon(lambda: waiters(cache, "b") == 1)
        blocked.set()
        with pytest.raises(ReentrantLoad):
            cache.get_or_load("b", lambda: 2)
        task.cancel()

    asyncio.run(program())
    assert [type(error) for error in crew.back().errors] == [ReentrantLoad]


def test_a_task_that_outlives_the_load_it_was_started_in_may_load_the_key(cache):
    async def program():
        left = []

        async def later():
            await soon(lambda: not cache._flights)
            cache.delete("a")
            return await cache.aio.get_or_load("a", lambda: 2)

        async def load():
            left.append(asyncio.create_task(later()))
            return 1

        assert await cache.aio.get_or_load("a", load) == 1
        assert await left[0] == 2

    asyncio.run(program())


def test_a_loader_may_load_many_others_at_a_time(cache):
    async def part(key):
        await asyncio.sleep(0)
        return key

    async def whole():
        return await asyncio.gather(*(cache.aio.get_or_load(key, part) for key in "bcbc"))

    assert asyncio.run(cache.aio.get_or_load("a", whole)) == ["b", "c", "b", "c"]


def test_a_plain_loader_runs_in_a_thread_of_the_async_face_with_its_context(cache):
    request = ContextVar("request", default=None)

    async def program():
        request.set("r1")
        return await cache.aio.get_or_load("a", lambda: (request.get(), threading.get_ident()))

    seen, thread = asyncio.run(program())
    assert seen == "r1"
    assert thread != threading.get_ident()


def test_what_a_plain_loader_returns_is_awaited_by_the_async_face(cache):
    async def fetch():
        return "fetched"

    class Fetcher:
        async def __call__(self):
            return "called"

    assert asyncio.run(cache.aio.get_or_load("a", lambda: [fetch()][0])) == "fetched"
    assert asyncio.run(cache.aio.get_or_load("b", Fetcher())) == "called"
    assert asyncio.run(cache.aio.get_or_load("c", partial(fetch))) == "fetched"


def test_an_async_loader_under_the_sync_face_is_a_type_error_with_the_remedy(cache):
    async def fetch():
        return "fetched"

    for loader in (fetch, lambda: [fetch()][0], partial(fetch)):
        with pytest.raises(TypeError, match=r"async, and this is the sync face: use `await cache.aio.get_or_load"):
            cache.get_or_load("a", loader)
    assert not cache.exists("a")


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda cache: cache.set("a", "set"), "set"),
        (lambda cache: cache.delete("a"), None),
        (Cache.clear, None),
        (lambda cache: cache.invalidate(tags=["t"]), None),
        (lambda cache: cache.pop("a"), None),
        (lambda cache: cache.set("b", "other"), "loaded"),
    ],
    ids=["set", "delete", "clear", "invalidate", "pop", "another key"],
)
def test_what_was_changed_during_a_load_stays_changed(cache, crew, change, kept):
    gate = Gate()
    crew.send(cache.get_or_load, "a", gate)
    assert gate.entered.wait(PATIENCE)
    change(cache)
    gate.open.set()
    assert crew.back().results == ["loaded"]
    assert cache.get("a") == kept


def test_a_load_that_the_cache_is_closed_over_still_gives_its_value(cache, crew):
    gate = Gate()
    crew.send(cache.get_or_load, "a", gate)
    assert gate.entered.wait(PATIENCE)
    cache.close()
    gate.open.set()
    assert crew.back().results == ["loaded"]


def test_a_value_that_is_refused_is_returned_all_the_same(cache):
    assert len(cache.get_or_load("a", lambda: "x" * 2_000_000)) == 2_000_000
    assert not cache.exists("a")


def test_waiters_of_a_copying_cache_share_nothing(crew):
    cache = Cache(copy=True)
    gate = Gate([1])
    for _ in range(3):
        crew.send(cache.get_or_load, "a", gate)
    joined(cache, "a", 3)
    gate.open.set()
    for result in crew.back().results:
        result.append(2)
    assert crew.results == [[1, 2]] * 3
    assert cache.get("a") == [1]


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
