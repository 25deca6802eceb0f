"""The file of a journal: what is owed outlives processes, and what can't be read owes everything."""

import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from journal_scenes import LATER, keys_of, opened, settle

from forecache.tiers import journal as journals
from forecache.tiers import owed as bounds
from forecache.tiers.owed import ALL


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "tier.journal"


def test_what_is_owed_is_seen_by_all_and_by_whoever_comes_later(path):
    one, other = opened(path), opened(path)
    one.add(["a", "b"])
    assert other
    assert keys_of(other) == ["a", "b"]
    assert keys_of(opened(path)) == ["a", "b"]
    settle(other, "a", "b")
    assert not one
    assert not opened(path)
    assert one.place == other.place == str(path)


def test_clearings_are_kept(path):
    one, other = opened(path), opened(path)
    one.add_clearing((("red", "bl\ud800ue"), None))
    one.add_clearing(((), "acme"))
    assert other
    assert set(other.due(()).clearings) == {(("red", "bl\ud800ue"), None), ((), "acme")}
    one.add_clearing(ALL)
    assert other
    assert other.count is None
    assert list(other.due(()).clearings) == [ALL]


def test_what_is_noted_again_while_it_is_settled_stays(path):
    one, other = opened(path), opened(path)
    one.add(["a", "b"])
    one.add_clearing(((), "acme"))
    due = one.due(["a"])
    assert other
    other.add(["a"])
    other.add_clearing(((), "acme"))
    one.settle(due)
    assert keys_of(one) == keys_of(opened(path)) == ["a"]
    assert list(one.due(()).clearings) == [((), "acme")]


def test_everything_that_is_owed_again_while_it_is_settled_stays(path):
    one, other = opened(path), opened(path)
    one.add_clearing(ALL)
    due = one.due(["a"])
    assert other
    other.add(["a"])
    one.settle(due)
    assert one.count is None
    settle(one)
    assert not one
    assert not other


def test_what_is_settled_gives_its_room_back(path):
    owed = opened(path)
    owed.add([f"key {number}" for number in range(50_000)])
    assert path.stat().st_size > 500_000
    settle(owed, *keys_of(owed))
    assert path.stat().st_size == journals.HEADER


def test_a_short_log_keeps_its_room_and_the_next_takes_its_place(path):
    one, other = opened(path), opened(path)
    one.add(["key" * 100])
    size = path.stat().st_size
    settle(one, "key" * 100)
    assert not other
    other.add(["next"])
    assert path.stat().st_size == size > journals.HEADER
    assert one
    assert keys_of(one) == keys_of(opened(path)) == ["next"]


@pytest.fixture
def disk(path, monkeypatch):
    """What the disk has synced of the journal, and threads that were to be begun."""
    made = SimpleNamespace(synced=[], begun=[], slept=[])
    fsync = os.fsync
    monkeypatch.setattr(journals, "AGAIN", 3600.0)
    monkeypatch.setattr(journals, "in_thread", made.begun.append)
    monkeypatch.setattr(journals.time, "sleep", made.slept.append)
    monkeypatch.setattr(journals.os, "fsync", lambda fd: (fsync(fd), path.exists() and made.synced.append(path.read_bytes())))
    return made


def dirty(content):
    return journals.WORD.unpack_from(content, journals.DIRTY)[0]


def test_who_fails_again_and_again_has_the_disk_sync_once_and_loses_nothing(path, disk):
    owed = opened(path)
    disk.synced.clear()
    for _ in range(20):
        owed.add(["key"])
        settle(owed, "key")
        assert dirty(path.read_bytes()), "the system may write what is there at any time"
    assert [dirty(content) for content in disk.synced] == [1]
    assert len(disk.begun) == 1
    path.write_bytes(disk.synced[0])
    assert opened(path, boot=LATER).count is None


