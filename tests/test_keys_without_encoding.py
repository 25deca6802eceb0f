"""A key that has no encoding is to all tiers what it is to memory: nothing is there, and nothing is stored under it."""

import pytest
from conftest import Face

from forecache import Cache, Disk, Memcached, ObjectStore, Redis, ZMemory
from forecache.testing import DictTier

LONE = "user:\udcff"
TIERS = {
    "zmemory": lambda request: ZMemory("1MB"),
    "disk": lambda request: Disk(request.getfixturevalue("tmp_path") / "disk", "9MB"),
    "own": lambda request: DictTier(),
    "object": lambda request: ObjectStore(f"file://{request.getfixturevalue('tmp_path')}/objects", min_size=0),
    "redis": lambda request: Redis(request.getfixturevalue("redis_server").url),
    "memcached": lambda request: Memcached([f"127.0.0.1:{each.port}" for each in request.getfixturevalue("memcached_servers")]),
}
VERBS = {
    "get": (LONE,),
    "get_many": ([LONE, "a"],),
    "exists": (LONE,),
    "ttl": (LONE,),
    "touch": (LONE,),
    "delete": (LONE,),
    "delete_many": ([LONE, "a"],),
    "set": (LONE, 1),
    "set_many": ({"b": 1, LONE: 1},),
    "add": (LONE, 1),
    "incr": (LONE,),
    "pop": (LONE, "default"),
    "compare_and_set": (LONE, 1, 2),
    "pin": (LONE,),
}


def answers(face):
    told = {}
    for verb, arguments in VERBS.items():
        face.set("a", 1)
        try:
            told[verb] = getattr(face, verb)(*arguments)
        except Exception as error:
            told[verb] = type(error), str(error)
    return told


@pytest.mark.parametrize("tier", TIERS)
def test_a_key_without_an_encoding_is_answered_as_memory_alone_would(tier, colour, request):
    with Cache() as plain, Cache(tiers=[TIERS[tier](request)], namespace=request.node.name) as cache:
        expected = answers(Face(plain, colour))
        assert answers(Face(cache, colour)) == expected
        stats = cache.stats().tiers[0]
        assert (stats.state, stats.failures) == ("up", 0)
        cache.clear()
    assert (expected["get"], expected["get_many"], expected["exists"]) == (None, {"a": 1}, False)
    assert expected["set"][0] is ValueError
