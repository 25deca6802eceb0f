"""Verbs and faces of caches with tiers, in both colours."""

import pytest
from conftest import Face
from tiers_made import Counting, Noted, made

from forecache import (
    AsyncCache,
    Cache,
    Disk,
    ImmutableError,
    ReentrantLoad,
    Removed,
    ZMemory,
)
from forecache._core import Counters
from forecache.tiers.boundary import Custom


def test_threads_count_in_a_shared_tier(crew, colour):
    entries = {}
    faces = [made((Noted(entries, shared=True), "behind"), colour=colour) for _ in range(2)]

    def count(face):
        for _ in range(100):
            face.incr("n")

    for face in faces * 2:
        crew.send(count, face)
    crew.back()
    assert not crew.errors
    assert faces[0].incr("n", 0) == 400
    for face in faces:
        face.close()


def test_threads_count_in_tiers_of_their_own(crew, colour):
    face = made((Noted(), "behind"), colour=colour, capacity="2KB")

    def count():
        for _ in range(100):
            face.incr("n")

    for _ in range(4):
        crew.send(count)
    crew.back()
    assert not crew.errors
    assert face.get("n") == 400
    face.close()


def test_only_one_of_many_adds(crew, colour):
    entries = {}
    faces = [made((Noted(entries, shared=True), "behind"), colour=colour) for _ in range(2)]
    for n in range(8):
        crew.send(faces[n % 2].add, "a", n)
    assert sorted(crew.back().results) == [False] * 7 + [True]
    for face in faces:
        face.close()


def test_a_value_is_popped_once(crew, colour):
    entries, counters = {}, Counters()
    faces = [made((Counting(entries, view), "behind"), colour=colour) for view in (counters, Counters(counters))]
    faces[0].set("a", 1)
    faces[0].flush()
    for n in range(8):
        crew.send(faces[n % 2].pop, "a")
    assert [each for each in crew.back().results if each is not None] == [1]
    for face in faces:
        face.close()


def test_scan_and_items_are_of_all_tiers(colour):
    face = made((Noted(), "behind"), (Noted(name="other"), "demote"), colour=colour, capacity="3KB")
    face.set_many({f"k{n:02}": "v" * 200 for n in range(30)})
    assert sorted(face.scan("k*")) == [f"k{n:02}" for n in range(30)]
    face.flush()
    assert sorted(face.scan()) == [f"k{n:02}" for n in range(30)]
    assert len(face.cache) == 30
    assert dict(face.cache.items())["k07"] == "v" * 200
    assert "k07" in face.cache
    del face.cache["k07"]
    with pytest.raises(KeyError):
        face.cache["k07"]
    with pytest.raises(KeyError):
        del face.cache["k07"]
    face.close()


def test_a_pinned_key_climbs_and_stays(colour):
    face = made((Noted(), "through"), colour=colour, capacity="3KB")
    face.set("a", 1, write="around")
    assert face.pin("a")
    assert not face.pin("b")
    for n in range(50):
        face.set(f"k{n}", "v" * 200)
    assert face.cache._peek("a") == 1
    face.close()


def test_a_subclass_of_users_comes_before_the_tiers():
    class Loud(Cache):
        def set(self, key, value, **options):
            return super().set(key.upper(), value, **options)

    cache = Loud(tiers=[Custom(Noted(), write="behind")])
    cache.set("a", 1)
    assert (cache.get("A"), cache.get("a")) == (1, None)
    assert isinstance(cache, Loud)
    cache.close()


def test_async_cache_with_tiers_has_its_face():
    async_cache = AsyncCache("1MB", tiers=[Custom(Noted(), write="through")])
    assert async_cache.sync.aio is async_cache
    assert type(async_cache).__name__ == "TieredFace"
    async_cache.sync.close()


def test_cached_functions_find_what_lies_below(colour):
    tier = Noted()
    cache = made((tier, "through")).cache
    calls = []

    @cache.cached(key="f:{x}")
    def f(x):
        calls.append(x)
        return x + 1

    assert f(1) == 2
    again = made((Noted(tier.entries), "through")).cache
    g = again.cached(key="f:{x}")(f.__wrapped__)
    assert g(1) == 2
    assert calls == [1]
    cache.close()
    again.close()


def test_listeners_hear_of_victims_once(colour):
    heard = []
    face = made((Noted(), "behind"), colour=colour, capacity="2KB")
    face.cache.subscribe(lambda event: heard.append(event) if isinstance(event, Removed) else None)
    for n in range(10):
        face.set(f"k{n}", "v" * 300)
    face.flush()
    assert {event.cause for event in heard} == {"size"}
    assert len({event.key for event in heard}) == len(heard)
    face.close()


@pytest.mark.parametrize("way", ["queue", "zmemory", "disk", "around"])
def test_an_immutable_entry_below_memory_takes_no_other_content(colour, tmp_path, way):
    boundary = {
        "queue": lambda: Custom(Noted(), write="behind"),
        "zmemory": lambda: ZMemory("1MB"),
        "disk": lambda: Disk(tmp_path, "8MiB"),
        "around": lambda: Custom(Noted(), write="behind"),
    }[way]()
    face = Face(Cache("1MB", tiers=[boundary]), colour)
    if way == "queue":
        face.cache._stack.tiers[0].tier.gate.clear()
    face.set("a", [1, 2], immutable=True)
    if way != "around":
        face.cache.resize("1B")
        face.cache.resize("1MB")
    if way != "queue":
        face.flush()
    for write in (None, "around", "through"):
        with pytest.raises(ImmutableError, match="'a' is immutable"):
            face.set("a", [1], write=write) if way != "around" else face.set("a", [1], write="around")
        with pytest.raises(ImmutableError, match="'a' is immutable"):
            face.set_many({"a": [1]}, write="around")
        assert face.set("a", [1, 2], write="around" if way == "around" else write)
    if way == "queue":
        face.cache._stack.tiers[0].tier.gate.set()
    assert face.get("a") == [1, 2]
    assert face.delete("a")
    assert face.set("a", [1])
    face.close()


def test_an_immutable_entry_is_so_after_a_restart(colour, tmp_path):
    with Cache("1MB", tiers=[Disk(tmp_path, "8MiB")]) as cache:
        cache.set("a", 1, immutable=True)
        cache.set("b", 1)
    face = Face(Cache("1MB", tiers=[Disk(tmp_path, "8MiB")]), colour)
    with pytest.raises(ImmutableError):
        face.set("a", 2)
    assert face.set("a", 1)
    assert face.set("b", 2)
    assert face.get_many(["a", "b"]) == {"a": 1, "b": 2}
    face.close()


class Nosy:
    """What changes the key about which it is asked."""

    def __init__(self, cache):
        self.cache = cache

    def __eq__(self, other):
        return self.cache.incr("a")

    __hash__ = None


def test_a_verb_that_comes_to_its_own_key_is_an_error(colour):
    face = made((Noted(), "behind"), colour=colour)
    face.set("a", 1)
    with pytest.raises(ReentrantLoad, match="'a' is being changed"):
        face.compare_and_set("a", Nosy(face.cache), 2)
    assert face.incr("a") == 2
    face.close()
