"""The async face of a cache: the same store, flights and events, every verb awaitable."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from forecache import flow, loads
from forecache._core import MISSING
from forecache.config import Config
from forecache.decorators import CachedMethods
from forecache.events import Listener
from forecache.units import Duration, Size
from forecache.views import batches

if TYPE_CHECKING:
    from forecache.cache import Cache
    from forecache.explain import Candidate, Explanation
    from forecache.model import AsyncModel
    from forecache.recording import Recording
    from forecache.stats import Stats


class AsyncCache(CachedMethods):
    """What `cache.aio` is; made by itself, it takes the options of `Cache` and has one inside, as `sync`.

    Methods do what their namesakes of `Cache` do. They may be awaited in any event loop, in several at a time too.

    >>> import asyncio
    >>> async def main():
    ...     async with AsyncCache("10MB") as cache:
    ...         await cache.set("a", 1)
    ...         return await cache.get("a")
    >>> asyncio.run(main())
    1
    """

    sync: Cache
    """The sync face."""
    __slots__ = ("__weakref__", "sync")

    def __init__(self, capacity: Size = "100MB", **options: Any) -> None:
        from forecache.cache import Cache

        self.sync = Cache(capacity, **options)
        self.sync._aio = self
        if self.sync._face is not AsyncCache and type(self) is AsyncCache:
            self.__class__ = self.sync._face

    @classmethod
    def _of(cls, cache: Cache) -> AsyncCache:
        face = cls.__new__(cls)
        face.sync = cache
        return face

    @classmethod
    def from_config(cls, config: Config | str | os.PathLike[str] | None = None, **options: Any) -> AsyncCache:
        """See `Cache.from_config`."""
        from forecache.cache import Cache

        return Cache.from_config(config, **options).aio

    @classmethod
    def from_url(cls, *urls: str, **options: Any) -> AsyncCache:
        """See `Config.from_url`."""
        return cls.from_config(Config.from_url(*urls, **options))

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str], **options: Any) -> AsyncCache:
        """See `Config.from_toml`."""
        return cls.from_config(Config.from_toml(path, **options))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **options: Any) -> AsyncCache:
        """See `Config.from_env`."""
        return cls.from_config(Config.from_env(environ, **options))

    async def get(self, key: str, default: Any = None) -> Any:
        """See `Cache.get`."""
        return self.sync.get(key, default)

    async def set(
        self,
        key: str,
        value: Any,
        *,
        ttl: Duration | None = None,
        tti: Duration | None = None,
        tags: Iterable[str] | None = None,
        owner: str | None = None,
        cost: float | None = None,
        immutable: bool = False,
        pin: bool = False,
        write: str | None = None,
    ) -> bool:
        """See `Cache.set`."""
        return self.sync.set(
            key, value, ttl=ttl, tti=tti, tags=tags, owner=owner, cost=cost, immutable=immutable, pin=pin, write=write
        )

    async def add(
        self,
        key: str,
        value: Any,
        *,
        ttl: Duration | None = None,
        tti: Duration | None = None,
        tags: Iterable[str] | None = None,
        owner: str | None = None,
        cost: float | None = None,
        immutable: bool = False,
        pin: bool = False,
    ) -> bool:
        """See `Cache.add`."""
        return self.sync.add(key, value, ttl=ttl, tti=tti, tags=tags, owner=owner, cost=cost, immutable=immutable, pin=pin)

    async def delete(self, key: str) -> bool:
        """See `Cache.delete`."""
        return self.sync.delete(key)

    async def pop(self, key: str, default: Any = None) -> Any:
        """See `Cache.pop`."""
        return self.sync.pop(key, default)

    async def exists(self, key: str) -> bool:
        """See `Cache.exists`."""
        return self.sync.exists(key)

    async def touch(self, key: str, *, ttl: Duration | None = None, tti: Duration | None = None) -> bool:
        """See `Cache.touch`."""
        return self.sync.touch(key, ttl=ttl, tti=tti)

    async def ttl(self, key: str) -> float | None:
        """See `Cache.ttl`."""
        return self.sync.ttl(key)

    async def pin(self, key: str) -> bool:
        """See `Cache.pin`."""
        return self.sync.pin(key)

    async def unpin(self, key: str) -> bool:
        """See `Cache.unpin`."""
        return self.sync.unpin(key)

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """See `Cache.get_many`."""
        return self.sync.get_many(keys)

    async def set_many(
        self,
        items: Mapping[str, Any],
        *,
        ttl: Duration | None = None,
        tti: Duration | None = None,
        tags: Iterable[str] | None = None,
        owner: str | None = None,
        cost: float | None = None,
        immutable: bool = False,
        pin: bool = False,
        write: str | None = None,
    ) -> int:
        """See `Cache.set_many`."""
        return self.sync.set_many(
            items, ttl=ttl, tti=tti, tags=tags, owner=owner, cost=cost, immutable=immutable, pin=pin, write=write
        )

    async def delete_many(self, keys: Iterable[str]) -> int:
        """See `Cache.delete_many`."""
        return self.sync.delete_many(keys)

    async def get_or_load(
        self,
        key: str,
        loader: Callable[..., Any],
        *,
        ttl: Duration | None = None,
        negative_ttl: Duration | None = None,
        tti: Duration | None = None,
        tags: Iterable[str] | None = None,
        owner: str | None = None,
        cost: float | None = None,
        immutable: bool = False,
        pin: bool = False,
    ) -> Any:
        """Like `Cache.get_or_load`, with an async loader, or a plain one that then runs in a thread.

        What a plain loader returns is awaited if it can be. A load has a task of its own, so a caller who is cancelled takes
        nothing from the others; when the last one is gone, the load is cancelled (one in a thread can't be: it goes on).
        """
        value = self.sync._near(key, MISSING)
        if value is not MISSING:
            return value
        options = loads.Options(ttl=ttl, tti=tti, tags=tags, owner=owner, cost=cost, immutable=immutable, pin=pin)
        return await flow.arun(loads.get_or_load(self.sync, key, loads.call_of(loader, key), negative_ttl, options))

    async def incr(self, key: str, amount: float = 1, *, initial: float = 0, ttl: Duration | None = None) -> Any:
        """See `Cache.incr`."""
        return self.sync.incr(key, amount, initial=initial, ttl=ttl)

    async def compare_and_set(self, key: str, expected: Any, value: Any, *, ttl: Duration | None = None) -> bool:
        """See `Cache.compare_and_set`."""
        return self.sync.compare_and_set(key, expected, value, ttl=ttl)

    async def scan(self, pattern: str | None = None) -> AsyncIterator[str]:
        """Like `Cache.scan`, for `async for`; lets others run between batches."""
        import asyncio

        for batch in batches(self.sync, pattern):
            for key, _ in batch:
                yield key
            await asyncio.sleep(0)

    async def invalidate(self, *, tags: Iterable[str]) -> int:
        """See `Cache.invalidate`."""
        return self.sync.invalidate(tags=tags)

    async def candidates(self, n: int = 10) -> list[Candidate]:
        """See `Cache.candidates`."""
        return self.sync.candidates(n)

    async def explain(self, key: str) -> Explanation:
        """See `Cache.explain`."""
        return self.sync.explain(key)

    async def stats(self) -> Stats:
        """See `Cache.stats`."""
        return self.sync.stats()

    async def clear(self, *, owner: str | None = None) -> None:
        """See `Cache.clear`."""
        self.sync.clear(owner=owner)

    async def resize(self, capacity: Size | None = None, *, max_entries: int | None = None) -> None:
        """See `Cache.resize`."""
        self.sync.resize(capacity, max_entries=max_entries)

    async def flush(self) -> None:
        """See `Cache.flush`."""
        self.sync.flush()

    async def close(self) -> None:
        """See `Cache.close`."""
        if self.sync.config.save_interval is not None:  # a file is written
            from forecache.model import called

            await flow.arun(called(self.sync._keep))
        self.sync.close()

    @property
    def model(self) -> AsyncModel:
        """See `Cache.model`."""
        from forecache.model import AsyncModel

        return AsyncModel(self.sync)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self.sync.closed

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """See `Cache.subscribe`."""
        return self.sync.subscribe(listener)

    def record(
        self,
        path: str | os.PathLike[str],
        *,
        sample: float = 1.0,
        hash_keys: bool = True,
        secret: str | bytes | None = None,
        max_bytes: Size = "1GiB",
        duration: Duration | None = None,
    ) -> Recording:
        """See `Cache.record`; for `async with`, too."""
        return self.sync.record(path, sample=sample, hash_keys=hash_keys, secret=secret, max_bytes=max_bytes, duration=duration)

    async def __aenter__(self) -> AsyncCache:
        """See `Cache.__aenter__`."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """See `Cache.__aexit__`."""
        await self.close()

    def __repr__(self) -> str:
        return f"<async face of {self.sync!r}>"
