"""A cache with tiers below memory, in both faces: a hit in memory is one call into Rust as ever, the rest are flows."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast
from weakref import WeakKeyDictionary

from forecache import decisions, drain, reads, writes
from forecache._core import MISSING, Memory
from forecache.aio import AsyncCache
from forecache.cache import Cache
from forecache.drain import PATIENCE, Worker
from forecache.explain import explain
from forecache.flow import Call, Flow, arun, run
from forecache.latency import Latency
from forecache.stack import FAILURES, Stack
from forecache.stats import Stats
from forecache.tiers.dict_tier import matcher
from forecache.units import Size
from forecache.views import BATCH, Items, Values

VERBS: dict[str, Callable[..., Flow[Any]]] = {
    "set": writes.store,
    "set_many": writes.set_many,
    "delete": writes.delete,
    "delete_many": writes.delete_many,
    "clear": writes.clear,
    "invalidate": writes.invalidate,
    "add": decisions.add,
    "pop": decisions.pop,
    "incr": decisions.incr,
    "compare_and_set": decisions.compare_and_set,
    "setdefault": decisions.setdefault,
    "touch": decisions.touch,
    "pin": decisions.pin,
    "exists": reads.exists,
    "ttl": reads.ttl,
    "explain": explain,
}
"""What both faces do alike: the verb of a cache, and its flow."""


def _sync(flow: Callable[..., Flow[Any]], told: Any) -> Any:
    @functools.wraps(told)
    def verb(self: Any, *args: Any, **kwargs: Any) -> Any:
        return run(flow(self, *args, **kwargs))

    return verb


def _async(flow: Callable[..., Flow[Any]], told: Any) -> Any:
    @functools.wraps(told)
    async def verb(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await arun(flow(self.sync, *args, **kwargs))

    return verb


class TieredCache(Cache):
    """What `Cache(tiers=…)` makes. `get` and `[]` are memory's own, and come to `_below` for what it doesn't have."""

    _stack: Stack
    _worker: Worker
    _near_ttl = Memory.ttl
    _near_exists = Memory.exists
    _near_pin = Memory.pin

    def _furnish(self) -> None:
        """Makes the tiers and all that lies between them."""
        self._stack = stack = Stack(self.config, self._hub)
        rows = zip(stack.boundaries, stack.tiers, stack.fills, stack.depths, strict=True)
        self._attach(
            [
                (boundary.queue, boundary.when_full == "refuse", tier.shared, fills, bool(stack.counting >> depth & 1))
                for boundary, tier, fills, depth in rows
            ]
        )
        self._worker = Worker(self)
        stack.index(self)
        stack.attached(self)

    def _told(self) -> None:
        """Something changed in the queues. It is called again if it was interrupted."""
        self._stack.signal.wake()
        self._worker.nudge(self)

    def _below(self, key: str, default: Any) -> Any:
        return run(reads.get(self, key, default))

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """See `Cache.get_many`."""
        found, reading = self._read_many(keys)
        return found if reading is None else run(reads.get_many(self, found, reading))

    def scan(self, pattern: str | None = None) -> Iterator[str]:
        """See `Cache.scan`."""
        seen = _near_keys(self, pattern)
        return self._scan_all(seen, pattern)

    def _scan_all(self, seen: dict[str, None], pattern: str | None) -> Iterator[str]:
        yield from seen
        for depth in self._stack.depths:
            cursor: int | None = 0
            while cursor is not None:
                cursor, keys = run(reads.scan(self, depth, cursor, pattern))
                yield from _unseen(self, depth, keys, seen)

    def resize(self, capacity: Size | None = None, *, max_entries: int | None = None) -> None:
        """See `Cache.resize`. What leaves memory goes to the tier below."""
        super().resize(capacity, max_entries=max_entries)
        self._worker.nudge(self)

    def unpin(self, key: str) -> bool:
        """See `Cache.unpin`."""
        unpinned = super().unpin(key)
        self._worker.nudge(self)
        return unpinned

    def flush(self) -> None:
        """See `Cache.flush`."""
        run(_flush(self))

    def close(self) -> None:
        """See `Cache.close`."""
        if not self.closed:
            run(_close(self))

    def stats(self) -> Stats:
        """See `Cache.stats`."""
        stack = self._stack
        queues, promoted = self._queues() if not self.closed else ([], 0)
        latencies = [Latency.of(told) for told in self._latencies()]
        told = super().stats()
        below = []
        for depth, tier in enumerate(stack.tiers):
            entries, size, refused = queues[depth] if depth < len(queues) else (0, 0, 0)
            stats = tier.stats()
            failures = max(stats.failures, stack.failures[depth])
            corrupt = stats.corrupt + stack.corrupt[depth]
            refused += stats.refused
            latency = latencies[depth] if latencies else None
            stats = replace(stats, failures=failures, corrupt=corrupt, refused=refused, latency=latency)
            below.append(replace(stats, queued=entries, queued_bytes=size))
        return replace(told, tiers=tuple(below), promoted=promoted)

    def items(self) -> Items:
        """See `Cache.items`. Those of tiers are read one by one, and climb."""
        return _Items(self)

    def values(self) -> Values:
        """See `Cache.values`."""
        return _Values(self)

    def __contains__(self, key: object) -> bool:
        return self.exists(cast(str, key))

    def __len__(self) -> int:
        return sum(1 for _ in self.scan())

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        if not self.delete(key):
            raise KeyError(key)


def _near_keys(cache: TieredCache, pattern: str | None) -> dict[str, None]:
    """Keys of memory and of what is on its way."""
    if pattern is not None and not isinstance(pattern, str):
        raise TypeError(f"pattern: expected a str, got {type(pattern).__name__}")
    seen: dict[str, None] = {}
    cursor: int | None = 0
    while cursor is not None:
        cursor, batch = cache._scan(cursor, BATCH, pattern)
        seen.update((key, None) for key, _ in batch if cache._near_exists(key))  # but what others changed
    matches = matcher(pattern)
    seen.update((key, None) for key in cache._on_the_way() if matches(key))
    return seen


def _unseen(cache: TieredCache, depth: int, keys: list[str], seen: dict[str, None]) -> list[str]:
    fresh = [key for key in keys if key not in seen]
    if depth + 1 < len(cache._stack.tiers):  # tiers below may have them too
        seen.update(dict.fromkeys(fresh))
    return fresh


def _flush(cache: TieredCache) -> Flow[None]:
    cache._near_exists("")  # a closed cache says so
    stack = cache._stack
    yield from drain.flush(cache)
    for depth, tier in enumerate(stack.tiers):
        try:
            yield from tier.flush()
        except FAILURES as error:
            stack.failed(depth, "flush", (), error)
    stack.raise_untold()


def _close(cache: TieredCache) -> Flow[None]:
    stack = cache._stack
    try:
        cache._part()
        if cache.config.save_interval is not None:  # a file is written
            yield Call(cache._keep)
        yield from drain.flush(cache, time.monotonic() + PATIENCE)
    finally:
        cache._worker.stop()
        cache._detach()
        Memory.close(cache)
        stack.signal.wake()
        for depth, tier in enumerate(stack.tiers):
            try:
                yield from tier.close()
            except FAILURES as error:
                stack.failed(depth, "close", (), error)
        stack.counters = None  # they keep a directory's file mapped
    stack.raise_untold()


class _Items(Items):
    _mapping: TieredCache

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        copies = self._mapping.config.copy
        for key in self._mapping.scan():
            value, _ = run(reads.entry_of(self._mapping, key))
            if value is not MISSING:
                yield key, deepcopy(value) if copies else value

    def __contains__(self, item: object) -> bool:
        if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[0], str):
            return False
        value, _ = run(reads.entry_of(self._mapping, item[0]))
        return value is not MISSING and bool(value is item[1] or value == item[1])


class _Values(Values):
    _mapping: TieredCache

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in _Items(self._mapping))


class TieredFace(AsyncCache):
    """The async face of a `TieredCache`."""

    __slots__ = ()
    sync: TieredCache

    async def get(self, key: str, default: Any = None) -> Any:
        """See `Cache.get`."""
        value = self.sync._near(key, MISSING)
        if value is not MISSING:
            return value
        value = self.sync._express(key)
        if value is NotImplemented:
            return await arun(reads.get(self.sync, key, default))
        return default if value is MISSING else value

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """See `Cache.get_many`."""
        found, reading = self.sync._read_many(keys)
        return found if reading is None else await arun(reads.get_many(self.sync, found, reading))

    async def scan(self, pattern: str | None = None) -> AsyncIterator[str]:
        """See `Cache.scan`."""
        seen = _near_keys(self.sync, pattern)
        for key in list(seen):
            yield key
        for depth in self.sync._stack.depths:
            cursor: int | None = 0
            while cursor is not None:
                await asyncio.sleep(0)
                cursor, keys = await arun(reads.scan(self.sync, depth, cursor, pattern))
                for key in _unseen(self.sync, depth, keys, seen):
                    yield key

    async def flush(self) -> None:
        """See `Cache.flush`."""
        await arun(_flush(self.sync))

    async def close(self) -> None:
        """See `Cache.close`."""
        if not self.sync.closed:
            await arun(_close(self.sync))


TieredCache._face = TieredFace
for _name, _flow in VERBS.items():
    setattr(TieredCache, _name, _sync(_flow, getattr(Cache, _name)))
    if hasattr(AsyncCache, _name):
        setattr(TieredFace, _name, _async(_flow, getattr(AsyncCache, _name)))

_made: WeakKeyDictionary[type, type] = WeakKeyDictionary()


def tiered(kind: type) -> type:
    """The class of caches with tiers for a class of users' own, whose methods come before these."""
    if issubclass(TieredCache, kind):
        return TieredCache
    if issubclass(kind, TieredCache):
        return kind
    made = _made.get(kind)
    if made is None:
        made = _made[kind] = type(kind.__name__, (kind, TieredCache), {"__module__": kind.__module__, "__doc__": kind.__doc__})
    return made
