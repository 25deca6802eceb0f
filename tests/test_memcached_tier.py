"""The Memcached tier on real servers: what every tier promises, shares, limits, failures, and writes that come too late."""

import asyncio
import os
import random
import socket
import sys
import time

import pytest
from conftest import PATIENCE, Face
from servers.process import free_port

from forecache import Cache, Memcached, TierUnavailable
from forecache._core import Entry
from forecache.flow import arun, run
from forecache.testing import check_tier
from forecache.tiers.memcached_ports import Server
from forecache.tiers.memcached_server import MemcachedTier
from forecache.tiers.memcached_wire import put, read


@pytest.fixture
def namespace(request):
    return f"{request.node.name}:{os.urandom(4).hex()}"


@pytest.fixture
def servers(memcached_servers):
    yield memcached_servers
    for server in memcached_servers:
        server.mend()


@pytest.fixture
def server(servers):
    return servers[0]


def at(*servers, timeout=20, **options):
    return Memcached([f"127.0.0.1:{server.port}" for server in servers], timeout=timeout, **options)


def bare(server, namespace, now, **options):
    """The tier of a server, without layers."""
    return MemcachedTier(at(server, **options), Server(*server.address), namespace, now)


def get(tier, *keys):
    return {key: entry.payload for key, entry in run(tier.get_many(keys)).items()}


def put_in(tier, **entries):
    return run(tier.set_many({key: Entry(value) for key, value in entries.items()}))


def said(server, data):
    """The first line of the reply to bytes that are sent over a connection of their own."""
    with socket.create_connection(server.address, 5) as line, line.makefile("rwb") as file:
        file.write(data)
        file.flush()
        return file.readline().strip()


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_it_keeps_what_tiers_promise(servers, colour, count):
    spaces = {}

    def opened(now):
        tier = at(*servers[:count]).make(os.urandom(8).hex(), now)
        spaces[tier] = next(iter(tier.parts.values())).tier.tier._records.namespace
        return tier

    check_tier(opened, colours=[colour], again=lambda tier, now: at(*servers[:count]).make(spaces[tier], now), shared=True)


def test_namespaces_are_apart(server, now):
    one, other = (at(server).make(name + os.urandom(4).hex(), now) for name in ("one", "other"))
    put_in(one, a=b"1")
    put_in(other, a=b"2")
    run(one.clear())
    assert (get(one, "a"), get(other, "a")) == ({}, {"a": b"2"})
    run(one.close())
    run(other.close())


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_server_that_is_killed_is_a_miss_for_its_share_and_the_others_go_on(servers, namespace, clock, now, colour):
    drive = run if colour == "sync" else (lambda flow: asyncio.run(arun(flow)))
    tier = at(*servers).make(namespace, now)
    keys = {f"key:{number}": Entry(b"old") for number in range(90)}
    drive(tier.set_many(keys))
    lost = {key for key in keys if tier.tier(key).name.endswith(f"{servers[1].port}]")}
    assert 15 < len(lost) < 45
    servers[1].kill()
    for _ in range(4):
        assert set(drive(tier.get_many(list(keys)))) == set(keys) - lost
        assert drive(tier.set_many({key: Entry(b"new") for key in keys})).refused == set()
    stats = tier.stats()
    assert (stats.state, stats.failures > 0) == ("up", True)
    assert str(servers[1].port) in stats.reason
    servers[1].start()
    clock.advance(2)
    drive(tier.set_many({key: Entry(b"back") for key in keys}))
    assert {entry.payload for entry in drive(tier.get_many(list(keys))).values()} == {b"back"}
    assert len(drive(tier.get_many(list(keys)))) == 90
    assert (tier.stats().reason, tier.stats().owed) == (None, 0)
    drive(tier.close())


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_what_was_deleted_while_a_server_hung_does_not_come_back_with_it(server, namespace, clock, now, colour):
    drive = run if colour == "sync" else (lambda flow: asyncio.run(arun(flow)))
    tier = at(server, timeout=0.5, retries=0).make(namespace, now)
    drive(tier.set_many({"stays": Entry(b"1"), "goes": Entry(b"2"), "changes": Entry(b"3")}))
    server.pause()
    assert drive(tier.get_many(["stays"])) == {}
    drive(tier.delete_many(["goes"]))
    drive(tier.set_many({"changes": Entry(b"4"), "begins": Entry(b"5")}))
    assert tier.stats().state == "down"
    assert "no answer in time" in tier.stats().reason
    server.resume()
    clock.advance(2)
    keys = ["stays", "goes", "changes", "begins"]
    for _ in range(20):  # also after all that lay in the server's buffers was read
        assert set(drive(tier.get_many(keys))) == {"stays"}
    drive(tier.close())


