"""The Redis tier where something is wrong: with the way there, with the server, with what lies on it, or with who asks."""

import asyncio
import itertools
import os
import random
import threading

import pytest
from servers.process import wait_until

from forecache import Cache, ConfigError, Redis, TierUnavailable
from forecache._core import Entry
from forecache.flow import arun, run
from forecache.tiers.redis import UNIT, RedisTier
from forecache.tiers.redis_route import route
from forecache.tiers.redis_url import target

names = (f"trouble {os.getpid()}:{number}" for number in itertools.count())
"""Namespaces that nobody used before."""


@pytest.fixture(params=["sync", "async"])
def do(request):
    return run if request.param == "sync" else lambda flow: asyncio.run(arun(flow))


@pytest.fixture
def tier(redis_server):
    tier = RedisTier(Redis(redis_server.url, timeout=5), next(names))
    yield tier
    run(tier.close())


def get(tier, *keys, do=run):
    return {key: entry.payload for key, entry in do(tier.get_many(keys)).items()}


def entries(keys, size=100):
    return {key: Entry(random.randbytes(size)) for key in keys}


def test_nothing_is_contacted_before_it_is_used():
    with Cache(tiers=[Redis("redis://cache.invalid")]) as cache:
        tier = cache.stats().tiers[0]
        assert (tier.state, tier.reason, tier.failures) == ("up", None, 0)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://127.0.0.1:{absent}", "onnect"),
        ("redis://cache.invalid:6379", "cache.invalid"),
        ("redis://127.0.0.1:{port}/99", "DB index"),
        ("redis://nobody:hunter2@127.0.0.1:{port}", "username"),
        ("redis+sentinel://127.0.0.1:{absent},127.0.0.1:{port}/main", "no sentinel named the master"),
        ("redis+cluster://127.0.0.1:{absent},127.0.0.1:{port}", "no server told"),
        ("unix:///nowhere/redis.sock", "/nowhere/redis.sock"),
    ],
)
def test_what_cannot_be_reached_is_told_with_the_reason(url, told, redis_server, do):
    from servers.process import free_port

    url = url.format(port=redis_server.port, absent=free_port())
    tier = Redis(url, retries=0).make("space", lambda: 0)
    assert get(tier, "a", do=do) == {}
    reason = tier.stats().reason
    assert told in reason
    assert "hunter2" not in reason
    strict = Redis(url, retries=0, strict=True).make("space", lambda: 0)
    with pytest.raises(TierUnavailable, match="redis") as raised:
        get(strict, "a", do=do)
    assert "hunter2" not in str(raised.value)


def test_certificates_that_do_not_match_and_wrong_passwords_are_told(redis_tls, tmp_path, do):
    from servers import certificates

    others = certificates.make(tmp_path)
    good = redis_tls.files
    cases = {
        "certificate verify failed": (redis_tls.url, {**good, "ca": str(others.authority)}),
        "unknown ca|certificate|closed|reset|EOF": (
            redis_tls.url,
            {"ca": good["ca"], "certificate": str(others.client), "key": str(others.client_key)},
        ),
        "invalid username-password": (redis_tls.url.replace("secret", "hunter2"), good),
        "ca: /no/where.pem is no file that can be read": (redis_tls.url, {**good, "ca": "/no/where.pem"}),
    }
    for told, (url, options) in cases.items():
        tier = RedisTier(Redis(url, timeout=5, **options), "space")
        with pytest.raises(TierUnavailable, match=told) as raised:
            get(tier, "a", do=do)
        assert "hunter2" not in str(raised.value)
        do(tier.close())


@pytest.mark.parametrize(
    ("arguments", "options", "told"),
    [
        (["http://cache"], {}, "redis.url"),
        (["redis://app:hunter2@cache:port"], {}, "redis.url"),
        (["redis://app:hunter2@cache/0/1"], {}, "redis.url"),
        (["redis://one,two"], {}, "redis.url"),
        (["redis+sentinel://one,two"], {}, "name-of-the-master"),
        (["redis+cluster://one/3"], {}, "redis.url"),
        (["redis://one?speed=high"], {}, "speed"),
        (["redis://one", "10kB"], {}, "redis.capacity"),
        (["redis://one"], {"ca": "/ca.pem"}, "redis.ca"),
        (["rediss://one"], {"key": "/key.pem"}, "redis.certificate"),
        (["redis://one"], {"password": 17}, "redis.password"),
        (["redis://one"], {"username": "app", "password": "hunter2\udcff"}, "redis.password"),
        (["redis://one"], {"username": "\udcff"}, "redis.username"),
        (["redis://one"], {"connections": 0}, "redis.connections"),
    ],
)
def test_options_that_mean_nothing_are_refused(arguments, options, told):
    with pytest.raises(ConfigError, match=told) as raised:
        Redis(*arguments, **options)
    assert "hunter2" not in str(raised.value)


