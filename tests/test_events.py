"""What listeners are told, on which thread, and that they can't break anything."""

import asyncio
import logging
import threading

import pytest

from forecache import Cache, ConfigError, Refused, Removed


def test_every_cause_of_leaving_is_told(clock):
    told = []
    cache = Cache(
        "1MB", max_entries=2, policy="lru", clock=clock, on_remove=lambda key, value, cause: told.append((key, value, cause))
    )
    cache.set("a", 1)
    cache.set("a", 2)
    cache.delete("a")
    cache.set("b", 3, ttl=5)
    clock.advance(5)
    cache.get("b")
    cache.set("c", 4, tags=["t"])
    cache.invalidate(tags=["t"])
    cache.set_many({"d": 5, "e": 6, "f": 7})
    assert told == [
        ("a", 1, "replaced"),
        ("a", 2, "explicit"),
        ("b", 3, "expired"),
        ("c", 4, "invalidated"),
        ("d", 5, "size"),
    ]
    assert cache.stats().evictions == 1


def test_subscribers_get_records_until_they_unsubscribe(cache):
    told = []
    unsubscribe = cache.subscribe(told.append)
    cache.set("a", 1)
    cache.pop("a")
    cache.set("huge", "x" * 2_000_000)
    assert told == [Removed("a", 1, "explicit"), Refused("huge", "x" * 2_000_000)]
    assert told[0].cause == "explicit"
    unsubscribe()
    unsubscribe()
    cache.set("a", 1)
    cache.clear()
    assert len(told) == 2


def test_one_who_subscribes_twice_is_told_twice_and_leaves_once(cache):
    told = []
    listener = told.append
    first, second = cache.subscribe(listener), cache.aio.subscribe(listener)
    cache.set("a", 1)
    cache.delete("a")
    first()
    cache.set("a", 1)
    cache.delete("a")
    second()
    assert len(told) == 3


def test_refusals_are_not_removals(clock):
    told = []
    cache = Cache("1KB", clock=clock, on_remove=lambda *event: told.append(event))
    assert cache.set("huge", "x" * 2000) is False
    assert told == []


def test_a_listener_may_use_the_cache(cache):
    def listener(event):
        if event.key == "a":
            assert cache.get("a") is None
            cache.set("b", event.value)
            cache.delete("b")

    cache.subscribe(listener)
    cache.set("a", 1)
    cache.delete("a")
    assert len(cache) == 0


def test_a_listener_that_raises_is_logged_and_stops_nobody(cache, caplog):
    told = []

    def broken(event):
        raise ZeroDivisionError

    cache.subscribe(broken)
    cache.subscribe(told.append)
    cache.set("a", 1)
    with caplog.at_level(logging.ERROR, "forecache"):
        assert cache.delete("a") is True
    assert told == [Removed("a", 1, "explicit")]
    assert "a listener failed on explicit of 'a'" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_an_async_listener_is_refused_with_the_remedy(cache, caplog):
    async def listener(event):
        pass

    for wrong in (listener, 5, None):
        with pytest.raises(ConfigError, match=r"listener: got .*loop.call_soon_threadsafe"):
            cache.subscribe(wrong)
    cache.subscribe(lambda event: listener(event))  # noqa: PLW0108  can't be seen before
    cache.set("a", 1)
    cache.delete("a")
    assert "a listener can't be async" in caplog.text


def test_events_reach_a_loop_by_its_own_means(cache):
    async def program():
        queue, loop = asyncio.Queue(), asyncio.get_running_loop()
        cache.subscribe(lambda event: loop.call_soon_threadsafe(queue.put_nowait, event))
        await cache.aio.set("a", 1)
        await asyncio.to_thread(cache.delete, "a")
        return await asyncio.wait_for(queue.get(), 20)

    assert asyncio.run(program()) == Removed("a", 1, "explicit")


def test_a_listener_runs_on_the_thread_that_caused_the_event(cache, crew):
    told = []
    cache.subscribe(lambda event: told.append(threading.current_thread()))
    cache.set("a", 1)
    thread = crew.send(cache.delete, "a")
    crew.back()
    assert told == [thread]


def test_values_are_told_before_they_are_dropped_by_close(cache):
    told = []
    cache.subscribe(told.append)
    cache.set("a", 1)
    cache.close()
    assert told == [Removed("a", 1, "explicit")]
