"""Loads: what a cache doesn't have is made by a function of the caller's, once, however many ask for it."""

from __future__ import annotations

import inspect
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import deepcopy
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, TypedDict

from forecache._core import MISSING
from forecache.boarding import Board, Join, Lead
from forecache.errors import CacheClosed
from forecache.flight import Abandoned
from forecache.flow import Call, Flow
from forecache.units import Duration, parse_duration

if TYPE_CHECKING:
    from forecache.cache import Cache

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_takes_key: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


class Options(TypedDict, total=False):
    """The keywords of `set`."""

    ttl: Duration | None
    tti: Duration | None
    tags: Iterable[str] | None
    owner: str | None
    cost: float | None
    immutable: bool
    pin: bool


def get_or_load(cache: Cache, key: str, call: Call, negative_ttl: Duration | None, options: Options) -> Flow[Any]:
    """The value of `key`, loaded by `call` if it isn't there: once, however many ask for it."""
    key = key if type(key) is str else str.__str__(key)
    empty = check(cache, options, negative_ttl)
    while True:
        flight, leads = yield Board(cache._flights, key)
        try:
            if leads:
                return (yield Lead(cache._flights, flight, _load(cache, key, call, options, empty)))
            return _apart(cache, (yield Join(cache._flights, flight)))
        except Abandoned:
            continue
        finally:
            cache._flights.leave(flight)


def _load(cache: Cache, key: str, call: Call, options: Options, empty: Options | None) -> Flow[Any]:
    ticket = cache._expect(key)
    began, failed = 0.0, True
    try:
        value = cache._peek(key, MISSING)
        if value is not MISSING:  # another flight landed since the caller's miss
            return _apart(cache, value)
        stack = getattr(cache, "_stack", None)
        if stack is not None:
            from forecache import reads, writes

            value = yield from reads.get(cache, key, MISSING)  # type: ignore[arg-type]
            if value is not MISSING:
                return value
        began = time.perf_counter()
        value = yield call
        failed = False
        keep = empty if value is None else options
        if keep is not None:
            with suppress(CacheClosed):  # during the load, whose callers still get their value
                # Unless the key was set, deleted or invalidated meanwhile.
                if stack is None:
                    cache._fulfil(key, value, ticket, **keep)
                else:
                    yield from writes.put(cache, key, value, keep, None, ticket, loaded=True)  # type: ignore[arg-type]
        return value
    finally:
        if began:
            cache._flights.count(began, failed=failed)
        with suppress(CacheClosed):
            cache._forget(key, ticket)


def check(cache: Cache, options: Options, negative_ttl: Duration | None) -> Options | None:
    """The options to store a loader's None with; None if it isn't stored. What is wrong is told before anything is loaded."""
    tags = options.get("tags")
    if tags is not None and not isinstance(tags, str):
        options["tags"] = tuple(tags)  # they are read more than once
    cache._check(**options)
    if negative_ttl is None:
        return options
    if isinstance(negative_ttl, int | float) and not isinstance(negative_ttl, bool) and negative_ttl == 0:
        return None
    return {**options, "ttl": parse_duration(negative_ttl, "negative_ttl")}


def _apart(cache: Cache, value: Any) -> Any:
    """With `copy=True`, callers share no object with the cache nor with one another."""
    return deepcopy(value) if cache.config.copy else value


def call_of(loader: Callable[..., Any], key: str) -> Call:
    """How to call a loader: with the key if it has a required positional parameter, else with nothing."""
    if not callable(loader):
        raise TypeError(f"the loader of {key!r} must be callable, and {type(loader).__name__} isn't")
    return Call(loader, (key,) if takes_key(loader) else (), {})


def takes_key(loader: Callable[..., Any]) -> bool:
    """Whether `loader` can't be called without an argument.

    >>> takes_key(lambda key: 1), takes_key(lambda: 1), takes_key(lambda id=7: 1), takes_key({}.get)
    (True, False, False, True)
    """
    function, bound = (loader.__func__, 1) if isinstance(loader, MethodType) else (loader, 0)
    if type(function) is FunctionType and not hasattr(function, "__wrapped__"):
        code: CodeType = function.__code__
        return code.co_argcount - len(function.__defaults__ or ()) > bound
    try:
        known = _takes_key.get(loader)
    except TypeError:  # neither hashable nor weakly referable
        return _asks(loader)
    if known is None:
        known = _asks(loader)
        with suppress(TypeError):
            _takes_key[loader] = known
    return known


def _asks(loader: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(loader).parameters.values()
    except ValueError:  # some builtins don't say
        return False
    return any(each.kind in _POSITIONAL and each.default is each.empty for each in parameters)
