"""A ring: many tiers as one, each of which has its share of the keys.

Source: Karger et al., "Consistent Hashing and Random Trees" (STOC 1997), with many points a tier, as libketama (2007) has them.
The tier of a key is the one whose point follows the key's. Who takes a tier out moves its keys to the others, and no key else.
A tier that can't answer keeps its share, all misses: were that another's meanwhile, old entries would be found on its return.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, TypeVar

from forecache._core import Entry
from forecache.flow import All, Flow
from forecache.tiers.tier import Stored, Tier, TierStats

__all__ = ["Ring"]

T = TypeVar("T")
POINTS = 160
"""Points of each tier: shares differ by some percent."""
_SUMS = ("hits", "misses", "sets", "refused", "evicted", "corrupt", "failures", "dropped", "retried", "hedged")


class Ring:
    """A `Tier` of tiers, each under what tells it from the others: the same names give the same shares everywhere."""

    def __init__(self, name: str, parts: Mapping[str, Tier]) -> None:
        self.name = name
        self.parts = dict(parts)
        points = sorted((_point(f"{part}#{number}"), part) for part in self.parts for number in range(POINTS))
        self._points = [point for point, _ in points]
        self._tiers = [self.parts[part] for _, part in points]
        self._tiers.append(self._tiers[0])  # after the last point comes the first
        self._every = list(self.parts.values())
        self.shared = any(tier.shared for tier in self._every)
        self.lists = all(getattr(tier, "lists", True) for tier in self._every)

    @property
    def largest(self) -> int | None:
        """See `Limited`."""
        known = [each for tier in self._every if (each := getattr(tier, "largest", None)) is not None]
        return min(known, default=None)

    @property
    def decides(self) -> bool:
        """See `Limited`."""
        return all(getattr(tier, "decides", True) for tier in self._every)

    def tier(self, key: str) -> Tier:
        """Whose a key is."""
        return self._tiers[bisect(self._points, _point(key))] if len(self._every) > 1 else self._every[0]

    def _shares(self, keys: Iterable[str]) -> list[tuple[Tier, list[str]]]:
        shares: dict[int, tuple[Tier, list[str]]] = {}
        for key in keys:
            tier = self.tier(key)
            shares.setdefault(id(tier), (tier, []))[1].append(key)
        return list(shares.values())

    def _each(self, keys: Sequence[str] | Mapping[str, Entry], verb: Callable[[Tier, list[str]], Flow[T]]) -> Flow[list[T]]:
        """What the tiers of keys answer, asked side by side."""
        shares = self._shares(keys) if keys and len(self._every) > 1 else [(self._every[0], list(keys))]
        if len(shares) == 1:
            return [(yield from verb(*shares[0]))]
        return (yield All([verb(tier, mine) for tier, mine in shares]))  # type: ignore[no-any-return]

    def get_many(self, keys: Sequence[str]) -> Flow[dict[str, Entry]]:
        """See `Tier`."""
        first, *more = yield from self._each(keys, lambda tier, mine: tier.get_many(mine))
        for found in more:
            first.update(found)
        return first

    def set_many(self, entries: Mapping[str, Entry], *, absent: bool = False) -> Flow[Stored]:
        """See `Tier`."""

        def store(tier: Tier, mine: list[str]) -> Flow[Stored]:
            return tier.set_many({key: entries[key] for key in mine}, absent=absent)

        stored = yield from self._each(entries, store)
        evicted = {key: entry for each in stored for key, entry in each.evicted.items()}
        reason = next((each.reason for each in stored if each.reason is not None), None)
        return Stored({key for each in stored for key in each.refused}, evicted, reason)

    def delete_many(self, keys: Sequence[str]) -> Flow[set[str]]:
        """See `Tier`."""
        return set[str]().union(*(yield from self._each(keys, lambda tier, mine: tier.delete_many(mine))))

    def swap(self, key: str, version: int | None, entry: Entry | None) -> Flow[bool]:
        """See `Tier`."""
        return self.tier(key).swap(key, version, entry)

    def scan(self, cursor: int, pattern: str | None) -> Flow[tuple[int | None, list[str]]]:
        """See `Tier`. The cursor says which tier, and where to go on in it."""
        if not self.lists:
            return None, []
        at, number = divmod(cursor, len(self._every))
        on, keys = yield from self._every[number].scan(at, pattern)
        if on is not None:
            return on * len(self._every) + number, keys
        return (number + 1 if number + 1 < len(self._every) else None), keys

    def _all(self, verb: Callable[[Tier], Flow[Any]]) -> Flow[list[Any]]:
        return (yield All([verb(tier) for tier in self._every]))  # type: ignore[no-any-return]

    def clear(self, *, tags: Sequence[str] = (), owner: str | None = None) -> Flow[int | None]:
        """See `Tier`."""
        counts = yield from self._all(lambda tier: tier.clear(tags=tags, owner=owner))
        return None if None in counts else sum(counts)

    def flush(self) -> Flow[None]:
        """See `Tier`."""
        yield from self._all(lambda tier: tier.flush())

    def close(self) -> Flow[None]:
        """See `Tier`."""
        yield from self._all(lambda tier: tier.close())

    def stats(self) -> TierStats:
        """See `Tier`. `reason` names those that can't answer; it is `down` when none can."""
        told = [tier.stats() for tier in self._every]
        if len(told) == 1:
            return replace(told[0], name=self.name)
        states = {each.state for each in told}
        owed = [each.owed for each in told]
        return TierStats(
            self.name,
            **{field: sum(getattr(each, field) for each in told) for field in _SUMS},
            **{field: _sum([getattr(each, field) for each in told]) for field in ("entries", "bytes", "capacity")},  # type: ignore[arg-type]
            state="up" if "up" in states else "probing" if "probing" in states else "down",
            reason="; ".join(each.reason for each in told if each.reason) or None,
            owed=None if None in owed else _sum(owed),
            journal=", ".join(dict.fromkeys(each.journal for each in told if each.journal)) or None,
        )


def _point(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8, person=b"forecache ring").digest(), "big")


def _sum(told: list[int | None]) -> int | None:
    return None if None in told else sum(each or 0 for each in told)
