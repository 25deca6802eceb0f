"""`benchmarks/changes.py` and `benchmarks/accuracy.py`: what they hold learning to, on traces small enough to count by hand."""

import csv
import sys
from collections import OrderedDict

import pytest

import accuracy
import changes
from forecache import ConfigError, _core
from forecache.replays import Row

LOOP = [key % 700 for key in range(3500)]
FAVOURITES = [key * key % 997 for key in range(3000)]


@pytest.fixture
def folder(tmp_path):
    """Three traces of three groups, and one of the same group as another."""
    for name, keys in {"orm_a": LOOP, "cpu_b": FAVOURITES, "cpu_c": LOOP, "web9": FAVOURITES[::-1]}.items():
        changes.write(tmp_path / f"{name}.oracleGeneral", ((0, str(key)) for key in keys))
    return tmp_path


def test_interleaved_traces_keep_their_order_and_end_together():
    pair = [["a", "b", "c", "d"], ["x", "y"]]
    merged = list(changes.interleaved(pair))
    assert [[key for which, key in merged if which == one] for one in (0, 1)] == pair
    assert merged == [(0, "a"), (1, "x"), (0, "b"), (0, "c"), (1, "y"), (0, "d")]


def test_keys_of_two_traces_are_kept_apart(tmp_path):
    path = tmp_path / "both.oracleGeneral"
    assert changes.write(path, [(0, "7"), (1, "7"), (0, "7"), (0, "9")]) == 3
    assert [row[1] for row in _core.Trace.open(path).rows()] == ["0", "1", "0", "2"]


def misses_of_lru(keys, capacity):
    held, misses = OrderedDict(), []
    for key in keys:
        misses.append(key not in held)
        held[key] = held.pop(key, None)
        if len(held) > capacity:
            held.popitem(last=False)
    return misses


def test_halves_are_counted_within_one_run(monkeypatch):
    monkeypatch.setattr(changes, "PEERS", ("lru", "arc"))
    pair = [[str(key) for key in keys] for keys in (LOOP, FAVOURITES)]
    first, second, _ = changes.measure("pair", pair, _core.Prior.none(), [0.5])
    misses = misses_of_lru([(which, key) for which, keys in enumerate(pair) for key in keys], first.capacity)
    assert first.capacity == (700 + len(set(FAVOURITES))) // 2
    assert [part.misses["lru"] for part in (first, second)] == [sum(misses[:3500]), sum(misses[3500:])]
    assert (first.requests, second.requests) == (3500, 3000)


def test_a_run_tells_of_all_parts_and_fails_if_a_bar_is_missed(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.csv"
    arguments = ["changes.py", str(folder), "--pairs", "orm_a:cpu_b,web9:orm_a", "--sizes", "0.2", "--csv", str(out), "--check"]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(changes, "MOST", 100.0)
    assert changes.main() == 0
    assert "0 of 6 parts are over 100" in capsys.readouterr().out
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["policy"] for row in rows[:3]] == ["learned", "s3fifo", "arc"]
    assert len(rows) == 18
    monkeypatch.setattr(changes, "MOST", 0.0)
    assert changes.main() == 1


@pytest.mark.parametrize("pair", [("orm_a", "orm_b"), ("cpu_b", "cpu_c"), ("orm_a",)])
def test_pairs_are_two_traces_of_different_groups(folder, pair):
    with pytest.raises(ConfigError, match="pairs"):
        changes.found(folder, [pair], sorted(folder.iterdir()))


@pytest.mark.parametrize(
    ("learned", "lru", "missed"), [(940, 890, True), (950, 890, False), (985, 979, True), (985, 981, False), (890, 500, True)]
)
def test_evictions_are_held_to_a_share_and_to_lru(learned, lru, missed):
    cell = [
        Row("a", 0.1, policy, 10, False, 1, 1, 0, 0, 0, evictions=1000, right_evictions=right)
        for policy, right in (("learned", learned), ("lru", lru))
    ]
    assert accuracy.misses_bar(*cell) is missed
