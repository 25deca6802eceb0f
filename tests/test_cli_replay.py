"""`forecache replay` and `forecache trace`, as a shell sees them."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from forecache import _core


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "guest.run1.fctrace"
    keys = [number * number % 97 for number in range(500)] + list(range(200, 300)) + [number % 50 for number in range(400)]
    rows = [(number, str(key), 4096, "get", None, "", False, 1) for number, key in enumerate(keys)]
    _core.write_trace(path, rows, page_size=4096, device_size=2**30, description="a guest")
    return path


def forecache(*arguments, blocked=(), stdout=subprocess.PIPE, **environment):
    """Runs the command line in a process of its own; modules in `blocked` seem not to be installed."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({list(blocked)!r}));" if blocked else ""
    code = f"{hide}from forecache.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"COLUMNS": "80", "NO_COLOR": "1"} | environment,
    )


def test_a_table_of_80_columns(trace):
    done = forecache("replay", trace, "--policy", "all", "--belady", "--sizes", "0.01,0.02,0.05,0.1,0.2,0.5")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "guest: misses of 1,000 accesses"
    assert all(len(line) <= 80 for line in lines)
    assert {line.split()[0] for line in lines if "%" in line and line[0] != " "} == {*_core.POLICIES, "belady"}


def test_csv_and_json_hold_a_row_a_trace_size_and_policy(trace, tmp_path):
    out = tmp_path / "out.csv"
    done = forecache("replay", trace, "--policy", "lru,s3fifo", "--sizes", "0.1,0.5", "--csv", out, "--json")
    assert done.returncode == 0, done.stderr
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["trace", "size_fraction", "policy", "miss_ratio", "byte_miss_ratio"]
    told = json.loads(done.stdout)
    assert [(row["trace"], float(row["size_fraction"]), row["policy"], float(row["miss_ratio"])) for row in rows] == [
        (row["trace"], row["size_fraction"], row["policy"], row["miss_ratio"]) for row in told
    ]
    assert [(row["trace"], row["size_fraction"], row["policy"]) for row in rows] == [
        ("guest", size, policy) for size in ("0.1", "0.5") for policy in ("lru", "s3fifo")
    ]


def test_a_given_capacity_has_no_share(trace, tmp_path):
    for capacity, expected in (("50", 50), ("50KB", 50_000)):
        done = forecache("replay", trace, "--capacity", capacity, "--csv", tmp_path / "out.csv", "--json")
        assert {row["capacity"] for row in json.loads(done.stdout)} == {expected}
        assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("guest,,lru,0.")


def test_curves_are_drawn(trace, tmp_path):
    for options in ((), ("--byte",)):
        plot = tmp_path / f"curves{len(options)}.png"
        done = forecache("replay", trace, "--plot", plot, "--sizes", "0.05,0.5", *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert plot.read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 3


def test_less_than_one_object_is_said_on_stderr(trace):
    done = forecache("replay", trace, "--sizes", "0.0001,0.5", "--json")
    assert "0.0001 of 173 objects is less than one, so there is no row" in done.stderr
    assert [row["size_fraction"] for row in json.loads(done.stdout)] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--policy", "lru,best"],
            "policy: got 'best'; allowed: lru, lfu, random, s3fifo, arc, sieve, clock2q+, tinylfu, adaptive, learned, "
            "belady, all",
        ),
        (["--sizes", "0.1,big"], "sizes: got 'big'; allowed: shares of the unique objects"),
        (["--sizes", "7"], "sizes: got 7.0; allowed: shares of the unique objects"),
        (["--capacity", "some"], "capacity: got 'some'; allowed: "),
        (["--columns", "kee=id"], 'columns: "kee" is no field of a trace (nearest: key, '),
        (
            ["--csv", "/no/such/directory/out.csv"],
            "csv: got '/no/such/directory/out.csv'; allowed: a file in ",
        ),
        (["--plot", "a.png", "--capacity", "5"], "plot: got 'a.png'; allowed: curves over --sizes"),
    ],
)
def test_a_wrong_option_is_one_line_on_stderr(trace, arguments, expected):
    done = forecache("replay", trace, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"forecache: {expected}")
    assert done.stderr.count("\n") == 1


