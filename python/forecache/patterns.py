"""What a cache is told of keys and owners by pattern: the first that matches counts (`*` any run of characters, `?` any one)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias, TypeVar

from forecache import checks
from forecache.units import Duration, Size, nearest, parse_size, wrong

__all__ = ["Group", "Groups", "Owner", "Owners", "groups", "owners"]

MOST_PATTERNS = 4095
LOWEST, HIGHEST = -(2**15), 2**15 - 1


@dataclass(frozen=True)
class Group:
    """Times of the keys that match a pattern of `groups=`. None leaves a time to the cache's own default.

    >>> from forecache import Cache
    >>> Cache(groups={"token:*": Group(ttl="5m"), "page:*": Group(ttl="1h", tti="10m")}).config.groups
    (('token:*', 300.0, None), ('page:*', 3600.0, 600.0))
    """

    ttl: Duration | None = None
    tti: Duration | None = None


@dataclass(frozen=True)
class Owner:
    """What the owners whose names match a pattern of `owners=` may claim of a cache that is full.

    Entries of a lower `priority` leave first. Who has more than its `budget` (bytes, or the weigher's unit; each owner for
    itself) gives before anybody who hasn't; while there is room, it may have more.

    >>> from forecache import Cache
    >>> Cache(owners={"batch-*": Owner(priority=-1), "web": Owner(priority=1, budget="200MB")}).config.owners
    (('batch-*', -1, None), ('web', 1, 200000000))
    """

    priority: int = 0
    budget: Size | None = None


Groups: TypeAlias = Mapping[str, "Group | Duration | Mapping[str, Any]"] | Iterable[tuple[str, float | None, float | None]]
Owners: TypeAlias = Mapping[str, "Owner | int | Mapping[str, Any]"] | Iterable[tuple[str, int, int | None]]
Kind = TypeVar("Kind", Group, Owner)


def groups(given: Groups | None) -> Iterator[tuple[str, float | None, float | None]]:
    """Pattern, time to live and time to idle of each; a time alone is one to live."""
    for field, pattern, group in _each("groups", given, Group, "durations or Group(ttl=…, tti=…)"):
        yield pattern, checks.time(f"{field}.ttl", group.ttl), checks.time(f"{field}.tti", group.tti)


def owners(given: Owners | None) -> Iterator[tuple[str, int, int | None]]:
    """Pattern, priority and budget of each; a number alone is a priority."""
    for field, pattern, owner in _each("owners", given, Owner, "priorities or Owner(priority=…, budget=…)"):
        priority = checks.whole(f"{field}.priority", owner.priority, LOWEST, HIGHEST)
        if priority is None:
            raise wrong(f"{field}.priority", None, f"a whole number from {LOWEST} to {HIGHEST}")
        yield pattern, priority, None if owner.budget is None else parse_size(owner.budget, f"{field}.budget")


def _each(option: str, given: Any, kind: type[Kind], allowed: str) -> Iterator[tuple[str, str, Kind]]:
    """Name in errors, pattern and what is said of it; what is neither `kind` nor a mapping is its first field."""
    if given is None:
        return
    names = [each.name for each in fields(kind)]
    try:
        pairs = list(given.items()) if isinstance(given, Mapping) else [_pair(kind, names, *each) for each in given]
    except (TypeError, ValueError):
        raise wrong(option, given, f"a mapping of patterns to {allowed}") from None
    if len(pairs) > MOST_PATTERNS:
        raise wrong(option, f"{len(pairs)} patterns", f"at most {MOST_PATTERNS}")
    for pattern, said in pairs:
        field = f"{option}[{pattern!r}]"
        checks.text(field, pattern)
        if isinstance(said, Mapping):
            for name in said:
                if name not in names:
                    raise wrong(f"{field}.{name}", said[name], nearest(name, names))
            yield field, pattern, kind(**said)
        else:
            alone: Any = said
            yield field, pattern, alone if isinstance(alone, kind) else kind(alone)


def _pair(kind: type[Kind], names: list[str], *parts: Any) -> tuple[Any, Kind]:
    """Of a pattern and all that is said of it, as a `Config` has them."""
    pattern, *said = parts
    return pattern, kind(**dict(zip(names, said, strict=True)))
