"""A disk tier where its directory can only be read: on a file system mounted so, and for a user who may not write."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from forecache import Cache, Disk, TierReadOnly, TierUnavailable
from forecache.events import TierFailed

NOBODY = 65534
ENTRIES = {f"key:{number}": b"old" * number for number in range(1, 50)}


def above(path, **options):
    """A cache whose memory holds a single entry."""
    return Cache("1MB", max_entries=1, tiers=[Disk(path, "64MB", **{"write": "through"} | options)])


class Place:
    """A directory with entries that can only be read, at `path`, until it is `thawed`; `source` is where it can be written to."""

    def __init__(self, folder):
        self.source = self.path = folder / "cache"
        with above(self.source) as cache:
            cache.set_many(ENTRIES)


@pytest.fixture
def mounted(tmp_path):
    """On a mount that is read-only."""
    place = Place(tmp_path)
    place.path = tmp_path / "mounted"
    place.path.mkdir()
    if subprocess.run(["mount", "--bind", place.source, place.path], check=False, capture_output=True).returncode:
        pytest.skip("only who may mount has a read-only file system at hand")

    def remount(how):
        subprocess.run(["mount", "-o", f"remount,bind,{how}", place.path], check=True)

    remount("ro")
    place.thaw = lambda: remount("rw")
    yield place
    subprocess.run(["umount", "--lazy", place.path], check=True)


@pytest.fixture
def forbidden():
    """For a user who may not write; root becomes one who is nobody."""
    folder = Path(tempfile.mkdtemp())
    place, root = Place(folder), os.geteuid() == 0
    folder.chmod(0o755)
    inside = [place.path, *place.path.rglob("*")]

    def chmod(writable):
        for path in inside:
            path.chmod((0o755 if path.is_dir() else 0o644) & (0o777 if writable else 0o555))

    def thaw():
        if root:
            os.seteuid(0)
        chmod(writable=True)

    place.thaw = thaw
    chmod(writable=False)
    if root:
        os.seteuid(NOBODY)
    yield place
    thaw()
    shutil.rmtree(folder)


@pytest.fixture(params=["mounted", "forbidden"])
def place(request):
    return request.getfixturevalue(request.param)


def test_hits_are_served_and_writes_refused_with_the_reason(place, caplog):
    with above(place.path) as cache:
        events = []
        cache.subscribe(events.append)
        assert cache.get_many(list(ENTRIES)) == ENTRIES
        cache.set("key:1", b"new")
        assert cache.get("key:1") == b"new"
        (told,) = cache.stats().tiers
        assert (told.state, told.hits, told.sets, told.dropped) == ("up", len(ENTRIES), 0, 1)
        assert told.reason.startswith(f"{place.path} can be read here, and not be written to: ")
        (failed,) = [event for event in events if isinstance(event, TierFailed)]
        assert (failed.tier, failed.verb, failed.keys, type(failed.error)) == ("disk", "set_many", ("key:1",), TierReadOnly)
        assert told.reason in caplog.text


def test_what_this_process_deleted_or_overwrote_does_not_come_back(place):
    with above(place.path) as cache:
        cache.set("key:1", b"new")
        cache.delete("key:2")
        cache.get("key:3")  # has left memory for this
        cache.flush()
        assert [cache.get(f"key:{number}") for number in (1, 2, 3)] == [None, None, ENTRIES["key:3"]]
        assert {"key:1", "key:2"}.isdisjoint(cache.get_many(list(ENTRIES)))
        cache.set("absent", b"new")
        assert cache.stats().tiers[0].owed == 2
        cache.clear()
        assert cache.get_many(list(ENTRIES)) == {}


def test_reads_go_on_however_often_writes_are_refused(place):
    with above(place.path, write="behind") as cache:
        for number in range(100):
            cache.set(f"other:{number}", b"new")
            cache.flush()
            assert cache.get("key:5") == ENTRIES["key:5"]
        assert cache.stats().tiers[0].state == "up"


def test_each_process_decides_for_itself(place):
    with above(place.path) as cache:
        assert (cache.pop("key:1"), cache.pop("key:1")) == (ENTRIES["key:1"], None)
        assert (cache.add("key:2", b"new"), cache.add("new", b"new"), cache.add("new", b"newer")) == (False, True, False)
        assert cache.compare_and_set("key:2", ENTRIES["key:2"], b"new")
        assert cache.get("key:2") == b"new"
        assert cache.get("key:3") == ENTRIES["key:3"]
        cache.flush()
        assert [cache.get("key:1"), cache.get("key:2")] == [None, None]


def test_a_strict_one_raises_when_it_is_made(place):
    with pytest.raises(TierUnavailable, match=str(place.path)):
        above(place.path, strict=True)


def test_it_is_written_to_as_soon_as_it_can_be(place):
    with above(place.path) as cache:
        cache.delete("key:1")
        cache.set("key:2", b"new")
        place.thaw()
        cache.set("key:3", b"new")
        (told,) = cache.stats().tiers
        assert (told.state, told.reason, told.owed) == ("up", None, 0)
    with above(place.source) as cache:
        # What was refused may come with what leaves memory.
        assert cache.get("key:2") in (None, b"new")
        assert cache.get_many(["key:1", "key:3"]) == {"key:3": b"new"}


def test_what_others_change_is_seen(mounted):
    with above(mounted.path) as reader, above(mounted.source) as writer:
        assert reader.get("key:1") == ENTRIES["key:1"]
        writer.set("key:1", b"new")
        assert reader.get("key:1") == b"new"
        assert reader.get("other") is None
        more = {f"more:{number}": b"x" for number in range(3000)}
        writer.set_many(more)
        assert reader.get_many(list(more)) == more


def test_a_namespace_that_is_begun_later_is_found_after_a_write(mounted):
    options = {"max_entries": 1, "namespace": "late"}
    with (
        Cache("1MB", tiers=[Disk(mounted.path, "64MB", write="through")], **options) as reader,
        Cache("1MB", tiers=[Disk(mounted.source, "64MB", write="through")], **options) as writer,
    ):
        assert reader.get("key") is None
        writer.set("key", b"new")
        reader.set("other", b"refused")
        assert reader.get("key") == b"new"
