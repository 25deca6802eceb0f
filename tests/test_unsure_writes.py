"""A write that was given up and may still be done by the server: its key stays owed until the time for it is over."""

import asyncio
import contextlib
import itertools
import os
import socket

import pytest

from forecache import Cache, Redis, TierUnavailable
from forecache._core import Entry
from forecache.flow import arun, run
from forecache.tiers import redis_wire
from forecache.tiers.journal import Journal
from forecache.tiers.owed import Owed

names = (f"unsure {os.getpid()}:{number}" for number in itertools.count())
TIMEOUT = 20


@pytest.fixture(params=["sync", "async"])
def do(request):
    return run if request.param == "sync" else lambda flow: asyncio.run(arun(flow))


def held_up(monkeypatch, *errors):
    """Scripts that are sent from now on are kept on their way, and the caller meets an error, or is interrupted."""
    kept = []
    plain, awaited = redis_wire.PlainLink.send, redis_wire.AwaitedLink.send

    def send(link, data):
        if b"EVALSHA" not in data:
            return plain(link, data)
        kept.append(data)
        raise errors[0]

    async def asend(link, data):
        if b"EVALSHA" not in data:
            return await awaited(link, data)
        kept.append(data)
        raise errors[-1]

    monkeypatch.setattr(redis_wire.PlainLink, "send", send)
    monkeypatch.setattr(redis_wire.AwaitedLink, "send", asend)
    return kept


def arrive(server, kept):
    with socket.create_connection(server.address, timeout=TIMEOUT) as connection:
        for data in kept:
            connection.sendall(data)
            assert connection.recv(1000).startswith(b"*")


@pytest.mark.parametrize("errors", [(KeyboardInterrupt(), asyncio.CancelledError()), (ConnectionResetError("reset"),)])
@pytest.mark.parametrize("verb", ["set", "add"])
def test_a_write_that_comes_after_a_later_delete_is_not_read(redis_server, do, monkeypatch, verb, errors):
    now = [1_700_000_000_000]
    tier = Redis(redis_server.url, timeout=TIMEOUT, retries=0).make(next(names), lambda: now[0])
    do(tier.set_many({"a": Entry(b"old"), "b": Entry(b"other")}))
    do(tier.delete_many(["a"]))
    with monkeypatch.context() as patch:
        kept = held_up(patch, *errors)
        write = tier.set_many({"a": Entry(b"late")}) if verb == "set" else tier.swap("a", None, Entry(b"late"))
        with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError, TierUnavailable):
            do(write)
    assert len(kept) == 1
    do(tier.delete_many(["a"]))
    arrive(redis_server, kept)
    assert list(do(tier.get_many(["a", "b"]))) == ["b"]
    do(tier.set_many({"a": Entry(b"new")}))
    arrive(redis_server, kept)
    assert list(do(tier.get_many(["a"]))) == []
    assert tier.stats().owed == 1
    now[0] += TIMEOUT * 1000 + 1
    arrive(redis_server, kept)
    assert list(do(tier.get_many(["a"]))) == []
    assert tier.stats().owed == 0
    do(tier.set_many({"a": Entry(b"new")}))
    assert do(tier.get_many(["a"]))["a"].payload == b"new"
    do(tier.close())


def test_what_a_server_refused_or_never_got_is_owed_no_longer_than_usual(redis_server, do):
    now = [1_700_000_000_000]
    tier = Redis(redis_server.url, timeout=TIMEOUT, retries=0).make(next(names), lambda: now[0])
    do(tier.set_many({"a": Entry(b"old")}))
    redis_server.ask("CONFIG", "SET", "maxmemory", 1)
    try:
        do(tier.set_many({"a": Entry(b"new")}))
        assert tier.stats().owed == 1
        assert do(tier.get_many(["a"])) == {}
        assert tier.stats().owed == 0
    finally:
        redis_server.ask("CONFIG", "SET", "maxmemory", 0)
    do(tier.close())


def settled(owed, keys, now):
    due = owed.due(keys, now)
    owed.settle(due)
    owed.leave(due)
    return set(due.keys)


@pytest.mark.parametrize("kept", [False, True])
def test_what_may_still_come_is_deleted_when_asked_for_and_again_when_it_is_over(tmp_path, kept):
    owed = Owed(Journal(tmp_path / "j", "tier") if kept else None)
    owed.hold(["a"], 100)
    owed.add(["a", "b"])
    assert settled(owed, ["a"], 99) == {"a", "b"}
    assert owed.hides("a")
    assert not owed.hides("b")
    assert settled(owed, [], 99) == set()  # others needn't wait for it
    assert settled(owed, [], 100) == {"a"}
    assert not owed


def test_what_may_still_come_is_held_to_the_latest_of_several_times(tmp_path):
    owed = Owed(Journal(tmp_path / "j", "tier"))
    owed.hold(["a"], 100)
    owed.hold(["a"], 50)
    settled(owed, ["a"], 99)
    assert owed.hides("a")


def test_another_process_keeps_it_owed_too(tmp_path):
    ours, theirs = (Owed(Journal(tmp_path / "j", "tier")) for _ in range(2))
    ours.hold(["a", "b"], 100)
    assert settled(theirs, ["a"], 99) == {"a"}
    assert ours.hides("a")
    later = Owed(Journal(tmp_path / "j", "tier"))
    assert later.hides("b")
    assert settled(later, [], 100) == {"a", "b"}
    assert not ours
    ours.add(["a"])
    assert settled(theirs, [], 0) == {"a"}


def test_a_journal_that_is_written_anew_keeps_the_times(tmp_path, monkeypatch):
    monkeypatch.setattr("forecache.tiers.journal.ANEW", 0)
    ours = Owed(Journal(tmp_path / "j", "tier"))
    ours.hold(["a"], 100)
    for number in range(50):
        ours.add([f"key {number}"])
        settled(ours, [], 0)
    later = Owed(Journal(tmp_path / "j", "tier"))
    assert settled(later, ["a"], 99) == {"a"}
    assert later.hides("a")


def test_nothing_is_decided_in_a_tier_while_a_write_may_still_come(redis_server, tmp_path, monkeypatch):
    now = [1_700_000_000_000]
    cache = Cache(tiers=[Redis(redis_server.url, timeout=TIMEOUT, retries=0)], journal=tmp_path, namespace=next(names))
    monkeypatch.setattr(cache._stack.tiers[0], "_now", lambda: now[0])
    with monkeypatch.context() as patch:
        kept = held_up(patch, ConnectionResetError("reset"))
        cache.set("lock", "late")
    assert len(kept) == 1
    cache.delete("lock")
    assert [cache.add("lock", number) for number in range(3)] == [True, False, False]
    cache.set("lock", 7)
    assert (cache.incr("lock"), cache.pop("lock"), cache.get("lock")) == (8, 8, None)
    now[0] += TIMEOUT * 1000 + 1
    assert cache.add("lock", 9)
    assert redis_server.ask("DBSIZE") > 0
    cache.close()
