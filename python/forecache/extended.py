"""Values that MessagePack alone would change, written as extensions that keep their types."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import ormsgpack

from forecache.errors import CodecError

__all__ = ["extend", "register", "restore"]

T = TypeVar("T")

DEPTH = 200
"""Containers in one another, at most."""

TUPLE, SET, FROZENSET, BYTEARRAY, MAP, INT, COMPLEX, DECIMAL, UUID_, DATE, TIME, DATETIME, TIMEDELTA, OBJECT = range(1, 15)
"""The extensions' numbers, which are stored: they never change their meaning."""


@dataclass(frozen=True)
class _Registered:
    name: str
    to: Callable[[Any], Any]
    back: Callable[[Any], Any]


_by_type: dict[type, _Registered] = {}
_by_name: dict[str, _Registered] = {}


def register(kind: type[T], *, to: Callable[[T], Any], back: Callable[[Any], T], name: str | None = None) -> None:
    """Has values of exactly the type `kind` stored as what `to` makes of them, which `back` turns back.

    `name` is what the type is stored under, `module:qualname` unless given: choose one that stays when the class moves. It has to
    be registered wherever such values are read.

    >>> import fractions
    >>> register(fractions.Fraction, to=str, back=fractions.Fraction)
    >>> from forecache.codec import MessagePack
    >>> MessagePack().decode(MessagePack().encode(fractions.Fraction(1, 3), b""), b"")
    Fraction(1, 3)
    """
    name = name or _path(kind)
    known = _by_name.get(name)
    if known is not None and _by_type.get(kind) is not known:
        raise CodecError(f"{name!r} is registered for another type already; choose another name")
    _by_type[kind] = _by_name[name] = _Registered(name, to, back)


def extend(value: Any, depth: int = 0) -> Any:
    """`value` made of nothing but what MessagePack holds, and extensions. Raises `CodecError` for a type that isn't known."""
    kind = type(value)
    if kind in _PLAIN or (kind is int and -(2**63) <= value < 2**64):
        return value
    if depth == DEPTH:
        raise CodecError(f"the value is nested deeper than {DEPTH}, or contains itself")
    if kind is list:
        return [extend(item, depth + 1) for item in value]
    if kind is dict:
        if all(type(key) is str for key in value):
            return {key: extend(item, depth + 1) for key, item in value.items()}
        return _ext(MAP, [extend(part, depth + 1) for item in value.items() for part in item])
    if kind in _by_type:
        registered = _by_type[kind]
        return _ext(OBJECT, [registered.name, extend(registered.to(value), depth + 1)])
    if kind in _WRITE:
        number, write = _WRITE[kind]
        return _ext(number, write(value, depth + 1))
    return _ext(OBJECT, [_path(kind), extend(_state(value), depth + 1)])


def _ext(number: int, content: Any) -> ormsgpack.Ext:
    return ormsgpack.Ext(number, ormsgpack.packb(content))


def _items(value: Any, depth: int) -> list[Any]:
    return [extend(item, depth) for item in value]


def _zone(zone: tzinfo | None) -> Any:
    """None, the name of a zone, or seconds east of Greenwich and the name they were given."""
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    if type(zone) is timezone:
        return [_span(zone.utcoffset(None)), zone.tzname(None)]
    raise CodecError(f"a time in a zone of type {_path(type(zone))} can't be stored; allowed: none, datetime.timezone, ZoneInfo")


def _unzone(stored: Any) -> tzinfo | None:
    if stored is None:
        return None
    if isinstance(stored, str):
        return ZoneInfo(stored)
    offset = _unspan(stored[0])
    plain = timezone(offset)
    return timezone.utc if not offset else plain if plain.tzname(None) == stored[1] else timezone(offset, stored[1])


def _span(span: timedelta) -> list[int]:
    return [span.days, span.seconds, span.microseconds]


def _unspan(stored: Any) -> timedelta:
    return timedelta(*stored)


def _clock(value: datetime | time) -> list[Any]:
    return [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, _zone(value.tzinfo)]


def _unclock(kind: type[T]) -> Callable[[Any], T]:
    return lambda stored: kind.fromisoformat(stored[0]).replace(fold=stored[1], tzinfo=_unzone(stored[2]))  # type: ignore[attr-defined]


