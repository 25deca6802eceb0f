"""Entries read part by part."""

from __future__ import annotations

from forecache._core import Entry
from forecache.errors import TierUnavailable
from forecache.flow import Flow
from forecache.tiers.objects.bucket import Bucket, Seen
from forecache.tiers.objects.form import CHECK, Head
from forecache.tiers.objects.places import Moved
from forecache.tiers.tier import versioned

__all__ = ["Held", "Ranged"]


class Ranged:
    """A `Reader` of an uncompressed entry: each part is a request of its own, and unchecked: the check is of the whole."""

    def __init__(self, bucket: Bucket, seen: Seen, head: Head) -> None:
        self.entry = head.entry
        self.length = head.begin.length
        self._bucket = bucket
        self._seen = seen
        self._start = seen.found.size - CHECK - self.length

    def read(self, offset: int, length: int) -> Flow[bytes]:
        """See `Reader`. Raises `TierUnavailable` if the entry was changed since it was opened."""
        end = min(offset + length, self.length)
        if offset >= end:
            return b""
        try:
            found = yield self._bucket.ask(
                "get", self._seen.name, (self._start + offset, self._start + end), self._seen.found.tag
            )
        except Moved:
            found = None
        if found is None:
            raise TierUnavailable("the entry was changed while it was read")
        return bytes(found.data)


class Held:
    """A `Reader` of an entry that had to be read whole."""

    def __init__(self, entry: Entry) -> None:
        self.entry = versioned(entry, entry.version, b"")
        self.length = len(entry.payload)
        self._payload = entry.payload

    def read(self, offset: int, length: int) -> Flow[bytes]:
        """See `Reader`."""
        yield from ()
        return self._payload[offset : offset + length]
