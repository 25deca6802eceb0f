"""The way up: what memory doesn't have is looked for on its way down, then in the tiers in order, and climbs to memory."""

from __future__ import annotations

from copy import deepcopy
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from forecache._core import MISSING, TIMED
from forecache.codec import RAW
from forecache.drain import settle
from forecache.errors import CodecError
from forecache.flow import Flow
from forecache.stack import FAILURES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forecache._core import Entry, Reading
    from forecache.tiered import TieredCache


def is_text(key: str) -> bool:
    """Whether a key may be somewhere: nothing is stored under lone surrogates. What is no str is refused by who uses it."""
    if not isinstance(key, str) or key.isascii():
        return True
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def get(cache: TieredCache, key: str, default: Any = None) -> Flow[Any]:
    """What is below memory; it climbs."""
    if not (type(key) is str and key.isascii()) and not is_text(key):
        return default
    seen = cache._look(key)
    ticket, hidden, found = (seen, 0, MISSING) if isinstance(seen, int) else (yield from _seen(cache, key, seen))
    stack = cache._stack
    try:
        if found is not MISSING:
            value = _on_the_way(cache, key, ticket, found)
            return default if value is MISSING else value
        keys = (key,)
        for depth in stack.depths:
            if hidden >> depth & 1:
                continue
            began = 0 if ticket % TIMED else perf_counter_ns()
            try:
                entries = yield from stack.tiers[depth].get_many(keys)
            except FAILURES as error:
                stack.failed(depth, "get_many", keys, error)
                continue
            if stack.counters is None:
                stack.attached(cache)
            entry = entries.get(key)
            if entry is not None:
                trusted = stack.counters is None or stack.tiers[depth].shared
                if entry.codec == RAW and trusted:  # a short way
                    value = entry.payload
                else:
                    value = yield from _checked(cache, depth, key, entry)
                if value is not MISSING:
                    value = climb(cache, key, value, ticket, entry, depth)
                    if began:
                        cache._took(depth, perf_counter_ns() - began)
                    return value
    finally:
        cache._forget(key, ticket)
    return default


def climb(cache: TieredCache, key: str, value: Any, ticket: int, entry: Entry, depth: int = 0) -> Any:
    """Puts a value in memory unless it is out of date by now, and gives the caller theirs.

    What a tier has though it takes nothing so small was decided there, a lock or a count: a copy in memory would soon be out of
    date.
    """
    if len(entry.payload) >= cache._stack.smallest[depth]:
        cache._promote(key, value, ticket, entry, cache._stack.now(), depth)
    return value


def _look(cache: TieredCache, key: str) -> Flow[tuple[int, int, Any]]:
    """Ticket of a key, tiers from which it is hidden, and what is on its way."""
    seen = cache._look(key)
    return (seen, 0, MISSING) if isinstance(seen, int) else (yield from _seen(cache, key, seen))


def _seen(cache: TieredCache, key: str, seen: int | tuple[int, int, Any]) -> Flow[tuple[int, int, Any]]:
    """The same of what `Memory._look` told; what has to be written first is."""
    while not isinstance(seen, int):
        ticket, hidden, found = seen
        if found is not None:
            return ticket, hidden, found
        cache._forget(key, ticket)
        yield from settle(cache, hidden.bit_length() - 1, [key])
        seen = cache._look(key)
    return seen, 0, MISSING


def _value(cache: TieredCache, depth: int | None, key: str, entry: Entry) -> Any:
    """The value of an entry, or MISSING if it can't be read."""
    try:
        return cache._stack.decode(key, entry)
    except CodecError:
        cache._stack.damaged(depth or 0, key)
        return MISSING


def _checked(cache: TieredCache, depth: int, key: str, entry: Entry) -> Flow[Any]:
    """The value of what a tier had. What can't be read, or was changed by another process, is removed and MISSING."""
    stack = cache._stack
    if stack.counters is None or stack.tiers[depth].shared or cache._is_current(key, entry.epoch):
        value = _value(cache, depth, key, entry)
        if value is not MISSING:
            return value
    try:
        yield from stack.tiers[depth].swap(key, entry.version, None)
    except FAILURES as error:
        stack.failed(depth, "swap", (key,), error)
    return MISSING


def _on_the_way(cache: TieredCache, key: str, ticket: int, found: Any) -> Any:
    """The value of what lay in a queue."""
    if type(found) is tuple:
        return deepcopy(found[0]) if cache.config.copy else found[0]
    if found is MISSING:
        return MISSING
    value = _waiting(cache, key, found)
    if value is not MISSING:
        cache._promote(key, value, ticket, found, cache._stack.now(), 0)
    return value


def _waiting(cache: TieredCache, key: str, entry: Entry) -> Any:
    """The value of an entry that lay in a queue, or MISSING if it ended there."""
    return MISSING if has_ended(entry, cache._stack.now()) else _value(cache, None, key, entry)


