"""The disk tier, beside what every tier promises: what it does where a directory fails, and what it hands to threads."""

import os
import random
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from conftest import Face

from forecache import Cache, CacheClosed, Disk, TierOpened, TierUnavailable, ZMemory
from forecache._core import Entry
from forecache.events import TierFailed
from forecache.flow import run
from forecache.testing import FakeClock
from forecache.tiers.disk import DiskTier
from forecache.tiers.tier import wall_time


def get(tier, *keys):
    return {key: entry.payload for key, entry in run(tier.get_many(keys)).items()}


def test_a_directory_that_cannot_be_opened_is_told_at_once_and_recovers_by_itself(tmp_path, clock, now, caplog):
    where = tmp_path / "cache"
    where.write_text("a file in its place")
    events = []
    tier = Disk(where).make("space", now, events.append)
    assert (tier.stats().state, tier.counters()) == ("down", None)
    assert str(where) in tier.stats().reason
    for _ in range(5):
        assert get(tier, "a") == {}
    run(tier.set_many({"a": Entry(b"1")}))
    assert [type(event) for event in events] == [TierOpened]
    assert str(where) in caplog.text
    where.unlink()
    clock.advance(2)
    run(tier.set_many({"a": Entry(b"1")}))
    assert get(tier, "a") == {"a": b"1"}
    assert (tier.stats().state, tier.stats().reason, tier.stats().entries) == ("up", None, 1)
    assert tier.counters() is not None


def test_a_strict_one_raises_when_it_is_made(tmp_path, now):
    where = tmp_path / "cache"
    where.write_text("a file in its place")
    with pytest.raises(TierUnavailable, match="cache"):
        Disk(where, strict=True).make("space", now)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_directory_without_permission_is_told(tmp_path, now):
    tmp_path.chmod(0o500)
    assert "ermission" in Disk(tmp_path / "cache").make("space", now).stats().reason


def test_a_directory_of_somebody_else_is_left_alone(tmp_path, now):
    (tmp_path / "letters.txt").write_text("dear diary")
    tier = Disk(tmp_path).make("space", now)
    assert tier.stats().state == "down"
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_namespaces_of_a_directory_are_apart(tmp_path, now):
    one, other = (Disk(tmp_path / "cache").make(name, now) for name in ("one", "other"))
    run(one.set_many({"a": Entry(b"1")}))
    run(other.set_many({"a": Entry(b"2")}))
    assert (get(one, "a"), get(other, "a")) == ({"a": b"1"}, {"a": b"2"})
    run(one.clear())
    assert (get(one, "a"), get(other, "a")) == ({}, {"a": b"2"})


def yielded(flow):
    """Names of the functions that a flow has called, as it goes on."""
    names = []
    try:
        request = next(flow)
        while True:
            names.append(request.function.__name__)
            request = flow.send(request.run())
    except StopIteration:
        return names


def test_small_work_is_done_in_line_and_large_work_is_a_call(tmp_path, now):
    tier = DiskTier(Disk(tmp_path / "cache"), "space", now)
    small, large = Entry(b"x" * 4096), Entry(os.urandom(20_000))
    assert yielded(tier.set_many({"small": small})) == ["open"]
    assert yielded(tier.set_many({"other": small})) == []
    assert yielded(tier.set_many({"large": large})) == ["set_many"]
    assert yielded(tier.set_many({f"key:{number}": small for number in range(100)})) == ["set_many"]
    assert yielded(tier.get_many(["small"])) == []
    assert yielded(tier.get_many(["small", "other", "absent"])) == []
    assert yielded(tier.get_many(["large"])) == ["get"]
    assert yielded(tier.get_many(["small", "large"])) == ["get_many"]
    assert yielded(tier.get_many([f"key:{number}" for number in range(100)])) == ["get_many"]
    assert yielded(tier.swap("small", 0, small)) == []
    assert yielded(tier.swap("small", 0, large)) == ["swap"]
    assert yielded(tier.delete_many(["small"])) == []
    assert yielded(tier.flush()) == ["flush"]
    run(tier.close())


