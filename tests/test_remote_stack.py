"""Caches over remote tiers: what goes to them, and large values."""

import asyncio
import itertools
import os
import random

import pytest

from forecache import Cache, Memcached, ObjectStore, Redis, ZMemory
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
