"""Checks of options: each gives the value in the form that the package reads, or a `ConfigError` that names the field, what was
given and what is allowed."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from types import FunctionType, MethodType
from typing import Any

from forecache._core import ALIASES, POLICIES
from forecache.units import Duration, nearest, parse_duration, wrong

IN_LINE = "not async, since it is called in line: hand over to your loop, as with loop.call_soon_threadsafe(queue.put_nowait, …)"


def time(field: str, value: Duration | None) -> float | None:
    """Seconds; None stays None."""
    return None if value is None else parse_duration(value, field)


def whole(field: str, value: int | None, least: int, most: int) -> int | None:
    """A whole number in these bounds, or None."""
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise wrong(field, value, f"a whole number from {least} to {most}, or None")
    return value


def policy(field: str, value: str, allowed: Sequence[str] = POLICIES) -> str:
    """The name of a policy; an alias stands for one."""
    return one_of(field, dict(ALIASES).get(value, value) if isinstance(value, str) else value, allowed)


def one_of(field: str, value: str, allowed: Sequence[str]) -> str:
    """One of the allowed names."""
    if not isinstance(value, str) or value not in allowed:
        raise wrong(field, value, nearest(value, allowed))
    return value


def share(field: str, value: float) -> float:
    """From 0 up to but not including 1."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise wrong(field, value, "a share from 0 up to but not including 1: 0.1 ends entries up to 10 % early")
    return float(value)


def rate(field: str, value: float | None) -> float | None:
    """Above 0 and at most 1; None stays None."""
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1):
        raise wrong(field, value, "a number above 0 and at most 1")
    return None if value is None else float(value)


def function(field: str, value: Any, allowed: str) -> Any:
    """Something to be called in line, or None."""
    if value is not None and not callable(value):
        raise wrong(field, value, allowed)
    if is_async(value):
        raise wrong(field, value, f"{allowed}; {IN_LINE}")
    return value


def is_async(function: object) -> bool:
    """Whether calling `function` makes a coroutine, as far as can be seen before."""
    if isinstance(function, FunctionType | MethodType):
        return inspect.iscoroutinefunction(function)
    called = getattr(type(function), "__call__", None)  # noqa: B004  what it is matters, not whether it is
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def flag(field: str, value: bool) -> bool:
    """A bool."""
    if not isinstance(value, bool):
        raise wrong(field, value, "True or False")
    return value


def name(field: str, value: str) -> str:
    """What statistics, errors and TOML call a thing."""
    if value == "":
        raise wrong(field, value, "a name, such as 'near'")
    return text(field, value)


def text(field: str, value: str) -> str:
    """What UTF-8 can encode."""
    try:
        value.encode()
    except (AttributeError, UnicodeEncodeError):
        raise wrong(field, value, "a str that can be encoded as UTF-8") from None
    return str(value)


def path(field: str, value: str | os.PathLike[str] | None, allowed: str = "a path for a socket, or a directory") -> str | None:
    """A path as a str, or None."""
    return None if value is None else named(field, value, allowed)


def named(field: str, value: str | os.PathLike[str], allowed: str) -> str:
    """A path as a str that the file system can have."""
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    if not isinstance(path, str) or not path or "\0" in path:
        raise wrong(field, value, allowed)
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise wrong(field, value, allowed) from None
    return path
