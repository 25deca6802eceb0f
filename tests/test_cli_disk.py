"""`forecache disk`, as a shell sees it."""

import json
import os

import pytest
from test_cli_replay import forecache

from forecache import Disk
from forecache._core import Entry
from forecache.flow import run
from forecache.testing import FakeClock
from forecache.tiers.tier import wall_time


@pytest.fixture
def directory(tmp_path):
    """A closed directory of 300 entries, 100 of which have expired, in two namespaces."""
    where = tmp_path / "cache"
    for space, count in (("app", 200), ("", 100)):
        tier = Disk(where, "9MB", compression="none").make(space, wall_time(FakeClock()))  # years ago
        hard = None if space else wall_time(FakeClock())() + 1
        run(tier.set_many({f"key:{number}": Entry(os.urandom(1000), hard=hard) for number in range(count)}))
        run(tier.close())
    return where


def told(*arguments):
    done = forecache("disk", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_info_tells_entries_space_and_namespaces(directory):
    facts = told("info", directory)
    assert (facts["entries"], facts["capacity"], facts["clean"]) == (300, 9_000_000, True)
    assert facts["bytes"] <= facts["capacity"]
    assert sorted((space["namespace"], space["entries"]) for space in facts["namespaces"]) == [("", 100), ("app", 200)]
    assert sum(each["used"] for each in facts["classes"]) == 300
    shown = forecache("disk", "info", directory)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.splitlines()[0].split() == ["entries", "300"]
    assert any(line.split()[:2] == ["app", "200"] for line in shown.stdout.splitlines())
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())


def test_verify_reads_all_and_removes_what_is_damaged(directory):
    assert told("verify", directory) == {"good": 300, "corrupt": 0, "unreachable": 0}
    slab = max((directory / "slabs").iterdir(), key=lambda file: file.stat().st_size)
    with slab.open("r+b") as file:
        file.seek(5_000)
        file.write(b"damage")
    done = forecache("disk", "verify", directory)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.endswith(": 299 good, 1 damaged and removed\n")
    assert told("verify", directory) == {"good": 299, "corrupt": 0, "unreachable": 0}


def test_gc_drops_what_has_expired_and_gives_space_back(directory):
    before = told("info", directory)["bytes"]
    collected = told("gc", directory)
    assert collected["dropped"] == 100
    assert collected["freed"] == before - told("info", directory)["bytes"]
    assert told("info", directory)["entries"] == 200
    assert forecache("disk", "gc", directory).stdout.endswith(": 0 entries dropped, 0 bytes given back\n")


@pytest.mark.parametrize("command", ["info", "verify", "gc"])
def test_what_is_no_directory_of_ours_is_one_line_and_stays_as_it_is(command, tmp_path):
    (tmp_path / "letters.txt").write_text("dear diary")
    for where in (tmp_path, tmp_path / "absent", tmp_path / "letters.txt"):
        done = forecache("disk", command, where)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert str(where) in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


@pytest.mark.parametrize("command", ["info", "verify", "gc"])
def test_help_teaches_by_an_example(command):
    done = forecache("disk", command, "--help")
    assert done.returncode == 0
    assert f"forecache disk {command} /var/cache/app" in done.stdout
