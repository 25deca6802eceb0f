"""A tier that is a dict: the shortest that keeps the protocol, for tests, and to begin a tier of one's own with."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from forecache._core import Entry
from forecache.errors import TierUnavailable
from forecache.flow import Flow
from forecache.tiers.tier import SCANNED, Now, Stored, TierStats, lives, versioned, wall_time

__all__ = ["DictTier", "Held", "matcher"]

_versions = itertools.count(1)
_changing = threading.RLock()
"""One for all of them, since several may have the same dict; a tier for tests needs no better."""


class Held(NamedTuple):
    """An entry as a `DictTier` has it."""

    entry: Entry
    used: int
    """When it was last read or written."""


class DictTier:
    """Entries in a plain dict, which nothing leaves but by request or expiry. Caches that are given the same dict share it.

    >>> from forecache._core import Entry
    >>> from forecache.flow import run
    >>> tier = DictTier()
    >>> run(tier.set_many({"a": Entry(b"value")}))
    Stored(refused=(), evicted={}, reason=None)
    >>> run(tier.get_many(["a", "b"]))["a"].payload
    b'value'
    """

    def __init__(
        self,
        entries: MutableMapping[str, Held] | None = None,
        *,
        name: str = "dict",
        shared: bool = False,
        now: Now | None = None,
    ) -> None:
        """`now` gives milliseconds since 1970; the system's time if None."""
        self.entries: MutableMapping[str, Held] = {} if entries is None else entries
        self.name = name
        self.shared = shared
        self._now = now or wall_time()
        self._counts = dict.fromkeys(("hits", "misses", "sets"), 0)
        self._closed = False

    @contextmanager
    def _open(self) -> Iterator[MutableMapping[str, Held]]:
        """The dict, for this thread alone, without what has expired."""
        with _changing:
            if self._closed:
                raise TierUnavailable(f"{self.name}: closed")
            now = self._now()
            for key in [key for key, held in self.entries.items() if not lives(*held, now)]:
                del self.entries[key]
            yield self.entries

    def _put(self, key: str, entry: Entry) -> None:
        self.entries[key] = Held(versioned(entry, next(_versions)), self._now())
        self._counts["sets"] += 1

    def get_many(self, keys: Sequence[str]) -> Flow[dict[str, Entry]]:
        """See `Tier`."""
        yield from ()
        with self._open() as entries:
            found = {key: entries[key].entry for key in keys if key in entries}
            for key, entry in found.items():
                entries[key] = Held(entry, self._now())
            self._counts["hits"] += len(found)
            self._counts["misses"] += len(keys) - len(found)
            return found

    def set_many(self, entries: Mapping[str, Entry], *, absent: bool = False) -> Flow[Stored]:
        """See `Tier`."""
        yield from ()
        with self._open() as there:
            for key, entry in entries.items():
                if not (absent and key in there):
                    self._put(key, entry)
        return Stored()

    def delete_many(self, keys: Sequence[str]) -> Flow[set[str]]:
        """See `Tier`."""
        yield from ()
        with self._open() as entries:
            return {key for key in keys if entries.pop(key, None) is not None}

    def swap(self, key: str, version: int | None, entry: Entry | None) -> Flow[bool]:
        """See `Tier`."""
        yield from ()
        with self._open() as entries:
            held = entries.get(key)
            if (held and held.entry.version) != version:
                return False
            if entry is not None:
                self._put(key, entry)
            elif held is not None:
                del entries[key]
            return True

    def scan(self, cursor: int, pattern: str | None) -> Flow[tuple[int | None, list[str]]]:
        """See `Tier`. The cursor is a version, which grows: whatever is written meanwhile, what isn't comes exactly once."""
        yield from ()
        matches = matcher(pattern)
        with self._open() as entries:
            rest = sorted((held.entry.version, key) for key, held in entries.items() if held.entry.version > cursor)
        now = rest[:SCANNED]
        return now[-1][0] if len(rest) > SCANNED else None, [key for _, key in now if matches(key)]

    def clear(self, *, tags: Sequence[str] = (), owner: str | None = None) -> Flow[int | None]:
        """See `Tier`."""
        yield from ()
        with self._open() as entries:
            every = not tags and owner is None
            named = [
                key
                for key, (entry, _) in entries.items()
                if every or (owner is not None and entry.owner == owner) or not set(tags).isdisjoint(entry.tags)
            ]
            for key in named:
                del entries[key]
            return len(named)

    def flush(self) -> Flow[None]:
        """See `Tier`."""
        yield from ()
        with self._open():
            return

    def close(self) -> Flow[None]:
        """See `Tier`. The dict stays as it is."""
        yield from ()
        self._closed = True

    def stats(self) -> TierStats:
        """See `Tier`."""
        return TierStats(self.name, entries=len(self.entries), **self._counts)  # type: ignore[arg-type]


def matcher(pattern: str | None) -> Callable[[str], bool]:
    """Whether a key matches `pattern`, in which `*` stands for any characters and `?` for one; None matches all.

    >>> [key for key in ("page:1", "page:22", "user:1") if matcher("page:?")(key)]
    ['page:1']
    """
    if pattern is None:
        return lambda _key: True
    wild = {"*": ".*", "?": "."}
    expression = re.compile("".join(wild.get(each) or re.escape(each) for each in pattern), re.DOTALL)
    return lambda key: expression.fullmatch(key) is not None
