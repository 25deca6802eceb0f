"""Writing: memory and the queues of all tiers change in one step, then what must be in line is seen to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from forecache._core import MISSING, Memory
from forecache.drain import room, settle, settle_all
from forecache.errors import ImmutableError
from forecache.flow import Flow
from forecache.reads import entry_of, is_text
from forecache.stack import FAILURES
from forecache.units import nearest, wrong

if TYPE_CHECKING:
    from forecache._core import Entry
    from forecache.tiered import TieredCache

MASK = 8
"""Where in the answer of `Memory._put` the mask of tiers begins."""
ASK = -65536
"""It answers this if what is below is immutable."""


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
    stack = cache._stack
    stored = stack.encode(key, value)
    plan, near = _plan(cache, write)
    sure = False
    if loaded:
        plan = stack.awake(plan)
    while True:
        done = cache._put(key, value, stored, stack.now(), plan, near, ticket, like, sure, **options)
        if done is None or done >= 0:
            break
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
    there, entry = yield from entry_of(cache, key)
    if entry is None or not entry.immutable:
        return False
    if there is value or there == value:
        return True
    raise ImmutableError(f"{key!r} is immutable and holds other content; delete it first")


def _plan(cache: TieredCache, write: str | None) -> tuple[bytes, bool]:
    """What `Memory._put` takes for how tiers and memory get something."""
    plans = cache._stack.plans
    try:
        return plans[write]
    except (KeyError, TypeError):
        raise wrong("write", write, nearest(write, [each for each in plans if each])) from None


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
    cache._check_keys(list(items))
    encode = stack.encode
    encoded = [(key, value, encode(key, value)) for key, value in items.items()]
    plan, near = _plan(cache, write)
    start, total, sure = 0, 0, False
    keys: list[list[str]] = [[] for _ in stack.depths]
    while start < len(encoded):
        done, stop, taken, waiting = cache._put_many(encoded, start, stack.now(), plan, near, sure, **options)
        start, total, sure = start + done, total + taken, False
        for depth, more in enumerate(waiting):
            keys[depth] += more
        if stop == ASK:
            sure = not (yield from _stays(cache, *encoded[start][:2]))
            start, total = start + (not sure), total + (not sure)
        elif stop:
            yield from room(cache, -1 - stop)
    for depth in stack.order:
        if keys[depth]:
            yield from settle(cache, depth, keys[depth])
    return total


def delete(cache: TieredCache, key: str) -> Flow[bool]:
    """See `Cache.delete`."""
    return (yield from delete_many(cache, (key,))) == 1


def delete_many(cache: TieredCache, keys: Iterable[str]) -> Flow[int]:
    """See `Cache.delete_many`."""
    if isinstance(keys, str):
        raise TypeError("keys: expected an iterable of str, got str")
    keys = list(dict.fromkeys(keys))
    keys = [key for key in keys if is_text(key)]
    for key in keys:
        cache._check_key(key)
    stack = cache._stack
    absent = [key for key in keys if cache._peek(key, MISSING) is MISSING]
    on_the_way = {key for depth in stack.depths for key in cache._queued(depth, absent)}
    if on_the_way:  # a delete that a change queued finds what that change replaced, which wasn't there any more for the caller
        yield from settle_all(cache, (1 << len(stack.tiers)) - 1, list(on_the_way))
    there, heard = set(), set[str]()
    stack.deleting[id(heard)] = heard  # the thread that writes behind, or a flush, may be there first
    try:
        for key in keys:
            dropped = cache._drop(key, stack.delete)
            if dropped is not None and (dropped[1] or dropped[0] is not MISSING):
                there.add(key)
        if keys:
            every = (1 << len(stack.tiers)) - 1
            told = sum(1 << depth for depth in stack.depths if stack.tells(depth))
            there |= yield from settle_all(cache, told, keys)
            if every != told:
                yield from settle_all(cache, every & ~told, keys)
        return len(there | heard.intersection(keys))
    finally:
        stack.deleting.pop(id(heard), None)  # a fork has none


def clear(cache: TieredCache, *, owner: str | None = None) -> Flow[None]:
    """See `Cache.clear`."""
    with cache._begin(None):
        Memory.clear(cache, owner=owner)
        yield from _void(cache, [], owner)
        yield from _clear_tiers(cache, owner=owner)


def invalidate(cache: TieredCache, *, tags: Iterable[str]) -> Flow[int]:
    """See `Cache.invalidate`."""
    tags = tags if isinstance(tags, str) else list(tags)
    cache._check(tags=tags)
    if isinstance(tags, str) or not tags:
        return 0
    with cache._begin(None):
        keys = cache._carrying(tags)
        cache._invalidate(tags)
        yield from _void(cache, tags, None)
        # Those that memory had are deleted by name, so that nobody is counted twice.
        if keys:
            yield from delete_many(cache, keys)
        return len(keys) + (yield from _clear_tiers(cache, tags=tags))


def _void(cache: TieredCache, tags: list[str], owner: str | None) -> Flow[None]:
    """Lets nothing that waits in a queue come back after the tiers were cleared."""
    _, flying = cache._void(tags, owner)
    for depth, keys in enumerate(flying):
        if keys:
            yield from settle(cache, depth, keys)


def _clear_tiers(cache: TieredCache, **what: Any) -> Flow[int]:
    stack = cache._stack
    count = 0
    for depth in stack.order:
        try:
            count += (yield from stack.tiers[depth].clear(**what)) or 0
        except FAILURES as error:
            stack.failed(depth, "clear", (), error)
    return count
