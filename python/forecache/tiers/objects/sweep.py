"""The sweeper: deletes what has expired, and the oldest while there is more than the capacity allows.

It lists the namespace page by page and reads the heads of objects that it hasn't seen yet. One process at a time does so: who
begins puts a lease down, by a conditional put where the store holds conditions; else two may meet, who do the same work twice.

obstore deletes unconditionally. An entry that is written while its dead predecessor is being deleted may go with it, as if it
had been evicted.
"""

from __future__ import annotations

import logging
import random
import secrets
import struct
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from forecache.flow import Flow, run
from forecache.tiers.objects.bucket import Bucket, Seen
from forecache.tiers.objects.ports import CREATE, OVERWRITE, Listed
from forecache.tiers.objects.uses import Uses

__all__ = ["Background", "Sweeper", "Swept"]

GRACE = 60_000
"""Milliseconds for which a mark may be without its value, and a grave be needed by those who read it before they swap."""
KEPT = 50_000
"""Heads that are kept in mind until the next time."""
MINUTE = 60_000
LONGEST = 1e9
"""Seconds of a lease."""
FIRST = 60.0
"""Seconds after its start at which a process looks for the first time, at most."""
_LEASE = struct.Struct("<Q8s")
_log = logging.getLogger("forecache")


@dataclass
class Swept:
    """What was found and done."""

    entries: int = 0
    bytes: int = 0
    expired: int = 0
    evicted: int = 0
    ages: Counter[int] = field(default_factory=Counter)
    """Bytes that may leave, by the minute they were stored in."""
    idle: set[str] = field(default_factory=set)
    """Values that have a time to idle."""
    marked: dict[str, int] = field(default_factory=dict)
    """Versions of values that have marks."""