def late(tier, key, value):
    """The command by which a tier that reads now would store a value: the bytes that are sent."""
    entry = Entry(value)
    epochs, seen = run(tier._places({key: entry}, None, absent=False))
    command = tier._put(key, entry, tier._records.seal(key, entry), epochs, seen)
    return command.line + command.value + b"\r\n"


def test_a_write_that_comes_too_late_does_nothing(server, namespace, now):
    tier = bare(server, namespace, now)
    put_in(tier, there=b"1", gone=b"2", both=b"3")
    commands = {key: late(tier, key, b"late") for key in ("there", "gone", "both", "absent", "fresh")}
    put_in(tier, there=b"new", fresh=b"new")
    run(tier.delete_many(["gone", "both", "absent"]))
    put_in(tier, both=b"new")
    expected = {"there": b"EX", "gone": b"EX", "both": b"EX", "absent": b"NS", "fresh": b"NS"}
    assert {key: said(server, command) for key, command in commands.items()} == expected
    assert get(tier, *commands) == {"there": b"new", "both": b"new", "fresh": b"new"}
    run(tier.close())


def test_deletes_leave_tombstones_only_while_a_write_may_come_late(server, namespace, now):
    tier = bare(server, namespace, now)
    name = tier._name(b"e", "a").decode()
    put_in(tier, a=b"1")
    assert run(tier.delete_many(["a"])) == {"a"}
    assert server.ask(f"mg {name} v").startswith("VA")  # it doesn't know yet what was before it
    assert run(tier.delete_many(["a"])) == set()
    tier._wary = time.monotonic()
    assert run(tier.delete_many(["a"])) == set()
    assert server.ask(f"mg {name} v") == "EN"
    put_in(tier, a=b"1")
    run(tier.delete_many(["a"]))
    assert server.ask(f"mg {name} v") == "EN"
    run(tier.close())


def test_a_server_that_was_restarted_is_empty_and_no_version_comes_again(servers, namespace, now):
    server = servers[2]
    tier = bare(server, namespace, now)
    put_in(tier, a=b"1")
    version = run(tier.get_many(["a"]))["a"].version
    server.kill()
    server.start()
    assert get(tier, "a") == {}  # over a new connection: that the old one is dead is seen before it is used
    for _ in range(5):
        put_in(tier, a=b"2")
    assert run(tier.swap("a", version, Entry(b"3"))) is False
    assert get(tier, "a") == {"a": b"2"}
    run(tier.close())


@pytest.mark.parametrize("value", [b"", b"fm1:", b"foreign" * 20, b"fm1:" + b"\0" * 40])
def test_what_others_stored_under_our_names_is_a_miss(server, namespace, now, value):
    tier = bare(server, namespace, now)
    put_in(tier, a=b"1", b=b"2")
    name = tier._name(b"e", "a")
    command = put(name, value, 0)
    said(server, command.line + command.value + b"\r\n")
    assert get(tier, "a", "b") == {"b": b"2"}
    if not value.startswith(b"fm1:\0"):  # that is an entry of another epoch
        assert tier.stats().corrupt == 1
        assert server.ask(f"mg {name.decode()}") == "EN"
    put_in(tier, a=b"3")
    assert get(tier, "a") == {"a": b"3"}
    run(tier.close())


def test_a_record_that_is_damaged_or_of_another_key_is_a_miss_and_removed(server, namespace, now):
    tier = bare(server, namespace, now)
    put_in(tier, a=b"x" * 100, b=b"2")
    value = run(tier._ask([read(tier._name(b"e", "a"))], None))[0].value
    for number, wrong in enumerate((value[:-1] + bytes([value[-1] ^ 1]), value[:40]), 1):
        for key in ("a", "b"):
            command = put(tier._name(b"e", key), wrong if key == "a" else value, 0)
            said(server, command.line + command.value + b"\r\n")
        assert get(tier, "a", "b") == {}
        assert tier.stats().corrupt == 2 * number
        assert server.ask(f"mg {tier._name(b'e', 'a').decode()}") == "EN"
    run(tier.close())


