"""Compressed memory, beside what every tier promises."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecache import POLICIES, ConfigError, ZMemory, _core
from forecache._core import Entry, Packing
from forecache.flow import arun, run
from forecache.testing import FakeClock
from forecache.tiers.tier import wall_time

NOW = 1_700_000_000_000


def store(capacity=10**6, policy="lru", algorithm="none", namespace="", **packing):
    return _core.ZMemory(namespace=namespace, capacity=capacity, policy=policy, packing=Packing(algorithm, **packing), seed=1)


def put(zmemory, items, *, now=NOW, absent=False):
    return zmemory.set_many(
        [(key, value if isinstance(value, Entry) else Entry(value)) for key, value in items.items()], now, absent
    )


def payloads(zmemory, *keys, now=NOW):
    return {key: entry.payload for key, entry in zmemory.get_many(keys, now, None)[0].items()}


@pytest.mark.parametrize("algorithm", ["lz4", "zstd", "snappy", "gzip", "none"])
def test_records_are_compressed_and_charged_as_such(algorithm):
    zmemory = store(algorithm=algorithm)
    put(zmemory, {"key": b"the same again " * 1000})
    entry = zmemory.get("key", NOW, None)
    assert (entry.payload, entry.compression) == (b"the same again " * 1000, algorithm)
    assert (zmemory.stats()["bytes"] < 2_000) == (algorithm != "none")


def test_what_is_evicted_is_given_back_as_it_was():
    zmemory = store(capacity=3_000)
    first = Entry(b"a" * 1000, codec=3, hard=NOW + 5_000, tags=["red"], owner="acme", cost=2.0)
    put(zmemory, {"first": first, "second": b"b" * 1000})
    refused, evicted = put(zmemory, {"third": b"c" * 1000})
    assert (refused, list(evicted)) == ([], ["first"])
    back = evicted["first"]
    assert (back.payload, back.codec, back.hard, back.tags, back.owner, back.cost) == (
        first.payload,
        3,
        NOW + 5_000,
        ["red"],
        "acme",
        2.0,
    )
    assert payloads(zmemory, "first", "second", "third") == {"second": b"b" * 1000, "third": b"c" * 1000}


def test_what_was_evicted_and_stored_anew_in_one_batch_is_not_given_back():
    zmemory = store(capacity=3_000)
    put(zmemory, {"a": b"old" * 300, "b": b"b" * 1000})
    _, evicted = put(zmemory, {"c": b"c" * 1000, "a": b"new" * 300})
    assert "a" not in evicted
    assert payloads(zmemory, "a")["a"] == b"new" * 300


def test_what_expired_or_was_overwritten_is_not_given_back():
    zmemory = store(capacity=3_000)
    put(zmemory, {"a": Entry(b"a" * 1000, hard=NOW + 1_000), "b": b"b" * 1000})
    put(zmemory, {"b": b"B" * 1000})
    _, evicted = put(zmemory, {"c": b"c" * 1000}, now=NOW + 2_000)
    assert evicted == {}


def test_pinned_entries_stay_until_they_are_overwritten_without_a_pin():
    zmemory = store(capacity=3_000)
    put(zmemory, {"pinned": Entry(b"p" * 1000, pinned=True)})
    for number in range(5):
        put(zmemory, {f"key:{number}": b"x" * 1000})
    assert payloads(zmemory, "pinned") == {"pinned": b"p" * 1000}
    put(zmemory, {"pinned": Entry(b"q" * 1000)})
    for number in range(5):
        put(zmemory, {f"key:{number}": b"x" * 1000})
    assert payloads(zmemory, "pinned") == {}


def test_what_has_expired_before_it_comes_removes_what_was_there():
    zmemory = store()
    put(zmemory, {"key": b"old"})
    put(zmemory, {"key": Entry(b"late", hard=NOW)})
    assert payloads(zmemory, "key") == {}


def test_a_clock_that_goes_back_and_forth_brings_back_nothing_wrong():
    zmemory = store()
    put(zmemory, {"a": Entry(b"1", hard=NOW + 1_000)})
    assert payloads(zmemory, "a", now=NOW - 3_600_000) == {"a": b"1"}
    put(zmemory, {"b": Entry(b"2", hard=NOW + 500)}, now=NOW - 3_600_000)
    assert payloads(zmemory, "a", "b", now=NOW + 600) == {"a": b"1"}
    assert payloads(zmemory, "a", "b", now=NOW + 3_600_000) == {}


def test_large_entries_are_told_by_their_size_and_read_when_asked_for():
    zmemory = store(algorithm="lz4")
    put(zmemory, {"large": b"x" * 50_000, "small": b"y" * 100})
    assert zmemory.get("large", NOW, 16_384) == 50_000
    found, large = zmemory.get_many(["large", "small", "absent"], NOW, 16_384)
    assert (list(found), large) == (["small"], ["large"])
    assert zmemory.get("large", NOW, None).payload == b"x" * 50_000


def test_a_smaller_capacity_gives_back_what_has_to_go():
    zmemory = store(capacity=10_000)
    put(zmemory, {f"key:{number}": b"x" * 1000 for number in range(8)})
    evicted = zmemory.resize(5_000, NOW)
    assert zmemory.stats()["bytes"] <= 5_000
    assert len(evicted) == 8 - zmemory.stats()["entries"]


def test_a_swap_that_is_too_large_leaves_nothing_and_is_no_race():
    zmemory = store(capacity=3_000)
    put(zmemory, {"key": b"1"})
    version = zmemory.get("key", NOW, None).version
    assert zmemory.swap("key", version, Entry(b"x" * 5_000), NOW)
    assert payloads(zmemory, "key") == {}


def test_a_wrong_policy_is_told():
    with pytest.raises(ConfigError, match=r'policy: got "best"; allowed: lru, lfu, random, s3fifo'):
        store(policy="best")


def test_large_values_are_unpacked_in_a_thread_under_the_async_face_only():
    import asyncio
    import threading

    tier = ZMemory().make("", wall_time(FakeClock()))
    before = threading.active_count()
    run(tier.set_many({"large": Entry(b"x" * 10**6)}))
    assert run(tier.get_many(["large"]))["large"].payload == b"x" * 10**6
    assert threading.active_count() == before

    async def read():
        flow = tier.get_many(["large"])
        request = next(flow)
        flow.close()
        assert request.function.__name__ == "get_many"
        return (await arun(tier.get_many(["large"])))["large"].payload

    assert asyncio.run(read()) == b"x" * 10**6


KEYS = st.sampled_from([f"key:{number}" for number in range(8)])
STEPS = st.one_of(
    st.tuples(st.just("set"), KEYS, st.integers(0, 3_000)),
    st.tuples(st.just("absent"), KEYS, st.integers(0, 3_000)),
    st.tuples(st.just("swap"), KEYS, st.integers(0, 3_000)),
    st.tuples(st.just("get"), KEYS, st.none()),
    st.tuples(st.just("delete"), KEYS, st.none()),
    st.tuples(st.just("clear"), st.sampled_from(["red", "blue", "acme", None]), st.none()),
    st.tuples(st.just("wait"), st.integers(1, 2_000), st.none()),
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(POLICIES), st.sampled_from(["none", "lz4"]), st.lists(STEPS, max_size=80))
def test_it_is_a_dict_that_forgets_only_what_it_gives_back(policy, algorithm, steps):
    zmemory = store(5_000, policy, algorithm, min_size=0, min_ratio=1)
    held, now = {}, NOW
    for number, (verb, what, size) in enumerate(steps):
        held = {key: entry for key, entry in held.items() if entry.hard is None or entry.hard > now}
        if verb in ("set", "absent", "swap"):
            tags, owner = (["red"], "") if number % 3 else (["blue"], "acme")
            hard = now + 1_500 if number % 4 == 0 else None
            entry = Entry(random.Random(number).randbytes(size), hard=hard, tags=tags, owner=owner)
            evicted = {}
            if verb == "swap":
                there = zmemory.get(what, now, None)
                assert zmemory.swap(what, there.version if there else None, entry, now)
                held[what] = entry
            elif verb == "set" or what not in held:
                refused, evicted = zmemory.set_many([(what, entry)], now, verb == "absent")
                held[what] = entry
                for key in refused:
                    del held[key]
            for key, gone in evicted.items():
                assert held.pop(key).payload == gone.payload
            if verb == "swap":  # it gives nothing back
                held = {key: entry for key, entry in held.items() if zmemory.get(key, now, None)}
        elif verb == "delete":
            assert zmemory.delete_many([what], now) == ([what] if held.pop(what, None) else [])
        elif verb == "clear":
            gone = [key for key, entry in held.items() if what is None or what in entry.tags or what == entry.owner]
            tags = [what] if what in ("red", "blue") else []
            assert zmemory.clear(tags, "acme" if what == "acme" else None, now) == len(gone)
            for key in gone:
                del held[key]
        elif verb == "wait":
            now += what
            held = {key: entry for key, entry in held.items() if entry.hard is None or entry.hard > now}
        assert payloads(zmemory, *held, now=now) == {key: entry.payload for key, entry in held.items()}
        assert zmemory.stats()["bytes"] <= 5_000
