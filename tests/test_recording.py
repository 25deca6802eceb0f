"""What was recorded replays to what the cache did."""

import asyncio
import itertools
import os
import random
import stat
import threading
import zlib

import pytest
from conftest import PATIENCE
from hypothesis import given, settings
from hypothesis import strategies as st
from test_lifecycle import run_program

from forecache import POLICIES, Cache, ConfigError, TraceError, _core, recording
from forecache.replays import replay
from forecache.testing import FakeClock

FEW = 12


def zipf(count, seed=1, objects=20_000):
    choose = random.Random(seed)
    for _ in range(count):
        yield f"user:{int(choose.paretovariate(0.7)) % objects}"


def ask(cache, keys, size=lambda _: 1, **options):
    for key in keys:
        if cache.get(key) is None:
            cache.set(key, "x" * size(key), **options)


def counted(cache):
    stats = cache.stats()
    return stats.hits, stats.misses


def replayed(path, policy, capacity):
    [row] = replay(path, policies=policy, capacity=capacity)
    return row.accesses - row.misses, row.misses


def rows(path):
    return [(operation, key, size, ttl, owner) for _, key, size, operation, ttl, owner, _ in _core.Trace.open(path).rows()]


def texts(path):
    return [(operation, key) for operation, key, *_ in rows(path)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trace.fctrace"


def off_by(cache, path, capacity, work):
    """Points of the hit ratio by which the replay of a recording of `work` is off."""
    before = counted(cache)
    with cache.record(path) as recording:
        work()
    hits, misses = (now - then for now, then in zip(counted(cache), before, strict=True))
    recorded = recording.stop()
    assert (recorded.hits, recorded.misses) == (hits, misses)
    hits_again, misses_again = replayed(path, cache.config.policy, capacity)
    assert hits_again + misses_again == hits + misses
    return 100 * abs(hits_again - hits) / (hits + misses)


@pytest.mark.parametrize("warm", [0, 20_000])
def test_lru_replays_to_the_very_hits(path, warm):
    cache = Cache("1GB", max_entries=500, policy="lru")
    ask(cache, zipf(warm, seed=2))
    assert off_by(cache, path, 500, lambda: ask(cache, zipf(30_000))) == 0


@pytest.mark.parametrize("warm", [0, 30_000])
@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_replays_within_half_a_point(path, policy, warm):
    cache = Cache("1GB", max_entries=500, policy=policy)
    ask(cache, zipf(warm, seed=2))
    assert off_by(cache, path, 500, lambda: ask(cache, zipf(40_000))) <= 0.5


@pytest.mark.parametrize("policy", POLICIES)
def test_bytes_replay_within_half_a_point(path, policy):
    cache = Cache("200KB", policy=policy)

    def size(key):
        return 10 + zlib.crc32(key.encode()) % 400

    ask(cache, zipf(20_000, seed=2), size)
    assert off_by(cache, path, "200KB", lambda: ask(cache, zipf(30_000), size)) <= 0.5


def test_times_to_live_replay_too_those_of_what_was_there_and_those_that_were_put_off(path):
    clock = FakeClock()
    cache = Cache("1GB", max_entries=500, policy="lru", clock=clock, ttl=50)

    def work(keys):
        for number, key in enumerate(keys):
            clock.advance(0.01)
            if cache.get(key) is None:
                cache.set(key, 1)
            elif number % 7 == 0:
                cache.touch(key, ttl=60)

    work(zipf(10_000, seed=2))
    assert cache.stats().removed["expired"] > 100
    assert off_by(cache, path, 500, lambda: work(zipf(20_000))) <= 0.1


def test_times_to_idle_replay_as_deletes(path):
    clock = FakeClock()
    cache = Cache("1GB", max_entries=500, policy="lru", clock=clock, tti=3)

    def work(keys):
        for key in keys:
            clock.advance(0.01)
            if cache.get(key) is None:
                cache.set(key, 1)

    work(zipf(2_000, seed=2))
    assert off_by(cache, path, 500, lambda: work(zipf(10_000))) <= 0.1
    assert cache.stats().removed["expired"] > 1000


def test_loads_by_many_threads_replay_within_half_a_point(path, crew):
    cache = Cache("1GB", max_entries=300)

    def load(seed):
        for key in zipf(5_000, seed=seed):
            cache.get_or_load(key, lambda key: key)

    def work():
        for seed in range(4):
            crew.send(load, seed)
        assert crew.back().errors == []

    ask(cache, zipf(5_000, seed=9))
    assert off_by(cache, path, 300, work) <= 0.5


def test_a_sample_replays_about_as_the_whole(path):
    cache = Cache("1GB", max_entries=2000, policy="lru")
    choose = random.Random(3)
    keys = [f"user:{int(choose.paretovariate(0.2)) % 30_000}" for _ in range(100_000)]
    with cache.record(path, sample=0.2, secret="the same") as recording:
        ask(cache, keys)
    recorded, trace = recording.stop(), _core.Trace.open(path)
    assert trace.sampled == 200_000
    assert recorded.keys == trace.unique
    assert 0.17 <= trace.unique / len(set(keys)) <= 0.23
    tally = _core.simulate(trace, "lru", max_entries=400)
    assert tally.misses / tally.accesses == pytest.approx(cache.stats().misses / len(keys), abs=0.03)


operations = st.lists(
    st.tuples(
        st.sampled_from(
            ["get", "get", "get or set", "get or set", "set", "delete", "add", "incr", "pop", "many", "clear", "owner", "tag"]
        ),
        st.integers(0, FEW),
        st.none() | st.integers(1, 20),
    ),
    max_size=150,
)


@settings(max_examples=150, deadline=None)
@given(warm=operations, then=operations, entries=st.integers(1, FEW))
def test_whatever_is_asked_replays_to_the_very_hits(tmp_path_factory, warm, then, entries):
    path = tmp_path_factory.mktemp("model") / "trace.fctrace"
    clock = FakeClock()
    cache = Cache("1GB", max_entries=entries, policy="lru", clock=clock)

    def do(steps):  # noqa: PLR0912  a branch an operation
        for operation, number, ttl in steps:
            clock.advance(0.5)
            key, owner = f"k{number}", f"o{number % 2}"
            options = {"ttl": ttl, "owner": owner, "tags": [owner]}
            match operation:
                case "get":
                    cache.get(key)
                case "get or set":
                    if cache.get(key) is None:
                        cache.set(key, 1, **options)
                case "set":
                    cache.set(key, 1, **options)
                case "delete":
                    cache.delete(key)
                case "add":
                    cache.add(key, 1, **options)
                case "incr":
                    cache.incr(key, ttl=ttl)
                case "pop":
                    cache.pop(key)
                case "many":
                    keys = [key, f"k{(number + 1) % FEW}"]
                    found = cache.get_many(keys)
                    cache.set_many({key: 1 for key in keys if key not in found}, **options)
                case "clear":
                    cache.clear()
                case "owner":
                    cache.clear(owner=owner)
                case "tag":
                    cache.invalidate(tags=[owner])

    do(warm)
    before = counted(cache)
    with cache.record(path):
        do([*then, ("get", 0, None)])
    after = counted(cache)
    assert replayed(path, "lru", entries) == tuple(now - then for now, then in zip(after, before, strict=True))


def test_rows_say_what_happened(path, clock):
    cache = Cache("1MB", weigher=lambda key, value: value, clock=clock)
    cache.set("there", 5, ttl=10, owner="ann")
    clock.advance(4)
    with cache.record(path, hash_keys=False):
        cache.get("there")
        cache.get("nowhere")
        cache.get("late")
        cache.get("late")
        cache.set("late", 7, ttl=2, owner="bob")
        cache.set("late", 8)
        assert "late" in cache
        cache.delete("nowhere")
        cache.delete("late")
        cache.add("new", 0)
        cache.touch("there", ttl=60)
        cache.set("far too heavy", 2_000_000)
    second = 10**9
    assert rows(path) == [
        ("fill", "there", 5, 6 * second, "ann"),
        ("get", "there", 5, 6 * second, "ann"),
        ("look", "nowhere", 0, None, ""),
        ("look", "late", 0, None, ""),
        ("get", "late", 7, 2 * second, "bob"),
        ("fill", "late", 8, None, ""),
        ("delete", "late", 8, None, ""),
        ("fill", "new", 1, None, ""),
        ("fill", "there", 5, 60 * second, "ann"),
        ("fill", "far too heavy", 2_000_000, None, ""),
    ]


def test_what_was_there_is_filled_in_the_order_in_which_it_would_leave(path):
    cache = Cache("1MB", policy="lru")
    cache.set_many({"a": 1, "b": 1, "c": 1})
    cache.set("pinned", 1, pin=True)
    cache.get("a")
    with cache.record(path, hash_keys=False):
        pass
    assert texts(path) == [("fill", "b"), ("fill", "c"), ("fill", "a"), ("fill", "pinned")]


def test_keys_are_hashes_that_only_the_secret_makes(path, cache):
    hashes = []
    for secret in (None, None, "ours", b"ours"):
        with cache.record(path, secret=secret):
            cache.get("user:7")
        trace = _core.Trace.open(path)
        assert trace.hashed
        [(_, key)] = texts(path)
        assert key.isdigit()
        hashes.append(key)
    assert len(set(hashes)) == 3
    assert hashes[2] == hashes[3]
    assert b"user:7" not in path.read_bytes()
    with cache.record(path, hash_keys=False):
        cache.get("user:7")
    assert (_core.Trace.open(path).hashed, texts(path)) == (False, [("look", "user:7")])


@pytest.mark.parametrize("warm", [True, False])
def test_owners_are_hashed_as_keys_are(path, cache, warm):
    def work():
        cache.set("user:7", 1, owner="ann@example.org")

    if warm:
        work()
    with cache.record(path, secret="ours"):
        work()
    [*_, (_, key, _, _, owner)] = rows(path)
    assert owner.isdigit()
    assert owner != key
    assert {row[4] for row in rows(path)} == {owner}
    with cache.record(path, hash_keys=False):
        work()
    assert rows(path)[-1][4] == "ann@example.org"
    _core.convert_trace(_core.Trace.open(path), path.with_name("again.fctrace"), hash_keys=True, secret=b"ours")
    assert rows(path.with_name("again.fctrace"))[-1][4] == owner


@pytest.mark.parametrize("hash_keys", [True, False])
def test_owners_of_any_length_are_recorded(path, cache, hash_keys):
    cache.set("before", 1, owner="x" * 9_000_000)
    recording = cache.record(path, hash_keys=hash_keys)
    for owner in ("y" * 2**20, "z" * (2**20 + 1), "w" * 9_000_000, "last"):
        cache.set("a", 1, owner=owner)
    recording.stop()
    assert recording.error is None
    owners = [row[4] for row in rows(path)]
    assert len(set(owners)) == 5
    assert owners[0].isdigit()
    if not hash_keys:
        assert [len(owner) for owner in owners[1:]] == [2**20, len(owners[2]), len(owners[3]), 4]
        assert owners[2].isdigit()


def test_clearing_an_owner_deletes_nothing_that_another_one_has_stored_since(path):
    clock = FakeClock()
    cache = Cache("1MB", policy="lru", clock=clock)
    with cache.record(path, hash_keys=False):
        for number in range(5):
            cache.set(f"k{number}", 1, owner="A", ttl=1)
        clock.advance(5)
        cache.set("zz", 1)
        cache.set("k2", 1, owner="B")
        cache.clear(owner="A")
        assert cache.get("k2") == 1
    assert ("delete", "k2") not in texts(path)
    assert texts(path)[-1] == ("get", "k2")


def test_keys_of_all_kinds_are_recorded_by_their_texts(path, cache):
    keys = ["", "é", "日本" * 100, "007", "7", "x" * 2_000_000]
    with cache.record(path, hash_keys=False):
        for key in keys:
            cache.get(key)
        cache.get("\ud800")
    found = [key for _, key in texts(path)]
    assert found[1:5] == keys[1:5]
    assert found[0].isdigit()
    assert found[5].isdigit()


def test_the_description_says_what_of_and_not_where(path):
    cache = Cache("1MB", max_entries=7, policy="lru")
    with cache.record(path):
        pass
    description = _core.Trace.open(path).description
    assert description.startswith("recorded 20")
    assert description.endswith("Z policy=lru capacity=1000000 max_entries=7")


def test_a_trace_is_for_its_owner_and_appears_when_it_is_complete(path, cache):
    recording = cache.record(path)
    cache.get("a")
    assert recording.active
    assert not path.exists()
    assert [each.suffix for each in path.parent.iterdir()] == [".partial"]
    recorded = recording.stop()
    assert not recording.active
    assert recording.stop() == recorded
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (recorded.accesses, recorded.misses, recorded.keys, recorded.reason) == (1, 1, 1, "stopped")
    assert recorded.bytes == path.stat().st_size


def test_there_is_one_recording_at_a_time(path, cache):
    with cache.record(path), pytest.raises(ConfigError, match="being recorded already"):
        cache.record(path)
    with cache.record(path):
        pass


def test_the_async_face_records_too(path):
    async def main():
        cache = Cache().aio
        async with cache.record(path) as recording:
            await cache.get("a")
        return recording.stop()

    assert asyncio.run(main()).accesses == 1


WRONG = [
    ({"sample": 0}, "sample"),
    ({"sample": 1.1}, "sample"),
    ({"sample": True}, "sample"),
    ({"sample": "half"}, "sample"),
    ({"hash_keys": 1}, "hash_keys"),
    ({"secret": ""}, "secret"),
    ({"secret": 7}, "secret"),
    ({"max_bytes": "1KB"}, "max_bytes"),
    ({"duration": 0}, "duration"),
]


@pytest.mark.parametrize(("options", "field"), WRONG)
def test_a_wrong_option_is_told_and_nothing_begins(path, cache, options, field):
    with pytest.raises(ConfigError, match=f"^{field}: got"):
        cache.record(path, **options)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("where", ["nowhere/trace.fctrace", "."])
def test_a_path_where_nothing_can_be_written_is_told_at_once(tmp_path, cache, where):
    with pytest.raises(TraceError, match="can't be written"):
        cache.record(tmp_path / where)
    with cache.record(tmp_path / "other.fctrace"):
        pass


def until(condition):
    """Asks on until the condition holds."""
    patience = threading.Event()
    for _ in range(PATIENCE * 1000):
        if condition():
            return
        patience.wait(0.001)
    pytest.fail("it never happened")


def test_a_recording_ends_by_itself_after_its_duration(path, cache):
    recording = cache.record(path, duration="50ms")
    cache.get("a")
    until(lambda: not recording.active)
    cache.get("b")
    recorded = recording.stop()
    assert (recorded.accesses, recorded.reason) == (1, "duration")
    assert recorded.seconds < PATIENCE


@pytest.mark.parametrize("most", [2**16, 200_000])
@pytest.mark.parametrize("hash_keys", [True, False])
def test_a_file_is_never_larger_than_it_may_be_and_nearly_as_large(path, cache, most, hash_keys):
    recording = cache.record(path, max_bytes=most, hash_keys=hash_keys)
    for number in itertools.count():
        cache.get(f"{number * 7919 % 2**31}:{number}")
        if number % 1000 == 0 and not recording.active:
            break
    recorded = recording.stop()
    assert recorded.reason == "max_bytes"
    assert most // 2 < recorded.bytes == path.stat().st_size <= most
    assert len(_core.Trace.open(path)) == recorded.accesses


def test_what_was_there_may_be_too_much_for_the_file(path):
    cache = Cache()
    choose = random.Random(1)
    cache.set_many({choose.randbytes(50).hex(): 1 for _ in range(5000)})
    recording = cache.record(path, max_bytes="64KiB", hash_keys=False)
    until(lambda: not recording.active)
    assert recording.stop().reason == "max_bytes"
    assert 0 < len(_core.Trace.open(path)) < 5000


def test_closing_the_cache_completes_the_recording(path, cache):
    cache.set("a", 1)
    recording = cache.record(path)
    cache.get("a")
    cache.close()
    assert len(_core.Trace.open(path)) == 2
    assert recording.stop().hits == 1


def test_a_cache_that_nobody_has_any_more_leaves_a_whole_recording(path):
    cache = Cache()
    recording = cache.record(path)
    cache.get("a")
    del cache
    assert recording.stop().misses == 1


def test_more_keys_than_the_ring_has_words_for_are_all_recorded(path):
    cache = Cache("1GB", max_entries=10)
    with cache.record(path) as recording:
        for number in range(300_000):
            cache.set(str(number), 1)
    recording.stop()
    trace = _core.Trace.open(path)
    assert len(trace) == trace.unique == 300_000


def test_a_disk_that_is_full_is_told_at_the_stop_and_not_to_who_asks(path):
    text = f"""
import resource
from forecache import Cache, TraceError
cache = Cache()
recording = cache.record({str(path)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for number in range(300_000):
    cache.get(f"k{{number}}")
    cache.set(f"k{{number}}", 1)
try:
    recording.stop()
except TraceError as error:
    assert "can't be written: File too large" in str(error), error
    assert recording.error == str(error)
    print("told")
cache.clear()
with cache.record({str(path)!r}):
    pass
"""
    done = run_program(text)
    assert (done.stdout, done.returncode) == ("told\n", 0), done.stderr
    assert len(list(path.parent.iterdir())) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is not of this system")
def test_a_child_of_a_fork_is_not_recorded_and_the_parent_goes_on(path):
    text = f"""
import os, sys
from forecache import Cache
cache = Cache()
with cache.record({str(path)!r}) as recording:
    cache.get("parent")
    pid = os.fork()
    if pid == 0:
        assert not recording.active
        for number in range(2_000_000):
            cache.get("child")
        try:
            recording.stop()
        except RuntimeError:
            pass
        with cache.record({str(path) + ".child"!r}):
            cache.get("child")
    else:
        assert os.waitpid(pid, 0)[1] == 0
        cache.get("parent")
if pid: print(recording.stop().accesses)
"""
    done = run_program(text)
    assert (done.stdout, done.returncode) == ("2\n", 0), done.stderr
    assert (len(_core.Trace.open(path)), len(_core.Trace.open(f"{path}.child"))) == (2, 1)


def test_a_program_that_ends_completes_its_recording(path):
    text = f"""
import threading
import zlib
from forecache import Cache
cache = Cache()
cache.record({str(path)!r})
def hammer():
    while True: cache.get("other")
threading.Thread(target=hammer, daemon=True).start()
for number in range(1000): cache.get(f"k{{number}}")
print("ends")
"""
    done = run_program(text)
    assert (done.stdout, done.stderr, done.returncode) == ("ends\n", "", 0)
    trace = _core.Trace.open(path)
    assert trace.unique in (1000, 1001)


def test_a_program_that_ends_does_not_wait_for_a_disk_for_ever(monkeypatch):
    class Hung:
        own, active = True, True

        def stop(self):
            pass

        def wait_at_most(self, seconds):
            waited.append(seconds)

    waited = []
    monkeypatch.setattr(recording, "_begun", {Hung(), Hung()})
    monkeypatch.setattr(recording.time, "monotonic", iter([0.0, 4.0, 14.0]).__next__)
    recording._end_all()
    assert waited == [6.0, 0.0]


def test_a_program_that_is_killed_leaves_nothing_where_the_trace_would_be(path):
    text = f"""
import os, signal
from forecache import Cache
cache = Cache()
cache.record({str(path)!r})
cache.get("a")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run_program(text).returncode < 0
    assert not path.exists()
