"""Advice rests on curves that full simulations confirm."""

import math

import pytest
from test_replay import SECOND, write, zipf

from forecache import POLICIES, Advice, ConfigError, TraceError, _core, advise, replay
from forecache.curves import Curve, measure
from forecache.optimum import needs
from forecache.splits import Prices, cheapest, frontier, split, splits


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "shop.fctrace", zipf(20_000))


@pytest.fixture
def expiring(tmp_path):
    rows = [
        (time, key, size, operation, 200 * SECOND, owner, more) for time, key, size, operation, _, owner, more in zipf(20_000)
    ]
    return write(tmp_path / "timed.fctrace", rows)


def misses(path, policy, entries, **options):
    [row] = replay(path, policies=policy, capacity=entries, **options)
    return row.miss_ratio


@pytest.mark.parametrize("policy", [*POLICIES, "belady"])
def test_curves_of_a_short_trace_are_what_full_replays_count(path, policy):
    advice = advise(path)
    curve = advice.belady if policy == "belady" else advice.curves[policy]
    assert advice.checks.share == 1
    assert len(curve.sizes) == 20
    assert (curve.sizes[0], curve.sizes[-1]) == (100, advice.unique)
    for size, ratio in list(zip(curve.sizes, curve.miss_ratios, strict=True))[::6]:
        assert ratio == misses(path, policy, size)


def test_curves_over_bytes_are_what_full_replays_count(path):
    advice = advise(path, byte=True, sizes=[0.02, 0.3, 1.0])
    assert advice.belady is None
    for curve in advice.curves.values():
        for size, ratio in zip(curve.sizes, curve.miss_ratios, strict=True):
            assert ratio == misses(path, curve.policy, size, byte=True)


def test_a_sampled_curve_says_how_far_it_was_from_the_full_one(tmp_path):
    path = write(tmp_path / "long.fctrace", zipf(120_000, objects=30_000))
    full, sampled = (advise(path, requests=requests) for requests in (10**9, 30_000))
    assert 0 < sampled.checks.share < 1
    assert sampled.checks.count == 2 * (len(POLICIES) - 1)
    assert 0 < sampled.checks.worst < 0.2
    assert sampled.curves["lru"] == full.curves["lru"]
    for policy, curve in sampled.curves.items():
        exact = full.curves[policy].miss_ratios
        assert curve.miss_ratios[0] == pytest.approx(exact[0])
        assert curve.miss_ratios[-1] == pytest.approx(exact[-1])
        assert max(abs(one - other) for one, other in zip(curve.miss_ratios, exact, strict=True)) < 0.03


def test_the_recommended_cache_reaches_the_wished_hit_rate_and_none_smaller_of_another_policy_does(path):
    advice = advise(path, hit_rate=0.6)
    assert advice.reached
    assert advice.hit_rate == 1 - misses(path, advice.policy, advice.size) >= 0.6
    needed = {name: size for name, size in advice.sizes_for_wish.items() if size is not None and name != "belady"}
    assert advice.size <= 1.1 * min(needed.values())
    assert advice.sizes_for_wish["belady"] <= advice.size


def test_where_no_size_reaches_the_wish_the_ceiling_and_the_knee_are_told(path):
    advice = advise(path, hit_rate=0.999)
    assert not advice.reached
    assert set(advice.sizes_for_wish.values()) == {None}
    assert advice.ceiling == 1 - misses(path, "lru", advice.unique) < 0.999
    assert advice.size == advice.knee < advice.unique


@pytest.mark.parametrize("requests", [10**9, 5_000])
def test_longer_times_to_live_win_hits_and_shorter_ones_lose_some(expiring, path, requests):
    changes = {change.factor: change.gain for change in advise(expiring, requests=requests).ttl}
    assert changes[0.5] < 0 < changes[2.0] <= changes[4.0] <= changes[None]
    assert advise(path).ttl == []
    assert advise(expiring, ttl=False).ttl == []


CURVE = Curve("lru", (100, 1000, 10_000), (0.8, 0.4, 0.1))
PRICES = Prices(memory=3.0, disk=0.1, memory_latency=1e-6, disk_latency=1e-4, miss_latency=1e-2)


def test_between_two_sizes_a_curve_is_a_line_over_the_logarithm():
    assert CURVE.hit_rate(100) == CURVE.hit_rate(1) == pytest.approx(0.2)
    assert CURVE.hit_rate(math.sqrt(100 * 1000)) == pytest.approx(0.4)
    assert CURVE.hit_rate(10**9) == pytest.approx(0.9)
    assert CURVE.hit_rate(CURVE.size_for(0.75)) >= 0.75 > CURVE.hit_rate(CURVE.size_for(0.75) - 1)
    assert (CURVE.size_for(0.1), CURVE.size_for(0.95)) == (100, None)


def test_a_split_costs_and_waits_by_the_tiers_that_answer():
    both = split(CURVE, 100, 1000, 1e6, PRICES)
    assert (both.memory, both.disk) == (100, 900)
    assert both.cost == pytest.approx(0.1 * 3.0 + 0.9 * 0.1)
    assert both.latency == pytest.approx(0.2 * 1e-6 + 0.4 * 1e-4 + 0.4 * (1e-2 + 1e-4))
    alone = split(CURVE, 1000, 1000, 1e6, PRICES)
    assert alone.cost == pytest.approx(3.0)
    assert alone.latency == pytest.approx(0.6 * 1e-6 + 0.4 * (1e-2 + 1e-6))


