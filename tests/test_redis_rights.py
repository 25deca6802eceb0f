"""The Redis tier with users of few rights."""

import itertools
import os
import re
from pathlib import Path

import pytest

from forecache import Cache, Redis

names = (f"rights {os.getpid()}:{number}" for number in itertools.count())
DOCUMENTED = re.search(r"`ACL SETUSER app on >password (~forecache:\* [^`]*)`", Path("docs/tiers.md").read_text("utf-8"))


@pytest.fixture
def made(redis_server):
    """A cache whose user has these rights."""

    def make(*rights):
        redis_server.ask("ACL", "SETUSER", "app", "reset", "on", ">password", *rights)
        return Cache(tiers=[Redis(redis_server.url, username="app", password="password", timeout=5)], namespace=next(names))

    yield make
    redis_server.ask("ACL", "DELUSER", "app")


def used(cache):
    """What one does with a cache; its memory is passed by."""
    cache.set("a", 1, tags=["t"], owner="o", ttl=60, write="around")
    cache.set("b", 2, tti=60, write="around")
    assert cache.get_many(["a", "b"]) == {"a": 1, "b": 2}
    assert (cache.incr("n"), cache.pop("b"), cache.touch("a", ttl=30)) == (1, 2, True)
    assert sorted(cache.scan()) == ["a", "n"]
    assert cache.invalidate(tags=["t"]) == 1
    cache.clear()
    assert cache.get("n") is None
    return cache.stats().tiers[0]


def test_the_rights_that_are_documented_are_enough(made):
    with made(*DOCUMENTED[1].split()) as cache:
        told = used(cache)
        assert (told.failures, told.reason) == (0, None)


def test_who_may_not_ask_which_server_answers_is_told(made, caplog):
    with made("~forecache:*", "+@all", "-info") as cache:
        assert cache.stats().tiers[0].reason is None
        told = used(cache)
    assert (told.state, told.failures) == ("up", 0)
    assert re.search("a failover can't be noticed.*INFO.*NOPERM", told.reason)
    assert [told.reason in record.message for record in caplog.records] == [True]