def test_urls_that_mean_the_same_are_one_address():
    assert Redis("redis://app:secret@cache").address == Redis("redis://cache:6379/0").address == "redis://cache:6379/0"
    assert Redis("rediss+sentinel://a,b:1/main/2").address == "rediss+sentinel://a:26379,b:1/main/2"
    assert Redis("redis+cluster://[::1]:7000,b").address == "redis+cluster://[::1]:7000,b:6379"
    assert Redis("unix:///run/redis.sock?db=3").address == "unix:///run/redis.sock?db=3"
    assert "secret" not in repr(Redis("redis://app:secret@cache"))


def test_namespaces_are_apart_and_clearing_one_leaves_all_else(redis_server, tier, do):
    other = RedisTier(tier.options, tier._records.namespace + ":a")
    redis_server.ask("SET", "application", "its own")
    do(tier.set_many({"a": Entry(b"1", tags=["t"]), "b": Entry(b"2")}))
    do(other.set_many({"a": Entry(b"3", tags=["t"])}))
    assert do(tier.clear(tags=["t"])) == 1
    assert (get(tier, "a", "b", do=do), get(other, "a", do=do)) == ({"b": b"2"}, {"a": b"3"})
    assert do(tier.clear()) == 1
    assert get(other, "a", do=do) == {"a": b"3"}
    assert do(tier.scan(0, None)) == (None, [])
    assert do(other.scan(0, None)) == (None, ["a"])
    assert redis_server.ask("GET", "application") == "its own"
    do(other.clear())
    assert [key for key in redis_server.ask("KEYS", "*") if tier._records.namespace.split()[1][:9] in key] == []
    do(other.close())


def test_an_entry_that_was_overwritten_without_its_tag_stays(tier):
    run(tier.set_many({"a": Entry(b"1", tags=["t", "u"], owner="o"), "b": Entry(b"2", tags=["t"])}))
    run(tier.set_many({"a": Entry(b"3", tags=["u"])}))
    assert run(tier.clear(tags=["t"], owner="o")) == 1
    assert get(tier, "a", "b") == {"a": b"3"}
    assert run(tier.clear(tags=["u"])) == 1


def test_what_others_wrote_under_our_keys_is_a_miss_and_counted(redis_server, tier, do):
    do(tier.set_many({"a": Entry(b"1"), "b": Entry(b"2"), "c": Entry(b"3"), "d": Entry(b"4"), "whole": Entry(b"5")}))
    base = tier._bases[0].decode()
    redis_server.ask("SET", base + "k:a", "somebody else's")
    redis_server.ask("DEL", base + "k:b")
    redis_server.ask("LPUSH", base + "k:b", "a list")
    redis_server.ask("SETRANGE", base + "k:c", 40, "damaged")
    assert get(tier, *"abcd", "whole", do=do) == {"d": b"4", "whole": b"5"}
    assert tier.stats().corrupt == 2
    assert redis_server.ask("EXISTS", base + "k:a", base + "k:c") == 0
    assert do(tier.delete_many(["b"])) == set()
    do(tier.set_many({"b": Entry(b"6")}))
    assert get(tier, "b", do=do) == {"b": b"6"}
    assert tier.stats().corrupt == 2


@pytest.mark.parametrize("lost", ["g", "i", "a"])
def test_what_the_server_evicted_of_our_books_brings_nothing_back(lost, redis_server, tier):
    base = tier._bases[0].decode()
    run(tier.set_many({"a": Entry(b"1", tags=["t"]), "b": Entry(b"2")}))
    redis_server.ask("DEL", base + lost)
    run(tier.set_many({"b": Entry(b"3")}))
    assert get(tier, "a", "b") == {"b": b"3"}
    assert run(tier.scan(0, None)) == (None, ["b"])
    assert run(tier.clear(tags=["t"])) == 0
    run(tier.clear())
    assert get(tier, "a", "b") == {}