def test_the_cheapest_split_reaches_the_wish_and_none_of_the_frontier_is_beaten():
    every = splits(CURVE, [3000], 1e6, PRICES)
    best = cheapest(every, 0.7)
    assert (best.memory, best.memory + best.disk) == (100, 3000)
    assert cheapest(every, 0.95) is None
    front = frontier(every)
    assert [each.cost for each in front] == sorted(each.cost for each in front)
    assert not any(one.cost <= other.cost and one.latency < other.latency for one in every for other in front if one != other)


def test_an_optimum_that_does_not_fit_into_memory_is_that_of_a_sample(path):
    trace = _core.Trace.open(path)
    with pytest.warns(
        UserWarning,
        match=r"shop.*: Belady's optimum of 20,000 accesses would take .* there are 0\.1 MB: it is estimated from a sample of",
    ):
        advice = advise(path, memory=100_000)
    exact = advise(path, memory=needs(trace) * 1000)
    assert advice.belady != exact.belady
    assert advice.belady.miss_ratios[10] == pytest.approx(exact.belady.miss_ratios[10], abs=0.15)
    with pytest.warns(UserWarning, match="Belady's optimum of 20,000 accesses"):
        [row] = replay(path, policies="belady", capacity=200, memory="100KB")
    assert row.accesses == 20_000
    assert row.misses <= 20_000 * misses(path, "lru", 200)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"policies": "best"}, "policy: got 'best'; allowed: lru, "),
        ({"policies": []}, "policy: got ''; allowed: lru, "),
        ({"hit_rate": 90}, "hit_rate: got 90; allowed: a share above 0 and below 1"),
        ({"sizes": [2.0]}, "sizes: got 2.0; allowed: shares"),
        ({"sizes": []}, r"sizes: got \[\]; allowed: shares"),
        ({"memory_price": -1}, "memory_price: got -1; allowed: a price"),
        ({"disk_latency": "soon"}, "disk_latency: got 'soon'; allowed: seconds"),
        ({"requests": 0}, "requests: got 0; allowed: a whole number from 1"),
        ({"object_size": "big"}, "object_size: got 'big'; allowed: "),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(path, options, expected):
    with pytest.raises(ConfigError, match=expected):
        advise(path, **options)


def test_a_trace_without_accesses_or_sizes_is_refused(tmp_path):
    empty = write(tmp_path / "empty.fctrace", [])
    with pytest.raises(TraceError, match="holds nothing to replay"):
        advise(empty)
    plain = write(tmp_path / "plain.fctrace", [(0, "1", 0, "get", None, "", False)])
    with pytest.raises(ConfigError, match="byte: got True; allowed: a trace that knows"):
        advise(plain, byte=True)
    assert advise(plain).object_size == 1000


def test_a_sample_without_an_access_says_so(path):
    with pytest.raises(TraceError, match="holds nothing to replay"):
        measure(_core.Trace.open(path).sample(0.0), ["lru"], [1], by_bytes=False, requests=1, optimum=None)


def test_progress_is_told(path):
    seen = []
    assert isinstance(advise(path, sizes=[0.5], progress=lambda *done: seen.append(done)), Advice)
    assert seen[-1][0] == seen[-1][1] == len(seen)


def test_the_recommended_size_is_the_least_that_was_seen_to_do(path):
    # Few sizes lie far apart: what lies between is found by simulation.
    for wished in (0.4, 0.55, 0.7):
        advice = advise(path, policies="lru", sizes=[0.001, 1.0], hit_rate=wished)
        assert 1 - misses(path, "lru", advice.size) >= wished
        assert 1 - misses(path, "lru", int(advice.size / 1.02)) < wished


def test_a_sample_has_enough_keys_however_few_accesses_are_asked_for(tmp_path):
    path = write(tmp_path / "two.fctrace", [(at, str(at % 2), 10, "get", None, "", False) for at in range(3000)])
    advice = advise(path, requests=100)
    assert advice.hit_rate == 1 - 2 / 3000
    assert advice.checks.share == 1


def test_an_estimated_optimum_misses_no_less_than_a_cache_that_holds_everything(path):
    with pytest.warns(UserWarning, match="it is estimated"):
        advice = advise(path, memory="20KB", policies="lru")
    assert advice.belady_estimated
    assert advice.belady_hit_rate <= advice.ceiling
    assert max(1 - ratio for ratio in advice.belady.miss_ratios) <= advice.ceiling


def test_a_loop_has_its_knee_at_its_end_and_a_flat_curve_at_its_begin(tmp_path):
    loop = write(tmp_path / "loop.fctrace", [(at, str(at % 500), 10, "get", None, "", False) for at in range(2000)])
    advice = advise(loop, policies="lru", hit_rate=0.9)
    assert (advice.reached, advice.size, advice.knee) == (False, 500, 500)
    once = write(tmp_path / "once.fctrace", [(at, str(at), 10, "get", None, "", False) for at in range(2000)])
    assert advise(once, policies="lru").knee == 100
