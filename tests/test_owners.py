"""Owners with priorities and budgets: who leaves when a cache is full."""

import json

import pytest

from forecache import POLICIES, Cache, Config, ConfigError, Owner
from forecache.testing import FakeClock


def fill(cache, owner, times, start=0):
    return [cache.set(f"{owner}:{number}", number, owner=owner) for number in range(start, start + times)]


def has(cache):
    return {owner.name: owner.entries for owner in cache.stats().owners if owner.entries}


@pytest.mark.parametrize("policy", POLICIES)
def test_the_lowest_priority_leaves_first_under_every_policy(policy):
    cache = Cache(max_entries=100, policy=policy, seed=1, owners={"batch-*": -1, "web": 1})
    fill(cache, "batch-1", 50)
    fill(cache, "other", 30)
    fill(cache, "web", 60)
    assert has(cache) == {"batch-1": 10, "other": 30, "web": 60}
    fill(cache, "batch-2", 5)
    assert (has(cache)["other"], has(cache)["web"]) == (30, 60), "only its like gives way for it"
    fill(cache, "web", 40, start=60)
    assert has(cache) == {"web": 100}
    assert cache.set("batch", 1, owner="batch-1") is False
    assert cache.stats().refused >= 1


def test_a_budget_is_soft_until_the_cache_is_full():
    cache = Cache(1000, weigher=lambda key, value: 10, policy="lru", owners={"tenant-*": Owner(budget=200)})
    fill(cache, "tenant-1", 80)
    assert has(cache) == {"tenant-1": 80}, "there was room"
    fill(cache, "", 60)
    assert has(cache) == {"tenant-1": 40, "": 60}
    fill(cache, "", 60, start=60)
    assert has(cache) == {"tenant-1": 20, "": 80}, "who is within its budget is spared"
    fill(cache, "tenant-1", 50, start=80)
    assert has(cache) == {"tenant-1": 20, "": 80}, "and gives of its own for what it brings"
    assert cache.get("tenant-1:129") == 129


def test_each_owner_has_a_budget_of_its_own():
    cache = Cache(1000, weigher=lambda key, value: 10, policy="lru", owners={"tenant-*": {"budget": 300}})
    for tenant in range(3):
        fill(cache, f"tenant-{tenant}", 30)
    fill(cache, "tenant-3", 30)
    counts = has(cache)
    assert sum(counts.values()) == 100
    assert max(counts.values()) - min(counts.values()) <= 1


def test_an_entry_that_changes_hands_goes_by_its_new_owner():
    cache = Cache(max_entries=10, policy="lru", owners={"low": -1, "high": 1})
    fill(cache, "low", 5)
    fill(cache, "high", 5)
    for number in range(5):
        cache.set(f"low:{number}", number, owner="high")
        cache.set(f"high:{number}", number, owner="low")
    fill(cache, "", 5)
    assert [cache.get(f"low:{number}") for number in range(5)] == list(range(5))
    assert [cache.get(f"high:{number}") for number in range(5)] == [None] * 5


def test_pins_deletes_and_times_go_on_in_every_room():
    clock = FakeClock()
    cache = Cache(max_entries=20, policy="lru", clock=clock, owners={"low": -1, "rich": Owner(2, "1MB")})
    fill(cache, "low", 5)
    fill(cache, "rich", 5)
    cache.set("low:0", 0, owner="low", pin=True)
    cache.set("low:1", 1, owner="low", ttl=5)
    cache.touch("rich:1", ttl=5)
    assert cache.delete("rich:0")
    clock.advance(6)
    fill(cache, "", 40)
    assert cache.get("low:0") == 0
    assert has(cache) == {"low": 1, "rich": 3, "": 16}
    cache.unpin("low:0")
    fill(cache, "", 1, start=40)
    assert has(cache) == {"rich": 3, "": 17}
    cache.clear(owner="rich")
    assert has(cache) == {"": 17}
    fill(cache, "rich", 2)
    cache.clear()
    assert not has(cache)
    fill(cache, "low", 20)
    fill(cache, "rich", 20)
    assert has(cache) == {"rich": 20}


def test_a_cache_resizes_by_the_same_order():
    cache = Cache(max_entries=30, policy="lru", owners={"low": -1, "high": 1})
    for owner in ("high", "low", "other"):
        fill(cache, owner, 10)
    cache.resize(max_entries=15)
    assert has(cache) == {"high": 10, "other": 5}


def test_every_source_tells_owners(tmp_path):
    expected = (("batch-*", -1, None), ("web", 2, 10_000_000))
    owners = {"batch-*": -1, "web": {"priority": 2, "budget": "10MB"}}
    file = tmp_path / "forecache.toml"
    file.write_text('[owners]\n"batch-*" = -1\n"web" = { priority = 2, budget = "10MB" }\n')
    assert Config(owners=owners).owners == expected
    assert Config.from_toml(file).owners == expected
    assert Config.from_env({"FORECACHE_OWNERS": json.dumps(owners)}).owners == expected
    assert Config(owners=Config(owners=owners).owners).owners == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"a": "high"}, r"owners\['a'\].priority: got 'high'; allowed: a whole number"),
        ({"a": 2**15}, r"owners\['a'\].priority: got 32768"),
        ({"a": None}, r"owners\['a'\].priority: got None"),
        ({"a": Owner(budget="much")}, r"owners\['a'\].budget: got 'much'"),
        ({"a": {"bugdet": 1}}, r"owners\['a'\].bugdet: .*budget"),
        ({1: 1}, r"owners\[1\]"),
        ("all", r"owners: got 'all'; allowed: a mapping of patterns to priorities or Owner"),
    ],
)
def test_wrong_owners_are_told(given, said):
    with pytest.raises(ConfigError, match=said):
        Cache(owners=given)
