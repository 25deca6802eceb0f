"""Traces as Python sees them."""

import gzip
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecache import TraceError, _core

SECOND = 10**9

rows = st.lists(
    st.tuples(
        st.integers(0, 2**40),
        st.integers(0, 50).map(str),
        st.integers(0, 2**32),
        st.sampled_from(["get", "set"]),
        st.none() | st.integers(0, 2**40),
        st.sampled_from(["", "ann", "björn"]),
        st.booleans(),
    ),
    max_size=40,
).map(lambda rows: sorted(rows, key=lambda row: row[0]))


def oracle(*rows):
    return b"".join(struct.pack("<IQIq", *row) for row in rows)


@settings(max_examples=50)
@given(rows=rows, texts=st.booleans())
def test_what_was_written_comes_back(tmp_path_factory, rows, texts):
    path = tmp_path_factory.mktemp("trace") / "a.fctrace"
    facts = {"page_size": 4096, "device_size": 2**33, "opaque": True, "description": "a düsk"}
    _core.write_trace(path, [(*row, 1) for row in rows], texts=texts, **facts)
    trace = _core.Trace.open(path)
    if rows:
        rows[-1] = (*rows[-1][:-1], False)  # a request can't go on behind the end
    assert trace.rows() == rows
    assert len(trace) == len(rows)
    assert {name: getattr(trace, name) for name in facts} == facts


def test_a_request_of_pages_is_one_access_a_page(tmp_path):
    _core.write_trace(tmp_path / "a.fctrace", [(0, "7", 4096, "get", None, "", False, 3)], page_size=4096)
    trace = _core.Trace.open(tmp_path / "a.fctrace")
    assert [(key, more) for _, key, _, _, _, _, more in trace.rows()] == [("7", True), ("8", True), ("9", False)]
    assert (trace.unique, trace.footprint) == (3, 3 * 4096)


def test_every_truncation_and_every_flipped_byte_is_an_error_that_says_where(tmp_path):
    path = tmp_path / "a.fctrace"
    _core.write_trace(path, [(number, str(number % 3), 1, "get", None, "", False, 1) for number in range(9)])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(TraceError, match=r"a\.fctrace, byte \d+: "):
            _core.Trace.open(path)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(TraceError, match=r"a\.fctrace, byte \d+: "):
            _core.Trace.open(path)


def test_oracle_general_is_read(tmp_path):
    path = tmp_path / "a.oracleGeneral.bin"
    path.write_bytes(oracle((5, 9, 100, 2), (6, 2**64 - 1, 7, -1), (7, 9, 300, -1)))
    trace = _core.Trace.open(path)
    assert [row[:3] for row in trace.rows()] == [
        (5 * SECOND, "9", 100),
        (6 * SECOND, str(2**64 - 1), 7),
        (7 * SECOND, "9", 300),
    ]
    assert (trace.unique, trace.footprint, trace.opaque) == (2, 307, False)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TraceError, match="byte 48: the last row has 23 of its 24 bytes"):
        _core.Trace.open(path)


@pytest.mark.parametrize("columns", ["key=url,size=length,op=kind", {"key": "url", "size": "length", "op": "kind"}])
def test_a_table_is_read_by_named_columns(tmp_path, columns):
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(b"time_ms,url,length,kind\n1500,/a,10,GET\n1501,/b,20,PUT\n1502,/a,30,DELETE\n"))
    rows = _core.Trace.open(path, columns).rows()
    assert [row[:4] for row in rows] == [
        (1_500_000_000, "/a", 10, "get"),
        (1_501_000_000, "/b", 20, "set"),
        (1_502_000_000, "/a", 30, "delete"),
    ]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("key=urI", r"line 1: there is no column \"urI\" for key; nearest: url, "),
        ("keys=url", r"columns: \"keys\" is no field of a trace \(nearest: key, .*expected one of key, size, time"),
        ("url", r"\"url\" is not field=column"),
        (None, r"line 1: no column is known for the key; .* There are: url, length"),
        ("key=url", r"line 3: length is \"x\"; expected bytes"),
    ],
)
def test_an_unknown_column_names_the_nearest(tmp_path, columns, expected):
    (tmp_path / "log.csv").write_text("url,length\n/a,1\n/b,x\n")
    with pytest.raises(TraceError, match=expected):
        _core.Trace.open(tmp_path / "log.csv", columns)