def test_an_item_that_is_no_number_where_an_epoch_belongs_is_replaced(server, namespace, now):
    tier = bare(server, namespace, now)
    command = put(tier._epoch, b"garbage", 0)
    said(server, command.line + command.value + b"\r\n")
    assert get(tier, "a") == {}
    put_in(tier, a=b"1")
    assert get(tier, "a") == {"a": b"1"}
    run(tier.close())


def test_an_epoch_that_the_server_forgot_is_begun_anew(server, namespace, now):
    tier = bare(server, namespace, now)
    run(tier.set_many({"plain": Entry(b"1"), "tagged": Entry(b"2", tags=["red"])}))
    server.ask(f"md {tier._name(b't', 'red').decode()}")
    assert get(tier, "plain", "tagged") == {"plain": b"1"}
    server.ask(f"md {tier._epoch.decode()}")
    assert get(tier, "plain", "tagged") == {}
    run(tier.set_many({"plain": Entry(b"3"), "tagged": Entry(b"4", tags=["red"])}))
    assert get(tier, "plain", "tagged") == {"plain": b"3", "tagged": b"4"}
    run(tier.close())


def test_what_is_too_large_for_the_server_is_refused_and_what_was_there_is_gone(server, namespace, now):
    tier = at(server).make(namespace, now)
    assert tier.largest is None
    noise = random.Random(1).randbytes(2**20)
    put_in(tier, large=b"old", small=b"1")
    assert 2**20 - 4096 < tier.largest < 2**20
    assert set(run(tier.set_many({"large": Entry(noise), "small": Entry(b"2")})).refused) == {"large"}
    assert get(tier, "large", "small") == {"small": b"2"}
    assert run(tier.swap("large", None, Entry(noise)))
    version = run(tier.get_many(["small"]))["small"].version
    assert run(tier.swap("small", version, Entry(noise)))
    assert get(tier, "large", "small") == {}
    fits = Entry(noise[: tier.largest])
    assert not run(tier.set_many({"large": fits})).refused
    assert get(tier, "large") == {"large": fits.payload}
    assert (tier.stats().refused, tier.stats().failures) == (1, 0)
    run(tier.close())


def test_the_server_s_own_word_refuses_what_was_taken_to_fit(server, namespace, now):
    tier = bare(server, namespace, now)
    put_in(tier, a=b"old")
    tier.largest = 2**30
    assert set(run(tier.set_many({"a": Entry(random.Random(1).randbytes(2**21))})).refused) == {"a"}
    assert get(tier, "a") == {}
    run(tier.close())


def test_a_large_batch_ends(server, namespace, now):
    tier = at(server, timeout=20).make(namespace, now)
    entries = {f"key:{number}": Entry(random.Random(number).randbytes(4000)) for number in range(3000)}
    run(tier.set_many(entries))
    found = run(tier.get_many(list(entries)))
    assert {key: entry.payload for key, entry in found.items()} == {key: entry.payload for key, entry in entries.items()}
    assert run(tier.delete_many(list(entries))) == set(entries)
    assert run(tier.get_many(list(entries))) == {}
    run(tier.close())


@pytest.mark.parametrize("days", [1, 29, 31, 400])
def test_a_time_to_live_is_right_whatever_its_length(server, namespace, clock, now, days):
    tier = bare(server, namespace, now)
    span = days * 24 * 3600
    run(tier.set_many({"a": Entry(b"1", hard=now() + span * 1000)}))
    left = int(server.ask(f"mg {tier._name(b'e', 'a').decode()} t").partition(" t")[2])
    assert span < left <= span + 61
    clock.advance(span - 1)
    assert get(tier, "a") == {"a": b"1"}
    clock.advance(1)
    assert get(tier, "a") == {}
    run(tier.close())


