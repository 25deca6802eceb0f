"""A tier around a tier that passes everything on: what layers derive from, so that each says only what it does otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from forecache._core import Entry
from forecache.flow import Flow
from forecache.tiers.tier import LIMITS, Stored, Tier, TierStats

__all__ = ["Layer"]


class Layer:
    """See the head of this module."""

    passed: ClassVar[frozenset[str]] = LIMITS | {"address", "counters", "express", "index"}
    """What a tier may have beside its verbs, and then the layer has too."""

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self.name = tier.name
        self.shared = tier.shared

    def __getattr__(self, name: str) -> Any:
        if name in self.passed:
            return getattr(self.tier, name)
        raise AttributeError(f"{type(self).__name__} has no {name}")

    @property
    def on_replaced(self) -> Callable[[], object] | None:
        """What the tier calls when another server answers than before. A tier that can't tell has no such attribute."""
        return self.tier.on_replaced  # type: ignore[attr-defined, no-any-return]

    @on_replaced.setter
    def on_replaced(self, owe: Callable[[], object] | None) -> None:
        self.tier.on_replaced = owe  # type: ignore[attr-defined]

    @property
    def on_unsure(self) -> Callable[[Sequence[str], int], object] | None:
        """What the tier calls with keys of which a write was given up that may be done until then, in milliseconds since 1970."""
        return self.tier.on_unsure  # type: ignore[attr-defined, no-any-return]

    @on_unsure.setter
    def on_unsure(self, hold: Callable[[Sequence[str], int], object] | None) -> None:
        self.tier.on_unsure = hold  # type: ignore[attr-defined]

    def get_many(self, keys: Sequence[str]) -> Flow[dict[str, Entry]]:
        """See `Tier`."""
        return self.tier.get_many(keys)

    def set_many(self, entries: Mapping[str, Entry], *, absent: bool = False) -> Flow[Stored]:
        """See `Tier`."""
        return self.tier.set_many(entries, absent=absent)

    def delete_many(self, keys: Sequence[str]) -> Flow[set[str]]:
        """See `Tier`."""
        return self.tier.delete_many(keys)

    def swap(self, key: str, version: int | None, entry: Entry | None) -> Flow[bool]:
        """See `Tier`."""
        return self.tier.swap(key, version, entry)

    def scan(self, cursor: int, pattern: str | None) -> Flow[tuple[int | None, list[str]]]:
        """See `Tier`."""
        return self.tier.scan(cursor, pattern)

    def clear(self, *, tags: Sequence[str] = (), owner: str | None = None) -> Flow[int | None]:
        """See `Tier`."""
        return self.tier.clear(tags=tags, owner=owner)

    def flush(self) -> Flow[None]:
        """See `Tier`."""
        return self.tier.flush()

    def close(self) -> Flow[None]:
        """See `Tier`."""
        return self.tier.close()

    def stats(self) -> TierStats:
        """See `Tier`."""
        return self.tier.stats()
