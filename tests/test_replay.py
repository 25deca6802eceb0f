"""The simulator tells what the cache itself would do."""

import itertools
import random
import threading
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecache import MISSING, POLICIES, Cache, ConfigError, TraceError, _core, machine
from forecache.replays import replay
from forecache.testing import FakeClock

SECOND = 10**9


def write(path, rows):
    _core.write_trace(path, [(*row, 1) for row in rows])
    return path


def zipf(count, objects=2000, seed=1):
    """Gets, a second apart: a few keys are asked for often, and now and then comes a scan."""
    choose = random.Random(seed)
    ids = [min(int(choose.paretovariate(0.7)), objects) for _ in range(count)]
    for start in range(0, count, 1000):
        ids[start : start + 100] = range(objects + start, objects + start + 100)
    return [(number * SECOND, str(key), 10 + key % 90, "get", None, "", False) for number, key in enumerate(ids)]


def cache_of(policy, entries, seed, clock=None):
    return Cache(capacity=10**12, max_entries=entries, policy=policy, seed=seed, clock=clock or FakeClock())


def access(cache, row):
    """Does with `cache` what the row says, and tells whether it hit; None for a delete."""
    _, key, _, operation, ttl, owner, _ = row
    options = {"ttl": None if ttl is None else ttl / SECOND, "owner": owner or None}
    if operation == "delete":
        cache.delete(key)
        return None
    if operation == "get":
        hit = cache.get(key, MISSING) is not MISSING
        if not hit:
            cache.set(key, 0, **options)
        return hit
    hit = key in cache
    cache.set(key, 0, **options)
    return hit


def hits_of(cache, rows, clock):
    hits, now = 0, rows[0][0] if rows else 0
    for row in rows:
        clock.advance((row[0] - now) / SECOND)
        now = row[0]
        hits += access(cache, row) or 0
    return hits


@pytest.mark.parametrize("entries", [1, 20, 300])
@pytest.mark.parametrize("policy", POLICIES)
def test_the_simulator_hits_as_often_as_the_cache(tmp_path, policy, entries):
    rows = zipf(20_000)
    path = write(tmp_path / "zipf.fctrace", rows)
    clock = FakeClock()
    [row] = replay(path, policies=policy, capacity=entries, seed=7)
    assert row.accesses - row.misses == hits_of(cache_of(policy, entries, 7, clock), rows, clock)


