"""What all tiers over a network have in common: a name, limits of time, and records made and read as one does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from forecache import checks
from forecache._core import Entry, Packing
from forecache.tiers.boundary import Boundary, Compressed
from forecache.tiers.breaker import Tell
from forecache.tiers.hedge import Hedge
from forecache.tiers.retry import Retry
from forecache.tiers.tier import Now, Tier
from forecache.units import Size, parse_size

__all__ = ["OPENED", "PACKED", "Records", "Remote", "large", "marked", "needs", "public"]

PACKED, OPENED = 2**16, 2**18
"""Bytes that are packed, or unpacked, where one stands, whatever the face: it takes less than a thread."""


@dataclass(frozen=True, init=False)
class Remote(Boundary):
    """A tier that other hosts share. `called` is its name, so that a cache can have two of a kind; `capacity` its byte budget,
    None for none of ours. A call that failed to connect is tried again `retries` times within `timeout`; a read is sent a
    second time when `hedge` seconds have brought no answer, and the first answer counts."""

    called: str
    capacity: int | None
    packed: Compressed
    retries: int
    hedge: float | None

    @property
    def name(self) -> str:
        """See `Boundary`."""
        return self.called

    @property
    def journalled(self) -> bool:
        """See `Boundary`."""
        return True

    @property
    def address(self) -> str | None:
        """See `Boundary`. What the URL or the servers say of the place."""
        given = getattr(self, "url", None) or getattr(self, "servers", None)
        if given is None:
            return None
        return ",".join(map(public, [given] if isinstance(given, str) else given))

    def _layered(self, tier: Tier, now: Now, tell: Tell | None) -> Tier:
        if self.retries:
            tier = Retry(tier, self.retries, self.timeout, now)
        if self.hedge is not None:
            tier = Hedge(tier, self.hedge)
        return super()._layered(tier, now, tell)

    def _take_remote(self, *, called: str, capacity: Size | None, retries: int, hedge: Any, **options: Any) -> None:
        """Sets the fields of all remote tiers, or raises `ConfigError`; then as `_take`."""
        object.__setattr__(self, "called", checks.name("name", called))
        field = self._field
        self._take(
            capacity=None if capacity is None else parse_size(capacity, field("capacity")),
            retries=checks.whole(field("retries"), retries, 0, 10),
            hedge=checks.time(field("hedge"), hedge),
            **options,
        )


class Records:
    """Entries to records of bytes and back, for the keys of a namespace; counts what is damaged."""

    def __init__(self, namespace: str, packing: Packing) -> None:
        self.namespace = namespace
        self.corrupt = 0
        self._packing = packing

    def seal(self, key: str, entry: Entry) -> bytes:
        """The record of an entry."""
        return entry.seal(self.namespace, key, self._packing)

    def seal_pieces(self, key: str, entry: Entry) -> list[bytes]:
        """The same in pieces, one of which may be the payload itself."""
        return entry.seal_pieces(self.namespace, key, self._packing)


def large(entries: Iterable[Entry]) -> bool:
    """Whether packing all of these would hold up a loop."""
    return sum([len(entry.payload) for entry in entries]) > PACKED


def marked(tags: Sequence[str], owner: str | None) -> tuple[Sequence[str], str | None]:
    """Tags and owner by whose marks a tier finds what is to be cleared. What has no owner has no mark: with it goes all."""
    return ((), None) if owner == "" else (tags, owner)


def public(url: str) -> str:
    """A URL without what may be secret: user, password, query and fragment.

    >>> public("rediss://app:secret@cache.example:6380/1?password=secret")
    'rediss://cache.example:6380/1'
    """
    scheme, mark, rest = url.split("#", maxsplit=1)[0].split("?", maxsplit=1)[0].rpartition("://")
    return scheme + mark + rest[rest.rfind("@") + 1 :]


def needs(extra: str, error: ImportError) -> ImportError:
    """What to raise where the client of a tier isn't installed."""
    return ImportError(f"this tier needs {error.name}: pip install 'forecache[{extra}]'", name=error.name)
