"""Values come back as they were, of the same type, or are refused before anything is stored."""

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import json
import pickle
import uuid
import zoneinfo
from collections import OrderedDict, namedtuple
from typing import Any, NamedTuple

import msgspec
import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecache import CodecError, ConfigError
from forecache.codec import Json, MessagePack, SignedPickle, codec
from forecache.extended import register

PLACE = b"namespace\0key"
SECRET = b"0123456789abcdef"


class Colour(enum.Enum):
    RED = "r"


class Rights(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Level(enum.IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: Any


@dataclasses.dataclass
class User:
    name: str
    born: dt.date
    inner: Any = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("no name")


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    values: tuple[int, ...]


class Struct(msgspec.Struct, frozen=True):
    a: int
    b: Any = None


class Outer:
    @dataclasses.dataclass
    class Inner:
        a: int


Old = namedtuple("Old", "a b")

PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
ZONES = st.none() | st.sampled_from(
    [dt.timezone.utc, dt.timezone(dt.timedelta(hours=-3)), dt.timezone(dt.timedelta(0, 7), "odd")]
)
KEYS = PLAIN | st.integers() | st.uuids() | st.dates() | st.datetimes(timezones=ZONES) | st.tuples(st.integers(), st.text())
LEAVES = KEYS | st.one_of(
    st.complex_numbers(allow_nan=False),
    st.decimals(allow_nan=False),
    st.times(timezones=ZONES),
    st.timedeltas(),
    st.binary().map(bytearray),
    st.frozensets(KEYS, max_size=3),
    st.sets(KEYS, max_size=3),
    st.sampled_from([Colour.RED, Rights.READ | Rights.WRITE, Rights(0), Level.LOW]),
    st.builds(User, st.text(min_size=1), st.dates()),
    st.builds(Frozen, st.lists(st.integers()).map(tuple)),
    st.builds(Outer.Inner, st.integers()),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.builds(Point, st.integers(), inner)
        | st.builds(Old, inner, inner)
        | st.builds(Struct, st.integers(), inner)
        | st.builds(User, st.just("Ada"), st.dates(), inner)
    ),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Whether both are equal and of the same types all the way down."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(map(type, left)) == list(map(type, right)) and all(map(same, left.items(), right.items()))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if dataclasses.is_dataclass(left) and not isinstance(left, type):
        return all(same(getattr(left, field.name), getattr(right, field.name)) for field in dataclasses.fields(left))
    if isinstance(left, dt.datetime | dt.time):
        return (left, left.fold, left.tzinfo) == (right, right.fold, right.tzinfo)
    return bool(left == right)


def back(value: Any) -> Any:
    return MessagePack().decode(MessagePack().encode(value, PLACE), PLACE)


@given(VALUES)
def test_what_goes_in_comes_out_of_the_same_type(value: Any) -> None:
    assert same(back(value), value)


@pytest.mark.parametrize(
    "value",
    [
        dt.datetime(2026, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
        [bytearray(b"in a list")],
        {1: {2: (3, {4})}},
        -(2**200),
        {"a": [()]},
        decimal.Decimal("-0.00"),
    ],
)
def test_odd_values_come_back_too(value: Any) -> None:
    assert same(back(value), value)


def test_what_is_nan_stays_nan() -> None:
    value = back([float("nan"), decimal.Decimal("sNaN12")])
    assert value[0] != value[0]
    assert str(value[1]) == "sNaN12"


def local() -> Any:
    @dataclasses.dataclass
    class Local:
        a: int

    return Local(1)


class Plain:
    pass


class Names(list[str]):
    pass


def extra() -> User:
    user = User("Ada", dt.date(1815, 12, 10))
    user.title = "Countess"  # type: ignore[attr-defined]
    return user


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Plain(), "test_codec:Plain can't be stored; tell how with forecache.extended.register"),
        ([{"a": Plain()}], "test_codec:Plain can't be stored"),
        (OrderedDict(a=1), "collections:OrderedDict can't be stored"),
        (Names(["a"]), "test_codec:Names can't be stored"),
        (local(), "can't be found by that name"),
        (extra(), "attributes that are no fields"),
        ("\ud800", "the value can't be stored"),
        (lambda: 1, "can't be stored"),
        (dt.datetime(2026, 1, 1, tzinfo=type("Zone", (dt.tzinfo,), {})()), "in a zone of type"),
    ],
)
def test_what_would_not_come_back_is_refused_with_its_type(value: Any, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        MessagePack().encode(value, PLACE)


def test_a_value_that_contains_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append([ring, ring])
    with pytest.raises(CodecError, match="deeper than 200, or contains itself"):
        MessagePack().encode(ring, PLACE)
    branch: Any = {}
    for _ in range(200):
        branch = {"a": branch}
    with pytest.raises(CodecError, match="deeper than 200"):
        MessagePack().encode(branch, PLACE)


def test_a_registered_type_comes_back() -> None:
    register(fractions.Fraction, to=str, back=fractions.Fraction, name="fraction")
    assert same(back([fractions.Fraction(1, 3)]), [fractions.Fraction(1, 3)])
    with pytest.raises(CodecError, match="registered for another type"):
        register(Plain, to=vars, back=lambda _: Plain(), name="fraction")


def stored(path: str, state: Any) -> bytes:
    return ormsgpack.packb(ormsgpack.Ext(14, ormsgpack.packb([path, state])))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (stored("never.imported:Class", {}), "isn't there; import its module"),
        (stored("os:system", "true"), "isn't there"),
        (stored("subprocess:Popen", ["true"]), "isn't a dataclass"),
        (stored(f"{__name__}:User", {"name": "Ada"}), "has the fields"),
        (stored(f"{__name__}:Colour", "BLUE"), "can't be restored"),
        (ormsgpack.packb(ormsgpack.Ext(99, b"")), "an extension of number 99"),
        (b"\xc1", "no MessagePack"),
    ],
)
def test_a_payload_that_names_what_is_not_there_is_an_error_and_runs_nothing(payload: bytes, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        MessagePack().decode(payload, PLACE)


def test_a_dataclass_comes_back_without_its_init() -> None:
    user = User("Ada", dt.date(1815, 12, 10))
    user.name = ""
    assert back(user) == user


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=9,
    )
)
def test_json_is_json(value: Any) -> None:
    stored = Json().encode(value, PLACE)
    assert json.loads(stored) == value
    assert same(Json().decode(stored, PLACE), value)


