"""Where the journals of a cache's tiers lie, and what its statistics say of them."""

import os
from pathlib import Path

import pytest
from journal_scenes import opened

from forecache import Cache, Disk, machine
from forecache.testing import DictTier, FaultyTier, Raise
from forecache.tiers.boundary import Custom
from forecache.tiers.journal import file_name
from forecache.tiers.remote import public


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "tier.journal"


def test_a_file_system_of_many_hosts_has_no_journal(path, monkeypatch, tmp_path):
    mounts = tmp_path / "mountinfo"
    device = tmp_path.stat().st_dev
    mounts.write_text(f"1 0 0:0 / / rw - ext4 disk rw\n2 1 {os.major(device)}:{os.minor(device)} / / rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(machine, "_MOUNTS", mounts)
    assert opened(path).place == f"memory: {path.parent} is on nfs4: a journal has to be on a disk of this host"
    assert not path.exists()


def made(tmp_path, tier, **options):
    return Cache(tiers=[Custom(tier, timeout=None)], namespace="app", **options)


class Addressed(FaultyTier):
    address = "nowhere:1"


def shared(entries):
    return Addressed(DictTier(entries, name="own", shared=True))


def test_a_cache_journals_what_a_shared_tier_misses_for_the_next_process(tmp_path):
    entries = {}
    tier = shared(entries)
    cache = made(tmp_path, tier, journal=tmp_path / "journals")
    cache.set("a", "old")
    tier.always(Raise())
    cache.delete("a")
    assert cache.stats().tiers[0].owed == 1
    with made(tmp_path, shared(entries), journal=tmp_path / "journals") as other:
        place = Path(other.stats().tiers[0].journal)
        assert place.parent == tmp_path / "journals"
        assert place.name == file_name("custom", "custom nowhere:1, namespace 'app'")
        assert other.get("a") is None
        assert other.stats().tiers[0].owed == 0
    cache.close()


def test_journals_lie_beside_the_disk_or_where_the_users_state_is(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    tiers = [Disk(tmp_path / "disk", "8MiB"), Custom(shared({}), timeout=None)]
    with Cache(tiers=tiers) as cache:
        disk, own = cache.stats().tiers
        assert disk.journal is None
        assert Path(own.journal).parent == tmp_path / "disk.journal"
    with made(tmp_path, shared({})) as cache:
        assert Path(cache.stats().tiers[0].journal).parent == tmp_path / "state" / "forecache"
    with made(tmp_path, DictTier(shared=True)) as cache:  # nothing tells it from others
        assert cache.stats().tiers[0].journal.startswith("memory: no directory")
    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with made(tmp_path, shared({})) as cache:
        assert cache.stats().tiers[0].journal.startswith("memory: no directory")
    with made(tmp_path, DictTier(), journal=tmp_path) as cache:
        assert cache.stats().tiers[0].journal is None


def test_where_no_journal_can_be_written_the_statistics_say_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with made(tmp_path, shared({}), journal=tmp_path / "file") as cache:
        assert cache.stats().tiers[0].journal.startswith("memory: ")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://app:s%40cret@host:6379/1", "redis://host:6379/1"),
        ("rediss+sentinel://:p@ss@h1:1,h2:2/mymaster?password=x#y", "rediss+sentinel://h1:1,h2:2/mymaster"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock"),
        ("h1:11211", "h1:11211"),
    ],
)
def test_an_address_has_no_secret(url, address):
    assert public(url) == address


def test_a_loaded_value_is_no_change_that_a_tier_which_is_down_has_to_hear_of():
    entries = {}
    tier = shared(entries)
    with Cache(tiers=[Custom(tier, timeout=None)], capacity=2000) as cache:
        cache.set("a", "stored")
        tier.always(Raise())
        for number in range(9):
            cache.get(f"other {number}")
        assert cache.stats().tiers[0].state == "down"
        for number in range(9):
            assert cache.get_or_load(f"key {number}", lambda: "loaded") == "loaded"
        assert cache.stats().tiers[0].owed == 0
        cache.set("a", "changed")
        cache.delete("b")
        assert cache.stats().tiers[0].owed == 2
        tier.heal()
