"""Loads as a caller sees them: loaders of all kinds, options, nothing found, what changes meanwhile."""

import asyncio
import threading
from contextvars import ContextVar
from functools import partial

import pytest
from conftest import PATIENCE
from gates import Gate, joined

from forecache import Cache, ConfigError


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


@pytest.mark.parametrize("option", [{"tags": "abc"}, {"tags": [5]}, {"owner": 5}, {"cost": -1}, {"ttl": 0}])
def test_wrong_options_are_told_before_anything_is_loaded(face, option):
    loaded = []
    with pytest.raises((TypeError, ValueError)):
        face.get_or_load("a", lambda: loaded.append(1), **option)
    assert loaded == []


def test_tags_of_a_load_may_come_from_a_generator(face, cache):
    face.get_or_load("a", lambda: 1, tags=(tag for tag in ["x"]))
    assert cache.invalidate(tags=["x"]) == 1


def test_an_old_ticket_neither_stores_nor_strikes_out_a_new_one(cache):
    old = cache._expect("a")
    new = cache._expect("a")
    assert cache._fulfil("a", "stale", old) is None
    cache._forget("a", old)
    assert cache._fulfil("a", "fresh", new) is True
    assert cache.get("a") == "fresh"