def test_some_time_after_all_was_settled_a_crash_of_the_machine_clears_nothing(path, disk):
    owed = opened(path)
    owed.add(["key"])
    settle(owed, "key")
    disk.begun.pop()()
    assert 0 < disk.slept[0] <= journals.AGAIN
    assert not dirty(path.read_bytes())
    owed.add(["key"])
    settle(owed, "key")
    owed.add(["other"])
    disk.begun.pop()()
    assert dirty(path.read_bytes()), "something is owed again"
    assert opened(path, boot=LATER).count is None


def test_who_opens_a_journal_that_owes_nothing_has_it_so(path, disk):
    owed = opened(path)
    owed.add(["key"])
    settle(owed, "key")
    assert dirty(path.read_bytes())
    opened(path)
    assert not dirty(path.read_bytes())


def test_what_took_the_place_of_a_journal_is_left_alone(path, disk):
    owed = opened(path)
    owed.add(["key"])
    settle(owed, "key")
    path.write_bytes(b"x" * 2 * journals.HEADER)
    disk.begun.pop()()
    assert path.read_bytes() == b"x" * 2 * journals.HEADER


def test_a_log_of_the_same_keys_is_written_anew(path):
    one, other = opened(path), opened(path)
    keys = [f"key {number:04}" * 10 for number in range(500)]
    for _ in range(200):
        one.add(keys)
    assert path.stat().st_size < 3 * journals.ANEW
    assert other
    assert keys_of(other) == keys_of(opened(path)) == sorted(keys)
    settle(other, *keys)
    assert not one


def test_too_many_keys_owe_everything(path, monkeypatch):
    monkeypatch.setattr(bounds, "MOST_KEYS", 100)
    one, other = opened(path), opened(path)
    one.add([f"key {number}" for number in range(100)])
    assert other
    assert other.count == 100
    other.add(["one more"])
    assert one
    assert one.count is None
    settle(one)
    assert not other


def test_too_many_bytes_owe_everything(path, monkeypatch):
    monkeypatch.setattr(journals, "MOST_BYTES", 2**20)
    owed = opened(path)
    owed.add([f"{number:030}" * 100 for number in range(1_000)])
    assert owed.count is None
    assert path.stat().st_size == journals.HEADER


def test_a_machine_that_ended_owes_everything_once(path):
    before = opened(path)
    before.add(["a"])
    after = opened(path, boot=LATER)
    assert after.count is None
    settle(after)
    assert not opened(path, boot=LATER)
    assert opened(path, boot=b"the third boot  ").count == 0


def test_a_machine_that_ended_loses_the_tail_and_that_is_known(path):
    owed = opened(path)
    owed.add(["a"])
    synced = path.read_bytes()  # what the first note had reach the disk
    owed.add(["b"])
    path.write_bytes(synced)
    assert opened(path, boot=LATER).count is None


def test_what_is_owed_at_an_orderly_end_is_kept_key_by_key(path):
    owed = opened(path)
    owed.add(["a"])
    owed.close()
    after = opened(path, boot=LATER)
    assert keys_of(after) == ["a"]
    after.add(["b"])
    assert opened(path, boot=b"the third boot  ").count is None


def test_a_torn_tail_was_never_noted(path):
    owed = opened(path)
    owed.add(["a"])
    with path.open("ab") as file:
        file.write(b"half a rec")
    assert keys_of(opened(path)) == ["a"]
    owed.add(["b"])
    assert keys_of(opened(path)) == ["a", "b"]


@pytest.mark.parametrize("at", [journals.HEADER + 3, journals.HEADER + 12, -1])
def test_a_damaged_log_owes_everything(path, at, caplog):
    opened(path).add(["a", "b"])
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)
    owed = opened(path)
    assert owed.count is None
    assert "damaged" in caplog.text
    settle(owed)
    assert not opened(path)


