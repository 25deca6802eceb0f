"""The object tier on a real S3 server and in a directory: what every tier promises, and what only this one does."""

import os
import time

import obstore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_home import Home, objects, payloads, raw

from forecache import Cache, TierUnavailable
from forecache._core import Begin, Entry, Packing, open_object
from forecache.flow import run
from forecache.testing.suite import tier_cases
from forecache.tiers.objects import form
from forecache.tiers.objects.names import LONGEST, text_of, written
from forecache.tiers.objects.tier import ObjectTier
from forecache.tiers.remote import Records

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
    start = Begin.of(packed).start
    for place in range(start):
        damaged = packed[:place] + bytes([packed[place] ^ 1]) + packed[place + 1 :]
        assert form.head_of("space", damaged) is None, f"byte {place}"
    for end in range(start):
        assert form.head_of("space", packed[:end]) is None
    assert form.head_of("other", packed) is None


def test_an_object_is_opened_where_it_lies_in_a_buffer_that_nobody_writes_to():
    made = b"".join(form.pack(Records("space", Packing()), "key", Entry(b"payload", codec=1), 7, (1, 2, 3)))
    for buffer in (made, memoryview(made)):
        assert open_object("space", "key", buffer, 5).payload == b"payload"
    for buffer in (bytearray(made), memoryview(made)[::2]):
        with pytest.raises(BufferError):
            open_object("space", "key", buffer, 5)
        with pytest.raises(BufferError):
            Begin.of(buffer)


def test_an_object_that_is_damaged_or_anothers_is_told_from_one_that_is_not_there():
    made = b"".join(form.pack(Records("space", Packing()), "key", Entry(b"payload"), 7, (1, 2, 3)))
    for place in range(len(made)):
        damaged = made[:place] + bytes([made[place] ^ 1]) + made[place + 1 :]
        # The head's own key and facts are for sweeps: a read has the record's.
        opened = open_object("space", "key", damaged, 5)
        assert opened is False or opened.payload == b"payload", f"byte {place}"
        assert open_object("space", "key", made[:place], 5) is False
    assert open_object("space", "other", made, 5) is False
    assert open_object("other", "key", made, 5) is False
    assert open_object("space", "key", made, 6) is None  # the store had it after it was given up
    assert open_object("space", "key", b"".join(form.grave("space", "key", 7, (1, 2, 3))), 5) is None


def test_a_file_from_before_1970_is_one_like_others(tmp_path, now):
    tier = Home("directory", tmp_path).tier(now, "here")
    run(tier.set_many({"a": Entry(b"payload")}))
    (file,) = (file for file in (tmp_path / "here").rglob("*") if file.name == "a")
    os.utime(file, (-100, -100))
    assert payloads(tier, "a") == {"a": b"payload"}
    assert run(tier.scan(0, None)) == (None, ["a"])


@pytest.mark.parametrize("algorithm", ["none", "lz4"])
def test_how_much_is_opened_at_once_depends_on_whether_it_is_compressed(algorithm):
    made = b"".join(form.pack(Records("space", Packing(algorithm, min_size=8)), "key", Entry(b"7" * 1000), 7, (1, 2, 3)))
    enough, short = len(made), len(made) - 1
    limits = (lambda most: (most, 0)) if algorithm == "lz4" else (lambda most: (0, most))
    assert open_object("space", "key", made, 5, *limits(enough)).payload == b"7" * 1000
    assert open_object("space", "key", made, 5, *limits(short)) is True


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
