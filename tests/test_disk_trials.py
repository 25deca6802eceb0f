"""Short forms of the disk tier's trials: kills, crashes, damage, and four processes at once."""

import sys

import pytest

import disk_shared
from disk_crash import CAPACITY, Log, copies, crashes, dirty_bytes, flips
from disk_kill import kills
from disk_parts import History, Work, files, number_of, open_disk, value


def test_a_killed_writer_leaves_what_it_had_done():
    assert kills(20)["values read"] > 500


def test_a_crash_of_the_machine_leaves_no_wrong_value():
    assert crashes(40)["values found"] > 1000


def test_a_copy_made_while_it_is_written_has_no_wrong_value():
    assert copies(5)["values found"] > 50


def test_a_bit_that_flips_costs_a_miss_and_never_a_wrong_byte():
    assert flips(1_000)["flips that lost keys"] > 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much of a file is dirty")
def test_a_flush_leaves_nothing_to_the_page_cache_alone(tmp_path):
    directory = tmp_path / "disk"
    work = Work(open_disk(directory, CAPACITY), History(), "flush", keys=100, most=60_000)
    for _ in range(300):
        work.step()
    assert sum(map(dirty_bytes, files(directory))) > 0
    work.disk.flush()
    # Who owns which place is worked out anew after the machine was started anew.
    kept = [path for path in files(directory) if path.suffix != ".owners"]
    assert {path.name: dirty_bytes(path) for path in kept if dirty_bytes(path) > 0} == {}
    work.disk.close()


def test_four_processes_share_a_directory():
    results = disk_shared.trial(seconds=3, capacity=16_000_000, keys=2000, difference=0.05)
    assert results["samples of the blocks"] > 10
    assert results["missed"] == []


def test_a_lost_update_and_a_wrong_byte_are_noticed():
    history = History()
    history.begin("set", 1, ["a"])
    history.end()
    history.begin("flush", 2, [])
    history.end()
    history.begin("delete", 3, ["a"])
    history.check_kill({"a": 1}, full=False)
    history.end()
    history.check_crash({"a": 1})
    with pytest.raises(AssertionError, match="a holds 1"):
        history.check_kill({"a": 1}, full=True)
    history.begin("flush", 4, [])
    history.end()
    with pytest.raises(AssertionError, match="a holds 1"):
        history.check_crash({"a": 1})
    wrong = bytearray(value("a", 1, 5000))
    wrong[4000] ^= 1
    with pytest.raises(AssertionError, match="wrong byte"):
        number_of("a", bytes(wrong))


def test_a_crash_is_rebuilt_of_pages_that_were(tmp_path):
    import random

    live, log = tmp_path / "live", Log(tmp_path / "live")
    live.mkdir()
    seen = set()
    (live / "file").write_bytes(b"0" * 9000)
    log.note()
    log.synced()
    for content in (b"1", b"2"):
        (live / "file").write_bytes(content * 9000)
        log.note()
    for seed in range(50):
        target = tmp_path / str(seed)
        log.rebuild(target, random.Random(seed))
        crashed = (target / "file").read_bytes()
        assert len(crashed) == 9000
        seen |= set(crashed)
    assert seen == set(b"012")
