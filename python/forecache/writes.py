"""Writing: memory and the queues of all tiers change in one step, then what must be in line is seen to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from forecache._core import MISSING, Memory
from forecache.drain import room, settle, settle_all
from forecache.errors import ImmutableError
from forecache.flow import Flow
from forecache.reads import entry_of
from forecache.stack import FAILURES
from forecache.units import nearest, wrong

if TYPE_CHECKING:
    from forecache._core import Entry
    from forecache.tiered import TieredCache

WAKE = 2
MASK = 8
"""What `Memory._put` answers: bits, and where the mask of tiers begins."""
ASK = -65536
"""It answers this if what is below may be immutable."""


def put(
    cache: TieredCache,
    key: str,
    value: Any,
    options: Mapping[str, Any],
    write: str | None = None,
    ticket: int | None = None,
    like: Entry | None = None,
    *,
    loaded: bool = False,
) -> Flow[bool | None]:
    """Stores a value as `set` does, and says whether anyone took it. With a ticket, None if the key was changed since.

    What was `loaded` changes nothing: a tier that is down doesn't have to hear of it, since what it has is as good as before.
    """
    cache._check_key(key)
    payload, codec = cache._stack.encode(key, value)
    sure = False
    while (
        done := _queue(cache, key, value, payload, codec, options, write, ticket, like, sure, loaded)
    ) is not None and done < 0:
        if done != ASK:
            yield from room(cache, -1 - done)
        elif (yield from _stays(cache, key, value)):
            return True
        else:
            sure = True
    if done is None:
        return None
    if done >> MASK:
        yield from settle_all(cache, done >> MASK, [key])
    return bool(done & 1)


def _stays(cache: TieredCache, key: str, value: Any) -> Flow[bool]:
    """Whether what is there is immutable and equals `value`. Raises `ImmutableError` if it doesn't equal it."""
    if cache._mutable(key, cache._stack.now()):
        return False
    there, entry = yield from entry_of(cache, key)
    if entry is None or not entry.immutable:
        return False
    if there is value or there == value:
        return True
    raise ImmutableError(f"{key!r} is immutable and holds other content; delete it first")


def _queue(
    cache: TieredCache,
    key: str,
    value: Any,
    payload: bytes,
    codec: int,
    options: Mapping[str, Any],
    write: str | None,
    ticket: int | None = None,
    like: Entry | None = None,
    sure: bool = False,
    loaded: bool = False,
) -> int | None:
    """The one step: what `Memory._put` answers."""
    stack = cache._stack
    try:
        plan, near = stack.plans[write]
    except (KeyError, TypeError):
        raise wrong("write", write, nearest(write, [each for each in stack.plans if each])) from None
    if loaded:
        plan = stack.awake(plan)
    done = cache._put(key, value, payload, codec, stack.now(), plan, near, ticket, like, sure, **options)
    if done is not None and done > 0 and done & WAKE:
        cache._worker.wake(cache)
    return done


def listed(options: dict[str, Any]) -> dict[str, Any]:
    """Options that may be read more than once."""
    tags = options.get("tags")
    if tags is not None and not isinstance(tags, str | tuple | list):
        options["tags"] = tuple(tags)
    return options


def store(cache: TieredCache, key: str, value: Any, *, write: str | None = None, **options: Any) -> Flow[bool]:
    """See `Cache.set`."""
    return bool((yield from put(cache, key, value, listed(options) if options else options, write)))


def set_many(cache: TieredCache, items: Mapping[str, Any], *, write: str | None = None, **options: Any) -> Flow[int]:
    """See `Cache.set_many`. Nothing is stored if a key or value is wrong."""
    if not isinstance(items, Mapping):
        raise TypeError(f"items: expected a mapping, got {type(items).__name__}")
    listed(options)
    stack = cache._stack
    cache._check(**options)
    encoded: list[tuple[str, Any, bytes, int]] = []
    for key, value in items.items():
        cache._check_key(key)
        encoded.append((key, value, *stack.encode(key, value)))
    taken = 0
    keys: dict[int, list[str]] = {}
    for item in encoded:
        sure = False
        while (done := _queue(cache, *item, options, write, sure=sure) or 0) < 0:
            if done != ASK:
                yield from room(cache, -1 - done)
            elif (yield from _stays(cache, *item[:2])):
                done = 1
                break
            else:
                sure = True
        taken += done & 1
        for depth in stack.depths:
            if done >> MASK + depth & 1:
                keys.setdefault(depth, []).append(item[0])
    for depth, waiting in keys.items():
        yield from settle(cache, depth, waiting)
    return taken


def delete(cache: TieredCache, key: str) -> Flow[bool]:
    """See `Cache.delete`."""
    return (yield from delete_many(cache, (key,))) == 1


def delete_many(cache: TieredCache, keys: Iterable[str]) -> Flow[int]:
    """See `Cache.delete_many`."""
    if isinstance(keys, str):
        raise TypeError("keys: expected an iterable of str, got str")
    keys = list(dict.fromkeys(keys))
    for key in keys:
        cache._check_key(key)
    stack = cache._stack
    there = set()
    for key in keys:
        dropped = cache._drop(key, stack.delete)
        if dropped is not None and (dropped[1] or dropped[0] is not MISSING):
            there.add(key)
    if keys:
        every = (1 << len(stack.tiers)) - 1
        told = every if stack.counters is None else stack.telling
        there |= yield from settle_all(cache, told, keys)
        if every != told:
            yield from settle_all(cache, every & ~told, keys)
    return len(there)


def clear(cache: TieredCache, *, owner: str | None = None) -> Flow[None]:
    """See `Cache.clear`."""
    cache._begin(None)
    try:
        Memory.clear(cache, owner=owner)
        yield from _void(cache, [], owner)
        yield from _clear_tiers(cache, owner=owner)
    finally:
        cache._end(None)


def invalidate(cache: TieredCache, *, tags: Iterable[str]) -> Flow[int]:
    """See `Cache.invalidate`."""
    tags = tags if isinstance(tags, str) else list(tags)
    cache._check(tags=tags)
    if isinstance(tags, str) or not tags:
        return 0
    cache._begin(None)
    try:
        keys = cache._carrying(tags)
        cache._invalidate(tags)
        yield from _void(cache, tags, None)
        # Those that memory had are deleted by name, so that nobody is counted twice.
        if keys:
            yield from delete_many(cache, keys)
        return len(keys) + (yield from _clear_tiers(cache, tags=tags))
    finally:
        cache._end(None)


def _void(cache: TieredCache, tags: list[str], owner: str | None) -> Flow[None]:
    """Lets nothing that waits in a queue come back after the tiers were cleared."""
    _, flying = cache._void(tags, owner)
    for depth, keys in enumerate(flying):
        if keys:
            yield from settle(cache, depth, keys)
    cache._worker.nudge(cache)


def _clear_tiers(cache: TieredCache, **what: Any) -> Flow[int]:
    stack = cache._stack
    count = 0
    for depth, tier in enumerate(stack.tiers):
        try:
            count += (yield from tier.clear(**what)) or 0
        except FAILURES as error:
            stack.failed(depth, "clear", (), error)
    return count
