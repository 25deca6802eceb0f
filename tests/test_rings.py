"""Loads that wait for one another: an error instead of a deadlock."""

import asyncio
import threading

import pytest
from conftest import PATIENCE
from gates import joined, soon, waiters

from forecache import Cache, ReentrantLoad


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
