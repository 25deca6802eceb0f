"""Reading a whole cache: in batches, so that nobody waits for it, and without touching what is read."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, ValuesView
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from forecache._core import MISSING

if TYPE_CHECKING:
    from forecache.cache import Cache

BATCH = 256


def batches(cache: Cache, pattern: str | None = None) -> Iterator[list[tuple[str, Any]]]:
    """The live entries, so many places at a time."""
    if pattern is not None and not isinstance(pattern, str):
        raise TypeError(f"pattern: expected a str, got {type(pattern).__name__}")
    cache.exists("")  # a closed cache says so now, not at the first step
    return _batches(cache, pattern)


def _batches(cache: Cache, pattern: str | None) -> Iterator[list[tuple[str, Any]]]:
    cursor: int | None = 0
    while cursor is not None:
        cursor, batch = cache._scan(cursor, BATCH, pattern)
        yield batch


class Items(ItemsView[str, Any]):
    """Pairs of a cache."""

    _mapping: Cache

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        copies = self._mapping.config.copy
        for batch in batches(self._mapping):
            for key, value in batch:
                yield key, deepcopy(value) if copies else value

    def __contains__(self, item: object) -> bool:
        if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[0], str):
            return False
        value = self._mapping._peek(item[0], MISSING)
        return value is not MISSING and bool(value is item[1] or value == item[1])


class Values(ValuesView[Any]):
    """Values of a cache."""

    _mapping: Cache

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in Items(self._mapping))

    def __contains__(self, value: object) -> bool:
        return any(each is value or each == value for each in self)
