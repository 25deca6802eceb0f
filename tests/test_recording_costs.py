"""What entries cost is recorded, so that policies that weigh it replay as they did."""

import zlib

import pytest
from test_recording import off_by, zipf

from forecache import Cache, _core


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trace.fctrace"


def test_costs_are_recorded_with_what_is_stored_and_asked_for(path):
    cache = Cache(max_entries=10)
    with cache.record(path):
        cache.get("a")
        cache.set("a", 1, cost=7.5)
        cache.get("a")
        cache.touch("a", ttl=60)
        cache.incr("b")
        cache.get("a")
    trace = _core.Trace.open(path)
    rows = [(row[3], cost) for row, cost in zip(trace.rows(), trace.costs(), strict=True)]
    assert rows == [("get", 7.5), ("get", 7.5), ("fill", 7.5), ("fill", 1.0), ("get", 7.5)]


def test_adaptive_replays_within_half_a_point_where_costs_differ(path):
    cache = Cache("1GB", max_entries=500, policy="adaptive")

    def work():
        for key in zipf(40_000):
            if cache.get(key) is None:
                cache.set(key, 1, cost=1 + zlib.crc32(key.encode()) % 50)

    assert off_by(cache, path, 500, work) <= 0.5
