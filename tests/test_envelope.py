"""The record that every tier below memory stores: what goes in comes out, and nothing else ever does."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecache import CodecError, ConfigError
from forecache._core import Counters, Entry, Packing

ALGORITHMS = ["none", "lz4", "zstd", "snappy", "gzip"]
TIMES = st.none() | st.integers(0, 2**64 - 2)


@given(
    payload=st.binary() | st.binary(max_size=20).map(lambda part: part * 500),
    codec=st.integers(0, 255),
    algorithm=st.sampled_from(ALGORITHMS),
    times=st.fixed_dictionaries(dict.fromkeys(("soft", "hard", "time_to_idle"), TIMES)),
    owner=st.text(),
    tags=st.lists(st.text(), max_size=3),
    cost=st.floats(0, 2**20, width=32),
    flags=st.fixed_dictionaries({"immutable": st.booleans(), "pinned": st.booleans()}),
)
def test_what_is_sealed_comes_back(payload, codec, algorithm, times, owner, tags, cost, flags):
    said = {
        **times,
        **flags,
        "owner": owner,
        "tags": tags,
        "cost": cost,
        "written": 7,
        "version": 8,
        "generation": 9,
        "epoch": 10,
    }
    made = Entry(payload, codec=codec, **said)
    assert {name: getattr(made, name) for name in said} == said
    record = made.seal("n", "kü", Packing(algorithm))
    assert b"".join(made.seal_pieces("n", "kü", Packing(algorithm))) == record
    opened = Entry.open("n", "kü", record)
    assert (opened.payload, opened.codec) == (payload, codec)
    assert {name: getattr(opened, name) for name in said} == said
    other = opened.versioned(11)
    assert (other.payload, other.codec) == (payload, codec)
    assert {name: getattr(other, name) for name in said} == said | {"version": 11}
    assert opened.versioned(12, b"other").payload == b"other"


@pytest.mark.parametrize("size", [2**14 - 1, 2**14, 2**20])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_large_record_is_the_same_in_pieces(size, algorithm):
    for payload in (random.randbytes(size), bytes(size)):
        made = Entry(payload, owner="o")
        record = made.seal("n", "k", Packing(algorithm))
        pieces = made.seal_pieces("n", "k", Packing(algorithm))
        assert b"".join(pieces) == record
        assert Entry.open("n", "k", record).payload == payload
        kept = algorithm == "none" or payload != bytes(size)
        assert any(piece is payload for piece in pieces) == (size >= 2**14 and kept)


@pytest.mark.parametrize("algorithm", ALGORITHMS[1:])
def test_compression_is_kept_where_it_pays(algorithm):
    def compressed(payload, **options):
        opened = Entry.open("", "k", Entry(payload).seal("", "k", Packing(algorithm, **options)))
        assert opened.payload == payload
        return opened.compression

    text = b"a line of a log\n" * 5000  # so long that other threads run meanwhile
    assert compressed(text) == algorithm
    assert compressed(text, min_size=len(text) + 1) == "none"
    assert compressed(text, min_ratio=10_000) == "none"
    assert compressed(text[:1023]) == "none"


def test_a_record_is_read_under_its_own_key_and_namespace_only():
    record = Entry(b"Ada").seal("shop", "user:1", Packing())
    assert Entry.open("shop", "user:1", record).payload == b"Ada"
    for namespace, key in [("shop", "user:2"), ("", "user:1"), ("shopuser:1", "")]:
        with pytest.raises(CodecError, match="damaged, or was stored under another key"):
            Entry.open(namespace, key, record)


def test_a_record_of_a_newer_version_is_told_apart_from_a_damaged_one():
    record = bytearray(Entry(b"value").seal("", "k", Packing()))
    record[-1] ^= 1
    with pytest.raises(CodecError, match="damaged"):
        Entry.open("", "k", bytes(record))
    with pytest.raises(CodecError, match="damaged"):
        Entry.open("", "k", b"")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["lzma"], {}, 'compression: got "lzma"; allowed: none, lz4, zstd, snappy, gzip'),
        (["zstd"], {"level": 20}, "level: got 20; allowed: 1 to 19 for zstd"),
        (["gzip"], {"level": 0}, "level: got 0; allowed: 1 to 9 for gzip"),
        (["lz4"], {"level": 1}, "level: got 1; allowed: none, because lz4 has none"),
        (["lz4"], {"min_ratio": 0.5}, "min_ratio: got 0.5; allowed: a number from 1"),
        (["lz4"], {"min_ratio": float("nan")}, "min_ratio: got NaN"),
    ],
)
def test_a_wrong_packing_is_told(arguments, options, message):
    with pytest.raises(ConfigError, match=message):
        Packing(*arguments, **options)


def test_a_packing_shows_itself():
    assert repr(Packing("zstd")) == 'Packing("zstd", level=3, min_size=1024, min_ratio=1.2)'


def test_counters_tell_foreign_changes_from_ones_own():
    ours = Counters()
    theirs = Counters(ours)
    stripe = ours.stripe("shop", "user:1")
    epoch = ours.epoch(stripe)
    ours.bump(stripe)
    assert ours.epoch(stripe) == epoch
    theirs.bump(stripe)
    assert ours.epoch(stripe) != epoch
