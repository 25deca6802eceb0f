"""Journals under anything that may happen, held against what they promise."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_scenes import Scene, journal, opened

from forecache._core import Entry
from forecache.flow import run
from forecache.testing import Garble, Lose, Raise
from forecache.tiers import journal as journals
from forecache.tiers import owed as bounds
from forecache.tiers.breaker import Breaker
from forecache.tiers.owed import ALL
from forecache.tiers.tier import wall_time

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
