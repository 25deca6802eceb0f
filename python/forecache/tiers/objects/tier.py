"""The tier over a bucket: the verbs of `Tier`, made of requests for objects."""

from __future__ import annotations

import os
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from forecache._core import Begin, Entry, open_object
from forecache.errors import CodecError, TierUnavailable
from forecache.flow import Call, Flow, aside
from forecache.tiers.dict_tier import matcher
from forecache.tiers.objects.bucket import Bucket, Seen
from forecache.tiers.objects.form import PLAIN, Head
from forecache.tiers.objects.names import text_of
from forecache.tiers.objects.parts import Held, Ranged
from forecache.tiers.objects.places import client
from forecache.tiers.objects.ports import CREATE
from forecache.tiers.objects.sweep import Background, Sweeper, Swept
from forecache.tiers.objects.uses import Uses
from forecache.tiers.remote import OPENED, Records, marked
from forecache.tiers.tier import Now, Reader, Stored, TierStats, wall_time

if TYPE_CHECKING:
    from forecache.tiers.object_store import ObjectStore

__all__ = ["ObjectTier"]

COPIED = 2**21
"""Bytes that are checked and copied where one stands, if they aren't compressed."""

_alive: weakref.WeakSet[ObjectTier] = weakref.WeakSet()


class ObjectTier:
    """See the head of this module."""

    shared = True

    def __init__(self, options: ObjectStore, namespace: str = "", now: Now | None = None) -> None:
        self.name = options.name
        self.options = options
        self.decides = options.decide
        self.smallest = options.min_size
        self._now = now or wall_time()
        self._records = Records(namespace, options.packed.packing())
        self._bucket = Bucket(options.where, options.access(), options.concurrency, self._records, self._now)
        self._names = self._bucket.names
        self._uses = Uses(self._bucket)
        self.sweeper = Sweeper(self._bucket, self._uses, options.capacity, options.sweep)
        self._background = Background(self.sweep, options.sweep)
        self._swept: Swept | None = None
        self._counting = threading.Lock()
        self._counts = dict.fromkeys(("hits", "misses", "sets", "refused", "evicted"), 0)
        _alive.add(self)

    @property
    def on_unsure(self) -> Callable[[Sequence[str], int], None] | None:
        """Called with keys of which a put was given up, and the time until which what the store carries out counts as there."""
        return self._bucket.on_unsure

    @on_unsure.setter
    def on_unsure(self, hold: Callable[[Sequence[str], int], None] | None) -> None:
        self._bucket.on_unsure = hold

    def load(self) -> None:
        """Loads obstore, or raises `ImportError` that names the `pip install` line."""
        client()
        if not self._bucket.local:  # whose directory would be made
            self._bucket.load()

    def forked(self) -> None:
        """For the child of a fork."""
        self._counting = threading.Lock()
        self._bucket.forked()
        self._uses.forked()
        self._background.forked()

    def get_many(self, keys: Sequence[str]) -> Flow[dict[str, Entry]]:
        """See `Tier`."""
        found: dict[str, Entry] = {}
        asked = keys if len(keys) == 1 else [*dict.fromkeys(keys)]
        if len(asked) == 1:  # as it is most often
            yield from self._read(asked[0], found)
        else:
            yield from self._bucket.each(partial(self._read, found=found), asked)
        with self._counting:
            self._counts["hits"] += len(found)
            self._counts["misses"] += len(asked) - len(found)
        return found

    def _read(self, key: str, found: dict[str, Entry]) -> Flow[None]:
        """Adds the entry of a key to what was found, if there is one."""
        name = self._names.value(key)
        there = yield self._bucket.ask("get", name)
        if there is None:
            return
        record = self._records.namespace, key, there.data, there.modified
        entry = open_object(*record, OPENED, COPIED)
        if entry is True:
            entry = yield aside(open_object, *record)
        if entry is None:
            return
        if entry is False:
            self._records.corrupt += 1
            yield from self._bucket.remove([name])
            return
        if entry.time_to_idle is None:  # a short way for what most entries are
            if entry.hard is None or self._now() < entry.hard:
                found[key] = entry
            return
        begin = Begin.of(there.data)
        if begin and (yield from self._uses.alive(Seen(name, there, Head(begin, key, entry)), uses=True)):
            found[key] = entry

    def set_many(self, entries: Mapping[str, Entry], *, absent: bool = False) -> Flow[Stored]:
        """See `Tier`. With `absent`, a store that holds no conditions may lose a race."""
        self._background.begin()
        least = self.options.min_size
        small = [key for key, entry in entries.items() if len(entry.payload) < least]
        if small and not absent:
            yield from self._bucket.remove([self._names.value(key) for key in small])
        large = [(key, entry) for key, entry in entries.items() if len(entry.payload) >= least]
        written = yield from self._bucket.each(self._add if absent else self._write, large)
        refused = [*small, *(key for key in written if key is not None)]
        self._count(sets=len(entries) - len(refused), refused=len(refused))
        return Stored(refused)

    def _write(self, item: tuple[str, Entry]) -> Flow[str | None]:
        """The key, if the entry is refused."""
        key, entry = item
        name = self._names.value(key)
        try:
            yield from self._bucket.put(name, key, entry)
        except CodecError:  # it is longer than any record
            yield from self._bucket.remove([name])
            return key
        return None

    def _add(self, item: tuple[str, Entry]) -> Flow[str | None]:
        key, entry = item
        if (yield from self._bucket.find_out()):
            yield from self._swap(key, None, entry)
        elif (yield from self._version(key))[1] is None:
            return (yield from self._write(item))
        return None

    def delete_many(self, keys: Sequence[str]) -> Flow[set[str]]:
        """See `Tier`."""
        looked = yield from self._bucket.each(self._look, dict.fromkeys(keys))
        # All of them: what wasn't there may be on its way.
        yield from self._bucket.remove([self._names.value(key) for key, _, _ in looked])
        return {key for key, _, alive in looked if alive}

    def _look(self, key: str) -> Flow[tuple[str, Seen | None, bool]]:
        seen = yield from self._bucket.peek(self._names.value(key))
        return key, seen, bool(seen and (yield from self._uses.alive(seen)))

    def swap(self, key: str, version: int | None, entry: Entry | None) -> Flow[bool]:
        """See `Tier`. What is decided is stored whatever its size. A deletion leaves a grave, which the sweeper removes: no
        store that obstore speaks to is asked to delete on a condition."""
        self._background.begin()
        if not self.decides or not (yield from self._bucket.find_out()):
            self.decides = False
            why = "by decide=False" if not self.options.decide else "since the store doesn't hold the conditions of puts"
            remedy = "a Redis or disk tier beside it decides, or a store with If-Match and If-None-Match"
            raise TierUnavailable(f"{self.name} decides nothing, {why}: {remedy}")
        return (yield from self._swap(key, version, entry))

    def _version(self, key: str) -> Flow[tuple[Seen | None, int | None]]:
        _, seen, alive = yield from self._look(key)
        return seen, seen.head.entry.version if alive and seen and seen.head else None

    def _swap(self, key: str, version: int | None, entry: Entry | None) -> Flow[bool]:
        seen, there = yield from self._version(key)
        if there != version:
            return False
        if entry is None and there is None:
            return True
        mode = CREATE if seen is None else seen.found.tag
        try:
            done = yield from self._bucket.put(self._names.value(key), key, entry, mode or CREATE)
        except CodecError:
            done = yield from self._bucket.put(self._names.value(key), key, None, mode or CREATE)
        self._count(sets=done and entry is not None)
        return done

    def scan(self, cursor: int, pattern: str | None) -> Flow[tuple[int | None, list[str]]]:
        """See `Tier`. The cursor is the name of the last object, as a number."""
        after = cursor.to_bytes((cursor.bit_length() + 7) // 8, "big")[1:].decode() if cursor else None
        listed, after = yield from self._bucket.page(self._names.values, after)
        matches = matcher(pattern)
        texts = ((each.name, text_of(each.name.rpartition("/")[2])) for each in listed)
        looked = yield from self._bucket.each(self._key, [name for name, text in texts if text is None or matches(text)])
        end = None if after is None else int.from_bytes(b"\1" + after.encode(), "big")
        return end, [key for key in looked if key is not None and matches(key)]

    def _key(self, name: str) -> Flow[str | None]:
        seen = yield from self._bucket.peek(name)
        return seen.head.key if seen and seen.head and (yield from self._uses.alive(seen)) else None

    def clear(self, *, tags: Sequence[str] = (), owner: str | None = None) -> Flow[int | None]:
        """See `Tier`. Lists the namespace, or the marks of tags and owner; marks of what is just being written stay."""
        tags, owner = marked(tags, owner)
        if not tags and owner is None:
            yield from self._bucket.empty(self._names.values)
            yield from self._bucket.empty(self._names.uses)
            return None
        marks: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
        for place in [*map(self._names.tagged, tags), *([self._names.owned(owner)] if owner is not None else [])]:
            after: str | None = None
            while True:
                listed, after = yield from self._bucket.page(place, after)
                for each in listed:
                    mark = self._names.marked(each.name)
                    if mark is not None:
                        marks[mark[0]][mark[1]].append(each.name)
                if after is None:
                    break

        def void(name: str) -> Flow[tuple[list[str], bool]]:
            seen = yield from self._bucket.peek(name)
            if seen is None or seen.head is None or seen.head.entry.version not in marks[name]:
                return [], False
            return [name, *marks[name][seen.head.entry.version]], (yield from self._uses.alive(seen))

        voided = yield from self._bucket.each(void, list(marks))
        # Values first: what fails in between is found again by its marks.
        yield from self._bucket.remove([names[0] for names, _ in voided if names])
        yield from self._bucket.remove([mark for names, _ in voided for mark in names[1:]])
        return sum(alive for _, alive in voided)

    def open(self, key: str) -> Flow[Reader | None]:
        """See `Streams`. A compressed payload is read whole."""
        _, seen, alive = yield from self._look(key)
        if not alive or seen is None or seen.head is None:
            return None
        if seen.head.begin.kind == PLAIN:
            return Ranged(self._bucket, seen, seen.head)
        found: dict[str, Entry] = {}
        yield from self._read(key, found)
        return Held(found[key]) if key in found else None

    def sweep(self) -> Flow[Swept | None]:
        """Removes what has expired, and the oldest while it is too much; None if another process did so lately."""
        swept = yield from self.sweeper.sweep()
        if swept is not None:
            self._swept = swept
            self._count(evicted=swept.evicted)
        return swept

    def flush(self) -> Flow[None]:
        """See `Tier`. What a store has taken, it has; a directory is synced."""
        if self._bucket.local:
            yield Call(os.sync)

    def close(self) -> Flow[None]:
        """See `Tier`."""
        yield from ()
        self._background.end()
        self._bucket.close()

    def stats(self) -> TierStats:
        """See `Tier`. Entries and bytes are those that this process's last sweep found."""
        with self._counting:
            counts: dict[str, Any] = dict(self._counts)
        swept = self._swept
        counts |= {} if swept is None else {"entries": swept.entries, "bytes": swept.bytes}
        return TierStats(self.name, corrupt=self._records.corrupt, capacity=self.options.capacity, **counts)

    def _count(self, **counts: int) -> None:
        with self._counting:
            for name, count in counts.items():
                self._counts[name] += count


def _forked() -> None:
    for tier in list(_alive):
        tier.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