steps = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.integers(0, 25),
        st.sampled_from(["get", "get", "get", "set", "delete"]),
        st.none() | st.integers(1, 30),
        st.sampled_from(["", "ann"]),
    ),
    min_size=1,
    max_size=300,
)


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=60, deadline=None)
@given(steps=steps, entries=st.integers(1, 12), seed=st.integers(0, 2**64 - 1))
def test_with_sets_deletes_and_times_to_live_too(tmp_path_factory, policy, steps, entries, seed):
    rows, now = [], 0
    for pause, key, operation, ttl, owner in steps:
        now += pause * SECOND // 4
        rows.append((now, str(key), 1, operation, ttl and ttl * SECOND // 4, owner, False))
    path = write(tmp_path_factory.mktemp("steps") / "steps.fctrace", rows)
    clock = FakeClock()
    expected = hits_of(cache_of(policy, entries, seed, clock), rows, clock)
    if all(operation == "delete" for _, _, operation, _, _ in steps):
        with pytest.raises(TraceError, match="holds nothing to replay"):
            replay(path, policies=policy, capacity=entries)
        return
    [row] = replay(path, policies=policy, capacity=entries, seed=seed)
    assert row.accesses - row.misses == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_two_threads_hit_within_half_a_point(tmp_path, policy):
    rows = zipf(60_000)
    [row] = replay(write(tmp_path / "zipf.fctrace", rows), policies=policy, capacity=200)
    cache, shared, hits = cache_of(policy, 200, 0), iter(rows), []

    def work():
        hits.append(sum(access(cache, row) or 0 for row in shared))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert abs(sum(hits) / len(rows) - (1 - row.miss_ratio)) < 0.005


def test_rows_come_in_the_order_of_traces_sizes_and_policies(tmp_path):
    paths = [write(tmp_path / f"{name}.x.fctrace", zipf(3000, seed=seed)) for seed, name in enumerate("ab")]
    seen = []
    rows = replay(paths, policies=["s3fifo", "lru"], sizes=[0.1, 0.01], belady=True, progress=lambda *done: seen.append(done))
    order = itertools.product("ab", [0.1, 0.01], ["s3fifo", "lru", "belady"])
    assert [(row.trace, row.size_fraction, row.policy) for row in rows] == list(order)
    assert seen == [(number, 12) for number in range(1, 13)]
    unique = _core.Trace.open(paths[0]).unique
    assert [row.capacity for row in rows[:6:3]] == [int(unique * 0.1), int(unique * 0.01)]
    for *policies, optimum in (
        itertools.batched(rows, 3) if hasattr(itertools, "batched") else zip(*[iter(rows)] * 3, strict=True)
    ):
        assert all(row.misses >= optimum.misses for row in policies)


def test_bytes_weigh_and_their_capacity_is_a_share_of_the_footprint(tmp_path):
    path = write(tmp_path / "a.fctrace", zipf(5000))
    footprint = _core.Trace.open(path).footprint
    shared, fixed = (replay(path, policies="lru", **size)[0] for size in ({"sizes": [0.1], "byte": True}, {"capacity": "5kB"}))
    assert (shared.capacity, shared.by_bytes) == (int(footprint * 0.1), True)
    assert (fixed.capacity, fixed.by_bytes, fixed.size_fraction) == (5000, True, None)
    assert fixed.miss_ratio != fixed.byte_miss_ratio


def test_less_than_one_object_gives_a_warning_and_no_row(tmp_path):
    path = write(tmp_path / "a.fctrace", zipf(300))
    with pytest.warns(UserWarning, match=r"a\.fctrace: 0\.001 of \d+ objects is less than one"):
        rows = replay(path, policies="lru", sizes=[0.001, 0.5])
    assert [row.size_fraction for row in rows] == [0.5]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"policies": ["lru", "lrx"]}, "policy: got 'lrx'; allowed: lru, "),
        ({"policies": []}, "policy: got ''; allowed: lru, "),
        ({"sizes": [0.1, 2]}, "sizes: got 2; allowed: shares"),
        ({"sizes": []}, r"sizes: got \[\]; allowed: shares"),
        ({"capacity": "5000x"}, "capacity: got '5000x'; allowed"),
        ({"seed": -1}, "seed: got -1; allowed"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(tmp_path, options, expected):
    with pytest.raises(ConfigError, match=expected):
        replay(write(tmp_path / "a.fctrace", zipf(10)), **options)


def test_a_size_of_nothing_is_an_error_where_bytes_are_weighed(tmp_path):
    path = write(tmp_path / "a.fctrace", [(0, "1", 5, "get", None, "", False), (1, "2", 0, "get", None, "", False)])
    with pytest.raises(TraceError, match="row 1: its size is 0"):
        replay(path, capacity="1KB")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert replay(path, policies="lru", capacity=1)[0].byte_miss_ratio == 1.0


def test_requests_are_counted_beside_the_accesses(tmp_path):
    path = write(tmp_path / "a.fctrace", [(n, str(key), 1, "get", None, "", False) for n, key in enumerate([1, 2, 1, 2, 1, 3])])
    (tmp_path / "ends").write_bytes(bytes([0, 1] * 3))
    [plain] = replay(path, policies="lru", capacity=9)
    grouped, optimum = replay(path, policies="lru", capacity=9, group_requests=tmp_path / "ends", belady=True)
    assert (plain.requests, plain.whole_requests, plain.request_hit_ratio) == (6, 3, 0.5)
    assert (grouped.requests, grouped.whole_requests, grouped.request_hit_ratio) == (3, 1, 1 / 3)
    assert grouped.miss_ratio == plain.miss_ratio
    assert optimum.request_hit_ratio is None
    (tmp_path / "ends").write_bytes(bytes(5))
    with pytest.raises(TraceError, match="ends, byte 5: ends here, but the trace goes on"):
        replay(path, group_requests=tmp_path / "ends")


def test_a_capacity_is_scaled_to_the_keys_that_were_recorded(tmp_path):
    path = tmp_path / "a.fctrace"
    _core.write_trace(path, [(*row, 1) for row in zipf(3000)], sampled=10_000)
    with pytest.warns(UserWarning, match=r"a\.fctrace holds 1 % of the keys; a capacity of 5,000 is simulated by one of 50"):
        [row] = replay(path, policies="lru", capacity=5000)
    assert row.capacity == 50
    with pytest.warns(UserWarning, match=r"a\.fctrace holds 1 % of the keys; where few keys make most of the requests"):
        [shared] = replay(path, policies="lru", sizes=[0.1])
    assert shared.capacity == int(_core.Trace.open(path).unique * 0.1)
    with pytest.raises(ConfigError, match=r"capacity: got 99; allowed: at least 100, because a\.fctrace holds 1 % of the keys"):
        replay(path, capacity=99)


def test_addresses_change_nothing_for_policies_that_do_not_look_and_are_refused_where_keys_are_none(tmp_path):
    path = write(tmp_path / "a.fctrace", zipf(3000))
    [plain] = replay(path, policies="lru", capacity=50)
    [addressed] = replay(path, policies="lru", capacity=50, addresses=True)
    assert addressed.misses == plain.misses
    for facts in ({"opaque": True}, {"hashed": True}):
        _core.write_trace(path, [(*row, 1) for row in zipf(10)], **facts)
        with pytest.raises(TraceError, match="addresses: its keys "):
            replay(path, addresses=True)


def test_lenient_replays_the_rest_and_warns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("key,size\na,1\n,1\na,0\na,1\n")
    with pytest.raises(TraceError, match=r"a\.csv, line 3: key is"):
        replay(path, capacity=2)
    with pytest.warns(UserWarning, match=r"a\.csv: 2 rows can't be used and are left out \(no key: 1, size of 0: 1\)"):
        [row] = replay(path, policies="lru", capacity=2, lenient=True)
    assert (row.accesses, row.misses, row.skipped) == (2, 1, {"no key": 1, "size of 0": 1})


def test_a_trace_that_does_not_fit_memory_is_told_before_it_runs_out(tmp_path, monkeypatch):
    path = tmp_path / "a.trc"
    path.write_text("\n".join(map(str, range(0, 300_000, 3))))
    monkeypatch.setattr(machine, "free_memory", lambda: 2**20)
    with pytest.raises(
        TraceError, match=r"a\.trc, line 65537: the 65536 accesses above take \d+ bytes of memory, and 1048576 were"
    ):
        replay(path)
    monkeypatch.setattr(machine, "free_memory", lambda: None)
    assert len(replay(path, policies="lru")) == 4
