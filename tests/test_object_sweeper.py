"""The sweeper of the object tier: what has ended leaves, and over the capacity the oldest."""

import os
import threading
import time

import obstore
from object_home import MINUTE, Home, objects, payloads, raw, swept

from forecache._core import Entry
from forecache.flow import run


def test_the_sweeper_removes_what_has_expired_and_whatever_belonged_to_it(home, now, clock, do):
    tier = home.tier(now, sweep="1h")
    tier.sweeper.grace = -5000  # what was made just now is old enough
    hard = now() + 30 * MINUTE
    run(tier.set_many({f"gone:{number}": Entry(b"x", hard=hard, tags=["red"], owner="acme") for number in range(20)}))
    run(tier.set_many({"idle": Entry(b"x", time_to_idle=MINUTE), "stays": Entry(b"y", tags=["red"], time_to_idle=600 * MINUTE)}))
    clock.advance(50)
    assert payloads(tier, "idle")
    run(tier.swap("popped", None, Entry(b"z")))
    run(tier.swap("popped", run(tier.get_many(["popped"]))["popped"].version, None))
    assert len(objects(tier, "v")) == 23
    clock.advance(3600)
    found = swept(tier, do)
    assert (found.expired, found.entries, found.evicted) == (22, 1, 0)
    assert objects(tier, "v") == [tier._names.value("stays")]
    assert (len(objects(tier, "t")), objects(tier, "o"), objects(tier, "u")) == (1, [], [])
    assert objects(tier, "probe") == []
    assert (tier.stats().entries, tier.stats().bytes) == (1, found.bytes)
    assert do(tier.clear(tags=["red"])) == 1


def test_what_others_may_still_be_at_is_left_by_the_sweeper(home, now, do):
    tier = home.tier(now, sweep="1h")
    run(tier.swap("popped", None, Entry(b"z")))
    run(tier.swap("popped", run(tier.get_many(["popped"]))["popped"].version, None))
    store, _ = raw(tier)
    coming = tier._names.mark(tier._names.tagged("red"), tier._names.value("a"), 42)
    obstore.put(store, coming, b"")
    assert swept(tier, do).expired == 0
    assert (len(objects(tier, "v")), objects(tier, "t")) == (1, [coming])


def test_one_process_sweeps_at_a_time(home, now, clock):
    tiers = [home.tier(now, "shared", sweep="1h") for _ in range(4)]
    run(tiers[0].set_many({"a": Entry(b"1")}))
    for tier in tiers:
        tier._bucket._open()
    barrier, results = threading.Barrier(4), []

    def sweep(tier):
        barrier.wait()
        results.append(swept(tier))

    for _ in range(2):
        results.clear()
        threads = [threading.Thread(target=sweep, args=(tier,)) for tier in tiers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [result is not None for result in results].count(True) == 1
        assert swept(tiers[0]) is None
        clock.advance(3600)


def test_over_its_capacity_the_oldest_leave_first_and_what_is_pinned_stays(tmp_path, now, do):
    tier = Home("directory", tmp_path).tier(now, "here", capacity="100KB", sweep="1h", compression="none")
    for number in range(20):
        run(tier.set_many({f"key:{number}": Entry(os.urandom(10_000), pinned=number == 3)}))
        file = tmp_path / "here" / tier._names.value(f"key:{number}")
        age = time.time() - 100 * (20 - number)
        os.utime(file, (age, age))
    found = swept(tier, do)
    assert 80_000 < found.bytes <= 100_000
    left = sorted(payloads(tier, *(f"key:{number}" for number in range(20))), key=lambda key: int(key[4:]))
    assert left == ["key:3", *(f"key:{number}" for number in range(20 - len(left) + 1, 20))]
    assert tier.stats().evicted == 20 - len(left)


def test_the_thread_that_sweeps_begins_with_the_first_write_and_ends_with_the_tier(home, now):
    tier = home.tier(now, sweep=0.05)
    assert tier._background._thread is None
    run(tier.set_many({"a": Entry(b"1", hard=now())}))
    thread = tier._background._thread
    until = time.monotonic() + 20
    while objects(tier, "v"):
        assert time.monotonic() < until, "nobody swept"
    run(tier.close())
    thread.join(20)
    assert not thread.is_alive()


def test_a_use_here_is_known_to_others_to_an_eighth(home, now, clock):
    tiers = [home.tier(now, "shared") for _ in range(2)]
    run(tiers[0].set_many({"a": Entry(b"1", time_to_idle=80_000)}))
    for _ in range(8):
        clock.advance(11)
        assert payloads(tiers[0], "a")
    clock.advance(60)
    assert payloads(tiers[1], "a") == {"a": b"1"}
    uses = len(objects(tiers[0], "u"))
    assert uses == 1
    clock.advance(81)
    assert payloads(tiers[1], "a") == payloads(tiers[0], "a") == {}
