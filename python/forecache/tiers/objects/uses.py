"""When entries with a time to idle were last used.

This process knows it to the millisecond; the others know it from an object beside the value, which is written when what it says
is older than an eighth of the time to idle. So an entry that only others use may be gone for this process that much too early,
and one use in many costs a request.
"""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from contextlib import suppress
from typing import NamedTuple

from forecache.errors import TierUnavailable
from forecache.flow import Flow
from forecache.tiers.objects.bucket import Bucket, Seen
from forecache.tiers.tier import lives

__all__ = ["Uses"]

PART = 8
"""The part of a time to idle by which others may be behind."""
MOST = 10_000
"""Entries whose use is kept in mind."""
_USE = struct.Struct("<QQ")


class _Use(NamedTuple):
    version: int
    used: int
    told: int
    """What the store says."""


class Uses:
    """See the head of this module."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._known: OrderedDict[str, _Use] = OrderedDict()
        self._changing = threading.Lock()

    def forked(self) -> None:
        """For the child of a fork."""
        self._changing = threading.Lock()

    def alive(self, seen: Seen, *, uses: bool = False, surely: bool = False) -> Flow[bool]:
        """Whether an object's entry is there; `uses` says that this is a use of it, `surely` that only what no process may still
        see counts as not there."""
        head = seen.head
        if seen.void or head is None:
            return False
        entry, now = head.entry, self._bucket.now()
        if entry.time_to_idle is None or not lives(entry, now, now):
            return lives(entry, now, now)
        if surely:
            now -= entry.time_to_idle // PART
        known = self._known.get(seen.name)
        if known is None or known.version != entry.version:
            known = _Use(entry.version, head.begin.stored, head.begin.stored)
        if not lives(entry, known.used, now):
            told = yield from self._told(seen.name, entry.version)
            known = _Use(entry.version, max(known.used, told), max(known.told, told))
        if not lives(entry, known.used, now):
            return False
        if uses:
            yield from self._use(seen.name, known._replace(used=now), entry.time_to_idle)
        return True

    def _told(self, name: str, version: int) -> Flow[int]:
        found = yield self._bucket.ask("get", self._bucket.names.use(name))
        if found is None or len(found.data) != _USE.size:
            return 0
        told, used = _USE.unpack(bytes(found.data))
        return int(used) if told == version else 0

    def _use(self, name: str, use: _Use, time_to_idle: int) -> Flow[None]:
        tells = use.used - use.told >= time_to_idle // PART
        with self._changing:
            self._known[name] = use._replace(told=use.used) if tells else use
            self._known.move_to_end(name)
            if len(self._known) > MOST:
                self._known.popitem(last=False)
        if tells:
            with suppress(TierUnavailable):  # the value was read all the same
                yield self._bucket.ask("put", self._bucket.names.use(name), (_USE.pack(use.version, use.used),))