def has_ended(entry: Entry, now: int) -> bool:
    """Whether what lies in a queue has expired."""
    # When what left a tier was last used there isn't known.
    idle = None if entry.stored_bytes else entry.time_to_idle
    return (entry.hard is not None and entry.hard <= now) or (idle is not None and entry.written + idle <= now)


def _climb_all(cache: TieredCache, depth: int, entries: dict[str, Entry], reading: Reading, found: dict[str, Any]) -> Flow[None]:
    """Adds the values of what a tier had to `found`, and puts them in memory."""
    stack = cache._stack
    now = stack.now()
    trusted = (stack.counters is None or stack.tiers[depth].shared) and not stack.smallest[depth]
    for key, ticket, entry in reading.promote(entries, found, now, depth, trusted):
        value = yield from _checked(cache, depth, key, entry)
        if value is not MISSING:
            found[key] = climb(cache, key, value, ticket, entry, depth)


def get_many(cache: TieredCache, found: dict[str, Any], reading: Reading) -> Flow[dict[str, Any]]:
    """Adds to `found` those keys of a reading that are below memory; each tier is touched once."""
    stack = cache._stack
    hidden: dict[str, int] = {}
    try:
        for at, key in reading.on_the_way():
            ticket, mask, thing = yield from _look(cache, key)
            reading.hold(at, ticket)
            hidden[key] = mask
            value = _on_the_way(cache, key, ticket, thing)
            if value is not MISSING:
                found[key] = value
            elif thing is not MISSING:
                hidden[key] = -1  # it has ended, and what tiers have is older
        for depth in stack.depths:
            asked = reading.keys()
            if depth or hidden:
                asked = [key for key in asked if key not in found and not hidden.get(key, 0) >> depth & 1]
            if not asked:
                continue
            try:
                entries = yield from stack.tiers[depth].get_many(asked)
            except FAILURES as error:
                stack.failed(depth, "get_many", asked, error)
                continue
            if stack.counters is None:
                stack.attached(cache)
            yield from _climb_all(cache, depth, entries, reading, found)
        return found
    finally:
        reading.end()


def entry_of(cache: TieredCache, key: str, skip: int | None = None) -> Flow[tuple[Any, Entry | None]]:
    """The value and entry of a key, wherever it is but in the tier `skip`, without an effect; MISSING and None if nowhere."""
    stack = cache._stack
    if not is_text(key):
        return MISSING, None
    held = cache._held(key, stack.now())
    value = cache._peek(key, MISSING)
    if held is not None and value is not MISSING:
        return value, held
    ticket, hidden, found = yield from _look(cache, key)
    cache._forget(key, ticket)
    if type(found) is tuple:
        held = cache._held(key, stack.now())
        return (found[0], held) if held is not None else (yield from entry_of(cache, key, skip))  # it has gone on since
    if found is not MISSING:
        value = _waiting(cache, key, found)
        return value, None if value is MISSING else found
    return (yield from entry_in(cache, key, [depth for depth in stack.depths if not hidden >> depth & 1 and depth != skip]))


def entry_in(cache: TieredCache, key: str, depths: Iterable[int]) -> Flow[tuple[Any, Entry | None]]:
    """The same of some tiers."""
    stack = cache._stack
    for depth in depths:
        try:
            entries = yield from stack.tiers[depth].get_many((key,))
        except FAILURES as error:
            stack.failed(depth, "get_many", (key,), error)
            continue
        if key in entries:
            value = yield from _checked(cache, depth, key, entries[key])
            if value is not MISSING:
                return value, entries[key]
    return MISSING, None


def exists(cache: TieredCache, key: str) -> Flow[bool]:
    """See `Cache.exists`."""
    return (yield from entry_of(cache, key))[0] is not MISSING


def ttl(cache: TieredCache, key: str) -> Flow[float | None]:
    """See `Cache.ttl`."""
    if cache._peek(key, MISSING) is not MISSING:
        return cache._near_ttl(key)
    value, entry = yield from entry_of(cache, key)
    if value is MISSING or entry is None:
        return 0.0
    ends = [] if entry.hard is None else [(entry.hard - cache._stack.now()) / 1000]
    ends += [] if entry.time_to_idle is None else [entry.time_to_idle / 1000]
    return max(0.0, min(ends)) if ends else None


def scan(cache: TieredCache, depth: int, cursor: int, pattern: str | None) -> Flow[tuple[int | None, list[str]]]:
    """Some keys of a tier, and where to go on."""
    stack = cache._stack
    try:
        return (yield from stack.tiers[depth].scan(cursor, pattern))
    except FAILURES as error:
        stack.failed(depth, "scan", (), error)
        return None, []
