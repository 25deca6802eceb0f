"""Caches over remote tiers: what goes to them, and large values."""

import asyncio
import itertools
import os
import random

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecache import Cache, Memcached, ObjectStore, Redis, ZMemory
from forecache._core import Entry, Packing, ask_served, open_reply, open_served
from forecache.tiers.remote import OPENED, PACKED

names = (f"stack {os.getpid()}:{number}" for number in itertools.count())


@pytest.fixture
def redis(redis_server):
    return lambda **options: Redis(redis_server.url, timeout=5, **options)


@pytest.fixture
def memcached(memcached_servers):
    return lambda **options: Memcached(
        [server.url.removeprefix("memcached://") for server in memcached_servers], timeout=5, **options
    )


@pytest.fixture
def directory(tmp_path):
    return lambda **options: ObjectStore(f"file://{tmp_path}/objects", min_size=0, **options)


@pytest.fixture(params=["redis", "memcached", "directory"])
def remote(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("above", [[], [ZMemory("1MB")]], ids=["memory", "compressed memory"])
def test_what_is_evicted_above_a_remote_tier_does_not_undo_a_delete_of_another_host(above, redis):
    namespace = next(names)
    first, second = ({f"{part}:{number}": random.randbytes(2**16) for number in range(48)} for part in ("first", "second"))
    with (
        Cache("1MB", tiers=[*above, redis()], namespace=namespace) as one,
        Cache(tiers=[redis()], namespace=namespace) as other,
    ):
        one.set_many(first)
        assert other.delete_many(first) == len(first)
        one.set_many(second)
        one.flush()
        assert other.get_many(first) == {}
        assert other.get_many(second) == second


def test_what_memory_evicts_goes_to_a_remote_tier_that_is_told_to_take_it(redis):
    namespace = next(names)
    with Cache(max_entries=1, tiers=[redis(write="demote")], namespace=namespace) as one:
        one.set("evicted", b"value")
        one.set("held", b"value")
        one.flush()
        with Cache(tiers=[redis()], namespace=namespace) as other:
            assert other.get_many(["evicted", "held"]) == {"evicted": b"value"}


@pytest.mark.parametrize("size", [PACKED, PACKED + 1, OPENED + 1, 2**20 - 4096])
@pytest.mark.parametrize("half", [0, 1], ids=["noise", "half zeros"])
def test_values_of_any_size_come_back_in_both_faces(remote, size, half):
    noise = random.randbytes(size >> half)
    value = noise + bytes(size - len(noise))
    with Cache(max_entries=1, tiers=[remote()], namespace=next(names)) as cache:

        async def told():
            await cache.aio.set("awaited", value)
            await cache.aio.set("another", b"")
            return await cache.aio.get_many(["awaited", "none"]), await cache.aio.get("awaited")

        assert asyncio.run(told()) == ({"awaited": value}, value)
        cache.set("plain", value)
        cache.set("another", b"")
        assert cache.get("plain") == value


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.binary(), st.lists(TEXT))
def test_what_asks_a_redis_server_is_what_its_client_would_send(base, keys):
    names = [base + b"k:" + key.encode() for key in keys]
    assert ask_served(base, keys) == hiredis.pack_command((b"MGET", base + b"g", *names))


def test_a_key_that_no_encoding_has_is_refused_before_anything_is_sent():
    with pytest.raises(UnicodeEncodeError):
        ask_served(b"base:", ["fine", "\ud800"])


@given(st.lists(st.binary(max_size=200), min_size=1), st.integers(0, 2**63), st.integers(-1, 1))
def test_served_values_are_opened_up_to_so_many_bytes_and_with_versions_that_are_given(payloads, first, more):
    generation, keys = b"fc1:" + bytes(8), [str(number) for number in range(len(payloads))]
    head = generation + (7).to_bytes(8, "little") + (2**53).to_bytes(8, "little")
    sealed = zip(keys, payloads, strict=True)
    values = [head + Entry(payload).seal("space", key, Packing()) for key, payload in sealed]
    size, versions = sum(map(len, values)), range(first, first + len(keys))
    told = open_served("space", keys, values, generation, 0, size + more, versions=list(versions))
    if more < 0:
        assert told is None
    else:
        found, idle, damaged = told
        assert [(entry.payload, entry.version) for entry in found.values()] == list(zip(payloads, versions, strict=True))
        assert (list(found), idle, damaged) == (keys, [], [])


GENERATION = b"fc1:" + bytes(8)


def reply_of(*values):
    """A server's reply: strings, and None for what isn't there."""
    told = (b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value) for value in values)
    return b"*%d\r\n" % len(values) + b"".join(told)


def plain(served):
    found, idle, damaged = served
    return {key: (entry.payload, entry.version, entry.hard) for key, entry in found.items()}, idle, damaged


@given(
    st.lists(st.one_of(st.none(), st.binary(max_size=60), st.integers(0, 50).map(bytes)), max_size=6),
    st.sampled_from([GENERATION, b"fc1:another.", None]),
    st.integers(0, 20),
    st.data(),
)
def test_a_reply_tells_the_same_where_it_lies_as_what_hiredis_makes_of_it(payloads, generation, now, data):
    keys = [str(number) for number in range(len(payloads))]
    values = []
    for key, payload in zip(keys, payloads, strict=True):
        head = GENERATION + (7).to_bytes(8, "little") + data.draw(st.sampled_from([10, 2**53])).to_bytes(8, "little")
        idle = data.draw(st.sampled_from([None, 5]))
        record = None if payload is None else head + Entry(payload, time_to_idle=idle).seal("space", key, Packing())
        values.append(payload if record and data.draw(st.booleans()) else record)
    reply = reply_of(generation, *values)
    here = open_reply("space", keys, reply, len(reply), now)
    there = ({}, [], []) if generation is None else open_served("space", keys, values, generation, now)
    assert plain(here) == plain(there)
    buffer = bytearray(reply + b"of no account")
    assert plain(open_reply("space", keys, buffer, len(reply), now)) == plain(there)
    assert open_reply("space", keys, buffer, len(reply) + 1, now) is None
    for size in range(1, len(reply)):
        assert open_reply("space", keys, reply, size, now) is False


@pytest.mark.parametrize(
    "reply", [b"-NOAUTH no\r\n", b"*-1\r\n", reply_of(GENERATION), reply_of(GENERATION, bytes(2**14)), b"*2\r\n:1\r\n"]
)
def test_an_unusual_reply_is_left_to_hiredis(reply):
    assert open_reply("space", ["key"], reply, len(reply), 0) is None


@pytest.mark.parametrize("size", [0, 5])
def test_a_reply_is_not_read_beyond_its_buffer(size):
    with pytest.raises(BufferError, match=f"{size} bytes were asked for of a buffer of 4"):
        open_reply("space", [], b"*1\r\n", size, 0)
