"""The Redis tier when masters are lost, replaced or moved: sentinels and clusters."""

import asyncio
import contextlib
import itertools
import os

import pytest
from servers.process import wait_until

from forecache import Redis, TierUnavailable
from forecache._core import Entry
from forecache.flow import arun, run
from forecache.tiers.redis import RedisTier
from forecache.tiers.redis_route import Cluster
from forecache.tiers.redis_url import target

names = (f"failover {os.getpid()}:{number}" for number in itertools.count())
"""Namespaces that nobody used before."""


def get(tier, *keys, do=run):
    return {key: entry.payload for key, entry in do(tier.get_many(keys)).items()}


def test_a_failover_of_sentinels_is_followed(redis_sentinel, do):
    tier = RedisTier(Redis(redis_sentinel.url, timeout=2), next(names))
    told = []
    tier.on_replaced = lambda: told.append(True)
    do(tier.set_many({"a": Entry(b"1")}))
    redis_sentinel.pass_on()
    redis_sentinel.kill_master()
    with pytest.raises((TierUnavailable, TimeoutError)):
        get(tier, "a", do=do)
    redis_sentinel.wait_failover()
    with pytest.raises(TierUnavailable, match="another server"):
        get(tier, "a", do=do)
    assert told == [True]
    assert get(tier, "a", do=do) == {"a": b"1"}
    do(tier.set_many({"b": Entry(b"2")}))
    do(tier.close())


def test_the_loss_of_a_clusters_master_is_survived(redis_cluster, do):
    tier = RedisTier(Redis(redis_cluster.url, timeout=2), next(names))
    told = []
    tier.on_replaced = lambda: told.append(True)
    keys = [str(number) for number in range(200)]
    do(tier.set_many({key: Entry(key.encode()) for key in keys}))
    redis_cluster.pass_on()
    redis_cluster.kill_master()
    with pytest.raises((TierUnavailable, TimeoutError)):
        get(tier, *keys, do=do)
    redis_cluster.wait_failover()
    with pytest.raises(TierUnavailable, match="other servers answer"):
        get(tier, *keys, do=do)
    assert told
    assert get(tier, *keys, do=do) == {key: key.encode() for key in keys}
    do(tier.close())


def test_a_bucket_that_moves_is_followed(redis_cluster, do):
    tier = RedisTier(Redis(redis_cluster.url, timeout=5), next(names))
    told = []
    tier.on_replaced = lambda: told.append(True)
    do(tier.set_many({"a": Entry(b"1")}))
    ((bucket, _),) = tier._grouped(["a"])
    right = tier._servers.route.address(bucket)
    tier._servers.route._owners[bucket] = next(node.address for node in redis_cluster.masters if node.address != right)
    assert get(tier, "a", do=do) == {"a": b"1"}
    assert tier._servers.route.address(bucket) == right
    assert told == []
    do(tier.close())


def test_a_master_that_lost_its_place_while_nobody_asked_is_noticed(redis_cluster, do):
    tier = RedisTier(Redis(redis_cluster.url, timeout=5), next(names))
    told = []
    tier.on_replaced = lambda: told.append(True)
    do(tier.set_many({"a": Entry(b"1")}))
    ((bucket, _),) = tier._grouped(["a"])
    old = redis_cluster.at(tier._servers.route.address(bucket)[1])
    new = next(node for node in redis_cluster.nodes if node.info("replication").get("master_port") == str(old.port))
    redis_cluster.pass_on()
    redis_cluster.hurry(failover=True)  # masters vote for another in a master's place once in two of these times
    for patience in (6, 6, 20):  # a manual failover that finds no time is given up after 5 s
        new.ask("CLUSTER", "FAILOVER")
        with contextlib.suppress(TimeoutError):
            wait_until(
                lambda: [node.info("replication")["role"] for node in (old, new)] == ["slave", "master"],
                "they don't change places",
                patience,
            )
            break
    assert new.info("replication")["role"] == "master"
    wait_until(redis_cluster.whole, "it isn't whole")
    redis_cluster.hurry(failover=False)
    with pytest.raises(TierUnavailable, match="other servers answer"):
        get(tier, "a", do=do)
    assert told == [True]
    assert get(tier, "a", do=do) == {"a": b"1"}
    assert told == [True]
    do(tier.close())


def test_batches_over_all_masters_wait_for_each_other_and_not_for_ever(redis_cluster, crew):
    tier = RedisTier(Redis(redis_cluster.url, connections=4, timeout=10), next(names))
    keys = [str(number) for number in range(60)]
    run(tier.set_many({key: Entry(key.encode()) for key in keys}))
    for _ in range(8):
        crew.send(lambda: {len(get(tier, *keys)) for _ in range(20)})
    assert crew.back().results == [{60}] * 8

    async def many():
        found = await asyncio.gather(*(arun(tier.get_many(keys)) for _ in range(50)))
        assert {len(each) for each in found} == {60}

    asyncio.run(many())
    run(tier.close())


def test_a_master_that_is_replaced_while_its_slots_are_not_served_is_noticed():
    views = [
        [[0, 8191, [b"one", 1]], [8192, 16383, [b"two", 2]]],
        [[8192, 16383, [b"two", 2]]],
        [[0, 8191, [b"new", 3]], [8192, 16383, [b"two", 2]]],
    ]

    def once(address, words, login):
        yield from ()
        return views[0]

    cluster = Cluster(target("", "redis+cluster://seed:1"), once)
    run(cluster.find())
    cluster.doubt(("one", 1))
    views.pop(0)
    with pytest.raises(TierUnavailable, match="not all slots are served"):
        run(cluster.find())
    assert cluster.replaced == 0
    views.pop(0)
    run(cluster.find())
    assert cluster.replaced == 1


def test_a_server_that_fails_again_and_again_is_no_reason_to_look_at_the_cluster_each_time(monkeypatch):
    seconds = [100.0]
    monkeypatch.setattr("forecache.tiers.redis_route.time.monotonic", lambda: seconds[0])

    def once(address, words, login):
        yield from ()
        return [[0, 16383, [b"one", 1]]]

    cluster = Cluster(target("", "redis+cluster://seed:1"), once)
    looks = []
    for _ in range(100):
        if cluster.address(0) is None:
            run(cluster.find())
            looks.append(seconds[0])
        assert cluster.address(0) == ("one", 1)
        cluster.doubt(("one", 1))
        seconds[0] += 0.01
    assert 8 <= len(looks) <= 11
    cluster.moved(0, ("two", 2))
    assert cluster.address(0) is None