def test_an_entry_that_no_directory_has_room_for_can_be_swapped_in_and_is_gone(tmp_path, now):
    tier = Disk(tmp_path / "cache", "9MB").make("space", now)
    run(tier.set_many({"a": Entry(b"1")}))
    version = run(tier.get_many(["a"]))["a"].version
    assert run(tier.swap("a", version, Entry(os.urandom(2 * 10**7))))
    assert get(tier, "a") == {}
    assert tier.stats().failures == 0


def test_the_child_of_a_fork_has_the_directory_too(tmp_path, now):
    tier = Disk(tmp_path / "cache").make("space", now)
    run(tier.set_many({"parent": Entry(b"1")}))
    child = os.fork()
    if child == 0:
        try:
            found = get(tier, "parent")
            run(tier.set_many({"child": Entry(b"2")}))
            os._exit(0 if found == {"parent": b"1"} else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert get(tier, "parent", "child") == {"parent": b"1", "child": b"2"}


def test_the_child_of_a_fork_takes_nothing_out_of_the_directory(tmp_path):
    cache = Cache(tiers=[Disk(tmp_path / "cache", write="through")])
    cache.set("parent", 1)
    child = os.fork()
    if child == 0:
        try:
            cache.set("child", 2)
            os._exit(0)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with Cache(tiers=[Disk(tmp_path / "cache")]) as other:
        assert (other.get("parent"), other.get("child")) == (1, 2)
    cache.close()


def test_a_directory_that_was_removed_is_made_anew(tmp_path, now):
    tier = Disk(tmp_path / "cache").make("space", now)
    run(tier.set_many({"a": Entry(b"1")}))
    counters = tier.counters()
    shutil.rmtree(tmp_path / "cache")
    run(tier.set_many({"b": Entry(b"2")}))
    assert get(tier, "a", "b") == {"b": b"2"}
    assert get(Disk(tmp_path / "cache").make("space", now), "b") == {"b": b"2"}
    assert tier.counters() != counters
    assert tier.stats().failures == 0


def test_many_threads_use_one_tier(tmp_path, crew):
    tier = Disk(tmp_path / "cache", admission="all").make("space", wall_time(FakeClock()))
    start = threading.Barrier(4)

    def work(who):
        start.wait()
        for turn in range(200):
            key = f"key:{turn % 20}"
            run(tier.set_many({key: Entry(f"{key} {who}".encode() * 100)}))
            for name, payload in get(tier, *(f"key:{number}" for number in range(20))).items():
                assert payload.startswith(name.encode() + b" ")
            run(tier.delete_many([f"key:{(turn + who) % 20}"]))

    for who in range(4):
        crew.send(work, who)
    assert crew.back().errors == []
    assert tier.stats().failures == 0


@pytest.fixture
def small_file_system(tmp_path):
    """16 MiB, where one can be mounted."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "small", tmp_path], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("only who may mount has a full file system at hand")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


MAPS = Path("/proc/self/maps")
FULL = "no space is left on its file system, so it holds less than its capacity"


def noise(number):
    return random.Random(number).randbytes(50_000)


def filled(folder, **options):
    """A cache over a directory there that has taken what the file system has room for."""
    cache = Cache("1MB", tiers=[Disk(folder / "cache", "200MB", compression="none", admission="all", **options)])
    number = 0
    while not cache.stats().tiers[0].refused:
        cache.set(f"key:{number}", noise(number), write="through")
        number += 1
    return cache


def test_a_full_file_system_is_told_and_harms_nothing(small_file_system, caplog):
    path = small_file_system / "cache"
    with Cache("1MB", tiers=[Disk(path, "200MB", write="through", compression="none", admission="all")]) as cache:
        values = {f"key:{number}": noise(number) for number in range(500)}
        for key, value in values.items():
            cache.set(key, value)
        (told,) = cache.stats().tiers
        assert told.state == "up"
        assert told.reason == f"{path}: {FULL}"
        assert sum(told.reason in line for line in caplog.messages) == 1
        found = {key: value for key in values if (value := cache.get(key)) is not None}
        assert len(found) > 100
        assert found == {key: values[key] for key in found}


def test_that_a_file_system_is_full_is_said_no_longer_once_it_takes_something(small_file_system):
    with filled(small_file_system, write="through") as cache:
        assert FULL in cache.stats().tiers[0].reason
        subprocess.run(["mount", "-o", "remount,size=32m", small_file_system], check=True)
        cache.set("more", noise(0))
        assert cache.stats().tiers[0].reason is None
        assert cache.get("more") == noise(0)


def test_a_strict_one_raises_what_a_full_file_system_refuses_and_keeps_the_rest(small_file_system):
    filled(small_file_system).close()
    heard = []
    with Cache(
        "1MB", max_entries=1, tiers=[Disk(small_file_system / "cache", "200MB", compression="none", strict=True)]
    ) as cache:
        cache.subscribe(heard.append)
        for _ in range(10):
            cache.delete("key:0")  # there is room for one
            with pytest.raises(TierUnavailable, match=FULL):
                cache.set_many({"key:0": noise(5), "new": noise(0)}, write="through")
        with pytest.raises(TierUnavailable, match=FULL):
            cache.add("other", noise(0))
        assert {event.keys for event in heard if isinstance(event, TierFailed)} == {("new",), ("other",)}
        assert [cache.get(key) for key in ("key:0", "key:1", "other")] == [noise(5), noise(1), None]
        assert cache.stats().tiers[0].state == "up"


def test_the_flush_of_a_strict_one_raises_what_was_refused_behind(small_file_system):
    filled(small_file_system).close()
    with Cache("1MB", tiers=[Disk(small_file_system / "cache", "200MB", compression="none", strict=True)]) as cache:
        cache.set("new", noise(0))
        with pytest.raises(TierUnavailable, match=FULL):
            cache.flush()
        cache.flush()
        cache.delete("key:0")  # there is room for one
        cache.set_many({"new": noise(0), "newer": noise(1)})
        with pytest.raises(TierUnavailable, match=FULL):
            cache.close()
        assert cache.closed
    with Cache("1MB", tiers=[Disk(small_file_system / "cache", "200MB")]) as cache:
        assert cache.get_many(["new", "newer"]) in ({"new": noise(0)}, {"newer": noise(1)})


def test_one_that_is_not_strict_goes_on_without_what_a_full_file_system_refuses(small_file_system):
    with filled(small_file_system) as cache:
        assert cache.set("new", noise(0), write="through")
        assert cache.add("other", noise(0))
        cache.flush()
        assert cache.stats().tiers[0].failures == 0


def take_all(path):
    with path.open("wb", buffering=0) as file:
        while file.write(bytes(2**16)):
            pass


def test_a_directory_that_a_full_file_system_left_in_the_making_is_finished_and_not_damaged(small_file_system, clock, caplog):
    with pytest.raises(OSError, match="No space"):
        take_all(small_file_system / "other")
    with Cache("1MB", tiers=[Disk(small_file_system / "cache", "10MB", write="through")], clock=clock) as cache:
        assert "No space left" in cache.stats().tiers[0].reason
        (small_file_system / "other").unlink()
        clock.advance(2)
        cache.set("a", 1)
        (told,) = cache.stats().tiers
        assert (told.state, told.reason, told.entries, told.corrupt) == ("up", None, 1, 0)
    assert "damaged" not in caplog.text


@pytest.mark.skipif(not MAPS.exists(), reason="only Linux tells what is open")
@pytest.mark.parametrize("above", [[], [ZMemory("1MB")]])
def test_a_closed_cache_has_nothing_of_the_directory_open(tmp_path, colour, above):
    face = Face(Cache("1MB", max_entries=1, tiers=[*above, Disk(tmp_path / "cache")]), colour)
    face.set_many({f"key:{number}": noise(number) for number in range(3)})
    assert face.incr("n") == 1
    assert str(tmp_path / "cache") in opened()
    assert face.get("key:1") == noise(1)
    face.close()
    assert str(tmp_path / "cache") not in opened()
    with pytest.raises(CacheClosed):
        face.set("a", 1)
    assert face.cache.stats().tiers[-1].entries == 4


def opened():
    """Files that this process has open or mapped."""
    links = [str(path.resolve()) for path in Path("/proc/self/fd").iterdir()]
    return MAPS.read_text() + "\n".join(links)
