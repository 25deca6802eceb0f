"""A model is tried in the shadow: beside the policy in force, in miniature."""

import random

import pytest
from conftest import Face
from test_replay import cache_of, hits_of, write, zipf

from forecache import Cache, Config, ConfigError
from forecache._core import Prior, Trace, simulate
from forecache.registry import Registry
from forecache.stats import ShadowStats
from forecache.testing import DictTier, FakeClock
from forecache.tiers.boundary import Custom

VAST = 10**12


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.fcm"
    path.write_bytes(Prior.none().write())
    return path


def looping(count=20_000, length=130, seed=3):
    """A loop that LRU never hits in a cache of a hundred, and keys that come once."""
    choose = random.Random(seed)
    return [str(number % length if choose.random() < 0.8 else 10**6 + number) for number in range(count)]


def serve(face, keys):
    for key in keys:
        if face.get(key) is None:
            face.set(key, 1)


def test_without_one_there_is_nothing_to_tell():
    with Cache() as cache:
        assert cache.stats().shadow is None
        assert cache.stats().as_dict()["shadow"] is None


def test_a_small_cache_tells_what_replays_tell(tmp_path, model):
    rows = zipf(6000)
    trace = Trace.open(write(tmp_path / "popular.fctrace", rows))
    clock = FakeClock()
    with Cache(VAST, max_entries=100, policy="s3fifo", seed=7, clock=clock, shadow=model) as cache:
        hits = hits_of(cache, rows, clock)
        shadow = cache.stats().shadow
    tried = simulate(trace, "learned", max_entries=100, seed=7, prior=Prior.none())
    assert (shadow.reads, shadow.share) == (6000, 1.0)
    assert round(shadow.hit_rate * 6000) == hits
    assert round(shadow.shadow_hit_rate * 6000) == tried.accesses - tried.misses


def test_the_cache_does_what_it_does_without_a_shadow(model):
    rows = zipf(4000)
    plain, clock = cache_of("learned", 90, 3), FakeClock()
    with Cache(VAST, max_entries=90, policy="learned", seed=3, clock=clock, shadow=model) as cache:
        assert hits_of(cache, rows, clock) == hits_of(plain, rows, FakeClock())


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_where_a_model_is_better_it_is_said(colour, model):
    with Cache(VAST, max_entries=100, policy="lru", seed=1, shadow=model) as cache:
        serve(Face(cache, colour), looping(5000))
        shadow = cache.stats().shadow
        assert (shadow.verdict, shadow.difference > 0) == ("better", True)
        assert cache.stats().as_dict()["shadow"]["verdict"] == "better"


def test_where_a_model_is_worse_it_is_said():
    told = ShadowStats(reads=5000, hit_rate=0.5, shadow_hit_rate=0.4, error=0.01, share=0.5, entries=9, shadow_entries=9)
    assert (told.verdict, round(told.difference, 9)) == ("worse", -0.1)


@pytest.mark.parametrize(("reads", "error"), [(999, 0.001), (5000, 0.05)])
def test_what_may_be_luck_is_not_told(reads, error):
    told = ShadowStats(reads=reads, hit_rate=0.5, shadow_hit_rate=0.6, error=error, share=0.5, entries=9, shadow_entries=9)
    assert told.verdict == "can't tell yet"


def test_the_same_model_differs_in_nothing(tmp_path):
    path = tmp_path / "shipped.fcp"
    path.write_bytes(Prior.shipped().write())
    with Cache(VAST, max_entries=50, policy="learned", seed=1, shadow=path) as cache:
        serve(cache, looping(5000))
        shadow = cache.stats().shadow
    assert (shadow.difference, shadow.verdict) == (0, "can't tell yet")


def test_a_large_cache_looks_at_some_keys_only(model):
    with Cache(VAST, max_entries=40_000, policy="lru", seed=1, shadow=model) as cache:
        serve(cache, map(str, range(50_000)))
        shadow = cache.stats().shadow
    assert shadow.share == 0.0625
    assert 50_000 * shadow.share == pytest.approx(shadow.reads, rel=0.1)
    assert max(shadow.entries, shadow.shadow_entries) <= 4096


