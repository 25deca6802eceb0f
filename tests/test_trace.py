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
