"""The objects of a namespace: requests in either colour, several at once, and what was found out about the store.

A put that was given up may still be carried out, by a store that hung when it has come to again, and after what was done since.
So each object says when it was sent, by the store's own clock, and how long it was waited for, and one that the store got later
is as good as not there. The store's clock is known from an object that was written to learn it; S3 tells whole seconds.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from forecache._core import Begin, Entry
from forecache.errors import ConfigError, TierUnavailable
from forecache.flow import All, Either, Flow, Request, aside
from forecache.tiers.objects.directory import Directory, Threaded
from forecache.tiers.objects.form import PEEK, Head, grave, head_of, pack
from forecache.tiers.objects.names import Names
from forecache.tiers.objects.places import Moved, Unsupported, open_place
from forecache.tiers.objects.ports import CREATE, OVERWRITE, PAGE, Awaited, Found, GivenUp, Listed, Plain
from forecache.tiers.objects.url import Access, Where
from forecache.tiers.remote import PACKED, Records
from forecache.tiers.retry import unsent
from forecache.tiers.tier import Now

__all__ = ["Bucket", "Seen"]

A = TypeVar("A")
B = TypeVar("B")

LEARNT = 3600.0
"""Seconds for which the store's clock counts as known."""
LEAST = 2000
"""Milliseconds that a put may take at least before it counts as given up: half the timeout is less than clocks tell apart."""
EVER = 2**62
"""Milliseconds that a put may take that nobody bounds."""
SECOND = 1000
"""Milliseconds that a store which tells whole seconds may leave off."""
TOLERANCE = 500
"""Milliseconds by which the store's clock is known."""


class Seen(NamedTuple):
    """An object of which enough was read."""

    name: str
    found: Found
    head: Head | None
    """None if it is damaged, or not one of ours."""

    @property
    def void(self) -> bool:
        """Whether nothing is there, or what can't be read."""
        return self.head is None or self.head.begin.void(self.found.modified)


