"""`benchmarks/hit_ratio.py`: the comparison's tables, files and errors, on traces small enough to check by hand."""

import csv
import json
import sys
from collections import OrderedDict
from functools import partial
from types import SimpleNamespace

import pytest

import hit_ratio
import peers
import standings
from fleet_parts import Parameters
from forecache import _core
from standings import Result

KEYS = [number * number % 997 for number in range(3000)] + list(range(2000, 2500)) + [number % 400 for number in range(3000)]


@pytest.fixture
def folder(tmp_path):
    """Two traces and a file that is none."""
    folder = tmp_path / "traces"
    folder.mkdir()
    for name, keys in (("a", KEYS), ("b", KEYS[::-1])):
        rows = [(number, str(key), 10, "get", None, "", False, 1) for number, key in enumerate(keys)]
        _core.write_trace(folder / f"{name}.fctrace", rows)
    (folder / "MANIFEST.csv").write_text("name,requests\n")
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the script without libCacheSim, and gives its exit code and what it printed."""
    monkeypatch.setattr(peers, "installed", lambda: None)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hit_ratio.py", *map(str, arguments)])
        return hit_ratio.main(), *capsys.readouterr()

    return run


def test_a_folder_gives_a_table_a_csv_and_a_picture(folder, tmp_path, run):
    out = tmp_path / "new" / "out"
    code, printed, errors = run(folder, "--sizes", "0.01,0.1,0.3", "--out", out)
    assert (code, errors) == (0, "")
    assert "Means over 4 cells of 2 traces" in printed  # 1 % are too few objects
    assert "other libraries not measured" in printed
    assert (out / "hit_ratio.md").read_text() == printed
    with (out / "hit_ratio.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["trace", "size_fraction", "policy", "miss_ratio", "byte_miss_ratio"]
    assert {(row["trace"], row["size_fraction"]) for row in rows} == {(trace, size) for trace in "ab" for size in ("0.1", "0.3")}
    assert {row["policy"] for row in rows} == {*_core.POLICIES, "belady"}
    trace = _core.Trace.open(folder / "a.fctrace")
    tally = _core.simulate(trace, "s3fifo", max_entries=int(trace.unique * 0.1))
    (row,) = (row for row in rows if (row["trace"], row["size_fraction"], row["policy"]) == ("a", "0.1", "s3fifo"))
    assert float(row["miss_ratio"]) == tally.misses / tally.accesses
    assert (out / "hit_ratio.png").read_bytes().startswith(b"\x89PNG")


def test_json_and_the_synthetic_fleet_apart(folder, tmp_path, run, monkeypatch):
    monkeypatch.setattr(hit_ratio, "Parameters", partial(Parameters, long_lived=30, deployments_a_day=10, sessions_a_day=100))
    code, printed, _ = run(folder, "--quick", "--json", "--fleet", "3", "--out", tmp_path)
    told = json.loads(printed)
    assert code == 0
    assert {cell["trace"] for cell in told["cells"]} == {"a", "b"}
    assert {cell["trace"] for cell in told["synthetic"]["cells"]} == {"seed 3"}
    assert "seed 3" not in (tmp_path / "hit_ratio.csv").read_text()
    assert "seed 3" in (tmp_path / "synthetic.csv").read_text()
    means, fleet = (tmp_path / "hit_ratio.md").read_text().split("SYNTHETIC: ")
    assert "seed 3" in fleet
    assert "seed 3" not in means


@pytest.mark.parametrize("content", [None, b"FCTRACE\x1a but then nonsense"])
def test_a_folder_without_traces_and_a_damaged_trace_are_errors(tmp_path, run, content):
    if content:
        (tmp_path / "bad.fctrace").write_bytes(content)
    code, printed, errors = run(tmp_path)
    assert (code, printed) == (2, "")
    assert errors.startswith(f"hit_ratio: {tmp_path}")
    assert ("bad.fctrace" if content else "holds no trace; expected *.fctrace") in errors


def test_sizes_of_too_few_objects_are_an_error(folder, run):
    code, _, errors = run(folder, "--sizes", "0.001")
    assert code == 2
    assert "fewer than 50" in errors


def test_docs_are_made_of_the_own_recordings_only(folder, run):
    with pytest.raises(SystemExit):
        run(folder, "--docs")


def test_a_page_is_replaced_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- hit_ratio: begin -->\nold\n<!-- hit_ratio: end -->\nafter\n")
    hit_ratio.put(page, "new")
    assert page.read_text() == "before\n<!-- hit_ratio: begin -->\nnew\n<!-- hit_ratio: end -->\nafter\n"
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="lacks"):
        hit_ratio.put(page, "new")


def test_cut_and_gap_are_means_over_cells_and_the_worst_cell_is_named():
    results = [
        Result(trace, 0.1, policy, ratio, None, peer=policy[0].isupper())
        for trace, policy, ratio in [
            *(("x", "lru", 0.8), ("x", "belady", 0.4), ("x", "mine", 0.6), ("x", "LIRS", 0.7), ("x", "ARC", 0.5)),
            *(("y", "lru", 0.5), ("y", "belady", 0.499), ("y", "mine", 0.55), ("y", "LIRS", 0.5)),
        ]
    ]
    found = {standing.name: standing for standing in standings.standings(results)}
    assert list(found)[:2] == ["Belady's optimum", standings.BEST]
    assert "ARC (libCacheSim)" not in found  # it lacks a cell
    mine = found["mine"]
    assert mine.cut == pytest.approx((0.25 - 0.1) / 2)
    assert mine.gap == pytest.approx(0.5)  # there was no room in y
    assert mine.worst == ("y", 0.1)
    assert found[standings.BEST].cut == pytest.approx((0.375 + 0) / 2)


class Lru:
    """What libCacheSim's cache looks like."""

    def __init__(self, cache_size):
        self.most, self.held = cache_size, OrderedDict()

    def get(self, number):
        hit = number in self.held
        self.held[number] = None
        self.held.move_to_end(number)
        if len(self.held) > self.most:
            self.held.popitem(last=False)
        return hit

    def remove(self, number):
        return self.held.pop(number, self) is None


