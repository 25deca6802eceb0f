"""Awaited hits: `await cache.get(key)` in a running loop, beside the other caches that have one.

What suspends nobody still makes a coroutine and drives it: `a coroutine` shows what that costs by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from timing import CLOCK, VALUE, Times, Workload, percentiles

Get = Callable[[str], Awaitable[Any]]


async def bare(work: Workload) -> Get:
    """No cache: what `async def` itself costs."""
    values = dict.fromkeys(work.keys, VALUE)

    async def get(key: str) -> Any:
        return values.get(key)

    return get


async def forecache(work: Workload) -> Get:
    """Ours, through its async face, with a TTL."""
    from forecache import Cache

    cache = Cache("4GB", ttl=3600, seed=1).aio
    for key in work.keys:
        await cache.set(key, VALUE)
    return cache.get


async def aiocache(work: Workload) -> Get:
    """Without a TTL, which would be a timer of the event loop for each entry."""
    from aiocache import SimpleMemoryCache

    cache = SimpleMemoryCache()
    for key in work.keys:
        await cache.set(key, VALUE)
    return cache.get  # type: ignore[no-any-return]


async def cashews(work: Workload) -> Get:
    """In memory, with a TTL."""
    from cashews import Cache

    cache = Cache()
    cache.setup("mem://", size=work.entries)
    for key in work.keys:
        await cache.set(key, VALUE, expire=3600)
    return cache.get


FACES = {"a coroutine": bare, "forecache": forecache, "aiocache": aiocache, "cashews": cashews}


async def _race(work: Workload, rounds: int) -> dict[str, Times]:
    gets = {name: await make(work) for name, make in FACES.items()}
    best: dict[str, Times] = {name: {} for name in gets}
    for _ in range(rounds):
        for name, get in gets.items():
            times = await _round(get, work.asked)
            best[name] = {part: min(time, best[name].get(part, time)) for part, time in times.items()}
    for times in best.values():
        times["mean"] = times.pop("loop") - times.pop("empty")
    return best


async def _round(get: Get, keys: list[str]) -> Times:
    singles, empty = [0] * len(keys), [0] * len(keys)
    start = CLOCK()
    for _ in keys:
        pass
    nothing = CLOCK() - start
    start = CLOCK()
    for key in keys:
        await get(key)
    loop = CLOCK() - start
    for at, key in enumerate(keys):
        before = CLOCK()
        await get(key)
        singles[at] = CLOCK() - before
    for at, _ in enumerate(keys):
        before = CLOCK()
        empty[at] = CLOCK() - before
    return {"loop": loop / len(keys), "empty": nothing / len(keys), **percentiles(singles, empty)}


def race_awaited(work: Workload, rounds: int) -> dict[str, Times]:
    """Best mean, p50, p95 and p99 of an awaited hit, by cache."""
    return asyncio.run(_race(work, rounds))
