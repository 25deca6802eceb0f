"""Caches with tiers, tried from outside as their users have them."""

import asyncio
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from forecache import Cache, Disk, ImmutableError, TierUnavailable

COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])


def opened(directory, options=""):
    return Cache.from_url("memory://?capacity=5MB", f"disk://{directory}?capacity=50MB{options}")


def does(cache, colour, verb, *arguments, **options):
    if colour == "sync":
        return getattr(cache, verb)(*arguments, **options)

    async def awaited():
        return await getattr(cache.aio, verb)(*arguments, **options)

    return asyncio.run(awaited())


def forked(work):
    """Runs `work` in a child of a fork and gives its exit code; one that hangs is ended by its alarm: the signal, negative."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@COLOURS
def test_a_forked_child_that_counts_leaves_the_directory_as_it_is(tmp_path, colour):
    with opened(tmp_path / "d") as cache:
        cache.set("kept", 1)
        cache.flush()
        assert forked(lambda: does(cache, colour, "incr", "n")) == 0
        assert (cache.get("kept"), cache.incr("n")) == (1, 2)


@COLOURS
@pytest.mark.parametrize("write", ["behind", "through", "demote"])
def test_a_forked_child_can_write_and_end(tmp_path, colour, write):
    with opened(tmp_path / "d", f"&write={write}") as cache:
        cache.set("kept", 1)
        cache.flush()

        def work():
            does(cache, colour, "set", "child", 2)
            does(cache, colour, "flush")

        assert forked(work) == 0
        assert cache.get("kept") == 1


@COLOURS
def test_what_is_immutable_stays_so_over_a_restart(tmp_path, colour):
    with opened(tmp_path / "d") as cache:
        cache.set("law", 1, immutable=True)
    with opened(tmp_path / "d") as cache, pytest.raises(ImmutableError):
        does(cache, colour, "set", "law", 2)


def test_a_directory_that_was_removed_and_made_anew_is_noticed(tmp_path):
    directory = tmp_path / "d"
    with opened(directory) as old:
        old.set("a", 1)
        old.flush()
        shutil.rmtree(directory)
        with opened(directory) as new:
            new.set("b", 2)
            new.flush()
            until = time.monotonic() + 5
            while old.get("b") is None and old.stats().tiers[-1].state == "up" and time.monotonic() < until:
                old.set("a", 1)
                old.flush()
            assert old.get("b") == 2 or old.stats().tiers[-1].state != "up"


@pytest.mark.parametrize("file", ["control", "index"])
def test_files_of_another_program_that_bear_our_names_are_left_alone(tmp_path, file):
    (tmp_path / file).write_bytes(b"precious " * 1000)
    with opened(tmp_path) as cache:
        cache.set("a", 1)
        cache.flush()
    assert (tmp_path / file).read_bytes() == b"precious " * 1000


@pytest.mark.parametrize("file", ["control", "index"])
def test_a_damaged_directory_is_told(tmp_path, file, caplog):
    with opened(tmp_path / "d") as cache:
        cache.set("a", 1)
    damaged = pathlib.Path(tmp_path, "d", file)
    damaged.write_bytes(bytes(damaged.stat().st_size))
    with opened(tmp_path / "d") as cache:
        assert cache.get("a") is None
        assert caplog.records or cache.stats().tiers[-1].reason


def test_a_damaged_directory_is_raised_when_strict(tmp_path):
    with opened(tmp_path / "d") as cache:
        cache.set("a", 1)
    damaged = tmp_path / "d" / "control"
    damaged.write_bytes(bytes(damaged.stat().st_size))
    with pytest.raises(TierUnavailable), opened(tmp_path / "d", "&strict=true") as cache:
        cache.get("a")


@COLOURS
def test_a_key_that_no_tier_can_hold_is_a_miss_as_without_tiers(tmp_path, colour):
    plain = Cache()
    assert does(plain, colour, "get", "\ud800") is None
    with opened(tmp_path / "d") as cache:
        assert does(cache, colour, "get", "\ud800") is None


@COLOURS
def test_what_is_wrong_with_a_key_or_owner_is_told_alike_with_tiers_and_without(tmp_path, colour):
    for arguments, options in (((1, 1), {}), (("\ud800", 1), {}), (("a", 1), {"owner": 5})):
        told = []
        for cache in (Cache(), opened(tmp_path / "d")):
            with cache, pytest.raises((TypeError, ValueError)) as raised:
                does(cache, colour, "set", *arguments, **options)
            told.append((raised.type, str(raised.value)))
        assert told[0] == told[1]


@COLOURS
def test_what_is_read_from_memory_again_and_again_is_not_idle_after_a_restart(tmp_path, colour):
    with opened(tmp_path / "d") as cache:
        cache.set("busy", 1, tti=2)
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert does(cache, colour, "get", "busy") == 1
    with opened(tmp_path / "d") as cache:
        assert does(cache, colour, "get", "busy") == 1


@COLOURS
def test_what_another_cleared_is_not_counted_or_listed(tmp_path, colour):
    with opened(tmp_path / "d") as cache, opened(tmp_path / "d") as other:
        for number in range(50):
            cache.set(f"k{number}", number)
        cache.flush()
        other.clear()
        assert not does(cache, colour, "exists", "k0")
        assert (len(list(cache.scan())), len(dict(cache.items())), len(cache)) == (0, 0, 0)


LEAK = """
import gc, resource, sys
from forecache import Cache

def some(count):
    for number in range(count):
        with Cache.from_url("memory://?capacity=5MB", f"disk://{sys.argv[1]}?capacity=50MB") as cache:
            cache.set("a", number)
            cache.get("b")
    gc.collect()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = some(50)
print(some(200) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_caches_that_were_closed_leave_no_memory_behind(tmp_path):
    grown = subprocess.run(
        [sys.executable, "-c", LEAK, str(tmp_path / "d")], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(grown.stdout) < 8_000


class Interrupted:
    """A codec during whose reading someone presses Ctrl-C."""

    number = 200

    def encode(self, value, _place):
        return str(value).encode()

    def decode(self, _payload, _place):
        raise KeyboardInterrupt


def test_an_interrupt_during_a_read_from_the_disk_reaches_the_caller(tmp_path):
    with Cache(tiers=[Disk(tmp_path / "d", "50MB")], codec=Interrupted()) as cache:
        cache.set("key", 1, write="around")
        cache.flush()
        with pytest.raises(KeyboardInterrupt):
            cache.get("key")


def test_an_interrupt_at_the_end_of_a_write_leaves_nothing_in_flight(tmp_path, monkeypatch):
    with Cache(tiers=[Disk(tmp_path / "d", "50MB", write="through")]) as cache:
        wake, pressed = cache._stack.signal.wake, [KeyboardInterrupt()]

        def interrupted():
            if pressed:
                raise pressed.pop()
            wake()

        monkeypatch.setattr(cache._stack.signal, "wake", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache.set("key", 1)
        assert cache._keys(0) == []
        assert cache.set("key", 2)
        assert cache.get("key") == 2


@pytest.mark.parametrize("how", ["get", "set"])
def test_what_others_deleted_does_not_come_back_when_memory_makes_room(tmp_path, how):
    disk = Disk(tmp_path, "9MB", write="through")
    with Cache(max_entries=1, policy="lru", tiers=[disk]) as cache, Cache(tiers=[disk]) as other:
        other.set("b", 2)
        cache.set("a", 1)
        other.delete("a")
        cache.get("b") if how == "get" else cache.set("b", 3)
        assert cache.get("a") is None
        cache.flush()
        assert other.get("a") is None
