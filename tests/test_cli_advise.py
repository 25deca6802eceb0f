"""`forecache advise`, as a shell sees it."""

import csv
import json

import pytest
from test_cli_replay import forecache
from test_replay import SECOND, write, zipf

from forecache import POLICIES


@pytest.fixture
def trace(tmp_path):
    return write(tmp_path / "shop.fctrace", zipf(20_000))


def test_plain_words_come_first_then_tables_of_80_columns(trace):
    done = forecache("advise", trace, "--hit-rate", "86.5 %", "--disk-price", "0.02", "--miss-latency", "80ms")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("shop.fctrace: 20,000 accesses to ")
    assert lines[2].startswith("Take ")
    assert lines[2].endswith("% hits.")
    words = " ".join(lines)
    for sentence in ("No policy could have more than", "In memory alone that is", "are the cheapest way to as many hits"):
        assert sentence in words
    assert all(len(line) <= 80 for line in lines)
    rows = [line.split()[0] for line in lines if line.count("%") == 5 and line[0] != " "]
    assert rows == [*POLICIES, "belady"]
    assert "in memory  on disk  memory hits" in words
    assert "Every size was simulated in full: no sampling error." in lines[-1]


def test_a_wish_that_nothing_grants_is_said(trace):
    words = " ".join(forecache("advise", trace, "--hit-rate", "99.9").stdout.split())
    assert "No size reaches 99.9 % hits; a cache that holds everything has" in words
    assert "from there on more size wins little." in words


def test_times_to_live_and_bytes_are_talked_of(tmp_path):
    rows = [(time, key, size, how, 300 * SECOND, owner, more) for time, key, size, how, _, owner, more in zipf(20_000)]
    trace = write(tmp_path / "timed.fctrace", rows)
    words = " ".join(forecache("advise", trace, "--hit-rate", "40", "--byte").stdout.split())
    assert "Other times to live would change the hit rate by so many points: half of every TTL -" in words
    assert "kB or fewer: 76.6 % hits with the smallest size that was tried" in words
    assert " kB on disk" in " ".join(forecache("advise", trace, "--hit-rate", "76.7", "--byte").stdout.split())
    assert "Belady" not in words
    assert "Other times" not in forecache("advise", trace, "--hit-rate", "40", "--no-ttl").stdout


def test_a_sample_says_its_error(trace):
    words = " ".join(forecache("advise", trace, "--requests", "5000").stdout.split())
    assert f"Error against the full simulation at {2 * len(POLICIES) - 2} points: at most " in words


def test_a_recording_of_some_keys_says_what_the_real_cache_needs(tmp_path):
    from forecache import _core

    path = tmp_path / "some.fctrace"
    _core.write_trace(path, [(*row, 1) for row in zipf(3000)], sampled=250_000)
    words = " ".join(forecache("advise", path, "--hit-rate", "40").stdout.split())
    assert "The recording holds 25.0 % of the objects: the real cache has to be 4 times as large" in words


def test_json_csv_and_a_picture_for_machines_and_slides(trace, tmp_path):
    out, plot = tmp_path / "out.csv", tmp_path / "curves.png"
    done = forecache("advise", trace, "--json", "--csv", out, "--plot", plot, "--policy", "lru,s3fifo", "--sizes", "0.1,0.5,1")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    fields = {
        "policy",
        "size",
        "hit_rate",
        "reached",
        "sizes_for_wish",
        "ceiling",
        "knee",
        "ttl",
        "cheapest",
        "frontier",
        "checks",
    }
    assert fields <= set(told)
    assert set(told["curves"]) == {"lru", "s3fifo"}
    assert len(told["belady"]["miss_ratios"]) == 3
    assert plot.read_bytes().startswith(b"\x89PNG")
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["policy"] for row in rows] == ["lru"] * 3 + ["s3fifo"] * 3 + ["belady"] * 3
    assert [float(row["miss_ratio"]) for row in rows[:3]] == told["curves"]["lru"]["miss_ratios"]


def test_too_little_memory_for_the_optimum_is_said_on_stderr(trace):
    done = forecache("advise", trace, "--memory", "100KB", "--json")
    assert done.returncode == 0
    assert "Belady's optimum of 20,000 accesses would take" in done.stderr
    done = forecache("replay", trace, "--belady", "--memory", "100KB")
    assert "estimated from a sample" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--policy", "best"], "policy: got 'best'; allowed: lru, "),
        (["--sizes", "0.1,big"], "sizes: got 'big'; allowed: shares of the unique objects"),
        (["--hit-rate", "most"], "hit-rate: got 'most'; allowed: percent above 0 and below 100"),
        (["--hit-rate", "120"], "hit-rate: got '120'; allowed: percent above 0 and below 100"),
        (["--disk-latency", "soon"], "disk_latency: got 'soon'; allowed: seconds above 0"),
        (["--plot", "a.xyz"], "plot: got 'a.xyz'; allowed: a file that ends in .png"),
        (["--memory", "some"], "memory: got 'some'; allowed: "),
        (["--columns", "kee=id"], 'columns: "kee" is no field of a trace'),
    ],
)
def test_a_wrong_option_is_one_line_on_stderr(trace, arguments, expected):
    done = forecache("advise", trace, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"forecache: {expected}")
    assert done.stderr.count("\n") == 1


def test_help_teaches_by_examples():
    assert "forecache advise vm.fctrace" in forecache("advise", "--help").stdout


def test_the_ceiling_is_that_of_everything_whatever_sizes_are_tried(trace):
    every = json.loads(forecache("advise", trace, "--policy", "lru", "--json").stdout)
    some = json.loads(forecache("advise", trace, "--policy", "lru", "--sizes", "0.01", "--json").stdout)
    assert some["ceiling"] == every["ceiling"]
    words = " ".join(forecache("advise", trace, "--policy", "lru", "--sizes", "0.01", "--hit-rate", "85").stdout.split())
    assert (
        "No size that was tried reaches 85.0 % hits; a cache that holds everything has 87.5 %, the rest are first accesses."
        in words
    )
    assert "more size wins little" not in words


def test_an_estimated_optimum_is_called_one(trace):
    told = forecache("advise", trace, "--memory", "100KB", "--hit-rate", "99.9")
    assert "No policy could have more than about " in told.stdout
    assert "in full but Belady's optimum, which is an estimate. " in " ".join(told.stdout.split())
    assert json.loads(forecache("advise", trace, "--memory", "100KB", "--json").stdout)["belady_estimated"]


def test_too_few_accesses_are_said_to_tell_little(tmp_path):
    words = forecache("advise", write(tmp_path / "[few]$a$.fctrace", zipf(300)), "--plot", tmp_path / "few.png")
    assert (words.returncode, words.stdout.splitlines()[0].split(":")[0]) == (0, "[few]$a$.fctrace")
    assert "So few accesses tell little." in " ".join(words.stdout.split())


def test_all_names_of_what_is_deleted_are_not_first_accesses(tmp_path):
    from forecache import _core

    rows = [(at, "1", 10, how, None, "", False, 1) for at in range(0, 4000, 2) for how in ("get", "delete")]
    path = tmp_path / "deleted.fctrace"
    _core.write_trace(path, rows)
    words = " ".join(forecache("advise", path).stdout.split())
    assert "has 0.0 %, the rest are first accesses, or follow a delete or an expiry." in words
