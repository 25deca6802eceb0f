"""Outages of Redis as callers see them: nothing raises, nothing old is served, and it is used again.

`benchmarks/outages.py` is the long form.
"""

import asyncio
from collections import Counter

import pytest
from conftest import Face
from servers.process import wait_until
from servers.redis import Redis

import forecache
from cancellations import trial
from forecache._core import Entry
from forecache.flow import arun, run
from forecache.testing import FakeClock
from forecache.tiers.tier import wall_time
from outage_parts import OUTAGES, Origin, open_cache
from outages import lost_deletes, orphans

KEYS = 30
SHORT = {"timeout": 0.2}
"""Seconds that a call may take, so that the breaker opens soon."""


@pytest.fixture
def server():
    """One that a test may leave in any state."""
    server = Redis()
    server.start()
    yield server
    server.kill()


class Course:
    """A cache before, during and after an outage, and another that looks on."""

    def __init__(self, outage, journal, colour):
        self.outage, self.journal = outage, journal
        self.origin = Origin()
        self.cache, self.other = (open_cache(outage.url, journal, max_entries=1, **SHORT) for _ in range(2))
        self.face = Face(self.cache, colour)
        self.keys = [f"key:{number}" for number in range(KEYS)]

    def run(self):
        with self.cache, self.other:
            wait_until(self.filled, "Redis doesn't take all")
            self.outage.begin()
            for _ in range(2):
                self.change()
                self.look()
            self.outage.end()
            wait_until(self.used, "Redis isn't used again")
            self.look()

    def filled(self):
        """Sets all keys, and says whether Redis has them: on a busy machine a call may take too long."""
        for key in self.keys:
            self.face.set(key, self.origin.load(key))
        with open_cache(self.outage.url, self.journal) as third:  # the other's memory is to know nothing
            return third.get_many(self.keys).keys() == set(self.keys)

    def change(self):
        """Overwrites a third of the keys, deletes another."""
        for number, key in enumerate(self.keys):
            if number % 3 == 0:
                self.face.set(key, self.origin.change(key))
            elif number % 3 == 1:
                self.origin.change(key)
                self.face.delete(key)
            self.origin.told(key)

    def look(self):
        """Nobody is given what was there before the changes."""
        for key in self.keys:
            self.origin.seen(key, self.origin.least[key], self.face.get(key))

    def used(self):
        self.look()
        for key in self.keys:
            self.origin.seen(key, self.origin.least[key], self.other.get(key))
        self.face.set("probe", b"1")
        return self.other.get("probe") is not None and self.cache.stats().tiers[-1].state == "up"


@pytest.mark.parametrize(
    ("name", "colour"),
    [*((name, "sync") for name in OUTAGES), *((name, "async") for name in ("killed", "paused", "cut", "half open", "garbled"))],
)
def test_an_outage_is_misses_and_what_was_changed_meanwhile_stays_changed(server, tmp_path, name, colour):
    with OUTAGES[name](server) as outage:
        Course(outage, tmp_path, colour).run()


@pytest.mark.parametrize("name", ["killed", "paused", "disk full"])
def test_what_a_process_deleted_before_it_was_killed_isn_t_served_to_another(server, tmp_path, name):
    with OUTAGES[name](server) as outage:
        assert orphans(outage, tmp_path, 20) == []


def test_a_failover_of_sentinels_loses_no_delete(redis_sentinel, tmp_path):
    assert lost_deletes(redis_sentinel, tmp_path, 20) == []


def test_a_lost_master_of_a_cluster_loses_no_delete(redis_cluster, tmp_path):
    assert lost_deletes(redis_cluster, tmp_path, 20) == []


@pytest.mark.parametrize("kind", ["redis_sentinel", "redis_cluster"])
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_one_pause_after_a_failover_it_is_used_again(request, kind, colour):
    servers, clock = request.getfixturevalue(kind), FakeClock()
    tier = forecache.Redis(servers.url, timeout=10).make(f"again-{colour}", wall_time(clock))
    some, others = ([f"{name}{number}" for number in range(200)] for name in "ab")

    def do(flow):
        return run(flow) if colour == "sync" else asyncio.run(arun(flow))

    def works(keys=some):
        do(tier.set_many(dict.fromkeys(keys, Entry(b"1"))))
        return do(tier.get_many(keys)).keys() == set(keys)

    def fallen():
        works()
        return tier.stats().state == "down" or servers.replaced()

    wait_until(works, "Redis doesn't take all")
    servers.kill_master()
    wait_until(fallen, "the breaker doesn't open")
    servers.wait_failover()
    failures = tier.stats().failures
    clock.advance(0.5)
    works()  # one call finds the other server, the next deletes what that may have missed
    assert works(others)  # writes of the first that broke off may still come, so these keys wait
    assert tier.stats().failures <= failures + 1
    do(tier.close())


def test_cancelled_requests_leave_no_reply_to_others(server, tmp_path):
    counts: Counter[str] = Counter()
    for _ in range(3):  # on a busy machine most are cancelled before they are answered
        more, wrong = trial(server, tmp_path, 3_333)
        assert wrong == []
        counts += more
        if min(counts["answered"], counts["hits"]) > 100:
            break
    assert counts["answered"] > 100
    assert counts["hits"] > 100
