"""What a cache is made with: one frozen value, validated once, whose defaults work."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, TypeAlias

from forecache import sources
from forecache._core import POLICIES, FakeClock
from forecache.units import Duration, Size, parse_duration, parse_size, wrong

__all__ = ["Config", "Group", "parse_count", "parse_duration", "parse_size"]

MOST_PATTERNS = 4095


@dataclass(frozen=True)
class Group:
    """Times of the keys that match a pattern of `groups=`. None leaves a time to the cache's own default.

    >>> from forecache import Cache
    >>> Cache(groups={"token:*": Group(ttl="5m"), "page:*": Group(ttl="1h", tti="10m")}).config.groups
    (('token:*', 300.0, None), ('page:*', 3600.0, 600.0))
    """

    ttl: Duration | None = None
    tti: Duration | None = None


IN_LINE = "not async, since it is called in line: hand over to your loop, as with loop.call_soon_threadsafe(queue.put_nowait, …)"

Groups: TypeAlias = Mapping[str, "Group | Duration | Mapping[str, Any]"] | Iterable[tuple[str, float | None, float | None]]
Weigher: TypeAlias = Callable[[str, Any], int]
OnRemove: TypeAlias = Callable[[str, Any, str], object]


@dataclass(frozen=True, init=False)
class Config:
    """All options, in the one form that the rest of the package reads. They are explained in `Cache`.

    Raises `ConfigError` that names the option, what was given and what is allowed.

    >>> Config("512MB", ttl="2h5m").ttl
    7500.0
    >>> Config("many")
    Traceback (most recent call last):
    forecache.errors.ConfigError: capacity: got 'many'; allowed: a whole number ...
    """

    capacity: int
    max_entries: int | None
    policy: str
    ttl: float | None
    tti: float | None
    jitter: float
    weigher: Weigher | None
    copy: bool
    groups: tuple[tuple[str, float | None, float | None], ...]
    namespace: str
    seed: int | None
    on_remove: OnRemove | None
    clock: FakeClock | None
    control: str | None

    def __init__(
        self,
        capacity: Size = "100MB",
        max_entries: int | None = None,
        policy: str = "s3fifo",
        ttl: Duration | None = None,
        tti: Duration | None = None,
        jitter: float = 0,
        weigher: Weigher | None = None,
        copy: bool = False,
        groups: Groups | None = None,
        namespace: str = "",
        seed: int | None = None,
        on_remove: OnRemove | None = None,
        clock: FakeClock | None = None,
        control: str | os.PathLike[str] | None = None,
    ) -> None:
        valid = {
            "capacity": parse_size(capacity, "capacity"),
            "max_entries": _whole("max_entries", max_entries, 1, 2**32 - 1),
            "policy": _one_of("policy", policy, POLICIES),
            "ttl": _time("ttl", ttl),
            "tti": _time("tti", tti),
            "jitter": _share("jitter", jitter),
            "weigher": _function("weigher", weigher, "a function (key, value) -> weight as a whole number"),
            "copy": _flag("copy", copy),
            "groups": tuple(_groups(groups)),
            "namespace": _text("namespace", namespace),
            "seed": _whole("seed", seed, 0, 2**64 - 1),
            "on_remove": _function("on_remove", on_remove, "a function (key, value, cause)"),
            "clock": clock,
            "control": _path("control", control),
        }
        if clock is not None and not isinstance(clock, FakeClock):
            raise wrong("clock", clock, "None for the real one, or a forecache.testing.FakeClock")
        for name, value in valid.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_url(cls, *urls: str, **options: Any) -> Config:
        """Reads one URL a tier, options as its query; `options` (those of `Cache`) go before them.

        Raises `ConfigError` for an unknown tier or option.

        >>> Config.from_url("memory://?capacity=512MB&policy=lru&ttl=5m").capacity
        512000000
        """
        return cls(**{**sources.from_urls(urls), **options})

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str], **options: Any) -> Config:
        """Reads a TOML file: a table `[forecache]` (or `[tool.forecache]`), or the same at the top level.

        ```toml
        namespace = "app"
        ttl = "1h"

        [memory]                # a table for each tier
        capacity = "512MB"
        policy = "lru"

        [groups]                # the first pattern that matches a key wins
        "token:*" = "5m"
        "page:*" = { ttl = "1h", tti = "10m" }
        ```

        `options` (those of `Cache`) go before the file's. Raises `ConfigError` for what is wrong in it, `OSError` if it can't
        be read.
        """
        return cls(**{**sources.from_toml(Path(path)), **options})

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **options: Any) -> Config:
        """Reads `FORECACHE_<OPTION>` and `FORECACHE_<TIER>_<OPTION>`; `FORECACHE_<TIER>=on|off` switches a tier.

        `FORECACHE_GROUPS` is JSON. `options` (those of `Cache`) go before the environment's (`os.environ` if None). Raises
        `ConfigError` for a name that is none of ours, with the nearest one that is.

        >>> Config.from_env({"FORECACHE_MEMORY_CAPACITY": "1GB", "FORECACHE_GROUPS": '{"page:*": "1h"}'}).groups
        (('page:*', 3600.0, None),)
        """
        return cls(**{**sources.from_env(os.environ if environ is None else environ), **options})


def parse_count(value: int, field: str) -> int:
    """A whole number of entries, at least 1; `ConfigError` that names `field` for anything else."""
    count = _whole(field, value, 1, 2**32 - 1)
    if count is None:
        raise wrong(field, value, "a whole number")
    return count


def _time(field: str, value: Duration | None) -> float | None:
    return None if value is None else parse_duration(value, field)


def _whole(field: str, value: int | None, least: int, most: int) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise wrong(field, value, f"a whole number from {least} to {most}, or None")
    return value


def _one_of(field: str, value: str, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise wrong(field, value, sources.nearest(value, allowed))
    return value


def _share(field: str, value: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise wrong(field, value, "a share from 0 up to but not including 1: 0.1 ends entries up to 10 % early")
    return float(value)


def _function(field: str, value: Any, allowed: str) -> Any:
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


def _flag(field: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise wrong(field, value, "True or False")
    return value


def _text(field: str, value: str) -> str:
    try:
        value.encode()
    except (AttributeError, UnicodeEncodeError):
        raise wrong(field, value, "a str that can be encoded as UTF-8") from None
    return str(value)


def _path(field: str, value: str | os.PathLike[str] | None) -> str | None:
    if value is None:
        return None
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    if not isinstance(path, str) or not path or "\0" in path:
        raise wrong(field, value, "a path for a socket, or a directory")
    return path


def _groups(groups: Groups | None) -> Iterable[tuple[str, float | None, float | None]]:
    if groups is None:
        return
    try:
        pairs = list(groups.items()) if isinstance(groups, Mapping) else [(name, Group(ttl, tti)) for name, ttl, tti in groups]
    except (TypeError, ValueError):
        raise wrong("groups", groups, "a mapping of key patterns to durations or Group(ttl=…, tti=…)") from None
    if len(pairs) > MOST_PATTERNS:
        raise wrong("groups", f"{len(pairs)} patterns", f"at most {MOST_PATTERNS}")
    for pattern, group in pairs:
        field = f"groups[{pattern!r}]"
        _text(field, pattern)
        if isinstance(group, Mapping):
            for name in group:
                if name not in ("ttl", "tti"):
                    raise wrong(f"{field}.{name}", group[name], sources.nearest(name, ("ttl", "tti")))
            times = Group(**group)
        else:
            times = group if isinstance(group, Group) else Group(ttl=group)
        yield pattern, _time(f"{field}.ttl", times.ttl), _time(f"{field}.tti", times.tti)