def test_a_generation_that_is_none_of_ours_is_not_gone_on_with(redis_server, tier):
    run(tier.set_many({"a": Entry(b"1"), "b": Entry(b"2")}))
    redis_server.ask("SET", tier._bases[0].decode() + "g", "somebody else's")
    assert get(tier, "a") == {}
    run(tier.set_many({"b": Entry(b"3")}))
    assert get(tier, "a", "b") == {"b": b"3"}


def test_a_set_of_tags_that_the_server_evicted_is_taken_for_all_entries(redis_server, tier):
    run(tier.set_many({"a": Entry(b"1", tags=["t"]), "b": Entry(b"2")}))
    for key in redis_server.ask("KEYS", tier._bases[0].decode() + "t:*"):
        redis_server.ask("DEL", key)
    run(tier.clear(tags=["t"]))
    assert get(tier, "a") == {}


def test_the_budget_is_held_and_is_what_the_server_takes(redis_server, do):
    tier = RedisTier(Redis(redis_server.url, "8MiB", timeout=5), next(names))
    do(tier.set_many(entries("ab")))
    before = int(redis_server.info("memory")["used_memory"])
    keys = [f"key:{number}" for number in range(4000)]
    do(tier.set_many(entries(keys, 4000)))
    told = tier.stats()
    assert 0.99 * 2**23 < told.bytes <= 2**23
    assert told.evicted + told.entries == 4002

    def taken():  # buffers of the large request go with the server's next rounds
        return int(redis_server.info("memory")["used_memory"]) - before

    wait_until(lambda: taken() < 1.1 * 2**23, "the server takes more than the budget")
    assert taken() > 0.9 * 2**23
    assert len(get(tier, *keys, do=do)) == told.entries
    do(tier.clear())
    do(tier.close())


def test_what_was_used_lately_stays_longest(redis_server, tier, monkeypatch):
    monkeypatch.setattr("forecache.tiers.redis.TENDING", 16)
    tier = RedisTier(Redis(redis_server.url, "1MiB", timeout=5), next(names))
    run(tier.set_many(entries(map(str, range(700)), 1000)))
    base = tier._bases[0].decode()
    for number in range(700):  # they were used a minute ago
        redis_server.ask("ZINCRBY", base + "i", -60 * 2**23, number)
    used = [str(number) for number in range(0, 700, 10)]
    assert len(get(tier, *used)) == 70
    run(tier.set_many(entries(map(str, range(700, 1200)), 1000)))
    assert tier.stats().evicted > 300
    assert len(get(tier, *used)) == 70
    run(tier.clear())
    run(tier.close())


def test_what_the_server_evicted_is_taken_off_the_books(redis_server, monkeypatch):
    monkeypatch.setattr("forecache.tiers.redis.TENDING", 1)
    tier = RedisTier(Redis(redis_server.url, "10MB", timeout=5), next(names))
    run(tier.set_many(entries(map(str, range(1000)))))
    held = tier.stats()
    for number in range(900):
        redis_server.ask("DEL", f"{tier._bases[0].decode()}k:{number}")
    for _ in range(40):
        run(tier.set_many(entries(["999"])))
    told = tier.stats()
    assert (held.entries, told.entries) == (1000, 100)
    assert told.bytes == held.bytes // 10
    run(tier.clear())
    run(tier.close())