class Bucket:
    """See the head of this module."""

    def __init__(self, where: Where, access: Access, concurrency: int, records: Records, now: Now) -> None:
        self.names = Names(where.prefix, records.namespace)
        self.records = records
        self.now = now
        self.where = where
        self.conditional: bool | None = True if where.scheme == "file" else None
        """Whether it holds the conditions of puts; None until that was tried."""
        self.local = where.scheme == "file"
        self._access = access
        self._concurrency = concurrency
        self._opening = threading.Lock()
        self._ports: tuple[Plain, Awaited | Threaded] | None = None
        self._closed = False
        self._clock: tuple[float, int] | None = (float("inf"), 0) if self.local else None
        timeout = access.timeout
        self.on_unsure: Callable[[Sequence[str], int], None] | None = None
        """See `ObjectTier`."""
        self._within = EVER if timeout is None else max(int(timeout * 500), LEAST)

    def _open(self) -> tuple[Plain, Awaited | Threaded]:
        """The requests in both colours. Nothing is contacted, but a directory is made if it isn't there."""
        with self._opening:
            if self._closed:
                raise TierUnavailable("closed")
            if self._ports is None:
                place = open_place(self.where, self._access)
                limits = self._concurrency, self._access.timeout, GivenUp()
                plain = Directory(place, *limits) if self.local else Plain(place, *limits)
                self._ports = plain, Threaded(plain) if isinstance(plain, Directory) else Awaited(place, *limits)
            return self._ports

    def load(self) -> None:
        """Makes the client, which contacts nobody. Raises `ImportError`, and `ConfigError` for what it doesn't take."""
        try:
            self._open()
        except ImportError:
            raise
        except Exception as error:
            raise ConfigError(f"{self._place()}: {_line(error)}") from None

    def forked(self) -> None:
        """For the child of a fork."""
        self._opening = threading.Lock()
        self._ports = None

    def close(self) -> None:
        """Ends it: from now on requests raise `TierUnavailable`."""
        self._closed = True
        self._ports = None

    def ask(self, verb: str, *arguments: Any) -> Request:
        """A request: `get`, `put`, `delete` or `page` of `Plain`."""
        plain, awaited = self._ports or self._opened()
        return Either(getattr(plain, verb), getattr(awaited, verb), arguments)

    def _opened(self) -> tuple[Plain, Awaited | Threaded]:
        try:
            return self._open()
        except (TierUnavailable, ImportError):
            raise
        except Exception as error:  # whatever obstore finds wrong
            raise TierUnavailable(f"{self._place()}: {_line(error)}") from None

    def _place(self) -> str:
        return f"{self.where.scheme}://{self.where.bucket}"

    def each(self, flow: Callable[[A], Flow[B]], items: Iterable[A]) -> Flow[list[B]]:
        """What `flow` gives for each item, as many at a time as there may be requests; in another order than the items."""
        items = list(items)
        if len(items) == 1:  # as it is most often
            return [(yield from flow(items[0]))]
        lanes = [items[start :: self._concurrency] for start in range(min(self._concurrency, len(items)))]
        done = yield All([_one_by_one(flow, lane) for lane in lanes])
        return [answer for lane in done for answer in lane]

    def peek(self, name: str) -> Flow[Seen | None]:
        """An object's head."""
        found = yield self.ask("get", name, (0, PEEK))
        if found is None:
            return None
        data, begin = bytes(found.data), Begin.of(found.data)
        if begin is not None and len(data) < begin.start <= found.size:
            try:
                rest = yield self.ask("get", name, (PEEK, begin.start), found.tag)
            except Moved:
                return (yield from self.peek(name))
            data += b"" if rest is None else bytes(rest.data)
        return Seen(name, found, head_of(self.records.namespace, data))

    def put(self, name: str, key: str, entry: Entry | None, mode: str = OVERWRITE) -> Flow[bool]:
        """Stores an entry, or a grave, under a version of its own. Says whether the condition was met."""
        version = secrets.randbits(63)
        times = self.now(), (yield from self.store_time()), self._within
        began = time.monotonic()
        if entry is None:
            parts = grave(self.records.namespace, key, version, times)
        else:
            packed = self.records, key, entry, version, times
            parts = pack(*packed) if len(entry.payload) <= PACKED else (yield aside(pack, *packed))
            places = [self.names.tagged(tag) for tag in entry.tags] + ([self.names.owned(entry.owner)] if entry.owner else [])
            yield from self.each(self._mark, [self.names.mark(place, name, version) for place in places])
        try:
            done = yield self.ask("put", name, parts, mode)
        except BaseException as error:
            if self.on_unsure is not None and self._within < EVER and not unsent(error):
                self.on_unsure((key,), times[0] + self._within + SECOND + TOLERANCE)
            raise
        if not done:  # an answer that was lost on its way may have been ours
            seen = yield from self.peek(name)
            done = bool(seen and seen.head and seen.head.entry.version == version)
        if (time.monotonic() - began) * 1000 > self._within - TOLERANCE:
            raise TierUnavailable("a write took so long that it counts as given up")
        return bool(done)

    def _mark(self, name: str) -> Flow[None]:
        yield self.ask("put", name, (b"",))

    def remove(self, names: Sequence[str]) -> Flow[None]:
        """Deletes objects that are there, or were."""
        if not names:
            return
        plain, _ = self._ports or self._opened()
        if plain.place.bulk or len(names) == 1:
            yield self.ask("delete", list(names))
        else:
            yield from self.each(self._remove, names)

    def _remove(self, name: str) -> Flow[None]:
        yield self.ask("delete", [name])

    def page(self, prefix: str, after: str | None) -> Flow[tuple[list[Listed], str | None]]:
        """Some objects, and behind which to go on; None at the end."""
        plain, _ = self._ports or self._opened()
        listed: list[Listed] = yield self.ask("page", prefix, after)
        return listed, listed[-1].name if plain.place.ordered and len(listed) >= PAGE else None

    def empty(self, prefix: str) -> Flow[None]:
        """Deletes all that begins so."""
        after: str | None = None
        while True:
            listed, after = yield from self.page(prefix, after)
            yield from self.remove([each.name for each in listed])
            if after is None:
                return

    def find_out(self) -> Flow[bool]:
        """Whether the store holds the conditions of puts: some refuse them, and some take no notice of them."""
        if self.conditional is None:
            name = self.names.probe(secrets.token_hex(8))
            try:
                self.conditional = yield from self._try(name)
            except Unsupported:
                self.conditional = False
            yield from self.remove([name])
        return self.conditional

    def _try(self, name: str) -> Flow[bool]:
        if not (yield self.ask("put", name, (b"1",), CREATE)) or (yield self.ask("put", name, (b"2",), CREATE)):
            return False
        found = yield self.ask("get", name)
        if found is None or not found.tag or not (yield self.ask("put", name, (b"3",), found.tag)):
            return False
        return not (yield self.ask("put", name, (b"4",), found.tag))

    def store_time(self) -> Flow[int]:
        """The store's clock: milliseconds since 1970."""
        if self._clock is None or time.monotonic() - self._clock[0] > LEARNT:
            yield from self._learn()
        return _wall() + (self._clock[1] if self._clock else 0)

    def _learn(self) -> Flow[None]:
        name = self.names.probe(secrets.token_hex(8))
        before = _wall()
        yield self.ask("put", name, (b"?",))
        after = _wall()
        found = yield self.ask("get", name)
        yield from self.remove([name])
        if found is not None:
            floor = found.modified + (TOLERANCE if found.modified % 1000 == 0 else 0)
            self._clock = time.monotonic(), floor - (before + after) // 2


def _one_by_one(flow: Callable[[A], Flow[B]], items: Iterable[A]) -> Flow[list[B]]:
    done = []
    for item in items:
        done.append((yield from flow(item)))  # noqa: PERF401  a comprehension can't yield
    return done


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _wall() -> int:
    return time.time_ns() // 1_000_000
