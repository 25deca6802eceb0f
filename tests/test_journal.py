"""The journal of what is owed: that it outlives processes, that all of them see it, and that nothing noted is ever lost."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecache import Cache, Disk, TierUnavailable, machine
from forecache._core import Entry
from forecache.flow import run
from forecache.testing import DictTier, FakeClock, FaultyTier, Garble, Hang, Lose, Raise
from forecache.tiers import journal as journals
from forecache.tiers import owed as bounds
from forecache.tiers.boundary import Custom
from forecache.tiers.breaker import Breaker
from forecache.tiers.journal import Journal, file_name
from forecache.tiers.owed import ALL, Owed
from forecache.tiers.remote import public
from forecache.tiers.tier import wall_time

BOOT, LATER = b"the first boot  ", b"the second boot "
PATIENCE = 20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "tier.journal"


def journal(path, boot=BOOT, about="tier"):
    return Journal(path, about, boot)


def opened(path, **options):
    return Owed(journal(path, **options))


def keys_of(owed):
    bool(owed)  # looks
    return sorted(owed.keys())


def settle(owed, *keys):
    due = owed.due(keys)
    owed.settle(due)
    owed.leave(due)


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


KEYS = st.sampled_from(["a", "b", "c", "d"])
CLEARINGS = st.sampled_from([(("red",), None), ((), "acme"), ALL])
PROCESS = st.integers(0, 1)
ADD = st.tuples(st.just("add"), PROCESS, st.lists(KEYS, min_size=1, max_size=2))
BEGIN = st.tuples(st.just("begin"), PROCESS, st.lists(KEYS, max_size=2))
END = st.tuples(st.just("end"), PROCESS, st.none())
PROGRAM = st.lists(
    st.one_of(
        *(ADD, ADD, BEGIN, BEGIN, END, END),
        st.tuples(st.just("clear"), PROCESS, CLEARINGS),
        st.tuples(st.just("kill"), PROCESS, st.none()),
        st.tuples(st.just("close"), PROCESS, st.none()),
        st.tuples(st.just("tear"), PROCESS, st.none()),
        st.tuples(st.just("crash"), PROCESS, st.none()),
    ),
    min_size=15,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(PROGRAM)
def test_nothing_noted_is_ever_lost(program):  # noqa: PLR0912  a branch a verb
    """A tier as it would be: what may still be there that mustn't. Whoever settles clears that, and only that."""
    with tempfile.TemporaryDirectory() as directory:
        path, boot = Path(directory) / "tier.journal", 0
        monkey = pytest.MonkeyPatch()
        monkey.setattr(bounds, "BESIDE", 1)
        monkey.setattr(journals, "ANEW", 64)
        monkey.setattr(bounds, "MOST_KEYS", 3)
        processes = [opened(path) for _ in range(2)]
        begun = [None] * 2
        stale, uncleared = set(), set()
        try:
            for verb, number, what in program:
                owed = processes[number]
                if verb == "add":
                    stale.update(what)
                    owed.add(what)
                elif verb == "clear":
                    uncleared.add(what)
                    owed.add_clearing(what)
                elif verb == "begin" and begun[number] is None:
                    bool(owed)
                    due = begun[number] = owed.due(what)
                    if ALL in due.clearings:
                        stale.clear()
                        uncleared.clear()
                    stale.difference_update(due.keys)
                    uncleared.difference_update(due.clearings)
                elif verb == "end" and begun[number] is not None:
                    owed.settle(begun[number])
                    begun[number] = None
                elif verb == "close":
                    owed.close()
                elif verb == "kill":
                    processes[number], begun[number] = opened(path, boot=b"boot %11d" % boot), None
                elif verb == "tear":
                    with path.open("ab") as file:
                        file.write(b"torn")
                elif verb == "crash":
                    boot += 1
                    content = path.read_bytes()
                    if content[journals.DIRTY]:
                        path.write_bytes(content[: journals.HEADER + 5])
                    processes, begun = [opened(path, boot=b"boot %11d" % boot) for _ in range(2)], [None] * 2
                for each in processes:
                    assert each or not (stale or uncleared)
                    due = each.due(["a", "b", "c", "d"])
                    each.leave(due)
                    assert ALL in due.clearings or (stale <= set(due.keys) and uncleared <= set(due.clearings))
        finally:
            monkey.undo()


class Scene:
    """Two processes' breakers around the same data, each with a tier that fails as planned, and one journal."""

    def __init__(self, path, **options):
        self.clock = FakeClock()
        now = wall_time(self.clock)
        self.entries = {}
        self.tiers = [FaultyTier(DictTier(self.entries, shared=True, now=now), self.clock) for _ in range(2)]
        self.breakers = [Breaker(tier, failures=1, pause=10, now=now, **options) for tier in self.tiers]
        for breaker in self.breakers:
            breaker.keep(journal(path))

    def get(self, which, *keys):
        return {key: entry.payload for key, entry in run(self.breakers[which].get_many(keys)).items()}


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