def test_a_server_that_is_full_refuses_writes_and_answers_reads(redis_server, do):
    tier = RedisTier(Redis(redis_server.url, timeout=5), next(names))
    do(tier.set_many({"a": Entry(b"1"), "b": Entry(b"2", tags=["t"]), "c": Entry(b"3")}))
    redis_server.ask("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(TierUnavailable, match="OOM"):
            do(tier.set_many({"a": Entry(b"4")}))
        assert get(tier, "a", do=do) == {"a": b"1"}
        assert do(tier.delete_many(["a"])) == {"a"}
        assert do(tier.clear(tags=["t"])) == 1
        assert get(tier, "a", "b", "c", do=do) == {"c": b"3"}
        do(tier.clear())
        assert get(tier, "c", do=do) == {}
    finally:
        redis_server.ask("CONFIG", "SET", "maxmemory", 0)
    do(tier.close())


def test_the_server_frees_what_has_ended(redis_server, tier):
    now = tier._now()
    run(tier.set_many({"a": Entry(b"1", hard=now + 60_000), "b": Entry(b"2", time_to_idle=60_000), "c": Entry(b"3")}))
    base = tier._bases[0].decode()
    lives = [redis_server.ask("PTTL", f"{base}k:{key}") for key in "abc"]
    assert all(60_000 < each <= 61_000 for each in lives[:2])
    assert lives[2] == -1


def test_a_connection_that_the_server_closed_is_replaced_without_an_error(redis_server, tier):
    run(tier.set_many({"a": Entry(b"1")}))
    redis_server.ask("CLIENT", "KILL", "TYPE", "normal")
    assert get(tier, "a") == {"a": b"1"}

    async def awaited():
        await arun(tier.get_many(["a"]))
        redis_server.ask("CLIENT", "KILL", "TYPE", "normal")
        return await arun(tier.get_many(["a"]))

    assert list(asyncio.run(awaited())) == ["a"]


def test_a_server_that_was_restarted_is_noticed_before_it_answers(redis_server, tier):
    told = []
    tier.on_replaced = lambda: told.append(True)
    run(tier.set_many({"a": Entry(b"1")}))
    assert told == []
    redis_server.restart()
    with pytest.raises(TierUnavailable, match="another server"):
        get(tier, "a")
    assert told == [True]
    assert get(tier, "a") == {"a": b"1"}
    assert told == [True]


def test_a_write_that_was_given_up_does_not_come_after_a_later_one(redis_server, do):
    hasty = RedisTier(Redis(redis_server.url, timeout=0.2), next(names))
    patient = RedisTier(Redis(redis_server.url, timeout=20), hasty._records.namespace)
    do(hasty.set_many({"a": Entry(b"first")}))
    redis_server.pause()
    with pytest.raises(TimeoutError):
        do(hasty.set_many({"a": Entry(b"late")}))
    with pytest.raises(TimeoutError):
        do(hasty.delete_many(["a"]))
    redis_server.resume()
    assert get(patient, "a") == {"a": b"first"}
    run(patient.set_many({"a": Entry(b"last")}))
    assert get(patient, "a") == {"a": b"last"}
    assert do(hasty.get_many(["a"]))["a"].payload == b"last"
    for tier in (hasty, patient):
        do(tier.close())


@pytest.mark.parametrize("fault", ["half_open", "garbage", "trickle"])
def test_a_bad_way_costs_the_time_of_a_call_and_no_more(redis_server, proxy_to, fault, do):
    proxy = proxy_to(redis_server.address)
    tier = RedisTier(Redis(proxy.through(redis_server.url), timeout=0.3), next(names))
    do(tier.set_many(entries(["a"], 5000)))
    getattr(proxy, fault)()
    with pytest.raises((TimeoutError, TierUnavailable)):
        get(tier, "a", do=do)
    proxy.heal()
    assert len(get(tier, "a", do=do)["a"]) == 5000
    do(tier.close())


def test_no_more_connections_than_allowed_and_who_waits_waits_within_the_time(redis_server, crew):
    tier = RedisTier(Redis(redis_server.url, connections=2, timeout=10), next(names))
    run(tier.set_many(entries("abc")))
    before = int(redis_server.info("stats")["total_connections_received"])
    for _ in range(8):
        crew.send(lambda: {len(get(tier, "a", "b", "c")) for _ in range(50)})
    assert crew.back().results == [{3}] * 8
    assert int(redis_server.info("stats")["total_connections_received"]) - before <= 1 + 2  # the one that asks, too

    async def many():
        found = await asyncio.gather(*(arun(tier.get_many("abc")) for _ in range(50)))
        assert all(len(each) == 3 for each in found)
        assert len((await tier._servers.awaited.get()).links[redis_server.address]) == 2

    asyncio.run(many())
    run(tier.close())


def test_cancelled_tasks_leave_no_connection_out_of_step(tier):
    keys = [f"key:{number}" for number in range(50)]
    run(tier.set_many({key: Entry(key.encode() * 200) for key in keys}))
    chance = random.Random(0)

    async def one(key):
        found = await arun(tier.get_many([key]))
        assert found[key].payload == key.encode() * 200

    async def many():
        cancelled = 0
        for _ in range(300):
            tasks = [asyncio.ensure_future(one(chance.choice(keys))) for _ in range(8)]
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            for task in chance.sample(tasks, 4):
                task.cancel()
            for end in await asyncio.gather(*tasks, return_exceptions=True):
                assert end is None or isinstance(end, asyncio.CancelledError), repr(end)
                cancelled += end is not None
        return cancelled

    assert asyncio.run(many()) > 300


def test_two_loops_one_after_the_other_and_at_the_same_time(tier, crew):
    run(tier.set_many({"a": Entry(b"1")}))

    def twice():
        return [asyncio.run(arun(tier.get_many(["a"])))["a"].payload for _ in range(2)]

    for _ in range(3):
        crew.send(twice)
    assert crew.back().results == [[b"1"] * 2] * 3


def test_the_child_of_a_fork_has_connections_of_its_own(tier):
    run(tier.set_many({"parent": Entry(b"1")}))
    child = os.fork()
    if child == 0:
        try:
            good = get(tier, "parent") == {"parent": b"1"}
            run(tier.set_many({"child": Entry(b"2")}))
            os._exit(0 if good else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert get(tier, "parent", "child") == {"parent": b"1", "child": b"2"}


def _for_ever(tier):
    while True:
        yield from tier.get_many(["a"])


def test_racing_threads_and_a_closing_tier_leave_no_socket_behind(redis_server, crew):
    tier = RedisTier(Redis(redis_server.url, timeout=5), next(names))
    start = threading.Barrier(5)

    def work():
        start.wait()
        with pytest.raises(TierUnavailable, match="closed"):
            run(_for_ever(tier))

    for _ in range(4):
        crew.send(work)
    start.wait()
    run(tier.close())
    assert crew.back().errors == []
    assert not tier._servers.plain.links[redis_server.address]


def test_pinned_entries_leave_last(redis_server):
    tier = RedisTier(Redis(redis_server.url, "1MiB", timeout=5), next(names))
    run(tier.set_many({"pinned": Entry(b"1", pinned=True)}))
    run(tier.set_many(entries(map(str, range(2000)), 1000)))
    assert "pinned" in get(tier, "pinned", "0")
    assert tier.stats().bytes <= 2**20 // UNIT * UNIT
    run(tier.clear())
    run(tier.close())


@pytest.mark.parametrize("capacity", [None, "1GB"])
def test_large_batches_keep_no_server_busy_for_long(redis_server, capacity, do):
    tier = RedisTier(Redis(redis_server.url, capacity, timeout=20), next(names))
    keys = [f"key:{number}" for number in range(5000)]
    do(tier.set_many({key: Entry(key.encode(), time_to_idle=60_000) for key in keys}))
    longest = []
    exchange = tier._servers.exchange

    def noted(commands):
        longest.extend(len(command.arguments) for command in commands if isinstance(command.arguments, tuple))
        replies = yield from exchange(commands)
        longest.extend(len(reply) for reply in replies if isinstance(reply, list))
        return replies

    tier._servers.exchange = noted
    for _ in range(2):
        assert get(tier, *keys, do=do) == {key: key.encode() for key in keys}
    assert max(longest) <= 1100
    do(tier.clear())
    do(tier.close())


def test_closing_does_not_wait_for_a_server_that_hangs(redis_tls):
    async def closed():
        tier = RedisTier(Redis(redis_tls.url, timeout=5, **redis_tls.files), next(names))
        await arun(tier.set_many({"a": Entry(b"1")}))
        redis_tls.pause()
        await asyncio.wait_for(arun(tier.close()), 10)

    try:
        asyncio.run(closed())
    finally:
        redis_tls.resume()


def test_what_a_server_says_unasked_is_nobodys_reply(tier):
    run(tier.set_many({"a": Entry(b"1")}))

    async def asked():
        await arun(tier.get_many(["a"]))
        (link,) = (await tier._servers.awaited.get()).idle[tier.options.target.addresses[0]]
        link._stream.feed_data(b"+unasked\r\n")
        return await arun(tier.get_many(["a"]))

    assert asyncio.run(asked())["a"].payload == b"1"


@pytest.mark.parametrize("url", ["redis+cluster://a:1,b:2,c:3,d:4", "redis+sentinel://a:1,b:2,c:3,d:4/main"])
def test_who_looks_for_a_server_meets_few_that_hang_and_the_next_begins_with_others(url, monkeypatch):
    place = target("", url)
    seconds, asked = [0.0], []

    def once(address, words, login):
        yield from ()
        asked.append(address[0])
        seconds[0] += 1
        raise TimeoutError("no answer in time")

    monkeypatch.setattr("forecache.tiers.redis_route.time.monotonic", lambda: seconds[0])
    way = route(place, once, 1)
    for _ in range(2):
        with pytest.raises(TierUnavailable):
            run(way.find())
    assert asked == ["a", "b", "c", "d"]