PUBLISHED = [
    ("P3.lis", "12 2 0 1\n7 1 0 2\n", [("12", 1, "get", True), ("13", 1, "get", False), ("7", 1, "get", False)]),
    ("cpp.trc", "5\n*\n9\n", [("5", 1, "get", False), ("9", 1, "get", False)]),
    ("cluster52.csv", "7,x:u,3,0,4,get,0\n7,x:u,3,9,4,add,60\n", [("x:u", 3, "get", False), ("x:u", 12, "set", False)]),
    (
        "kvcache.csv",
        "key,op,size,op_count,key_size\n1668,SET,82,2,40\n1668,DELETE,0,1,40\n",
        [("1668", 122, "set", False), ("1668", 122, "set", False), ("1668", 40, "delete", False)],
    ),
    ("lcs.csv", "# time,object,size,next_access_vtime\n1,a,10,-1\n", [("a", 10, "get", False)]),
]


@pytest.mark.parametrize(("name", "text", "expected"), PUBLISHED, ids=[name for name, _, _ in PUBLISHED])
def test_a_published_format_is_known_by_its_file(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    rows = _core.Trace.open(tmp_path / name).rows()
    assert [(key, size, operation, more) for _, key, size, operation, _, _, more in rows] == expected


def test_a_table_without_names_is_read_by_numbers_and_a_format_can_be_named(tmp_path):
    (tmp_path / "a.log").write_text("1,5,2a,512,100\n1,6,2a,512,101\n")
    trace = _core.Trace.open(tmp_path / "a.log", "key=5,size=4,time=2")
    assert [row[:3] for row in trace.rows()] == [(5 * SECOND, "100", 512), (6 * SECOND, "101", 512)]
    trace = _core.Trace.open(tmp_path / "a.log", {"key": "5", "cost": "2"}, format="csv")
    assert trace.costs() == [5, 6]
    with pytest.raises(TraceError, match=r'format: "cvs" is no format of a trace \(nearest: csv, .*expected one of fctrace'):
        _core.Trace.open(tmp_path / "a.log", format="cvs")


def test_lenient_counts_and_skips_what_is_an_error_otherwise(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("time,key,size\n5,a,1\n4,b,1\n6,,1\n6,c,0\n6,d,x\n7,e\n7,f,2\n")
    with pytest.raises(TraceError, match=r"bad\.csv, line 3: its time, 4\.000000000 s, is before that of the row above"):
        _core.Trace.open(path)
    trace = _core.Trace.open(path, lenient=True)
    assert [row[1] for row in trace.rows()] == ["a", "f"]
    assert trace.skipped == {
        "time goes back": 1,
        "no key": 1,
        "size of 0": 1,
        "unreadable cell": 1,
        "cells missing or left over": 1,
    }


def test_a_converted_trace_with_hashed_keys_tells_only_which_are_equal(tmp_path):
    (tmp_path / "a.csv").write_text("key,size,owner\nann,10,ann\nb,20,\nann,10,bob\n")
    source = _core.Trace.open(tmp_path / "a.csv")
    opened = []
    for secret in (None, None, bytes(16), bytes(16)):
        _core.convert_trace(source, tmp_path / "b.fctrace", hash_keys=True, secret=secret, description="shared")
        opened.append(_core.Trace.open(tmp_path / "b.fctrace"))
    first, second, third, fourth = ([row[1] for row in trace.rows()] for trace in opened)
    assert first[0] == first[2] != first[1]
    assert first != second
    assert third == fourth
    assert (opened[0].hashed, opened[0].description) == (True, "shared")
    assert not {"ann", "b", "bob"} & {text for row in opened[0].rows() for text in (row[1], row[5])}
    with pytest.raises(TraceError, match="its keys are secret hashes"):
        opened[0].check_addresses()


def test_a_block_recorders_list_becomes_a_trace(tmp_path):
    source, target = tmp_path / "block.csv.gz", tmp_path / "block.fctrace"
    source.write_bytes(gzip.compress(b"time_us,op,offset,length\n1,read,0,8192\n2,write,4096,512\n3,trim,0,4096\n"))
    assert _core.import_blocks(source, target, device_size=2**20, description="a guest") == (3, 4)
    rows = _core.Trace.open(target).rows()
    assert [(row[1], row[3], row[6]) for row in rows] == [
        ("0", "get", True),
        ("1", "get", False),
        ("1", "set", False),
        ("0", "delete", False),
    ]
    source.write_bytes(source.read_bytes()[:-12])
    with pytest.raises(TraceError, match="truncated or corrupt"):
        _core.import_blocks(source, tmp_path / "other.fctrace")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["block.csv.gz", "block.fctrace"]