class Sweeper:
    """See the head of this module. `interval` is in seconds."""

    def __init__(self, bucket: Bucket, uses: Uses, capacity: int | None, interval: float) -> None:
        self.grace = GRACE
        self._bucket = bucket
        self._uses = uses
        self._capacity = capacity
        self._interval = interval
        self._known: OrderedDict[str, Seen] = OrderedDict()

    def sweep(self) -> Flow[Swept | None]:
        """One pass over everything; None if another process has made one within the interval."""
        if not (yield from self._leased()):
            return None
        names = self._bucket.names
        before = (yield from self._bucket.store_time()) - self.grace
        swept = Swept()
        yield from self._pages(names.values, lambda listed: self._values(listed, swept, before))
        if self._capacity is not None and swept.bytes > self._capacity:
            yield from self._evict(swept, swept.bytes - self._capacity)

        def unused(each: Listed) -> bool:
            return names.values + each.name.removeprefix(names.uses) not in swept.idle

        def unmarked(each: Listed) -> bool:
            marked = names.marked(each.name)
            return marked is None or swept.marked.get(marked[0]) != marked[1]

        for prefix, orphan in ((names.uses, unused), *((marks, unmarked) for marks in names.marks()), (names.probe(""), bool)):
            yield from self._pages(prefix, lambda listed, orphan=orphan: self._orphans(listed, orphan, before))  # type: ignore[misc]
        return swept

    def _leased(self) -> Flow[bool]:
        bucket, now = self._bucket, self._bucket.now()
        found = yield bucket.ask("get", bucket.names.lease)
        if found is not None and len(found.data) == _LEASE.size and _LEASE.unpack(bytes(found.data))[0] > now:
            return False
        mine = _LEASE.pack(now + int(min(self._interval, LONGEST) * 900), secrets.token_bytes(8))
        if (yield from bucket.find_out()):
            return bool((yield bucket.ask("put", bucket.names.lease, (mine,), CREATE if found is None else found.tag)))
        yield bucket.ask("put", bucket.names.lease, (mine,), OVERWRITE)
        found = yield bucket.ask("get", bucket.names.lease)
        return found is not None and bytes(found.data) == mine

    def _pages(self, prefix: str, look: Callable[[list[Listed]], Flow[None]]) -> Flow[None]:
        after: str | None = None
        while True:
            listed, after = yield from self._bucket.page(prefix, after)
            yield from look(listed)
            if after is None:
                return

    def _values(self, listed: list[Listed], swept: Swept, before: int) -> Flow[None]:
        dead = yield from self._bucket.each(lambda each: self._value(each, swept, before), listed)
        names = [name for name in dead if name is not None]
        yield from self._bucket.remove(names)
        swept.expired += len(names)

    def _value(self, listed: Listed, swept: Swept, before: int) -> Flow[str | None]:
        """Its name if it is to go."""
        seen = yield from self._seen(listed)
        if seen is None:
            return None
        if (yield from self._uses.alive(seen, surely=True)) and seen.head is not None:
            entry = seen.head.entry
            swept.entries += 1
            swept.bytes += listed.size
            if not entry.pinned:
                swept.ages[listed.modified // MINUTE] += listed.size
            if entry.time_to_idle is not None:
                swept.idle.add(listed.name)
            if entry.tags or entry.owner:
                swept.marked[listed.name] = entry.version
            return None
        self._known.pop(listed.name, None)
        return None if seen.void and seen.head is not None and listed.modified > before else listed.name

    def _seen(self, listed: Listed) -> Flow[Seen | None]:
        known = self._known.get(listed.name)
        if known is not None and known.found.tag == listed.tag:
            return known
        seen = yield from self._bucket.peek(listed.name)
        if seen is not None and seen.head is not None:
            seen = seen._replace(found=seen.found._replace(data=b""))
            self._known[listed.name] = seen
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return seen

    def _evict(self, swept: Swept, excess: int) -> Flow[None]:
        """The oldest first: all that is older than some minute, and of that minute as much as it takes."""
        freed = 0
        for minute in sorted(swept.ages):
            if freed + swept.ages[minute] >= excess:
                break
            freed += swept.ages[minute]
        older: list[Listed] = []

        def look(listed: list[Listed]) -> Flow[None]:
            yield from ()
            older.extend(each for each in listed if each.modified // MINUTE <= minute)

        yield from self._pages(self._bucket.names.values, look)
        older.sort(key=lambda each: (each.modified, each.name))
        leaving = []
        for each in older:
            if excess <= 0:
                break
            seen = yield from self._seen(each)
            if seen is not None and not (seen.head and seen.head.entry.pinned):
                leaving.append(each)
                excess -= each.size
        yield from self._bucket.remove([each.name for each in leaving])
        swept.evicted += len(leaving)
        swept.entries -= len(leaving)
        swept.bytes -= sum(each.size for each in leaving)

    def _orphans(self, listed: list[Listed], orphan: Callable[[Listed], bool], before: int) -> Flow[None]:
        yield from self._bucket.remove([each.name for each in listed if each.modified < before and orphan(each)])


class Background:
    """A thread that sweeps, from the first change that a tier makes until it is closed or forgotten."""

    def __init__(self, sweep: Callable[[], Flow[object]], interval: float) -> None:
        """`sweep` is a method; its object isn't held."""
        self._sweep = weakref.WeakMethod(sweep)
        self._interval = interval
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Starts it, if it doesn't run; one that would never sweep isn't started."""
        if self._thread is None and self._interval <= threading.TIMEOUT_MAX and not self._ended.is_set():
            arguments = self._sweep, self._interval, self._ended
            self._thread = threading.Thread(target=_tend, args=arguments, name="forecache-sweep", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # there are too many: the next change tries again
                self._thread = None

    def forked(self) -> None:
        """For the child of a fork, which hasn't the thread."""
        self._thread, self._ended = None, threading.Event()

    def end(self) -> None:
        """Ends it; a pass that is under way goes on until its next request."""
        self._ended.set()


def _tend(sweep: weakref.WeakMethod[Callable[[], Flow[object]]], interval: float, ended: threading.Event) -> None:
    pause = random.uniform(0, min(FIRST, interval))  # noqa: S311  so that not all processes come at once
    while not ended.wait(pause):
        flow = sweep()
        if flow is None:
            return
        try:
            run(flow())
        except Exception as error:
            if not ended.is_set():
                _log.warning("object tier: what has expired isn't removed: %s", error)
        del flow
        pause = interval * random.uniform(0.8, 1)  # noqa: S311