def test_nobody_gets_a_reply_to_another_s_command_however_tasks_are_cancelled(server, namespace, now):
    tier = at(server, connections=4, timeout=5, retries=0).make(namespace, now)
    entries = {f"key:{number}": Entry(f"value {number} ".encode() * 200) for number in range(50)}
    run(tier.set_many(entries))
    chance = random.Random(7)
    wrong, answered = [], []

    async def ask(key):
        found = await arun(tier.get_many([key]))
        answered.append(key)
        if found and found[key].payload != entries[key].payload:
            wrong.append(key)

    async def all_of_them():
        for _ in range(100):
            tasks = [asyncio.ensure_future(ask(chance.choice(list(entries)))) for _ in range(20)]
            for task in tasks:
                if chance.random() < 0.7:
                    asyncio.get_running_loop().call_later(chance.random() * 0.004, task.cancel)
            await asyncio.gather(*tasks, return_exceptions=True)
        return await arun(tier.get_many(list(entries)))

    found = asyncio.run(all_of_them())
    assert wrong == []
    assert len(answered) > 100
    assert {key: entry.payload for key, entry in found.items()} == {key: entry.payload for key, entry in entries.items()}
    run(tier.close())


def test_threads_share_connections_and_wait_for_one_in_time(server, namespace, now, crew):
    tier = at(server, connections=2, timeout=5).make(namespace, now)
    put_in(tier, a=b"1")
    for _ in range(8):
        crew.send(lambda: [get(tier, "a") for _ in range(50)])
    assert crew.back().errors == []
    assert {tuple(found) for result in crew.results for found in result} == {("a",)}
    run(tier.close())


def test_a_connection_that_does_not_come_free_is_told(server, namespace, now):
    tier = bare(server, namespace, now, connections=1, timeout=0.05)
    put_in(tier, a=b"1")
    tier._plain._places.acquire()
    with pytest.raises(TierUnavailable, match="all 1 connections are in use"):
        get(tier, "a")
    tier._plain._places.release()
    assert get(tier, "a") == {"a": b"1"}

    async def busy():
        port = await tier._awaited.get()
        await port._take(None)
        with pytest.raises(TierUnavailable, match="all 1 connections are in use"):
            await arun(tier.get_many(["a"]))
        waiting = asyncio.ensure_future(arun(tier.get_many(["a"])))
        await asyncio.sleep(0)
        port._give()
        return await waiting

    assert asyncio.run(busy())["a"].payload == b"1"
    run(tier.close())


def test_each_event_loop_has_connections_of_its_own(server, namespace, now):
    tier = at(server).make(namespace, now)
    put_in(tier, a=b"1")
    for _ in range(3):
        assert asyncio.run(arun(tier.get_many(["a"])))["a"].payload == b"1"
    assert get(tier, "a") == {"a": b"1"}
    asyncio.run(arun(tier.close()))


def test_the_child_of_a_fork_has_connections_of_its_own(server, namespace, now):
    tier = at(server).make(namespace, now)
    put_in(tier, a=b"parent")
    child = os.fork()
    if child == 0:
        try:
            put_in(tier, b=b"child")
            os._exit(0 if get(tier, "a", "b") == {"a": b"parent", "b": b"child"} else 1)
        finally:
            os._exit(2)
    for _ in range(50):
        assert get(tier, "a") == {"a": b"parent"}
    assert os.waitpid(child, 0)[1] == 0
    assert get(tier, "a", "b") == {"a": b"parent", "b": b"child"}
    run(tier.close())


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_server_that_is_not_there_is_a_miss_with_a_reason(namespace, colour):
    port = free_port()
    with Cache(tiers=[Memcached(f"127.0.0.1:{port}", retries=0)], namespace=namespace) as cache:
        face = Face(cache, colour)
        face.set("a", 1)
        assert face.get("a") == 1
        assert face.get("b") is None
        told = face.stats().tiers[0]
        assert f"127.0.0.1:{port}" in told.reason
        assert told.failures > 0


def test_a_strict_one_raises(namespace):
    tier = Memcached(f"127.0.0.1:{free_port()}", retries=0, strict=True)
    with Cache(tiers=[tier], namespace=namespace) as cache, pytest.raises(TierUnavailable, match=r"127\.0\.0\.1"):
        cache.get("a")


