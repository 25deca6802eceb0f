"""What a cache does beyond one call into the store: counters and comparing writes. Tiers below it decide these in theirs."""

from __future__ import annotations

from numbers import Number
from typing import TYPE_CHECKING, Any

from forecache._core import MISSING

if TYPE_CHECKING:
    from forecache.cache import Cache
    from forecache.units import Duration


def incr(cache: Cache, key: str, amount: Any, initial: Any, ttl: Duration | None) -> Any:
    """Adds to a number in one step, whoever else does the same."""
    number("amount", amount)
    number("initial", initial)
    while True:
        current = cache._peek(key, MISSING)
        if current is not MISSING:
            number(f"the value of {key!r}", current)
        value = (initial if current is MISSING else current) + amount
        if cache._swap(key, current, value, ttl=ttl if current is MISSING else None) is not None:
            return value


def compare_and_set(cache: Cache, key: str, expected: Any, value: Any, ttl: Duration | None) -> bool:
    """Stores `value` if what is there equals `expected`."""
    while True:
        current = cache._peek(key, MISSING)
        if current is MISSING or expected is MISSING:
            if current is not expected:
                return False
        elif not (current is expected or current == expected):
            return False
        done = cache._swap(key, current, value, ttl=ttl)
        if done is not None:
            return done


def setdefault(cache: Cache, key: str, default: Any) -> Any:
    """What is there, or else `default`, stored."""
    value = cache.get(key, MISSING)
    while value is MISSING:
        if cache._swap(key, MISSING, default) is not None:
            return default
        value = cache._peek(key, MISSING)
    return value


def number(what: str, value: Any) -> None:
    """Raises `TypeError` for what can't be counted with."""
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, Number)):
        raise TypeError(f"{what} must be a number, not {type(value).__name__}")
