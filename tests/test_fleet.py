"""The synthetic fleet: always the same for a seed, and what its page says it is."""

import hashlib
import re
import subprocess
import sys
from collections import Counter, defaultdict
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path

import pytest

import fleet
from fleet_parts import BLOCK, DAY, TTL, Chance, Image, Parameters
from forecache import _core

BENCHMARKS = Path(fleet.__file__).parent
SECOND = 10**9


@pytest.fixture(scope="module")
def day():
    return fleet.accesses(7, Parameters(days=1))


def digest(rows):
    return hashlib.sha256("\n".join(map(repr, rows)).encode()).hexdigest()


def kind(key):
    parts = key.split(":")
    return parts[0] if parts[0] == "flavor" else parts[2]


def test_algorithm_and_default_parameters_are_those_that_were_fixed():
    """If this fails, don't change the checksum: figures of the workload would no longer compare with earlier ones."""
    assert digest(fleet.accesses(7, Parameters(days=2))) == "db0d810b7a3c29401aeb8b20ae4519263bac4d61c7af16f6e9c1162f9d45ee47"
    assert Parameters().days == 4


def test_seeds_differ_and_each_gives_the_same_again():
    small = Parameters(days=1, long_lived=30, deployments_a_day=5)
    once, again, other = (fleet.accesses(seed, small) for seed in (1, 1, 2))
    assert once == again != other


def test_times_never_go_back_and_stay_within_the_days(day):
    times = [row[0] for row in day]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] < DAY * 10**6


def test_most_requests_read_a_few_write_and_fewer_delete(day):
    operations = Counter(row[3] for row in day)
    assert 0.9 < operations["get"] / len(day) < 0.97
    assert 0.02 < operations["set"] / len(day) < 0.1
    assert 0 < operations["delete"] / len(day) < 0.01


def test_keys_say_what_they_are_and_their_class_how_long_they_live(day):
    shapes = {re.sub(r"[\w.-]*\d[\w.-]*", "#", key) for _, key, *_ in day}
    assert shapes == {
        "flavor:#", "host:#:load", "image:#:block:#", "image:#:manifest", "network:#:ports", "tenant:#:policy", "tenant:#:quota",
        "vm:#:disk:#", "vm:#:memory:#", "vm:#:metadata", "vm:#:network", "vm:#:status", "vm:#:volumes",
    }  # fmt: skip
    for _, key, size, operation, ttl, owner, continues, pages in day:
        if operation == "delete":
            assert (size, ttl) == (0, None)
        else:
            expected = TTL.get(kind(key))
            assert ttl == (expected and expected * 10**6), key
            assert size == {"block": BLOCK["image"], "disk": BLOCK["disk"], "memory": BLOCK["memory"]}.get(kind(key), size)
            assert size > 0
        assert owner == "platform" or re.fullmatch(r"tenant-\d+", owner)
        assert (continues, pages) == (False, 1)
    assert len({row[5] for row in day}) <= Parameters().tenants + 1


def test_a_monitor_reads_the_status_of_a_vm_every_five_minutes(day):
    times = defaultdict(list)
    for time, key, _, operation, *_ in day:
        if kind(key) == "status" and operation == "get":
            times[key].append(time)
    all_day = [reads for reads in times.values() if reads[0] < 300 * SECOND and reads[-1] > 86_100 * SECOND]
    assert len(all_day) > 150
    gaps = [later - earlier for reads in all_day for earlier, later in pairwise(reads)]
    assert sum(gap <= 305 * SECOND for gap in gaps) > 0.99 * len(gaps)


def test_boots_of_an_image_read_nearly_the_same_in_nearly_the_same_order():
    chance = Chance(3)
    image = Image.made("debian-12-web", 100, chance)
    first, second = image.boot(chance, 0.03), image.boot(chance, 0.03)
    assert first != second
    assert SequenceMatcher(None, first, second, autojunk=False).ratio() > 0.85
    before = set(first)
    image.rebuild(chance, 0.1)
    assert 0.6 < len(before & set(image.boot(chance, 0.03))) / len(before) < 1


def test_what_is_deleted_was_a_vm_and_is_hardly_asked_for_again(day):
    gone, asked = set(), set()
    for _, key, _, operation, *_ in day:
        if operation == "delete":
            gone.add(key)
        elif key in gone:
            asked.add(key)
    assert all(key.startswith("vm:") for key in gone)
    assert len(asked) < 0.02 * len(gone)


def test_a_night_reads_much_once_that_no_day_reads(day):
    night = [key for time, key, *_ in day if kind(key) == "disk" and 2 * 3600 <= time // SECOND < 6 * 3600]
    assert len(night) > 5000
    assert len(night) == sum(kind(key) == "disk" for _, key, *_ in day) == len(set(night))


def test_the_command_line_writes_a_trace_that_says_it_is_synthetic(tmp_path):
    out = tmp_path / "fleet.fctrace"
    command = [sys.executable, BENCHMARKS / "fleet.py", out, "--seed", "7", "--days", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    trace = _core.Trace.open(out)
    assert trace.description.startswith("SYNTHETIC")
    assert f"{len(trace):,} requests" in done.stdout