def test_a_file_system_of_many_hosts_has_no_journal(path, monkeypatch, tmp_path):
    mounts = tmp_path / "mountinfo"
    device = tmp_path.stat().st_dev
    mounts.write_text(f"1 0 0:0 / / rw - ext4 disk rw\n2 1 {os.major(device)}:{os.minor(device)} / / rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(machine, "_MOUNTS", mounts)
    assert opened(path).place == f"memory: {path.parent} is on nfs4: a journal has to be on a disk of this host"
    assert not path.exists()


class Replaced(DictTier):
    """A tier whose server fails over: what was changed since `snapshot` is lost."""

    on_replaced = None

    def snapshot(self):
        self._kept = dict(self.entries)

    def fail_over(self):
        self.entries.clear()
        self.entries.update(self._kept)
        self.on_replaced()


def test_what_was_changed_lately_is_owed_when_another_server_answers():
    clock = FakeClock()
    now = wall_time(clock)
    tier = Replaced(now=now)
    breaker = Breaker(tier, now=now)
    run(breaker.set_many({key: Entry(b"old") for key in ("kept", "deleted", "overwritten", "swapped")}))
    run(breaker.set_many({"cleared": Entry(b"old", owner="acme")}))
    tier.snapshot()
    clock.advance(11)
    run(breaker.set_many({"overwritten": Entry(b"new")}))
    run(breaker.delete_many(["deleted"]))
    run(breaker.clear(owner="acme"))
    version = run(breaker.get_many(["swapped"]))["swapped"].version
    assert run(breaker.swap("swapped", version, Entry(b"new")))
    tier.fail_over()
    assert breaker.stats().owed == 3
    found = run(breaker.get_many(["kept", "deleted", "cleared", "overwritten", "swapped"]))
    assert {key: entry.payload for key, entry in found.items()} == {"kept": b"old"}


def test_what_was_changed_long_before_the_last_answer_is_not_owed():
    clock = FakeClock()
    now = wall_time(clock)
    tier = Replaced(now=now)
    breaker = Breaker(tier, now=now)
    run(breaker.set_many({"a": Entry(b"1")}))
    run(breaker.clear(owner="acme"))
    tier.snapshot()
    clock.advance(10.001)
    run(breaker.get_many(["b"]))
    tier.fail_over()
    assert breaker.stats().owed == 0
    assert run(breaker.get_many(["a"]))


def test_what_was_changed_shortly_before_a_long_silence_is_owed(monkeypatch):
    clock = FakeClock()
    now = wall_time(clock)
    tier = Replaced(now=now)
    breaker = Breaker(tier, now=now)
    run(breaker.set_many({"a": Entry(b"1"), "b": Entry(b"1", owner="acme")}))
    tier.snapshot()
    clock.advance(20)
    run(breaker.get_many(["a"]))
    run(breaker.delete_many(["a"]))
    run(breaker.clear(owner="acme"))
    clock.advance(3600)

    def fails(entries, absent):
        tier.fail_over()
        raise TierUnavailable("another server answers")

    with monkeypatch.context() as patch:
        patch.setattr(tier, "set_many", fails)
        run(breaker.set_many({"c": Entry(b"1")}))
    assert run(breaker.get_many(["a", "b"])) == {}


def test_more_changes_than_are_remembered_owe_everything(monkeypatch):
    monkeypatch.setattr(bounds, "MOST_KEYS", 10)
    clock = FakeClock()
    now = wall_time(clock)
    tier = Replaced(now=now)
    breaker = Breaker(tier, now=now)
    for number in range(11):
        run(breaker.set_many({f"key {number}": Entry(b"1")}))
    tier.snapshot()
    tier.fail_over()
    assert breaker.stats().owed is None


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


WHICH = st.integers(0, 1)
FAULTS = st.sampled_from([Raise(), Lose(), Garble()])
STEPS = st.one_of(
    st.tuples(st.sampled_from(["set", "delete", "get"]), WHICH, st.sampled_from(["a", "b"])),
    st.tuples(st.sampled_from(["set", "delete", "get"]), WHICH, st.sampled_from(["a", "b"])),  # more often than the others
    st.tuples(st.just("clear"), WHICH, st.sampled_from([None, "red", "blue"])),
    st.tuples(st.just("fault"), WHICH, st.tuples(st.sampled_from(["get_many", "set_many", "delete_many", "clear"]), FAULTS)),
    st.tuples(st.sampled_from(["break", "heal", "kill"]), WHICH, st.none()),
    st.tuples(st.just("wait"), WHICH, st.integers(0, 11)),
)
COLOURS = {"a": ["red"], "b": ["red", "blue"]}


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, min_size=20, max_size=60))
def test_whatever_fails_no_process_ever_reads_an_older_value(steps):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "tier.journal"
        scene = Scene(path)
        latest = {}
        for number, (verb, which, what) in enumerate(steps):
            value = b"%d" % number
            if verb == "set":
                latest[what] = value
                run(scene.breakers[which].set_many({what: Entry(value, tags=COLOURS[what])}))
            elif verb == "delete":
                latest.pop(what, None)
                run(scene.breakers[which].delete_many([what]))
            elif verb == "get":
                assert scene.get(which, what).get(what) in {None, latest.get(what)}
            elif verb == "clear":
                latest = {key: each for key, each in latest.items() if what and what not in COLOURS[key]}
                run(scene.breakers[which].clear(tags=[what] if what else ()))
            elif verb == "fault":
                scene.tiers[which].plan(*what)
            elif verb == "break":
                scene.tiers[which].always(Raise())
            elif verb == "heal":
                scene.tiers[which].heal()
            elif verb == "wait":
                scene.clock.advance(what)
            elif verb == "kill":
                scene.breakers[which] = Breaker(scene.tiers[which], failures=1, pause=10, now=wall_time(scene.clock))
                scene.breakers[which].keep(journal(path))


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