_PLAIN = (type(None), bool, float, str, bytes)
_WRITE: dict[type, tuple[int, Callable[[Any, int], Any]]] = {
    tuple: (TUPLE, _items),
    set: (SET, _items),
    frozenset: (FROZENSET, _items),
    bytearray: (BYTEARRAY, lambda value, _: bytes(value)),
    int: (INT, lambda value, _: value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)),
    complex: (COMPLEX, lambda value, _: [value.real, value.imag]),
    Decimal: (DECIMAL, lambda value, _: str(value)),
    UUID: (UUID_, lambda value, _: value.bytes),
    date: (DATE, lambda value, _: value.isoformat()),
    time: (TIME, lambda value, _: _clock(value)),
    datetime: (DATETIME, lambda value, _: _clock(value)),
    timedelta: (TIMEDELTA, lambda value, _: _span(value)),
}
_READ: dict[int, Callable[[Any], Any]] = {
    TUPLE: tuple,
    SET: set,
    FROZENSET: frozenset,
    BYTEARRAY: bytearray,
    MAP: lambda parts: dict(zip(parts[::2], parts[1::2], strict=True)),
    INT: lambda stored: int.from_bytes(stored, "little", signed=True),
    COMPLEX: lambda stored: complex(*stored),
    DECIMAL: Decimal,
    UUID_: lambda stored: UUID(bytes=stored),
    DATE: date.fromisoformat,
    TIME: _unclock(time),
    DATETIME: _unclock(datetime),
    TIMEDELTA: _unspan,
    OBJECT: lambda stored: _object(*stored),
}


def restore(number: int, payload: bytes) -> Any:
    """The value of an extension. Raises `CodecError` for one that isn't known, or whose class isn't to be had here."""
    read = _READ.get(number)
    if read is None:
        raise CodecError(f"an extension of number {number}, made by a newer forecache or by something else")
    try:
        return read(ormsgpack.unpackb(payload, ext_hook=restore))
    except CodecError:
        raise
    except Exception as error:  # a class that isn't what it was when the value was stored
        raise CodecError(f"a stored value can't be restored: {error}") from error


def _state(value: Any) -> Any:
    """What an object of a class without registration is made of."""
    kind: Any = type(value)
    state: Any
    if isinstance(value, Enum):
        state = value.value if isinstance(value, Flag) else value.name
    elif isinstance(value, tuple) and hasattr(kind, "_fields"):
        state = list(value)
    elif not issubclass(kind, _CONTAINERS) and is_dataclass(kind):
        state = {field.name: getattr(value, field.name) for field in fields(value)}
        if getattr(value, "__dict__", {}).keys() - state.keys():
            raise CodecError(f"a {_path(type(value))} with attributes that are no fields can't be stored; {_REMEDY}")
    elif _is_struct(kind):
        state = {name: getattr(value, name) for name in kind.__struct_fields__}
    else:
        raise CodecError(f"{_path(kind)} can't be stored; {_REMEDY}")
    _importable(kind)
    return state


_CONTAINERS = (list, dict, tuple, set, frozenset, str, bytes, bytearray, int, float, complex)
"""A class derived from these holds more than its fields."""
_REMEDY = "tell how with forecache.extended.register(type, to=…, back=…), or store something simpler"


def _object(path: str, state: Any) -> Any:
    registered = _by_name.get(path)
    if registered is not None:
        return registered.back(state)
    kind = _class(path)
    if issubclass(kind, Enum):
        return kind(state) if issubclass(kind, Flag) else kind[state]
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return kind(*state)
    if is_dataclass(kind):
        return _fill(kind, state, {field.name for field in fields(kind)})
    if _is_struct(kind):
        return kind(**state)
    raise CodecError(f"{path} isn't a dataclass, enum, named tuple or struct any more")


def _fill(kind: type, state: dict[str, Any], names: set[str]) -> Any:
    """An instance as it was, without running `__init__`, which may refuse what it once made."""
    if state.keys() != names:
        raise CodecError(f"{_path(kind)} has the fields {sorted(names)}, and what is stored {sorted(state)}")
    value: Any = object.__new__(kind)
    for name, item in state.items():
        object.__setattr__(value, name, item)
    return value


def _is_struct(kind: type) -> bool:
    msgspec = sys.modules.get("msgspec")  # who has such a value has imported it
    return msgspec is not None and issubclass(kind, msgspec.Struct)


def _path(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


@lru_cache(maxsize=1024)
def _importable(kind: Any) -> None:
    if _find(kind.__module__, kind.__qualname__) is not kind:
        raise CodecError(
            f"{_path(kind)} can't be found by that name, so it can't be restored; define it in a module, or {_REMEDY}"
        )


def _class(path: str) -> type:
    """The class of that name in a module that the program has imported itself: reading a value never imports one."""
    found = _find(*path.split(":", 1))
    if not isinstance(found, type):
        raise CodecError(f"a stored value is of the class {path}, which isn't there; import its module before reading")
    return found


def _find(module: str, qualname: str) -> Any:
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found
