"""Caches with a reserve give way while memory is short, and get their budgets back slowly."""

import gc
import os
import threading

import pytest

from forecache import Cache, ConfigError, Resized, pressure
from forecache.pressure import CALM, GROWTH, LEAST, MOST, Watcher

MB = 10**6


class Host:
    """A host whose free memory is what a test says."""

    def __init__(self) -> None:
        self.free: int | None = 1000 * MB
        self.trimmed = 0
        self.watcher = Watcher(lambda: self.free, self._trim)

    def _trim(self) -> None:
        self.trimmed += 1

    def watch(self, cache: Cache) -> Cache:
        """Without a thread: tests look themselves."""
        self.watcher._budgets.append(pressure.Budget(cache))
        return cache


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setattr(pressure.WATCHER, "add", lambda cache: None)
    return Host()


def full(capacity="10MB", **options):
    cache = Cache(capacity, reserve="100MB", **options)
    number = 0
    while cache.stats().evictions == 0:
        cache.set(str(number), b"x" * 10_000)
        number += 1
    return cache


def capacity(cache):
    return cache.stats().capacity


def test_what_is_short_is_taken_from_what_is_held(host):
    cache = host.watch(full())
    held = cache.stats().weight
    host.free = 99 * MB
    assert host.watcher.look()
    assert capacity(cache) == pytest.approx(held - 1 * MB, rel=0.01)
    assert cache.stats().weight <= capacity(cache)
    assert host.trimmed == 1


def test_a_cache_that_holds_less_than_it_may_loses_what_it_doesnt_hold_too(host):
    cache = host.watch(Cache("10MB", reserve="100MB"))
    cache.set("a", b"x" * 5 * MB)
    host.free = 99 * MB
    host.watcher.look()
    assert capacity(cache) < 5 * MB


def test_no_look_takes_more_than_a_fifth_and_a_tenth_is_left_for_good(host):
    cache = host.watch(full())
    host.free = 0
    before = cache.stats().weight
    host.watcher.look()
    assert capacity(cache) == pytest.approx(before * (1 - MOST), rel=0.01)
    for _ in range(50):
        host.watcher.look()
    assert capacity(cache) == 10 * MB * LEAST


def test_several_caches_lose_the_same_share(host):
    caches = [host.watch(full("10MB")), host.watch(full("30MB"))]
    held = [cache.stats().weight for cache in caches]
    host.free = 96 * MB
    host.watcher.look()
    for cache, before in zip(caches, held, strict=True):
        assert capacity(cache) == pytest.approx(before * (1 - 4 * MB / sum(held)), rel=0.02)


def test_only_those_are_asked_whose_reserve_isnt_there(host):
    asked, modest = host.watch(full()), host.watch(Cache("10MB", reserve="5MB"))
    host.free = 50 * MB
    host.watcher.look()
    assert capacity(asked) < 10 * MB
    assert capacity(modest) == 10 * MB


def test_budgets_grow_back_slowly_once_twice_the_reserve_is_there(host):
    cache = host.watch(full())
    host.free = 0
    host.watcher.look()
    low = capacity(cache)
    host.free = 150 * MB
    for _ in range(CALM + 5):
        host.watcher.look()
    assert capacity(cache) == low, "it would only shrink again"
    host.free = 1000 * MB
    host.watcher.look()
    assert capacity(cache) == low + 10 * MB * GROWTH
    for _ in range(200):
        host.watcher.look()
    assert capacity(cache) == 10 * MB


def test_after_a_shortage_some_calm_looks_come_first(host):
    cache = host.watch(full())
    host.free = 0
    host.watcher.look()
    low, host.free = capacity(cache), 1000 * MB
    for _ in range(CALM):
        host.watcher.look()
    assert capacity(cache) == low
    host.watcher.look()
    assert capacity(cache) > low


def test_who_resizes_sets_the_full_budget(host):
    cache = host.watch(full())
    host.free = 0
    host.watcher.look()
    cache.resize("40MB")
    host.free = 1000 * MB
    for _ in range(200):
        host.watcher.look()
    assert capacity(cache) == 40 * MB


def test_listeners_are_told(host):
    cache, told = host.watch(full()), []
    cache.subscribe(lambda event: told.append(event) if isinstance(event, Resized) else None)
    host.free = 0
    host.watcher.look()
    assert told == [Resized(capacity(cache), 10 * MB)]


def test_units_of_a_weigher_give_way_by_the_most(host):
    cache = host.watch(Cache(100, weigher=lambda key, value: 10, reserve="100MB"))
    cache.set_many({str(number): number for number in range(10)})
    host.free = 99 * MB
    host.watcher.look()
    assert (capacity(cache), len(cache)) == (80, 8)


def test_a_host_that_tells_nothing_changes_nothing(host):
    cache, host.free = host.watch(full()), None
    assert host.watcher.look()
    assert capacity(cache) == 10 * MB


def test_closed_and_collected_caches_are_forgotten(host):
    closed = host.watch(full())
    host.watch(full())
    closed.close()
    gc.collect()
    host.free = 0
    assert not host.watcher.look()
    assert host.watcher._budgets == []


def test_a_thread_looks_while_there_are_caches_and_ends_with_them(monkeypatch):
    monkeypatch.setattr(pressure, "EVERY", 0.001)
    shrunk, low = threading.Event(), Host()
    low.free = 0
    cache = full()
    cache.subscribe(lambda event: shrunk.set() if isinstance(event, Resized) else None)
    low.watcher.add(cache)
    assert shrunk.wait(20)
    thread = low.watcher._thread
    cache.close()
    thread.join(20)
    assert not thread.is_alive()
    assert low.watcher._thread is None


def test_a_look_that_fails_is_logged_and_the_next_follows(monkeypatch, caplog):
    monkeypatch.setattr(pressure, "EVERY", 0.001)
    looked, cache = threading.Event(), Cache(reserve="1MB")
    answers = iter([OSError("no such file")])

    def free():
        for answer in answers:
            raise answer
        looked.set()

    watcher = Watcher(free)
    watcher.add(cache)
    assert looked.wait(20)
    cache.close()
    assert "the next follows" in caplog.text


def test_the_child_of_a_fork_looks_too(monkeypatch):
    monkeypatch.setattr(pressure, "EVERY", 0.001)
    cache = full()
    pressure.WATCHER._free, real = (lambda: 0), pressure.WATCHER._free
    try:
        child = os.fork()
        if child == 0:
            told = threading.Event()
            cache.subscribe(lambda event: told.set() if isinstance(event, Resized) else None)
            os._exit(0 if told.wait(20) else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        pressure.WATCHER._free = real


def test_real_memory_is_measured_and_given_back():
    cache = full()
    watcher = Watcher()
    watcher._budgets.append(pressure.Budget(cache))
    assert watcher.look()
    pressure._trim()


@pytest.mark.parametrize("given", ["lots", -1, 0, 1.5])
def test_a_wrong_reserve_is_told(given):
    with pytest.raises(ConfigError, match="reserve: got "):
        Cache(reserve=given)


def test_where_no_thread_could_be_started_the_next_cache_starts_one(monkeypatch):
    watcher, start = Watcher(lambda: None), threading.Thread.start

    def fail(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    cache = Cache("10MB")
    with pytest.raises(RuntimeError, match="can't start"):
        watcher.add(cache)
    monkeypatch.setattr(threading.Thread, "start", start)
    watcher.add(cache)
    assert watcher._thread.is_alive()
    cache.close()