@pytest.mark.parametrize("value", [(1,), {1: 2}, float("nan"), b"bytes", ["\ud800"], 2**64])
def test_json_refuses_what_it_would_change(value: Any) -> None:
    with pytest.raises(CodecError):
        Json().encode(value, PLACE)


def test_json_that_is_none_is_an_error() -> None:
    with pytest.raises(CodecError, match="no JSON"):
        Json().decode(b"{", PLACE)


def test_a_pickle_is_loaded_only_where_it_was_signed() -> None:
    signed = SignedPickle(SECRET)
    payload = signed.encode(Plain, PLACE)
    assert signed.decode(payload, PLACE) is Plain
    others = [
        (SignedPickle(b"another secret..."), payload, PLACE),
        (signed, payload, PLACE + b"2"),
        (signed, payload[:-1], PLACE),
        (signed, b"", PLACE),
    ]
    for other, forged, place in others:
        with pytest.raises(CodecError, match="signature is wrong"):
            other.decode(forged, place)


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("it was loaded",))


def test_an_unsigned_pickle_is_never_loaded() -> None:
    with pytest.raises(CodecError, match="signature is wrong"):
        SignedPickle(SECRET).decode(bytes(32) + pickle.dumps(Bomb()), PLACE)


def test_what_can_not_be_pickled_or_restored_is_a_codec_error() -> None:
    with pytest.raises(CodecError, match="function can't be pickled"):
        SignedPickle(SECRET).encode(lambda: 1, PLACE)
    broken = SignedPickle(SECRET)
    payload = broken._signature(b"no pickle", PLACE) + b"no pickle"
    with pytest.raises(CodecError, match="can't be restored"):
        broken.decode(payload, PLACE)


def test_codecs_are_known_by_name() -> None:
    assert [codec("msgpack").number, codec("json").number, codec("pickle", SECRET).number] == [1, 2, 3]
    for name, secret, field in [
        ("pickle", None, "secret"),
        ("json", SECRET, "secret"),
        ("xml", None, "codec"),
        ("pickle", b"short", "secret"),
    ]:
        with pytest.raises(ConfigError, match=f"{field}: got"):
            codec(name, secret)


def test_uuids_in_keys_keep_their_type() -> None:
    key = uuid.uuid4()
    assert back({key: 1}) == {key: 1}
