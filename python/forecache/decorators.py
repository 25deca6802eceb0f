"""`@cache.cached`: a function whose results are kept in the cache."""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, Protocol, TypeVar, overload

from forecache import loads
from forecache._core import MISSING
from forecache.checks import is_async
from forecache.units import Duration, wrong

if TYPE_CHECKING:
    from forecache.cache import Cache
    from forecache.flow import Flow
    from forecache.loads import Options

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class CacheInfo(NamedTuple):
    """What `cache_info()` of a cached function tells: calls answered from the cache and not, and what is kept now."""

    hits: int
    misses: int
    capacity: int
    """Of the whole cache."""
    entries: int
    """Of this function."""


class Cached(Protocol[P, R_co]):
    """A cached function."""

    @property
    def __wrapped__(self) -> Callable[P, R_co]:
        """The function itself."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Answer from the cache, or call the function and keep its result."""

    def __get__(self, instance: Any, owner: Any = None) -> Callable[..., R_co]: ...
    def cache_info(self) -> CacheInfo:
        """Hits and misses of this function, and what it has in the cache."""

    def cache_clear(self) -> None:
        """Removes this function's entries, and no others, and counts anew."""

    def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key that a call with these arguments has."""


class _Tally:
    """Counts calls from any thread; adding is one step of C."""

    def __init__(self) -> None:
        self._count = itertools.count()
        self._looks = 0
        self._before = 0
        self._looking = threading.Lock()
        self.add = self._count.__next__

    def total(self) -> int:
        with self._looking:
            self._looks += 1
            return next(self._count) - self._looks + 1 - self._before

    def reset(self) -> None:
        self._before += self.total()


class CachedMethods:
    """The decorator, as both faces have it."""

    __slots__ = ()

    @overload
    def cached(self, function: Callable[P, R], /) -> Cached[P, R]: ...
    @overload
    def cached(
        self,
        /,
        *,
        ttl: Duration | None = None,
        key: str | Callable[..., str] | None = None,
        tags: Iterable[str] = (),
        negative_ttl: Duration | None = None,
        tti: Duration | None = None,
        owner: str | None = None,
        cost: float | None = None,
    ) -> Callable[[Callable[P, R]], Cached[P, R]]: ...
    def cached(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        ttl: Duration | None = None,
        key: str | Callable[..., str] | None = None,
        tags: Iterable[str] = (),
        negative_ttl: Duration | None = None,
        tti: Duration | None = None,
        owner: str | None = None,
        cost: float | None = None,
    ) -> Any:
        """Keeps the results of a function, `def` or `async def`, of either face; usable without parentheses too.

        `key` and each of `tags` are templates over the parameters, `"user:{id}"`, defaults and attributes included; `key` may
        also be a function of the same arguments. Without `key` it is made of module, name and arguments, which must then be
        numbers, texts, bytes, None, dates, enumerations, or tuples and frozen things of these: `TypeError` for others.
        A result of None is found nothing, see `negative_ttl` of `Cache.get_or_load`; the other options are those of `set`.

        The function gets `cache_info()`, `cache_clear()` and `cache_key(*args, **kwargs)`, and keeps its name, signature and
        `__wrapped__`. Raises `ConfigError` for a template with a field that is no parameter, and for a generator.

        >>> from forecache import Cache
        >>> cache = Cache()
        >>> @cache.cached(ttl="1h", key="square:{x}", tags=["maths"])
        ... def square(x):
        ...     return x * x
        >>> square(3), square(3), square.cache_key(3), cache.get("square:3")
        (9, 9, 'square:3', 9)
        >>> square.cache_info().hits, cache.invalidate(tags=["maths"])
        (1, 1)
        """
        options = loads.Options(ttl=ttl, tti=tti, owner=owner, cost=cost)
        loads.check(self.sync, options, negative_ttl)  # type: ignore[attr-defined]
        made = _Maker(self.sync, key, tags, options, negative_ttl)  # type: ignore[attr-defined]
        return made if function is None else made(function)


class _Maker:
    """What `cached(…)` with options returns: makes cached functions."""

    def __init__(
        self,
        cache: Cache,
        key: str | Callable[..., str] | None,
        tags: Iterable[str],
        options: Options,
        negative_ttl: Duration | None,
    ) -> None:
        self.cache, self.key, self.options, self.negative_ttl = cache, key, options, negative_ttl
        if isinstance(tags, str):
            raise wrong("tags", tags, f"a list of texts: [{tags!r}]")
        self.tags = tuple(tags)

    def __call__(self, function: Callable[..., Any]) -> Any:
        if not callable(function) or isinstance(function, type):
            raise wrong("function", function, "a function; write @cache.cached(ttl=…) with names")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise wrong("function", function, "a function that returns its result: a generator can be read only once")
        from forecache.flow import Call, arun, run
        from forecache.keys import Binder, Template, key_maker
        from forecache.loads import get_or_load

        cache, get, negative_ttl = self.cache, self.cache._near, self.negative_ttl
        binder = Binder(function)
        name = cache._names.new(f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(function))}")
        own_tag = f"forecache.cached:{name}"
        key_of = key_maker(self.key, name, binder)
        tag_templates = [Template("tags", tag, binder.names) for tag in self.tags]
        hits, misses = _Tally(), _Tally()
        hit = hits.add

        def load(key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Flow[Any]:
            misses.add()
            tags = [own_tag]
            if tag_templates:
                values = binder(args, kwargs)
                tags += [template(values) for template in tag_templates]
            return get_or_load(cache, key, Call(function, args, kwargs), negative_ttl, {**self.options, "tags": tags})

        def call(*args: Any, **kwargs: Any) -> Any:
            key = key_of(args, kwargs)
            value = get(key, MISSING)
            if value is MISSING:
                return run(load(key, args, kwargs))
            hit()
            return value

        async def acall(*args: Any, **kwargs: Any) -> Any:
            key = key_of(args, kwargs)
            value = get(key, MISSING)
            if value is MISSING:
                return await arun(load(key, args, kwargs))
            hit()
            return value

        def cache_info() -> CacheInfo:
            return CacheInfo(hits.total(), misses.total(), cache._stats()["capacity"], cache._tagged(own_tag))

        def cache_clear() -> None:
            cache._invalidate([own_tag])
            hits.reset()
            misses.reset()

        wrapper: Any = functools.wraps(function)(acall if is_async(function) else call)
        wrapper.cache_info, wrapper.cache_clear = cache_info, cache_clear
        wrapper.cache_key = lambda *args, **kwargs: key_of(args, kwargs)
        return wrapper


class Names:
    """Names of a cache's functions. One that comes again, such as a function made anew in each call of another, gets a number."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def new(self, name: str) -> str:
        """The name to use."""
        with self._lock:
            number = self._seen[name] = self._seen.get(name, 0) + 1
        return name if number == 1 else f"{name}#{number}"
