"""What `stats()` tells."""

import json

import pytest

from forecache import Cache


def test_a_new_cache_has_seen_nothing(cache):
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.hit_rate, stats.evictions, stats.eviction_rate) == (0, 0, 0.0, 0, 0.0)
    assert stats.get_latency.count == 0
    assert stats.get_latency.p50 is None


def test_sums_follow_what_happens(face, cache, clock):
    face.set("user:1", 1)
    face.get("user:1")
    face.get("user:1")
    face.get("user:2")
    with pytest.raises(ZeroDivisionError):
        face.get_or_load("user:3", lambda: 1 / 0)
    clock.advance(10)
    stats = face.stats()
    assert (stats.hits, stats.misses, stats.sets, stats.refused) == (2, 2, 1, 0)
    assert stats.hit_rate == 0.5
    assert (stats.entries, stats.capacity, stats.policy) == (1, 1_000_000, "s3fifo")
    assert 0 < stats.weight < 500
    assert stats.uptime == 10
    assert (stats.loads.count, stats.loads.failures) == (1, 1)
    assert stats.loads.seconds > 0
    assert [(group.name, group.hits, group.misses, group.entries) for group in stats.groups] == [("user:{}", 2, 2, 1)]


def test_evictions_are_told_as_a_sum_and_a_rate(clock):
    cache = Cache(max_entries=10, clock=clock)
    cache.set_many({str(n): n for n in range(30)})
    clock.advance(4)
    stats = cache.stats()
    assert (stats.max_entries, stats.entries, stats.evictions, stats.removed["size"]) == (10, 10, 20, 20)
    assert stats.eviction_rate == 5


def test_owners_and_groups_of_the_user_have_lines_of_their_own(clock):
    cache = Cache(groups={"page:*": 60}, clock=clock)
    cache.set("page:1", 1, owner="x")
    cache.set("page:2", 1, owner="x")
    cache.set("other", 1)
    stats = cache.stats()
    assert {owner.name: owner.entries for owner in stats.owners} == {"x": 2, "": 1}
    assert {group.name: group.entries for group in stats.groups} == {"page:*": 2, "other": 1}


def test_latencies_are_sampled(cache):
    for _ in range(6400):
        cache.get("a")
    latency = cache.stats().get_latency
    assert 90 <= latency.count <= 110
    assert 0 < latency.p50 <= latency.p95 <= latency.p99 < 1
    ends, counts = zip(*latency.buckets, strict=True)
    assert sum(counts) == latency.count
    assert list(ends) == sorted(ends)
    assert ends[-1] >= latency.p99


def test_all_of_it_is_ready_for_json(cache):
    cache.set("a", 1, owner="o")
    cache.get("a")
    told = json.loads(json.dumps(cache.stats().as_dict()))
    assert told["hit_rate"] == 1.0
    assert told["groups"][0]["name"] == "a"
    assert told["owners"][0]["entries"] == 1
    assert told["loads"] == {"count": 0, "failures": 0, "seconds": 0.0}
    assert told["get_latency"]["count"] == 1
    assert told["evictions"] == 0