def test_a_truncated_trace_says_where_and_nothing_is_printed_or_written(trace, tmp_path):
    broken = tmp_path / "broken.fctrace"
    broken.write_bytes(trace.read_bytes()[:-5])
    done = forecache("replay", trace, broken, "--csv", tmp_path / "out.csv", "--plot", tmp_path / "out.png")
    assert (done.returncode, done.stdout) == (2, "")
    assert "broken.fctrace, byte " in done.stderr
    assert "truncated" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.fctrace", "guest.run1.fctrace"]


def test_a_missing_extra_is_one_sentence_with_the_remedy(trace):
    done = forecache("replay", trace, blocked=["typer"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "forecache: the command line needs two more packages; install them with: pip install 'forecache[cli]'\n"
    done = forecache("replay", trace, "--plot", "a.png", blocked=["matplotlib"])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "forecache: plot: needs matplotlib; install it with: pip install 'forecache[plot]'\n"


def test_a_block_list_is_imported_and_shown(tmp_path):
    source, target = tmp_path / "block.csv", tmp_path / "block.fctrace"
    source.write_text("time_us,op,offset,length\n1,read,0,8192\n2,write,4096,4096\n")
    done = forecache("trace", "import", source, target, "--page", "4096", "--device-size", "1GiB", "--description", "a guest")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{target}: 2 requests, 3 pages, ")
    shown = forecache("trace", "show", target).stdout
    for fact in ("accesses        3", "unique objects  2", "device size     1,073,741,824 bytes", "description     a guest"):
        assert fact in shown


def test_help_teaches_by_examples():
    assert "forecache replay vm.fctrace" in forecache("replay", "--help").stdout
    assert "Examples" not in forecache("--help").stderr
    done = subprocess.run([sys.executable, "-m", "forecache.cli", "--help"], capture_output=True, text=True, check=True)
    assert "replay" in done.stdout


def test_traces_of_one_name_are_refused(trace, tmp_path):
    other = tmp_path / "guest.run2.fctrace"
    other.write_bytes(trace.read_bytes())
    done = forecache("replay", trace, other)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("forecache: traces: got [")


def test_a_link_keeps_leading_to_the_file_that_is_written(trace, tmp_path):
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("old")
    link.symlink_to(target)
    assert forecache("replay", trace, "--csv", link).returncode == 0
    assert link.is_symlink()
    assert target.read_text().startswith("trace,size_fraction,")


def test_what_is_no_file_is_not_replaced(trace):
    done = forecache("replay", trace, "--csv", "/dev/null")
    assert (done.returncode, done.stdout) == (2, "")
    assert "csv: got '/dev/null'" in done.stderr


def test_a_plot_of_no_known_kind_is_refused_before_the_work(trace, tmp_path):
    done = forecache("replay", trace, "--plot", tmp_path / "curves.xyz")
    assert (done.returncode, done.stdout) == (2, "")
    assert "allowed: a file that ends in .png, .pdf, .svg" in done.stderr


def test_belady_is_a_policy_by_name(trace):
    done = forecache("replay", trace, "--policy", "lru,belady")
    assert done.returncode == 0
    assert "belady" in done.stdout
    done = forecache("replay", trace, "--policy", "lru,belady", "--byte", "--sizes", "0.1", "--json")
    lru, belady = json.loads(done.stdout)
    assert (done.stderr, belady["policy"], belady["by_bytes"]) == ("", "belady", True)
    assert belady["misses"] < lru["misses"]


def test_a_list_of_requests_is_not_imported_over_itself(tmp_path):
    source = tmp_path / "block.csv"
    source.write_text("time_us,op,offset,length\n1,read,0,4096\n")
    done = forecache("trace", "import", source, source)
    assert done.returncode == 2
    assert source.read_text().startswith("time_us")


def test_the_version_is_told():
    assert forecache("--version").stdout.startswith("forecache ")


def test_requests_have_a_table_and_a_last_column_where_they_were_asked_for(trace, tmp_path):
    ends = tmp_path / "ends"
    ends.write_bytes(bytes([0, 0, 0, 1]) * 250)
    out = tmp_path / "out.csv"
    done = forecache("replay", trace, "--capacity", "90", "--policy", "lru", "--group-requests", ends, "--csv", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert "guest: whole hits of 250 requests" in done.stdout
    plain = forecache("replay", trace, "--capacity", "90", "--policy", "lru", "--csv", tmp_path / "plain.csv")
    assert "whole" not in plain.stdout
    grouped, ungrouped = (list(csv.reader(path.read_text().splitlines())) for path in (out, tmp_path / "plain.csv"))
    assert [row[:-1] for row in grouped] == ungrouped
    assert grouped[0][-1] == "request_hit_ratio"
    assert 0 < float(grouped[1][-1]) < 1


def test_wrong_rows_are_told_or_counted(tmp_path):
    table = tmp_path / "log.csv"
    table.write_text("time,key\n2,a\n1,b\n3,\n4,a\n")
    done = forecache("replay", table, "--capacity", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{table}, line 3: its time, 1.000000000 s, is before" in done.stderr
    done = forecache("replay", table, "--capacity", "2", "--lenient", "--json")
    assert done.stderr == "forecache: log.csv: 2 rows can't be used and are left out (no key: 1, time goes back: 1)\n"
    assert json.loads(done.stdout)[0]["skipped"] == {"no key": 1, "time goes back": 1}
    shown = forecache("trace", "show", table, "--lenient", "--json")
    assert (json.loads(shown.stdout)["accesses"], json.loads(shown.stdout)["skipped"]["no key"]) == (2, 1)
    assert "is no format of a trace (nearest: csv" in forecache("trace", "show", table, "--format", "cvs").stderr


def test_a_trace_is_converted_with_its_keys_hashed(tmp_path):
    source, target, secret = tmp_path / "log.csv", tmp_path / "shared.fctrace", tmp_path / "secret"
    source.write_text("key,size\n/ann,10\n/bob,20\n/ann,10\n")
    done = forecache("trace", "convert", source, target, "--hash-keys", "--description", "a site")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 accesses" in done.stdout
    shown = forecache("trace", "show", target)
    assert "secret hashes" in shown.stdout
    assert "a site" in shown.stdout
    secret.write_bytes(b"short")
    done = forecache("trace", "convert", source, target, "--hash-keys", "--secret-file", secret)
    assert "secret-file: got 5 bytes; allowed: 16 or more" in done.stderr
    done = forecache("trace", "convert", source, target, "--secret-file", secret)
    assert "without --hash-keys" in done.stderr
    assert "which is the source" in forecache("trace", "convert", source, source).stderr
    assert (
        "can't be read" in forecache("trace", "convert", source, target, "--hash-keys", "--secret-file", tmp_path / "no").stderr
    )


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_output_that_can_not_be_written_is_one_line(trace, options):
    with Path("/dev/full").open("w") as full:
        done = forecache("replay", trace, "--sizes", "0.5", *options, stdout=full)
    assert (done.returncode, done.stderr) == (2, "forecache: [Errno 28] No space left on device\n")


def test_what_a_terminal_would_obey_is_shown_and_not_sent(tmp_path):
    log = tmp_path / "[red]\x1b]0;title\a.csv"
    log.write_text("key\nan \x1b[31m id\n" * 3)
    done = forecache("replay", log, "--sizes", "0.5", "--policy", "lru")
    assert done.stdout.startswith("[red]\\x1b]0;title\\x07: misses")
    log.write_text("id \x1b[31m,size\n1,2\n")
    wrong = forecache("replay", log, "--columns", "key=nothing")
    assert wrong.returncode == 2
    assert "\x1b" not in done.stdout + wrong.stderr


def test_a_sample_of_the_keys_is_told(tmp_path):
    path = tmp_path / "sample.fctrace"
    rows = [(number, str(number % 50), 10, "get", None, "", False, 1) for number in range(500)]
    _core.write_trace(path, rows, sampled=100_000)
    done = forecache("replay", path, "--sizes", "0.5")
    luck = "where few keys make most of the requests, ratios may be many points off"
    assert done.stderr == f"forecache: sample.fctrace holds 10 % of the keys; {luck}\n"
    scaled = forecache("replay", path, "--capacity", "250")
    assert scaled.stderr.startswith(
        "forecache: sample.fctrace holds 10 % of the keys; a capacity of 250 is simulated by one of 25; "
    )
