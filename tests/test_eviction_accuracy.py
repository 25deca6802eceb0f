"""How many evictions were right, as replays count it."""

import csv
import json

import pytest
from test_cli_replay import forecache

from forecache import POLICIES, _core, replay
from forecache._core import Lessons, Trace


def write(path, keys):
    _core.write_trace(path, [(second, str(key), 10, "get", None, "", False, 1) for second, key in enumerate(keys)])
    return path


@pytest.fixture
def trace(tmp_path):
    return write(tmp_path / "mixed.fctrace", [key % (37 if key % 3 else 400) for key in range(4000)])


def slowly(keys, capacity):
    """Evictions of LRU that can be judged, and those that were right."""
    held, judged, right = {}, 0, 0
    for at, key in enumerate(keys):
        held.pop(key, None)
        if len(held) == capacity:
            gone = next(iter(held))
            del held[gone]
            after = keys[at + 1 : at + 1 + capacity]
            judged += len(after) == capacity
            right += len(after) == capacity and gone not in after
        held[key] = at
    return judged, right


def test_lru_is_judged_by_the_definition(tmp_path):
    keys = [key * key % 101 for key in range(3000)] + list(range(50)) * 9
    [row] = replay(write(tmp_path / "squares.fctrace", keys), policies="lru", capacity=40, accuracy=True)
    assert (row.evictions, row.right_evictions) == slowly(keys, 40)
    assert row.eviction_accuracy == row.right_evictions / row.evictions < 1


def test_a_loop_longer_than_the_cache_shows_who_knows_it(tmp_path):
    path = write(tmp_path / "loop.fctrace", [key % 110 for key in range(11_000)])
    rows = replay(path, policies=["lru", "random"], capacity=100, belady=True, accuracy=True)
    lru, random, belady = (row.eviction_accuracy for row in rows)
    assert lru == 0 < random < belady


@pytest.mark.parametrize("byte", [False, True])
def test_counting_changes_no_hit(trace, byte):
    plain, judged = (replay(trace, policies="all", sizes=[0.1], byte=byte, accuracy=accuracy) for accuracy in (False, True))
    assert [row.misses for row in plain] == [row.misses for row in judged]
    assert all(row.eviction_accuracy is None for row in plain)
    assert all(0 < row.eviction_accuracy <= 1 for row in judged)
    assert len(judged) == len(POLICIES)


def test_a_cache_that_holds_all_evicts_nothing(trace):
    assert [row.eviction_accuracy for row in replay(trace, sizes=[1], belady=True, accuracy=True)] == [None] * 3


def test_for_bytes_the_heuristic_is_not_judged(trace):
    assert replay(trace, policies="belady", sizes=[0.1], byte=True, accuracy=True)[0].eviction_accuracy is None


def test_where_memory_is_short_the_optimum_is_judged_by_a_sample(trace):
    with pytest.warns(UserWarning, match="estimated from a sample"):
        [row] = replay(trace, policies="belady", sizes=[0.1], accuracy=True, memory="1KB")
    assert 0 < row.eviction_accuracy <= 1


def test_the_command_shows_it_as_a_table_and_as_the_last_column(trace, tmp_path):
    out = tmp_path / "out.csv"
    done = forecache("replay", trace, "--policy", "lru,random", "--belady", "--sizes", "0.1", "--accuracy", "--csv", out)
    assert (done.returncode, done.stderr) == (0, "")
    rows = replay(trace, policies=["lru", "random"], sizes=[0.1], belady=True, accuracy=True)
    shown = done.stdout.split("mixed: evictions that were right\n")[1]
    assert [line.split()[1] for line in shown.splitlines()[-3:]] == [f"{100 * row.eviction_accuracy:.2f}" for row in rows]
    with out.open(newline="") as file:
        written = list(csv.DictReader(file))
    assert list(written[0])[-1] == "eviction_accuracy"
    assert [float(row["eviction_accuracy"]) for row in written] == [row.eviction_accuracy for row in rows]
    told = json.loads(forecache("replay", trace, "--sizes", "0.1", "--accuracy", "--json").stdout)
    assert told[0]["eviction_accuracy"] == rows[0].eviction_accuracy


def test_what_was_learned_can_be_looked_at(trace):
    opened = Trace.open(trace)
    lessons = Lessons.of(opened, 60)
    assert len(lessons.chances) == len(lessons.worths)
    assert len(lessons.ages) == 1 + len(lessons.chances[0][1])
    assert all(0 <= chance <= 1 for _, chances in lessons.chances for chance in chances)
    assert all(worth >= 0 for _, worths in lessons.worths for worth in worths)
    for policy in ("learned", "lru", "belady"):
        counts = _core.evicted(opened, policy, 60)
        assert [about for about, _ in counts] == [about for about, _ in lessons.worths]
        assert {len(of_class) for _, of_class in counts} == {len(lessons.ages) - 1}
        tally = _core.belady(opened, max_entries=60) if policy == "belady" else _core.simulate(opened, policy, max_entries=60)
        assert sum(sum(of_class) for _, of_class in counts) == tally.misses - 60
