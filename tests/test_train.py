"""Priors and models are learned from traces, and judged where they haven't looked."""

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
from test_cli_replay import forecache
from test_replay import write, zipf

from forecache import ConfigError, TraceError, machine, registry, train
from forecache._core import Evidence, Prior, Trace, simulate
from forecache.replays import replay
from forecache.train import GROUPS, Cell, Trained, base_prior, evidence, group_of, train_model, train_prior


def looping(count=30_000, length=700, seed=3):
    """A loop over all keys but for one-hit wonders: LRU never hits in a smaller cache, and who has learned it does."""
    choose = random.Random(seed)
    keys = (number % length if choose.random() < 0.8 else 10**6 + number for number in range(count))
    return [(number, str(key), 1, "get", None, "", False) for number, key in enumerate(keys)]


@pytest.fixture
def loop(tmp_path):
    return write(tmp_path / "loop.fctrace", looping())


@pytest.fixture
def popular(tmp_path):
    return write(tmp_path / "popular.fctrace", zipf(20_000))


def short(tmp_path):
    return write(tmp_path / "short.fctrace", [(0, "1", 1, "get", None, "", False)] * 3)


def test_a_trace_belongs_to_the_group_of_its_name():
    assert group_of("/traces/arc_P3.lis.zst") == "blocks"
    assert group_of("wiki_2019.gz") == "cdn"
    assert group_of("mine.csv") is None


def test_a_prior_is_learned_from_all_traces_but_those_left_out(tmp_path, loop):
    left_out = write(tmp_path / "web07.fctrace", zipf(9000))
    told = []
    both = train_prior([loop, left_out], progress=lambda *step: told.append(step))
    without = train_prior([loop, left_out], leave_out="web")
    assert sorted(told) == [(1, 2), (2, 2)]
    assert without.write() == train_prior([loop]).write() != both.write() != Prior.none().write()


def test_after_an_error_no_other_trace_is_begun(tmp_path, popular, monkeypatch):
    begun, released = [], threading.Event()
    shutdown, opened = ThreadPoolExecutor.shutdown, train.open_trace

    def release(pool, wait=True, **options):
        shutdown(pool, wait=False, **options)
        released.set()
        shutdown(pool)

    def watched(path, **reading):
        begun.append(path)
        if len(begun) > 1:
            assert released.wait(20)
        return opened(path, **reading)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", release)
    monkeypatch.setattr(train, "open_trace", watched)
    monkeypatch.setattr(machine, "cores", lambda: 1)
    with pytest.raises(TraceError, match="short"):
        train_prior([short(tmp_path), *(write(tmp_path / f"{number}.fctrace", zipf(2000)) for number in range(9))])
    assert len(begun) <= 2


def test_what_was_learned_is_the_same_each_time_and_in_any_order(loop, popular):
    found = evidence([loop, popular])
    one, other = (Prior.none().corrected([found[str(path)] for path in order]) for order in [(loop, popular), (popular, loop)])
    assert one.write() == train_prior([loop, popular]).write()
    assert replay(loop, policies="learned", prior=one, sizes=[0.01])[0].misses == pytest.approx(
        replay(loop, policies="learned", prior=other, sizes=[0.01])[0].misses, rel=0.01
    )


def test_without_evidence_a_prior_stays_as_it_is():
    assert Prior.none().corrected([]).write() == Prior.none().write()
    again = Prior.read(Prior.shipped().corrected([]).write())
    assert again.write() == again.corrected([]).write()


@pytest.mark.parametrize(
    ("leave_out", "message"), [("nonsense", "leave_out: got 'nonsense'; allowed: lirs"), ("web", "no trace is left without")]
)
def test_a_prior_of_nothing_is_refused(tmp_path, leave_out, message):
    path = write(tmp_path / "web1.fctrace", zipf(100))
    with pytest.raises(ConfigError, match=message):
        train_prior([path], leave_out=leave_out)


def test_no_traces_are_refused():
    with pytest.raises(ConfigError, match="no trace was given"):
        train_prior([])
    with pytest.raises(ConfigError, match="no trace was given"):
        train_model([])


def test_a_trace_of_which_nothing_can_be_learned_is_named(tmp_path):
    with pytest.raises(TraceError, match=r"short\.fctrace: nothing can be learned"):
        train_model([short(tmp_path)])


def test_a_model_is_better_where_its_base_knows_nothing(loop):
    trained = train_model([loop], base="none", sizes=[0.02, 0.05])
    assert trained.better
    assert trained.cut_after > trained.cut_before
    assert [cell.size_fraction for cell in trained.cells] == [0.02, 0.05]


def test_cells_are_what_replays_of_the_held_out_part_count(loop):
    trained = train_model([loop], sizes=[0.05], hold_out=0.25, seed=9)
    (cell,) = trained.cells
    trace = Trace.open(loop)
    rows = len(trace) - round(0.25 * len(trace))
    model = Prior.shipped().corrected(
        [Evidence.of(trace, [int(trace.unique * 0.002 * 2 ** (n / 2)) for n in range(13)], rows=rows, weight=rows)]
    )
    assert trained.model.write() == model.write()
    limit = {"max_entries": int(0.05 * trace.unique), "seed": 9}
    head = write(loop.with_name("head.fctrace"), looping()[:rows])
    for policy, prior, misses in [("lru", None, cell.lru), ("learned", None, cell.before), ("learned", model, cell.after)]:
        whole = simulate(trace, policy, prior=prior, **limit)
        assert misses == whole.misses - simulate(Trace.open(head), policy, prior=prior, **limit).misses
        assert cell.accesses == whole.accesses - rows