def test_a_budget_in_bytes_is_made_small_too(model):
    with Cache("2MB", policy="lru", seed=1, shadow=model) as cache:
        serve(cache, map(str, range(30_000)))
        stats = cache.stats()
        shadow = stats.shadow
    assert shadow.share < 1
    assert shadow.entries == pytest.approx(stats.entries * shadow.share, rel=0.15)


def test_what_is_deleted_cleared_or_popped_is_gone_from_the_shadow(model):
    with Cache(VAST, max_entries=100, seed=1, shadow=model) as cache:
        cache.set_many({str(key): key for key in range(10)}, tags=["all"])
        del cache["0"]
        cache.pop("1")
        cache.set("2", 2, ttl=60, owner="ada")
        cache.clear(owner="ada")
        assert cache.get("2") is None
        assert (cache.stats().shadow.entries, cache.stats().shadow.shadow_entries) == (7, 7)
        cache.invalidate(tags=["all"])
        assert (cache.stats().shadow.entries, cache.stats().shadow.shadow_entries) == (0, 0)
        cache.set("a", 1)
        cache.clear()
        assert cache.stats().shadow.entries == 0


def test_a_resized_cache_has_a_resized_shadow(model):
    with Cache(VAST, max_entries=100, seed=1, shadow=model) as cache:
        serve(cache, map(str, range(100)))
        cache.resize(max_entries=10)
        assert (cache.stats().shadow.entries, cache.stats().shadow.shadow_entries) == (10, 10)


def test_its_memory_is_counted(model):
    with Cache(VAST, seed=1) as plain, Cache(VAST, seed=1, shadow=model) as cache:
        serve(plain, map(str, range(1000)))
        serve(cache, map(str, range(1000)))
        assert cache.stats().bookkeeping_bytes > plain.stats().bookkeeping_bytes + 1000 * 50


def test_above_tiers_it_sees_what_memory_is_asked_for(model):
    with Cache(VAST, max_entries=50, policy="lru", seed=1, tiers=[Custom(DictTier())], shadow=model) as cache:
        serve(cache, looping(3000))
        shadow = cache.stats().shadow
    assert shadow.reads == 3000
    assert shadow.shadow_hit_rate > shadow.hit_rate


def test_a_model_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("FORECACHE_REGISTRY", str(tmp_path / "models"))
    spec = Registry().push(Prior.none().write(), "vm")
    for name in ("vm", spec):
        with Cache(shadow=name) as cache:
            assert cache.stats().shadow.reads == 0
    with Cache.from_env({"FORECACHE_SHADOW": spec}) as cache:
        assert cache.config.shadow == spec


@pytest.mark.parametrize("content", [b"", b"x" * 9, Prior.none().write()[:-1], Prior.none().write()[:-4] + b"abcd"])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    (tmp_path / "bad.fcm").write_bytes(content)
    with pytest.raises(ConfigError, match="shadow: "):
        Cache(shadow=tmp_path / "bad.fcm")


@pytest.mark.parametrize("wrong", ["", "no such@thing", "absent.fcm", 7, True])
def test_a_wrong_model_is_refused(wrong, tmp_path, monkeypatch):
    monkeypatch.setenv("FORECACHE_REGISTRY", str(tmp_path))
    with pytest.raises(ConfigError, match="shadow: "):
        Cache(shadow=wrong)


def test_a_config_keeps_what_was_said(model):
    assert Config(shadow=model).shadow == str(model)
    assert Config().shadow is None


def test_a_registry_that_doesnt_answer_is_told(monkeypatch):
    monkeypatch.setenv("FORECACHE_REGISTRY", "redis://127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"shadow: got 'vm'; allowed: .*127\.0\.0\.1:1"):
        Cache(shadow="vm")
