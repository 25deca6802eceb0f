"""The object tier on a real S3 server and in a directory: what every tier promises, and what only this one does."""

import asyncio
import os
import random
import socket
import subprocess
import sys
import threading
import time
import uuid

import obstore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.proxy import Proxy, Unconditional

from forecache import Cache, CodecError, ConfigError, ObjectStore, TierUnavailable
from forecache._core import Entry, Packing
from forecache.flow import arun, run
from forecache.testing.suite import tier_cases
from forecache.tiers.objects import form
from forecache.tiers.objects.names import LONGEST, text_of, written
from forecache.tiers.objects.tier import ObjectTier
from forecache.tiers.objects.url import where
from forecache.tiers.remote import Records
from forecache.tiers.tier import wall_time

MINUTE = 60_000
KEYS = {"access_key": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI"}


class Home:
    """Where the tiers of a test keep their objects."""

    def __init__(self, kind, root, server=None):
        self.kind, self.root, self.server = kind, root, server

    def store(self, place=None, **options):
        options = {"min_size": 0, "sweep": float("inf")} | options
        place = uuid.uuid4().hex if place is None else place
        if self.kind == "directory":
            return ObjectStore(f"file://{self.root}/{place}", **options)
        return ObjectStore(f"s3://{self.server.bucket}/{place}", **{"endpoint": self.server.url} | KEYS | options)

    def tier(self, now, place=None, **options):
        return ObjectTier(self.store(place, **options), "space", now)


_home = {}


def _make(kind):
    def make(now):
        return _home[kind].tier(now)

    return make


def _again(tier, now):
    return ObjectTier(tier.options, "space", now)


def _cases(kind):
    return tier_cases(_make(kind), again=_again, shared=True)


@pytest.mark.parametrize("case", _cases("s3"), ids=str)
def test_s3_keeps_what_every_tier_promises(case, s3_server):
    _home["s3"] = Home("s3", None, s3_server)
    case()


@pytest.mark.parametrize("case", _cases("directory"), ids=str)
def test_a_directory_keeps_what_every_tier_promises(case, tmp_path):
    _home["directory"] = Home("directory", tmp_path)
    case()


@pytest.fixture
def now(clock):
    return wall_time(clock)


@pytest.fixture
def s3(s3_server):
    return Home("s3", None, s3_server)


@pytest.fixture(params=["s3", "directory"])
def home(request, tmp_path):
    return Home(request.param, tmp_path, request.getfixturevalue("s3_server") if request.param == "s3" else None)


@pytest.fixture(params=["sync", "async"])
def do(request):
    return run if request.param == "sync" else lambda flow: asyncio.run(arun(flow))


def payloads(tier, *keys, do=run):
    return {key: entry.payload for key, entry in do(tier.get_many(keys)).items()}


def raw(tier):
    """obstore's own store, and the objects of the tier's values."""
    store = tier._bucket._open()[0]._store
    return store, sorted(each["path"] for each in obstore.list(store, tier._names.root).collect())


def objects(tier, kind):
    return [name for name in raw(tier)[1] if name.startswith(f"{tier._names.root}{kind}/")]


# Names and form


@given(st.text())
def test_a_name_is_one_that_every_store_and_file_system_takes(text):
    name = written(text)
    assert 0 < len(name) <= LONGEST
    assert name == name.lower()
    assert name not in {".", ".."}
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.=~")
    assert text_of(name) in {text, None}
    if len(text.encode()) * 3 < LONGEST:
        assert text_of(name) == text


@given(st.text(max_size=400), st.text(max_size=400))
def test_two_texts_have_two_names(one, other):
    assert (written(one) == written(other)) == (one == other)


@given(
    st.binary(max_size=3000),
    st.text(max_size=300),
    st.lists(st.text(min_size=1, max_size=5), max_size=3),
    st.sampled_from(["none", "lz4"]),
)
def test_a_head_tells_all_but_the_payload(payload, key, tags, algorithm):
    entry = Entry(payload, codec=1, hard=5, time_to_idle=6, tags=tags, owner="acme", cost=2.5, pinned=True)
    packed = b"".join(form.pack(Records("space", Packing(algorithm, min_size=8)), key, entry, 7, (1, 2, 3)))
    head = form.head_of("space", packed)
    begin = head.begin
    assert (head.key, begin.stored, begin.sent, begin.within, begin.length) == (key, 1, 2, 3, len(payload))
    assert (head.entry.version, head.entry.tags, head.entry.owner, head.entry.hard) == (7, tags, "acme", 5)
    assert Entry.open("space", key, packed[begin.start :]).payload == payload
    if begin.kind == form.PLAIN:
        end = len(packed) - form.CHECK
        assert packed[end - len(payload) : end] == payload


def test_a_damaged_head_is_none():
    packed = b"".join(form.pack(Records("space", Packing()), "key", Entry(b"payload", tags=["red"]), 7, (1, 2, 3)))
    start = form.begin_of(packed).start
    for place in range(start):
        damaged = packed[:place] + bytes([packed[place] ^ 1]) + packed[place + 1 :]
        assert form.head_of("space", damaged) is None, f"byte {place}"
    for end in range(start):
        assert form.head_of("space", packed[:end]) is None
    assert form.head_of("other", packed) is None


def test_a_record_is_opened_where_it_lies_in_a_buffer_that_nobody_writes_to():
    record = Entry(b"payload", codec=1).seal("space", "key", Packing())
    for buffer in (b"head" + record, memoryview(b"head" + record)):
        assert Entry.open_from("space", "key", buffer, 4).payload == b"payload"
    for buffer, start in ((record, 1), (record, 10_000), (b"", 0)):
        with pytest.raises(CodecError):
            Entry.open_from("space", "key", buffer, start)
    for buffer in (bytearray(record), memoryview(b"head" + record)[::2]):
        with pytest.raises(BufferError):
            Entry.open_from("space", "key", buffer, 0)
    with pytest.raises(OverflowError):
        Entry.open_from("space", "key", record, -1)


# What is damaged, foreign, or late


def test_damaged_and_foreign_objects_are_misses_that_are_counted_and_removed(home, now, do):
    tier = home.tier(now)
    keys = ["cut", "flipped", "foreign", "empty", "stray"]
    run(tier.set_many({key: Entry(os.urandom(5000)) for key in [*keys, "whole"]}))
    store, _ = raw(tier)
    name = tier._names.value
    cut, flipped = (bytes(obstore.get(store, name(key)).bytes()) for key in ("cut", "flipped"))
    obstore.put(store, name("cut"), cut[:-100])
    obstore.put(store, name("flipped"), flipped[:-50] + bytes([flipped[-50] ^ 1]) + flipped[-49:])
    obstore.put(store, name("foreign"), b"<html>" * 100)
    obstore.put(store, name("empty"), b"")
    obstore.put(store, name("stray"), bytes(obstore.get(store, name("whole")).bytes()))
    assert list(payloads(tier, *keys, "whole", do=do)) == ["whole"]
    assert tier.stats().corrupt == len(keys)
    assert objects(tier, "v") == [name("whole")]
    assert run(tier.scan(0, None)) == (None, ["whole"])


def test_a_put_that_the_store_makes_after_it_was_given_up_is_not_there(home, now, do):
    tier = home.tier(now, timeout=10)
    run(tier.set_many({"a": Entry(b"new")}))
    store, _ = raw(tier)
    sent = int(time.time() * 1000) - 20_000
    late = b"".join(form.pack(tier._records, "a", Entry(b"late", tags=["red"]), 7, (now(), sent, 5000)))
    obstore.put(store, tier._names.value("a"), late)
    assert payloads(tier, "a", do=do) == {}
    assert do(tier.scan(0, None)) == (None, [])
    assert do(tier.delete_many(["a"])) == set()
    assert do(tier.swap("a", None, Entry(b"after"))) is True
    assert payloads(tier, "a") == {"a": b"after"}


def test_the_clock_of_the_store_is_learnt_and_not_believed_to_be_ours(s3, now, monkeypatch):
    tier = s3.tier(now)
    monkeypatch.setattr("forecache.tiers.objects.bucket._wall", lambda: int(time.time() * 1000) - 3_600_000)
    run(tier.set_many({"a": Entry(b"1")}))
    assert payloads(tier, "a") == {"a": b"1"}
    assert payloads(s3.tier(now, tier.options.where.prefix.rstrip("/")), "a") == {"a": b"1"}


# Sizes


def test_small_values_stay_out_and_take_along_what_was_there(home, now, do):
    tier = home.tier(now, min_size="4KiB")
    large, small = Entry(os.urandom(4096)), Entry(os.urandom(4095))
    assert do(tier.set_many({"a": large, "b": large})).refused == []
    assert do(tier.set_many({"a": small, "b": large, "c": small})).refused == ["a", "c"]
    assert sorted(payloads(tier, "a", "b", "c", do=do)) == ["b"]
    assert (tier.stats().sets, tier.stats().refused) == (3, 2)
    assert do(tier.set_many({"b": small}, absent=True)).refused == ["b"]
    assert list(payloads(tier, "b")) == ["b"]


def test_what_is_decided_is_stored_whatever_its_size(home):
    with Cache(tiers=[home.store("shared", min_size="4KiB")]) as one, Cache(tiers=[home.store("shared")]) as other:
        assert [one.incr("count"), other.incr("count"), one.incr("count")] == [1, 2, 3]
        assert (one.add("lock", 1), other.add("lock", 1)) == (True, False)
        assert (other.pop("lock"), one.add("lock", 2)) == (1, True)


# Parts


def test_an_entry_is_read_part_by_part(home, now, do):
    tier = home.tier(now)
    payload = os.urandom(300_000)
    run(tier.set_many({"a": Entry(payload, codec=3, tags=["red"]), "packed": Entry(b"x" * 100_000)}))
    reader = do(tier.open("a"))
    assert (reader.length, reader.entry.codec, reader.entry.tags, reader.entry.payload) == (300_000, 3, ["red"], b"")
    assert do(reader.read(0, 10)) == payload[:10]
    assert do(reader.read(150_000, 100)) == payload[150_000:150_100]
    assert do(reader.read(299_990, 100)) == payload[299_990:]
    assert do(reader.read(300_000, 1)) == b""
    packed = do(tier.open("packed"))
    assert (packed.length, do(packed.read(99_999, 5))) == (100_000, b"x")
    assert do(tier.open("absent")) is None


def test_parts_of_two_versions_are_never_mixed(home, now, do):
    tier = home.tier(now)
    run(tier.set_many({"a": Entry(os.urandom(10_000))}))
    reader = do(tier.open("a"))
    run(tier.set_many({"a": Entry(os.urandom(10_000))}))
    with pytest.raises(TierUnavailable, match="changed"):
        do(reader.read(0, 10))
    run(tier.delete_many(["a"]))
    with pytest.raises(TierUnavailable, match="changed"):
        do(reader.read(0, 10))


# Namespaces, keys, clearing


def test_namespaces_are_apart_and_nothing_else_of_the_bucket_is_touched(home, now, do):
    options = home.store()
    one, other = (ObjectTier(options, name, now) for name in ("one", "One"))
    run(one.set_many({"a": Entry(b"1", tags=["red"])}))
    run(other.set_many({"a": Entry(b"2", tags=["red"])}))
    store, _ = raw(one)
    beside = f"{options.where.prefix}letters.txt"
    obstore.put(store, beside, b"dear diary")
    do(one.clear(tags=["red"]))
    assert (payloads(one, "a"), payloads(other, "a")) == ({}, {"a": b"2"})
    do(one.clear())
    assert payloads(other, "a") == {"a": b"2"}
    assert bytes(obstore.get(store, beside).bytes()) == b"dear diary"


def test_a_mark_whose_value_is_on_its_way_survives_a_clear(home, now, do):
    tier = home.tier(now)
    run(tier.set_many({"a": Entry(b"1", tags=["red"])}))
    store, _ = raw(tier)
    coming = tier._names.mark(tier._names.tagged("red"), tier._names.value("a"), 42)
    obstore.put(store, coming, b"")
    assert do(tier.clear(tags=["red"])) == 1
    assert objects(tier, "t") == [coming]
    assert do(tier.clear(tags=["red"])) == 0


# The sweeper


def swept(tier, do=run):
    return do(tier.sweep())


def test_the_sweeper_removes_what_has_expired_and_whatever_belonged_to_it(home, now, clock, do):
    tier = home.tier(now, sweep="1h")
    tier.sweeper.grace = -5000  # what was made just now is old enough
    hard = now() + 30 * MINUTE
    run(tier.set_many({f"gone:{number}": Entry(b"x", hard=hard, tags=["red"], owner="acme") for number in range(20)}))
    run(tier.set_many({"idle": Entry(b"x", time_to_idle=MINUTE), "stays": Entry(b"y", tags=["red"], time_to_idle=600 * MINUTE)}))
    clock.advance(50)
    assert payloads(tier, "idle")
    run(tier.swap("popped", None, Entry(b"z")))
    run(tier.swap("popped", run(tier.get_many(["popped"]))["popped"].version, None))
    assert len(objects(tier, "v")) == 23
    clock.advance(3600)
    found = swept(tier, do)
    assert (found.expired, found.entries, found.evicted) == (22, 1, 0)
    assert objects(tier, "v") == [tier._names.value("stays")]
    assert (len(objects(tier, "t")), objects(tier, "o"), objects(tier, "u")) == (1, [], [])
    assert objects(tier, "probe") == []
    assert (tier.stats().entries, tier.stats().bytes) == (1, found.bytes)
    assert do(tier.clear(tags=["red"])) == 1


def test_what_others_may_still_be_at_is_left_by_the_sweeper(home, now, do):
    tier = home.tier(now, sweep="1h")
    run(tier.swap("popped", None, Entry(b"z")))
    run(tier.swap("popped", run(tier.get_many(["popped"]))["popped"].version, None))
    store, _ = raw(tier)
    coming = tier._names.mark(tier._names.tagged("red"), tier._names.value("a"), 42)
    obstore.put(store, coming, b"")
    assert swept(tier, do).expired == 0
    assert (len(objects(tier, "v")), objects(tier, "t")) == (1, [coming])


def test_one_process_sweeps_at_a_time(home, now, clock):
    tiers = [home.tier(now, "shared", sweep="1h") for _ in range(4)]
    run(tiers[0].set_many({"a": Entry(b"1")}))
    for tier in tiers:
        tier._bucket._open()
    barrier, results = threading.Barrier(4), []

    def sweep(tier):
        barrier.wait()
        results.append(swept(tier))

    for _ in range(2):
        results.clear()
        threads = [threading.Thread(target=sweep, args=(tier,)) for tier in tiers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [result is not None for result in results].count(True) == 1
        assert swept(tiers[0]) is None
        clock.advance(3600)


def test_over_its_capacity_the_oldest_leave_first_and_what_is_pinned_stays(tmp_path, now, do):
    tier = Home("directory", tmp_path).tier(now, "here", capacity="100KB", sweep="1h", compression="none")
    for number in range(20):
        run(tier.set_many({f"key:{number}": Entry(os.urandom(10_000), pinned=number == 3)}))
        file = tmp_path / "here" / tier._names.value(f"key:{number}")
        age = time.time() - 100 * (20 - number)
        os.utime(file, (age, age))
    found = swept(tier, do)
    assert 80_000 < found.bytes <= 100_000
    left = sorted(payloads(tier, *(f"key:{number}" for number in range(20))), key=lambda key: int(key[4:]))
    assert left == ["key:3", *(f"key:{number}" for number in range(20 - len(left) + 1, 20))]
    assert tier.stats().evicted == 20 - len(left)


def test_the_thread_that_sweeps_begins_with_the_first_write_and_ends_with_the_tier(home, now):
    tier = home.tier(now, sweep=0.05)
    assert tier._background._thread is None
    run(tier.set_many({"a": Entry(b"1", hard=now())}))
    thread = tier._background._thread
    until = time.monotonic() + 20
    while objects(tier, "v"):
        assert time.monotonic() < until, "nobody swept"
    run(tier.close())
    thread.join(20)
    assert not thread.is_alive()


def test_a_use_here_is_known_to_others_to_an_eighth(home, now, clock):
    tiers = [home.tier(now, "shared") for _ in range(2)]
    run(tiers[0].set_many({"a": Entry(b"1", time_to_idle=80_000)}))
    for _ in range(8):
        clock.advance(11)
        assert payloads(tiers[0], "a")
    clock.advance(60)
    assert payloads(tiers[1], "a") == {"a": b"1"}
    uses = len(objects(tiers[0], "u"))
    assert uses == 1
    clock.advance(81)
    assert payloads(tiers[1], "a") == payloads(tiers[0], "a") == {}


# Stores without conditions


class Heedless(Proxy):
    """A proxy for an object store that takes no notice of conditions."""

    async def _forward(self, link, data):
        for header in (b"if-none-match", b"if-match"):
            data = data.replace(header + b":", b"x" * len(header) + b":")
        await super()._forward(link, data)


@pytest.fixture(params=[Unconditional, Heedless])
def unconditional(request, s3_server, proxy_to):
    proxy = proxy_to(s3_server.address, request.param)
    return {"endpoint": proxy.through(s3_server.url)}


def test_a_store_without_conditions_is_recognised_and_decides_nothing(s3, unconditional, now, do):
    tier = s3.tier(now, **unconditional)
    with pytest.raises(TierUnavailable, match=r"conditions of puts.*Redis or disk"):
        do(tier.swap("a", None, Entry(b"1")))
    assert tier.decides is False
    assert payloads(tier, "a", do=do) == {}
    do(tier.set_many({"a": Entry(b"1")}))
    do(tier.set_many({"a": Entry(b"2"), "b": Entry(b"2")}, absent=True))
    assert payloads(tier, "a", "b", do=do) == {"a": b"1", "b": b"2"}
    assert swept(s3.tier(now, tier.options.where.prefix[:-1], sweep="1h", **unconditional), do).entries == 2


def test_beside_a_disk_the_disk_decides_then(s3, unconditional, tmp_path):
    from forecache import Disk

    with Cache(tiers=[Disk(tmp_path), s3.store(**unconditional)]) as cache:
        assert [cache.incr("count"), cache.incr("count")] == [1, 2]
    with Cache(tiers=[s3.store(**unconditional)]) as cache, pytest.raises(TierUnavailable, match="decide"):
        cache.add("a", 1)


def test_decide_false_asks_the_store_for_nothing(s3, now):
    tier = s3.tier(now, decide=False)
    assert tier.decides is False
    with pytest.raises(TierUnavailable, match="decide=False"):
        run(tier.swap("a", None, Entry(b"1")))


# Errors


@pytest.fixture
def hole():
    """The address of somebody who listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


def reason(cache, key="a"):
    assert cache.get(key) is None
    return cache.stats().tiers[-1].reason


def test_nothing_is_contacted_before_the_first_use_and_the_client_is_not_loaded_by_an_import(s3_server, proxy_to):
    proxy = proxy_to(s3_server.address)
    Cache(tiers=[ObjectStore("s3://forecache", endpoint=proxy.through(s3_server.url), **KEYS)]).close()
    assert proxy.accepted == 0
    told = subprocess.run(
        [sys.executable, "-c", "import sys, forecache; print('obstore' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "False\n"


def test_a_bucket_that_is_not_there_is_told(s3_server):
    with Cache(tiers=[ObjectStore("s3://nowhere", endpoint=s3_server.url, **KEYS)]) as cache:
        assert "NoSuchBucket" in reason(cache)
    strict = ObjectStore("s3://nowhere", endpoint=s3_server.url, strict=True, **KEYS)
    with Cache(tiers=[strict]) as cache, pytest.raises(TierUnavailable, match="NoSuchBucket"):
        cache.get("a")


def test_an_endpoint_that_nobody_listens_at_is_told():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Cache(tiers=[ObjectStore("s3://forecache", endpoint=f"http://127.0.0.1:{port}", retries=0, **KEYS)]) as cache:
        told = reason(cache)
    assert f"127.0.0.1:{port}" in told
    assert "refused" in told


def test_a_silent_endpoint_is_given_up_in_time(hole):
    with Cache(tiers=[ObjectStore("s3://forecache", endpoint=hole, timeout=0.2, **KEYS)]) as cache:
        began = time.monotonic()
        assert "in time" in reason(cache)
        assert time.monotonic() - began < 2


def test_looking_for_credentials_is_bounded_too(hole, monkeypatch):
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", hole)
    with Cache(tiers=[ObjectStore("s3://forecache", endpoint=hole, timeout=0.2)]) as cache:
        began = time.monotonic()
        assert reason(cache)
        assert time.monotonic() - began < 2


def test_no_secret_is_shown(s3_server, hole):
    options = ObjectStore("s3://nowhere", endpoint=hole, timeout=0.1, **KEYS)
    with Cache(tiers=[options]) as cache:
        told = f"{options!r} {cache.config!r} {reason(cache)} {options.address}"
    assert not any(secret in told for secret in KEYS.values())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"url": "s3:/bucket"}, r"s3://bucket/prefix"),
        ({"url": "ftp://bucket"}, r"s3://bucket/prefix"),
        ({"url": "s3://"}, r"s3://bucket/prefix"),
        ({"url": "s3://bucket/../other"}, r"s3://bucket/prefix"),
        ({"url": "file://relative"}, r"file:///var/cache/app"),
        ({"url": "s3://bucket/" + "x" * 301}, "300 bytes"),
        ({"url": 7}, r"s3://bucket/prefix"),
        ({"url": "s3://b", "endpoint": "host:9000"}, "http://host:port"),
        ({"url": "s3://b", "secret_key": ""}, "secret_key"),
        ({"url": "s3://b", "concurrency": 0}, "from 1 to 1000"),
        ({"url": "s3://b", "min_size": -1}, "min_size"),
        ({"url": "s3://b", "decide": "yes"}, "True or False"),
        ({"url": "s3://b", "sweep": 0}, "sweep"),
        ({"url": "s3://b", "name": 7}, "name"),
    ],
)
def test_an_option_that_is_wrong_is_named(options, told):
    with pytest.raises(ConfigError, match=told):
        ObjectStore(**options)


def test_a_password_in_a_url_is_refused_and_not_shown():
    with pytest.raises(ConfigError, match="access_key") as raised:
        ObjectStore("s3://user:hush@bucket")
    assert "hush" not in str(raised.value)
    with pytest.raises(ConfigError) as raised:
        ObjectStore("s3://bucket", endpoint="http://user:hush@host")
    assert "hush" not in str(raised.value)


def test_clouds_are_built_by_url(now):
    gcs = ObjectStore("gs://bucket/app", endpoint="http://127.0.0.1:1", timeout=0.2)
    azure = ObjectStore(
        "az://container/app", endpoint="http://127.0.0.1:1", access_key="account", secret_key="c2VjcmV0", timeout=0.2
    )
    for options in (gcs, azure):
        tier = ObjectTier(options, "space", now)
        with pytest.raises(TierUnavailable, match="refused"):
            run(tier.get_many(["a"]))
    with pytest.raises(ConfigError, match=r"[Aa]ccount"):
        ObjectStore("az://container/app").make("space", now)
    assert where("url", "az://container/a/b").prefix == "a/b/"


def test_a_directory_that_cannot_be_made_is_told_and_tried_again(tmp_path):
    place = tmp_path / "here"
    place.write_text("a file in its place")
    with Cache(tiers=[ObjectStore(f"file://{place}", min_size=0)]) as cache:
        assert str(place) in reason(cache)
        place.unlink()
        cache.set("a", 1)
        assert cache.stats().tiers[-1].sets == 1


# Loops, forks, cancelled tasks, bounds


def test_two_loops_one_after_the_other_and_the_other_face(home):
    with Cache(tiers=[home.store("shared")]) as cache, Cache(tiers=[home.store("shared")]) as other:
        asyncio.run(cache.aio.set("a", 1))
        assert asyncio.run(other.aio.get("a")) == 1
        asyncio.run(cache.aio.set("b", 2))
        assert other.get("b") == 2


FORK = """
import os, sys
from forecache import ObjectStore, TierUnavailable
from forecache._core import Entry
from forecache.flow import run
from forecache.tiers.objects.tier import ObjectTier
from forecache.tiers.tier import wall_time
tier = ObjectTier(ObjectStore({url!r}, min_size=0{keys}), "space", wall_time())
tier.load()
if {used}:
    run(tier.set_many({{"a": Entry(b"1")}}))
child = os.fork()
if child == 0:
    try:
        run(tier.set_many({{"b": Entry(b"2")}}))
        print(sorted(run(tier.get_many(["a", "b"]))), flush=True)
    except TierUnavailable as error:
        print(error, flush=True)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(sorted(run(tier.get_many(["a", "b"]))))
"""


@pytest.mark.parametrize("used", [False, True])
def test_a_fork_before_the_first_use_is_fine_and_after_it_an_error_that_says_so(home, used):
    options = home.store()
    keys = "" if home.kind == "directory" else f", endpoint={options.endpoint!r}, access_key='a', secret_key='b'"
    code = FORK.format(url=options.url, keys=keys, used=used)
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.splitlines()
    if used:
        assert "forked" in told[0]
        assert told[1] == "['a']"
    else:
        assert told == ["['b']", "['b']"]


def test_cancelled_tasks_get_nobody_elses_answer(s3, now):
    tier = s3.tier(now)
    draw = random.Random(7)
    run(tier.set_many({f"key:{number}": Entry(b"%d" % number * 100) for number in range(20)}))

    async def ask(number):
        found = await arun(tier.get_many([f"key:{number}"]))
        assert found[f"key:{number}"].payload == b"%d" % number * 100
        return True

    async def storm():
        tasks = []
        for turn in range(500):
            tasks.append(asyncio.ensure_future(ask(turn % 20)))
            if draw.random() < 0.5:
                asyncio.get_running_loop().call_later(draw.random() * 0.005, tasks[-1].cancel)
            await asyncio.sleep(0.0005 * draw.random())
        return await asyncio.gather(*tasks, return_exceptions=True)

    ends = asyncio.run(storm())
    assert all(end is True or isinstance(end, asyncio.CancelledError) for end in ends)
    assert True in ends


def test_a_write_that_was_cancelled_comes_before_what_is_done_next(s3, proxy_to, s3_server, now):
    proxy = proxy_to(s3_server.address)
    tier = s3.tier(now, endpoint=proxy.through(s3_server.url))
    run(tier.set_many({"a": Entry(b"0")}))

    async def given_up():
        for turn in range(20):
            write = asyncio.ensure_future(arun(tier.set_many({"a": Entry(b"old" * 1000)})))
            await asyncio.sleep(0.0004 * turn)
            write.cancel()
            await arun(tier.delete_many(["a"]))
            assert await arun(tier.get_many(["a"])) == {}
        write = asyncio.ensure_future(arun(tier.set_many({"a": Entry(b"old")})))
        proxy.delay(0.2)
        await asyncio.sleep(0.01)
        write.cancel()
        await arun(tier.set_many({"a": Entry(b"new")}))
        proxy.delay(0)
        assert (await arun(tier.get_many(["a"])))["a"].payload == b"new"

    asyncio.run(given_up())


class Counting(Proxy):
    """A proxy that knows how many requests were on their way at a time."""

    now = most = 0

    async def _forward(self, link, data):
        if data.startswith((b"GET ", b"PUT ", b"POST ", b"DELETE ")):
            self.now += 1
            self.most = max(self.most, self.now)
        await super()._forward(link, data)

    async def _reply(self, link, data):
        self.now -= data.startswith(b"HTTP/1.1 ")
        await super()._reply(link, data)


def test_no_more_requests_at_a_time_than_allowed(s3, proxy_to, s3_server, now, do, crew):
    proxy = proxy_to(s3_server.address, Counting)
    tier = s3.tier(now, endpoint=proxy.through(s3_server.url), concurrency=4)
    keys = [f"key:{number}" for number in range(40)]
    proxy.delay(0.01)
    do(tier.set_many({key: Entry(b"x") for key in keys}))
    assert 1 < proxy.most <= 4
    for _ in range(4):
        crew.send(lambda: do(tier.get_many(keys)))
    crew.back()
    assert crew.errors == []
    assert all(len(found) == 40 for found in crew.results)
    assert proxy.most <= (4 if do is run else 16), "a bound for each loop, and one for all threads"


def test_a_store_that_dies_and_returns_is_used_again(s3, s3_server, clock):
    with Cache("1MB", clock=clock, tiers=[s3.store(timeout=2, retries=0)]) as cache:
        cache.set("a", "x" * 10)
        s3_server.kill()
        cache.set("b", 1)
        assert cache.get("missing") is None
        assert "refused" in cache.stats().tiers[-1].reason
        s3_server.start()
        clock.advance(2)
        cache.set("c", 3)
        assert cache.get("missing") is None
        assert cache.stats().tiers[-1].state == "up"


@pytest.mark.parametrize("url", ["s3://bucket", "file:///directory"])
def test_without_obstore_the_line_for_pip_is_told_at_once(monkeypatch, url):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ImportError, match=r"pip install 'forecache\[s3\]'"):
        Cache.from_url("memory://", url)