def test_the_held_out_part_is_not_learned_from(tmp_path, loop):
    rows = looping()
    half = len(rows) // 2
    other = [(number, str(key % 50), 1, "get", None, "", False) for number, key in enumerate(range(half))]
    # The same keys come up, so that the caches by which it is looked at are the same.
    path = write(
        tmp_path / "other.fctrace",
        rows[:half] + [(at, key, *rest) for (at, _, *rest), (_, key, *_) in zip(rows[half:], reversed(rows[half:]), strict=True)],
    )
    assert len(other) == half
    one, two = (train_model([trace], hold_out=0.5, sizes=[0.05]).model.write() for trace in (loop, path))
    assert one == two


def test_progress_is_told_up_to_the_end(loop, popular):
    told = []
    train_model([loop, popular], sizes=[0.02, 0.05], progress=lambda *step: told.append(step))
    assert sorted(told) == told
    assert told[-1] == (14, 14)


@pytest.mark.parametrize("hold_out", [0, 1, -0.5, True, "some"])
def test_the_held_out_share_is_checked(loop, hold_out):
    with pytest.raises(ConfigError, match="hold_out: got"):
        train_model([loop], hold_out=hold_out)


def test_sizes_below_one_object_are_refused(loop):
    with pytest.raises(TraceError, match="less than one object"):
        train_model([loop], sizes=[1e-9])


def test_a_base_is_what_ships_or_nothing_or_a_file(tmp_path):
    file = tmp_path / "base.fcp"
    file.write_bytes(Prior.none().write())
    assert base_prior("shipped").write() == Prior.shipped().write()
    assert base_prior("none").write() == base_prior(file).write() == Prior.none().write()
    with pytest.raises(ConfigError, match="prior: got"):
        base_prior(tmp_path / "absent.fcm")


def test_a_cut_of_no_misses_is_none():
    assert (Cell("a", 0.1, 1, 9, 0, 0, 0).cut_before, Cell("a", 0.1, 1, 9, 0, 0, 0).cut_after) == (0, 0)
    assert not Trained(Prior.none(), (Cell("a", 0.1, 1, 9, 5, 5, 5),)).better


def test_train_writes_a_model_that_replay_takes_and_says_what_it_is_worth(loop, tmp_path):
    model = tmp_path / "model.fcm"
    done = forecache("train", loop, "-o", model, "--base", "none", "--sizes", "0.02,0.05")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines[:-1])  # the last one is the path
    assert sum(line.startswith("loop") for line in lines) == 2
    assert any(line.startswith("The model is better than its base") for line in lines)
    tried = forecache("replay", loop, "--policy", "learned", "--prior", model, "--sizes", "0.05", "--json")
    (row,) = json.loads(tried.stdout)
    assert row["misses"] == replay(loop, policies="learned", prior=model, sizes=[0.05])[0].misses


def test_train_tells_all_as_json_and_lays_a_note_beside_the_model(loop, tmp_path):
    model = tmp_path / "model.fcm"
    done = forecache("train", loop, "-o", model, "--sizes", "0.05", "--hold-out", "0.3", "--json")
    told = json.loads(done.stdout)
    expected = train_model([loop], sizes=[0.05], hold_out=0.3)
    (cell,) = expected.cells
    assert told["cells_by_trace"] == [asdict(cell) | {"cut_before": cell.cut_before, "cut_after": cell.cut_after}]
    assert (told["better"], told["cut_after"]) == (expected.better, expected.cut_after)
    note = json.loads(registry.beside(model).read_text())
    assert note["version"] == registry.version_of(model.read_bytes())
    assert note["trained"]["traces"] == 1
    assert note["trained"]["cut_after"] == expected.cut_after


def test_a_model_that_is_no_better_is_written_and_said_to_be_none(loop, tmp_path):
    first, second = tmp_path / "first.fcm", tmp_path / "second.fcm"
    forecache("train", loop, "-o", first)
    base = Prior.read(first.read_bytes())
    # What was learned once is learned: again, of the same, it changes next to nothing, and never for the better by much.
    again = train_model([loop], base=base, sizes=[0.9])
    done = forecache("train", loop, "-o", second, "--base", first, "--sizes", "0.9")
    assert ("no better than its base" in done.stdout) == (not again.better)
    assert not again.better  # where nearly all fits, nothing is left to win
    assert second.exists()


def test_train_makes_a_prior_too(loop, tmp_path):
    prior = tmp_path / "prior.fcp"
    done = forecache("train", loop, "--prior", "-o", prior)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"{prior}: {len(prior.read_bytes()):,} bytes")
    assert prior.read_bytes() == train_prior([loop]).write()
    assert not registry.beside(prior).exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--leave-out", "web"), "--leave-out is for priors"),
        (("--prior", "--base", "none"), "a prior is made of the traces alone"),
        (("--prior", "--json"), "a prior is made of the traces alone"),
        (("--sizes", "much"), "sizes: got 'much'"),
        (("--hold-out", "1.5"), "hold_out: got 1.5"),
        (("--base", "absent.fcm"), "prior: got 'absent.fcm'"),
    ],
)
def test_wrong_options_are_one_line(loop, tmp_path, options, message):
    done = forecache("train", loop, "-o", tmp_path / "out.fcm", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert not (tmp_path / "out.fcm").exists()


def test_groups_are_told_by_help():
    assert all(group in forecache("train", "--help", COLUMNS="200").stdout for group in GROUPS)