@pytest.mark.parametrize("content", [b"dear diary", b"\0" * 5000, journals.MAGIC + b"\0" * 4088])
def test_a_file_that_is_none_is_put_aside_and_everything_owed_once(path, content, caplog):
    path.parent.mkdir()
    path.write_bytes(content)
    owed = opened(path)
    assert owed.count is None
    assert "kept as .bad" in caplog.text
    assert Path(f"{path}.bad").read_bytes() == content
    settle(owed)
    assert not opened(path)


def test_the_journal_of_another_tier_is_not_taken_for_this_one(path):
    opened(path, about="tier").add(["a"])
    assert opened(path, about="tier, the other").count is None


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/version").exists(), reason="root may write anywhere")
def test_what_cannot_be_written_is_remembered_in_memory(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    owed = opened(tmp_path / "file" / "tier.journal")
    owed.add(["a"])
    assert keys_of(owed) == ["a"]
    assert owed.count == 1
    assert owed.place.startswith("memory: ")
    assert "in memory alone" in caplog.text
    settle(owed, "a")
    assert not owed


def test_a_journal_that_is_there_and_cannot_be_read_owes_everything(path):
    path.mkdir(parents=True)
    owed = opened(path)
    assert owed.count is None
    settle(owed)
    assert not owed


def test_a_file_that_is_taken_away_owes_everything(path, monkeypatch):
    monkeypatch.setattr(journals, "AGAIN", 0)
    one, other = opened(path), opened(path)
    one.add(["a"])
    assert other
    path.unlink()
    other.add(["b"])
    assert other.count is None
    one.add(["c"])
    assert keys_of(one) == []
    assert one.count is None


def test_others_find_the_file_that_took_the_place_of_theirs(path, monkeypatch):
    one, other = opened(path), opened(path)
    assert not one
    assert not other
    path.unlink()
    monkeypatch.setattr(journals, "AGAIN", 0)
    one.add(["a"])
    monkeypatch.undo()
    assert other
    assert keys_of(one) == keys_of(other) == ["a"]


def test_a_lock_that_is_held_for_ever_holds_nobody_up(path, monkeypatch):
    import fcntl

    monkeypatch.setattr(journals, "PATIENCE", 0.01)
    owed = opened(path)
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        owed.add(["a"])
        assert owed.place.startswith("memory: ")
        assert "lock" in owed.place
    assert keys_of(owed) == ["a"]
    monkeypatch.setattr(journals, "AGAIN", 0)
    owed.add(["b"])
    assert keys_of(opened(path)) == keys_of(owed) == ["a", "b"]
    assert owed.place == str(path)


def test_a_look_at_the_journal_is_one_load(path):
    """No call of the system: others are seen by a word that is mapped."""
    owed = opened(path)
    assert not owed
    calls = []

    def note(_frame, event, what):
        if event == "c_call":
            calls.append(what.__name__)

    sys.setprofile(note)
    seen = bool(owed)
    sys.setprofile(None)
    assert not seen
    assert calls in ([], ["setprofile"])
    assert threading.current_thread() is threading.main_thread()


def test_a_key_is_noted_once_until_somebody_settles(path):
    one, other = opened(path), opened(path)
    one.add(["a", "b"])
    size = path.stat().st_size
    for _ in range(100):
        one.add(["a"])
        one.add(["b", "a"])
    assert path.stat().st_size == size
    assert other
    due = other.due(["a"])
    one.add(["a"])
    assert path.stat().st_size > size
    other.settle(due)
    other.leave(due)
    assert keys_of(one) == keys_of(opened(path)) == ["a"]


def test_everything_is_noted_once_until_somebody_settles(path):
    one, other = opened(path), opened(path)
    one.add_clearing(ALL)
    one.add(["a"])
    tail = path.read_bytes()[journals.TAIL : journals.BEGUN]
    one.add(["b"])
    assert path.read_bytes()[journals.TAIL : journals.BEGUN] == tail
    assert other
    due = other.due(["a"])
    one.add(["a"])
    other.settle(due)
    assert opened(path).count is None
