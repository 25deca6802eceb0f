"""The store on disk as Python sees it; what it does with files is tested in Rust."""

import os
import signal
import threading

import pytest

from forecache import CacheClosed, ConfigError
from forecache._core import Disk, Entry, Packing

NOW = 1_577_836_800_000
CAPACITY = 8 << 20


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "disk", namespace="shop", capacity=CAPACITY, packing=Packing("lz4"))


@pytest.mark.parametrize("payload", [b"", b"Ada", b"a line of a log\n" * 5000, os.urandom(100_000), os.urandom(2 << 20)])
def test_an_entry_comes_back_as_it_went_in(disk, payload):
    said = {"written": NOW, "soft": NOW + 1, "hard": NOW + 2, "owner": "acme", "tags": ["a", "b"], "cost": 2.0, "immutable": True}
    assert disk.set_many({"kü": Entry(payload, codec=7, **said)}, NOW) == []
    entry = disk.get("kü", NOW)
    assert (entry.payload, entry.codec, {name: getattr(entry, name) for name in said}) == (payload, 7, said)
    found, longer = disk.get_many(["kü", "none"], NOW)
    assert (list(found), found["kü"].payload, longer) == (["kü"], payload, [])
    assert disk.get("kü", NOW + 2) is None


def test_what_is_longer_than_asked_for_is_not_read(disk):
    disk.set_many({"long": Entry(os.urandom(50_000)), "short": Entry(b"v")}, NOW)
    assert disk.get("long", NOW, 20_000) > 50_000
    assert disk.get("short", NOW, 20_000).payload == b"v"
    found, longer = disk.get_many(["long", "short"], NOW, 20_000)
    assert (list(found), longer) == (["short"], ["long"])
    assert len(disk.get("long", NOW, 60_000).payload) == 50_000


def test_verbs_say_what_was_there(disk):
    disk.set_many({key: Entry(b"v", tags=[key], owner="even" if int(key) % 2 == 0 else "") for key in "123456"}, NOW)
    assert disk.delete_many(["1", "x"], NOW) == ["1"]
    assert disk.lacks(["1", "2"], NOW) == ["1"]
    version = disk.get("2", NOW).version
    assert disk.swap("2", version, Entry(b"w"), NOW) is True
    assert disk.swap("2", version, Entry(b"x"), NOW) is False
    assert disk.swap("1", None, Entry(b"y"), NOW) is True
    cursor, keys = disk.scan(0, 1000, None, NOW)
    assert (cursor, sorted(keys)) == (None, list("123456"))
    assert disk.scan(0, 1000, "?", NOW)[1] == keys
    assert disk.scan(0, 1000, "z*", NOW)[1] == []
    assert disk.clear(["3"], None, NOW) == 1
    assert disk.clear([], "even", NOW) == 2
    assert disk.clear([], None, NOW) == 3
    assert disk.stats()["entries"] == 0


def test_a_taken_lock_is_waited_for_only_if_asked(disk, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / "disk" / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entries = {"k": Entry(b"v")}
        assert disk.set_many(entries, NOW, wait=False) is None
        assert disk.delete_many(["k"], NOW, wait=False) is None
        assert disk.swap("k", None, entries["k"], NOW, wait=False) is None
        waiter = threading.Thread(target=disk.set_many, args=(entries, NOW))
        waiter.start()
        # Who waits doesn't keep others from reading.
        assert disk.get("k", NOW) is None
        fcntl.flock(lock, fcntl.LOCK_UN)
        waiter.join(timeout=10)
    assert disk.get("k", NOW).payload == b"v"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_reads_and_writes_while_its_parent_lives_and_after(disk):
    disk.set_many({"k": Entry(b"v")}, NOW)
    child = os.fork()
    if child == 0:
        try:
            disk.forked()
            right = disk.get("k", NOW).payload == b"v" and disk.set_many({"l": Entry(b"w")}, NOW) == []
            os._exit(0 if right else 1)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == 0
    assert disk.get("l", NOW).payload == b"w"
    assert disk.delete_many(["l"], NOW) == ["l"]


def test_others_see_changes_and_promotions_are_none(disk, tmp_path):
    other = Disk(tmp_path / "disk", namespace="shop", capacity=CAPACITY)
    counters = other.counters()
    stripe = counters.stripe("shop", "k")
    epoch = counters.epoch(stripe)
    disk.set_many({"k": Entry(b"v")}, NOW, absent=True)
    assert counters.epoch(stripe) == epoch
    disk.delete_many(["k"], NOW)
    assert counters.epoch(stripe) != epoch


def test_a_directory_tells_what_it_holds(disk, tmp_path):
    disk.set_many({str(number): Entry(os.urandom(100), hard=NOW + 10) for number in range(100)}, NOW)
    told = Disk.info(tmp_path / "disk")
    assert (told["entries"], told["clean"], told["namespaces"][0][:2]) == (100, True, ("shop", 100))
    assert told["bytes"] == disk.stats()["bytes"] <= told["capacity"] == CAPACITY
    heard = []
    assert Disk.verify(tmp_path / "disk", heard.append) == {"good": 100, "corrupt": 0, "unreachable": 0}
    assert heard[-1] == 1.0
    with pytest.raises(ZeroDivisionError):
        Disk.verify(tmp_path / "disk", lambda done: 1 / 0)
    assert Disk.gc(tmp_path / "disk", NOW + 10)["dropped"] == 100


def test_a_directory_that_cannot_be_used_is_told(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(OSError, match=r"holds other files \(letter.txt\)"):
        Disk(tmp_path, capacity=CAPACITY)
    with pytest.raises(FileExistsError):
        Disk(tmp_path / "letter.txt", capacity=CAPACITY)
    with pytest.raises(FileNotFoundError):
        Disk.info(tmp_path / "none")
    for wrong, message in [
        ({"policy": "arc"}, "allowed on disk: lru"),
        ({"admission": "x"}, "doorkeeper, all"),
        ({"capacity": 1}, "8 MiB"),
    ]:
        with pytest.raises(ConfigError, match=message):
            Disk(tmp_path / "new", **{"capacity": CAPACITY, **wrong})


def test_a_closed_store_says_so(disk):
    disk.close()
    disk.close()
    with pytest.raises(CacheClosed):
        disk.get("k", NOW)
