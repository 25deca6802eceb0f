"""Several processes and threads at one journal: all of them see it, and nothing noted is ever lost."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from journal_scenes import PATIENCE, Scene, keys_of, opened, settle

from forecache import TierUnavailable
from forecache._core import Entry
from forecache.flow import run
from forecache.testing import Hang, Raise
from forecache.tiers import journal as journals
from forecache.tiers import owed as bounds
from forecache.tiers.owed import Owed


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "tier.journal"


def test_threads_and_processes_lose_nothing(path, crew):
    program = """
import sys
from forecache.tiers.journal import Journal
from forecache.tiers.owed import Owed
owed = Owed(Journal(sys.argv[1], "tier", b"the first boot  "))
for number in range(300):
    owed.add([f"{sys.argv[2]} {number}"])
"""
    processes = [subprocess.Popen([sys.executable, "-c", program, str(path), str(number)]) for number in range(3)]
    owed = opened(path)
    for name in ("here", "there"):
        crew.send(lambda name=name: [owed.add([f"{name} {number}"]) for number in range(300)])
    crew.back()
    assert [process.wait(PATIENCE) for process in processes] == [0] * 3
    expected = {f"{name} {number}" for name in (0, 1, 2, "here", "there") for number in range(300)}
    assert owed
    assert set(owed.keys()) == set(opened(path).keys()) == expected
    assert owed.place == str(path)


NOTER = """
import sys
from forecache.tiers.journal import Journal
from forecache.tiers.owed import Owed
owed = Owed(Journal(sys.argv[1], "tier", b"the first boot  "))
number = 0
while True:
    owed.add([f"key {number}"])
    if number % 50 == 49:
        due = owed.due([f"key {number - 9}"])
        print("settling", *due.keys, sep="\t", flush=True)
        owed.settle(due)
        owed.leave(due)
        print("settled", *due.keys, sep="\\t", flush=True)
    print("noted", f"key {number}", sep="\\t", flush=True)
    number += 1
"""


@pytest.mark.parametrize("lines", [1, 7, 60, 333])
def test_a_process_that_is_killed_loses_nothing_it_noted(path, lines):
    with subprocess.Popen([sys.executable, "-c", NOTER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    noted, settling, settled = set(), set(), set()
    told = {"noted": noted, "settling": settling, "settled": settled}
    for line in said:
        if line.endswith("\n"):
            verb, *keys = line.rstrip("\n").split("\t")
            told[verb].update(keys)
    owed = opened(path)
    there = set(owed.keys())
    assert noted - settling <= there
    assert not settled & there
    settle(owed, *there)
    assert not owed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_the_child_of_a_fork_notes_as_its_parent_does(path):
    owed = opened(path)
    owed.add(["parent"])
    child = os.fork()
    if child == 0:
        try:
            owed.forked()
            owed.add(["child"])
            os._exit(0 if keys_of(owed) == ["child", "parent"] else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert keys_of(owed) == ["child", "parent"]


def test_a_key_that_another_process_owes_is_deleted_before_the_tier_answers(path):
    scene = Scene(path)
    run(scene.breakers[0].set_many({"a": Entry(b"old"), "b": Entry(b"kept")}))
    scene.tiers[0].always(Raise())
    run(scene.breakers[0].delete_many(["a"]))
    assert scene.get(1, "a", "b") == {"b": b"kept"}
    assert [breaker.stats().owed for breaker in scene.breakers] == [0, 0] or scene.get(0) == {}
    assert scene.breakers[0].stats().journal == str(path)


def test_an_answer_that_was_under_way_when_its_key_came_to_be_owed_is_not_believed(path, crew):
    scene = Scene(path)
    run(scene.breakers[0].set_many({key: Entry(b"old", tags=["red"] if key == "b" else []) for key in "abc"}))
    scene.tiers[1].plan("get_many", Hang())
    crew.send(scene.get, 1, "a", "b", "c")
    assert scene.tiers[1].hanging.acquire(timeout=PATIENCE)
    scene.tiers[0].always(Raise())
    run(scene.breakers[0].delete_many(["a"]))
    run(scene.breakers[0].clear(tags=["red"]))
    scene.tiers[1].release()
    assert crew.back().results == [{"c": b"old"}]


def test_a_write_that_was_given_up_and_is_done_after_all_is_undone_though_another_process_settled_it(path):
    scene = Scene(path, timeout=0.05)
    scene.tiers[0].plan("set_many", Hang())
    run(scene.breakers[0].set_many({"a": Entry(b"late")}))
    assert scene.tiers[0].hanging.acquire(timeout=PATIENCE)
    assert scene.get(1, "a") == {}
    assert scene.breakers[1].stats().owed == 0
    scene.tiers[0].release()
    deadline = time.monotonic() + PATIENCE
    while not opened(path):
        assert time.monotonic() < deadline, "what was given up doesn't end"
    assert scene.get(1, "a") == {}


def test_who_settles_what_others_need_is_one_at_a_time():
    owed = Owed()
    owed.add([f"key {number}" for number in range(1_000)])
    first, second = owed.due(()), owed.due(["key 7", "other"])
    assert len(first.keys) == bounds.BESIDE
    assert list(second.keys) == ["key 7"]
    owed.settle(first)
    owed.leave(first)
    owed.leave(second)
    assert len(owed.due(()).keys) == bounds.BESIDE


def test_who_waits_for_the_lock_has_its_keys_written_by_who_has_it(path, crew):
    owed = opened(path)
    gate, inside = threading.Event(), threading.Event()
    add, calls = owed.journal.add, []

    def slow(keys):
        calls.append(sorted(keys))
        inside.set()
        assert gate.wait(PATIENCE)
        add(keys)

    owed.journal.add = slow
    crew.send(owed.add, ["first"])
    assert inside.wait(PATIENCE)
    for number in range(5):
        crew.send(owed.add, [f"key {number}"])
    deadline = time.monotonic() + PATIENCE
    while len(owed._waiting) < 5:
        assert time.monotonic() < deadline
    gate.set()
    crew.back()
    assert calls == [["first"], [f"key {number}" for number in range(5)]]
    assert len(keys_of(opened(path))) == 6


def test_what_cannot_be_read_just_now_hides_all(path, monkeypatch):
    import fcntl

    monkeypatch.setattr(journals, "PATIENCE", 0.01)
    scene = Scene(path)
    run(scene.breakers[0].set_many({"a": Entry(b"old")}))
    scene.tiers[0].always(Raise())
    run(scene.breakers[0].delete_many(["a"]))
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert scene.get(1, "a") == {}
    monkeypatch.setattr(journals, "AGAIN", 0)
    scene.clock.advance(10)
    assert scene.get(1, "a") == {}
    assert scene.entries == {}


def test_while_what_others_noted_cannot_be_read_the_tier_is_not_asked(path, monkeypatch):
    import fcntl

    monkeypatch.setattr(journals, "PATIENCE", 0.01)
    scene = Scene(path)
    run(scene.breakers[0].set_many({"a": Entry(b"old")}))
    scene.tiers[0].always(Raise())
    run(scene.breakers[0].delete_many(["a"]))
    asked = list(scene.tiers[1].calls)
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TierUnavailable, match="what others have missed there can't be read"):
            run(scene.breakers[1].swap("a", None, Entry(b"new")))
    assert scene.tiers[1].calls == asked
    monkeypatch.setattr(journals, "AGAIN", 0)
    scene.clock.advance(10)
    assert run(scene.breakers[1].swap("a", None, Entry(b"new")))
