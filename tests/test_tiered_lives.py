"""When caches with tiers begin and end: forks, exits, the thread that writes behind."""

import gc
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest
from conftest import PATIENCE
from tiers_made import Counting, Noted, made

from forecache import MISSING, drain
from forecache._core import Counters
from forecache.flow import Call
from forecache.tiers.tier import Stored

WRITERS = "forecache-write-behind"


def writers():
    return [thread for thread in threading.enumerate() if thread.name == WRITERS]


def test_the_writing_thread_begins_when_needed_and_ends_with_the_cache():
    before = len(writers())
    face = made((Noted(), "behind"))
    assert len(writers()) == before
    face.set("a", 1)
    face.flush()
    assert len(writers()) == before + 1
    face.close()
    assert len(writers()) == before


def test_the_writing_thread_does_not_keep_the_cache_alive():
    tier = Noted()
    cache = made((tier, "behind")).cache
    cache.set("a", 1)
    cache.flush()
    mine = cache._worker._thread
    alive = weakref.ref(cache)
    del cache
    for _ in range(100):
        gc.collect()
        if alive() is None:
            break
        mine.join(0.05)
    assert alive() is None
    mine.join(PATIENCE)
    assert not mine.is_alive()


def test_a_cache_that_is_dropped_still_writes_what_is_queued():
    tier = Noted()
    tier.gate.clear()
    cache = made((tier, "behind")).cache
    cache.set("a", 1)
    thread = cache._worker._thread
    del cache
    gc.collect()
    tier.gate.set()
    thread.join(PATIENCE)
    assert list(tier.entries) == ["a"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_writes_its_own_and_nothing_of_its_parent():
    tier = Noted()
    face = made((tier, "behind"))
    face.set("parents", 1)
    face.flush()
    tier.gate.clear()
    face.set("a", 1)
    assert tier.held.acquire(timeout=PATIENCE)
    face.set("waiting", 1)

    def child(pipe):
        tier.gate.set()
        queued = face.cache._queues()[0][0][0]
        face.set("b", 2)
        face.flush()
        pipe.send((queued, sorted(set(tier.entries)), face.get("a"), face.cache._worker._thread is not None))

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=child, args=(theirs,))
    process.start()
    assert ours.poll(PATIENCE)
    assert ours.recv() == (0, ["b", "parents"], 1, True)
    process.join(PATIENCE)
    tier.gate.set()
    face.flush()
    assert set(tier.entries) == {"a", "parents", "waiting"}
    face.close()


def test_the_end_of_the_process_writes_what_is_queued(tmp_path):
    program = """
        import sys
        from forecache import Cache
        from forecache.testing import DictTier
        from forecache.tiers.boundary import Custom

        class Filed(DictTier):
            def set_many(self, entries, *, absent=False):
                with open(sys.argv[1], "a") as file:
                    file.writelines(f"{key}\\n" for key in entries)
                return (yield from super().set_many(entries, absent=absent))

        cache = Cache(tiers=[Custom(Filed(), write="behind")])
        for n in range(1000):
            cache.set(f"k{n}", n)
    """
    target = tmp_path / "written"
    subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(target)], check=True, timeout=60)
    assert len(target.read_text().split()) == 1000


def test_what_another_process_deleted_is_not_served_from_memory():
    entries, counters = {}, Counters()
    ours, theirs = (made((Counting(entries, view), "through")) for view in (counters, Counters(counters)))
    ours.set("a", 1)
    assert theirs.get("a") == 1
    assert ours.delete("a")
    assert theirs.get("a", MISSING) is MISSING
    ours.set("a", 2)
    assert theirs.get("a") == 2
    theirs.set("a", 3)
    assert ours.cache["a"] == 3
    assert ours.cache._peek("a") == 3
    ours.close()
    theirs.close()


def test_what_another_process_deleted_is_not_written_again_from_the_queue():
    entries, counters = {}, Counters()
    tier = Counting(entries, counters)
    ours = made((tier, "behind"))
    theirs = made((Counting(entries, Counters(counters)), "through"))
    ours.set("a", 1)
    ours.flush()
    assert theirs.get("a") == 1
    assert theirs.incr("a") == 2
    assert ours.get("a") == 2
    ours.close()
    theirs.close()


class Asking(Noted):
    """Has `between` called before anything is changed in it, and `after` after something sank into it."""

    between = after = staticmethod(lambda: None)

    def delete_many(self, keys):
        yield Call(self.between)
        return (yield from super().delete_many(keys))

    def set_many(self, entries, *, absent=False):
        yield Call(self.between)
        stored = yield from super().set_many(entries, absent=absent)
        if absent:
            self.after()
        return stored

    def swap(self, key, version, entry):
        yield Call(self.between)
        return (yield from super().swap(key, version, entry))

    def clear(self, *, tags=(), owner=None):
        yield Call(self.between)
        return (yield from super().clear(tags=tags, owner=owner))


CHANGES = {
    "delete": ("a",),
    "delete_many": (["a"],),
    "set": ("a", 2),
    "set_many": ({"a": 2},),
    "pop": ("a",),
    "compare_and_set": ("a", 1, 2),
    "clear": (),
}


@pytest.mark.parametrize(
    ("verb", "above"), [*((verb, True) for verb in CHANGES), *((verb, False) for verb in CHANGES if verb != "clear")]
)
def test_who_reads_while_another_process_changes_a_key_does_not_keep_the_old_value(monkeypatch, colour, verb, above):
    if not verb.startswith("delete"):
        monkeypatch.setattr(drain, "LINGER", PATIENCE)
    upper, lower, counters = {}, {}, Counters()
    asking = Asking(lower, name="lower", shared=True)
    ours = made((Counting(upper, counters), "through"), (asking, "through"), colour=colour)
    below = Noted(lower, name="lower", shared=True)
    theirs = made((Counting(upper, Counters(counters)), "through"), (below, "through"), capacity="3KB")
    ours.set("a", 1)
    if not above:
        upper.clear()
    seen = []
    asking.between = lambda: seen.append(theirs.get("a"))
    getattr(ours, verb)(*CHANGES[verb])
    asking.between = Asking.between
    assert seen[0] == 1
    assert theirs.get("a") == (2 if len(CHANGES[verb]) > 1 or "set" in verb else None)
    ours.close()
    theirs.close()


@pytest.mark.parametrize("moment", ["before", "meanwhile"])
def test_what_another_process_deleted_does_not_sink_past_the_tier_that_tells(moment):
    upper, lower, counters = {}, {}, Counters()
    asking = Asking(lower, name="lower", shared=True)
    ours = made((Refusing(upper, counters), "through"), (asking, "demote"), max_entries=1)
    theirs = made((Counting(upper, Counters(counters)), "through"), (Noted(lower, name="lower", shared=True), "demote"))
    ours.set("a", 1)
    upper.clear()
    if moment == "before":
        theirs.delete("a")
    else:
        asking.after = lambda: theirs.delete("a")
    ours.set("b", 2)
    ours.flush()
    assert asking.of("demote") == ([] if moment == "before" else [["a"]])
    assert "a" not in lower
    assert theirs.get("a") is None
    ours.close()
    theirs.close()


class Refusing(Counting):
    """Takes nothing that memory evicted."""

    def set_many(self, entries, *, absent=False):
        if absent:
            return Stored(set(entries))
        return (yield from super().set_many(entries))