def test_others_are_replayed_by_our_rules_with_deletes_and_times_to_live(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "libcachesim", SimpleNamespace(LRU=Lru))
    second = 10**9
    accesses = []
    for number, key in enumerate(KEYS):
        operation = "delete" if number % 41 == 40 and key in KEYS[:number] else "set" if number % 7 == 0 else "get"
        ttl = None if operation == "delete" or key % 3 else 900 * second
        accesses.append((number * second, str(key), 0 if operation == "delete" else 5, operation, ttl, "", False, 1))
    path = tmp_path / "mixed.fctrace"
    _core.write_trace(path, accesses)
    trace = _core.Trace.open(path)
    rows = list(peers.rows(trace))
    for capacity in (50, 300):
        tally = _core.simulate(trace, "lru", max_entries=capacity)
        expected = (tally.misses / tally.accesses, tally.missed_bytes / tally.bytes)
        assert peers.replay("LRU", rows, range(trace.unique), capacity) == expected


def test_a_synthetic_workload_in_the_folder_is_left_out(folder, run):
    rows = [(number, str(key), 10, "get", None, "", False, 1) for number, key in enumerate(KEYS)]
    _core.write_trace(folder / "c.fctrace", rows, description="SYNTHETIC: a fleet that never was")
    code, printed, errors = run(folder, "--sizes", "0.1")
    assert code == 0
    assert "Means over 2 cells of 2 traces" in printed
    assert errors == "left out, because synthetic workloads enter no mean: c.fctrace (--fleet shows the fleet's)\n"
    assert run(folder / "c.fctrace")[0] == 2