@pytest.mark.parametrize("fault", ["garbage", "half_open", "cut", "trickle"])
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_fault_on_the_way_is_never_an_answer(server, namespace, now, proxy_to, fault, colour):
    drive = run if colour == "sync" else (lambda flow: asyncio.run(arun(flow)))
    proxy = proxy_to(server.address)
    tier = MemcachedTier(at(server, timeout=0.5), Server(*proxy.address), namespace, now)
    payload = os.urandom(20_000)
    drive(tier.set_many({"a": Entry(payload)}))
    getattr(proxy, fault)()
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises((TierUnavailable, TimeoutError)):
            drive(tier.get_many(["a"]))
    assert time.monotonic() - began < 6
    proxy.heal()
    assert {key: entry.payload for key, entry in drive(tier.get_many(["a"])).items()} == {"a": payload}
    drive(tier.close())


def test_caches_over_the_same_servers_share_and_count_together(servers, namespace):
    with Cache(tiers=[at(*servers)], namespace=namespace) as one, Cache(tiers=[at(*servers[::-1])], namespace=namespace) as other:
        one.set_many({f"key:{number}": {"number": number} for number in range(100)}, ttl="1h", tags=["numbers"])
        assert other.get_many([f"key:{number}" for number in range(100)]) == {
            f"key:{number}": {"number": number} for number in range(100)
        }
        assert [one.incr("count"), other.incr("count"), one.incr("count")] == [1, 2, 3]
        assert other.pop("count") == 3
        assert one.add("count", 7)
        other.invalidate(tags=["numbers"])
        with Cache(tiers=[at(*servers)], namespace=namespace) as third:
            assert third.get("key:1") is None
            assert third.get("count") == 7


def test_a_url_names_the_servers(servers, namespace):
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    with Cache.from_url("memory://", f"memcached://{hosts}?timeout=2s&name=far", namespace=namespace) as cache:
        cache.set("a", 1)
        assert cache.config.tiers[0] == at(*servers, timeout=2, name="far")
        assert cache.stats().tiers[0].name == "far"
    with Cache(tiers=[at(*servers)], namespace=namespace) as other:
        assert other.get("a") == 1


@pytest.mark.parametrize("count", [1, 3])
def test_what_a_process_could_not_delete_is_deleted_for_another_that_asks(servers, namespace, tmp_path, count):
    def opened(timeout=20):
        return Cache(tiers=[at(*servers[:count], timeout=timeout, retries=0)], namespace=namespace, journal=tmp_path)

    keys = [f"key:{number}" for number in range(20)]
    with opened(timeout=1) as one:
        one.set_many(dict.fromkeys(keys, 1))
        servers[0].pause()
        one.delete_many(keys[:10])
        with opened() as other:
            servers[0].resume()
            found = other.get_many(keys)
            assert not set(found) & set(keys[:10])
            assert other.stats().tiers[0].journal.startswith(str(tmp_path))
    with opened() as third:
        assert set(third.get_many(keys)) == set(keys[10:])


def test_without_the_client_the_error_says_what_to_install(monkeypatch, now):
    monkeypatch.setitem(sys.modules, "meta_memcache_socket", None)
    for module in ("wire", "ports", "server"):
        monkeypatch.delitem(sys.modules, f"forecache.tiers.memcached_{module}")
    with pytest.raises(ImportError, match=r"pip install 'forecache\[memcached\]'"):
        Memcached().make("", now)


def test_tags_and_owners_are_told_apart(server, namespace, now):
    tier = bare(server, namespace, now)
    marks = [Entry(b""), Entry(b"", tags=["a"]), Entry(b"", owner="a"), Entry(b"", tags=["a"], owner="a")]
    assert len({tier._mark(entry, {}) for entry in marks}) == 4
    run(tier.close())


def test_closing_does_not_wait_for_what_a_server_that_hangs_never_takes(server, namespace, now):
    async def closed():
        tier = bare(server, namespace, now, timeout=None)
        await arun(tier.set_many({"a": Entry(b"1")}))
        server.pause()
        writes = [asyncio.ensure_future(arun(tier.set_many({key: Entry(bytes(900_000))}))) for key in "abcdefghijklmnop"]
        await asyncio.sleep(0)
        await asyncio.wait_for(arun(tier.close()), PATIENCE)
        for end in await asyncio.gather(*writes, return_exceptions=True):
            assert isinstance(end, TierUnavailable)

    try:
        asyncio.run(closed())
    finally:
        server.resume()
