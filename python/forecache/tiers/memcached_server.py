"""The tier of one Memcached server.

An entry is stored under a hash of namespace and key, and begins with the *epoch* of the namespace, an item of its own with a
random number. `clear` writes another number, and no entry is one any more. Tags and owners have epochs of their own; an entry
that bears some has a hash of theirs. An epoch that the server forgot is begun anew, so that the worst is a miss.

Whatever is written takes the place of a version that was read just before, or of nothing. So a command that lay in the buffers
of a server which hung, long given up, finds another version there, and does nothing. While the server may have such commands a
delete leaves a *tombstone*, lest one finds nothing and takes that for its place.
"""

from __future__ import annotations

import os
import struct
import time
import weakref
from binascii import b2a_base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from forecache._core import Entry, open_served
from forecache.errors import TierUnavailable
from forecache.flow import Either, Flow, aside
from forecache.tiers.memcached_ports import Awaited, Plain, Server
from forecache.tiers.memcached_wire import SETTINGS, Command, Exchange, Reply, delete, peek, put, read, touch
from forecache.tiers.per_loop import PerLoop
from forecache.tiers.remote import OPENED, Records, large, marked
from forecache.tiers.tier import Now, Stored, TierStats, lives, wall_time

if TYPE_CHECKING:
    from forecache.tiers.memcached import Memcached

__all__ = ["MemcachedTier"]

OURS = b"fm1:"
"""What an entry begins with: then its epoch, the hash of other epochs (`PLAIN` for none), and its end (milliseconds, `NEVER`)."""
TOMBSTONE = b"fm0:"
PLAIN = bytes(8)
NEVER = 2**63 - 1
STAMP = struct.Struct("<Q")
NUMBER = struct.Struct(">Q")
WARY = 60
"""Seconds after a failure for which deletes leave tombstones, and how long these last."""
MONTH = 30 * 24 * 3600
"""Seconds beyond which a server takes a time to live for a date."""
MARGIN = 60
"""Seconds that the server keeps an entry longer: its end is decided here, and that is only to free the memory."""
TURNS = 8
"""How often a write is tried whose place others take."""
FEW, MANY, MUCH = 16, 256, 2**20
"""Commands that are sent at once without further ado; commands and bytes of values that are, at most: a server that can't get rid
of its replies takes no more commands, so that nothing would ever end."""
BESIDE = 1024
"""Bytes that names, numbers and the server's own bookkeeping of an item take at most, for keys of ordinary length."""

_alive: weakref.WeakSet[MemcachedTier] = weakref.WeakSet()


class Seen(NamedTuple):
    """What is under keys."""

    epoch: int
    """The namespace's; 0 if it has none."""
    versions: Mapping[str, int]
    """The server's, of all that is there, though it be no entry any more."""
    entries: dict[str, Entry]


class MemcachedTier:
    """See the head of this module."""

    shared = True
    lists = False

    def __init__(self, options: Memcached, server: Server, namespace: str = "", now: Now | None = None, name: str = "") -> None:
        self.name = name or options.name
        self.options = options
        self.server = server
        self.largest: int | None = None
        """See `Limited`. The server tells when it is first asked something."""
        self._now = now or wall_time()
        self._records = Records(namespace, options.packed.packing())
        self._hashes = {kind: blake2b(kind + namespace.encode() + b"\0", digest_size=24, person=b"forecache") for kind in _KINDS}
        self._epoch = self._name(EPOCH, "")
        self._plain = Plain(server, options.connections, options.timeout)
        self._awaited: PerLoop[Awaited] = PerLoop(lambda: Awaited(server, options.connections, options.timeout), Awaited.close)
        self._closed = False
        self._wary = time.monotonic() + WARY
        self._counts = dict.fromkeys(("hits", "misses", "sets", "refused"), 0)
        _alive.add(self)

    # What is asked.

    def _name(self, kind: bytes, text: str) -> bytes:
        """What the server calls something of this namespace."""
        hashed = self._hashes[kind].copy()
        hashed.update(text.encode())
        return b2a_base64(hashed.digest(), newline=False)

    def _ask(self, commands: Sequence[Command], until: float | None) -> Flow[list[Reply]]:
        if self._closed:
            raise TierUnavailable(f"{self.name}: closed")
        if self.largest is None:
            told = yield from self._exchange([SETTINGS], until)
            self.largest = max(int(told.settings.get(b"item_size_max", b"1048576")) - BESIDE, 0)
        replies: list[Reply] = []
        for batch in (commands,) if 0 < len(commands) <= FEW else _batches(commands):
            replies += (yield from self._exchange(batch, until)).replies
            until = self._until()
        return replies

    def _exchange(self, commands: Sequence[Command], until: float | None) -> Flow[Exchange]:
        try:
            return (yield Either(self._plain.ask, self._aask, (commands, until)))  # type: ignore[no-any-return]
        except BaseException:  # whatever was sent may be done later
            self._wary = time.monotonic() + WARY
            raise

    async def _aask(self, commands: Sequence[Command], until: float | None) -> Exchange:
        port = await self._awaited.get()
        if self._closed:  # meanwhile
            raise TierUnavailable(f"{self.name}: closed")
        return await port.ask(commands, until)

    def _until(self) -> float | None:
        return None if self.options.timeout is None else time.monotonic() + self.options.timeout

    # The verbs.

    def get_many(self, keys: Sequence[str]) -> Flow[dict[str, Entry]]:
        """See `Tier`."""
        until = self._until()
        found = (yield from self._look(keys, until)).entries
        idle = [key for key, entry in found.items() if entry.time_to_idle is not None]
        if idle:
            yield from self._use(found, idle, until)
        self._counts["hits"] += len(found)
        self._counts["misses"] += len(keys) - len(found)
        return found

    def set_many(self, entries: Mapping[str, Entry], *, absent: bool = False) -> Flow[Stored]:
        """See `Tier`."""
        until = self._until()
        yield from self._ask((), until)
        records = yield from self._sealed(entries)
        refused = {key for key, record in records.items() if self._too_large(record)}
        waiting = {key: entry for key, entry in entries.items() if key not in refused}
        gone = [] if absent else list(refused)
        for _ in range(TURNS):
            if not waiting:
                break
            epochs, seen = yield from self._places(waiting, until, absent=absent)
            waiting = {key: entry for key, entry in waiting.items() if key not in seen.entries}
            commands = [self._put(key, entry, records[key], epochs, seen) for key, entry in waiting.items()]
            replies = dict(zip(waiting, (yield from self._ask(commands + self._used(waiting), until)), strict=False))
            self._counts["sets"] += sum(reply.done for reply in replies.values())
            rejected = [key for key, reply in replies.items() if reply.refused]
            refused.update(rejected)
            gone += rejected
            waiting = {key: entry for key, entry in waiting.items() if not (replies[key].done or replies[key].refused)}
        self._counts["refused"] += len(refused)
        if gone:
            yield from self._ask([self._remove(key) for key in gone], until)
        return Stored(refused)

    def delete_many(self, keys: Sequence[str]) -> Flow[set[str]]:
        """See `Tier`."""
        return set((yield from self._look(keys, self._until(), [self._remove(key) for key in keys])).entries)

    def swap(self, key: str, version: int | None, entry: Entry | None) -> Flow[bool]:
        """See `Tier`."""
        until = self._until()
        epochs, seen = yield from self._places({} if entry is None else {key: entry}, until, absent=True, beside=(key,))
        there = seen.entries.get(key)
        if (there and there.version) != version:
            return False
        place = seen.versions.get(key)
        record = None if entry is None else (yield from self._sealed({key: entry}))[key]
        if entry is None or record is None or self._too_large(record):  # then what was there is gone all the same
            return place is None or (yield from self._ask([self._remove(key, place)], until))[0].done
        command = self._put(key, entry, record, epochs, seen)
        reply, *_ = yield from self._ask([command, *self._used({key: entry})], until)
        self._counts["sets"] += reply.done
        return reply.done or reply.refused

    def scan(self, cursor: int, pattern: str | None) -> Flow[tuple[int | None, list[str]]]:  # noqa: ARG002  it knows no keys
        """See `Tier`. Nobody can list what a Memcached has."""
        yield from ()
        return None, []

    def clear(self, *, tags: Sequence[str] = (), owner: str | None = None) -> Flow[int | None]:
        """See `Tier`. Nobody knows how many there were, and the memory that they take is freed as other entries need it."""
        tags, owner = marked(tags, owner)
        names = [self._name(TAG, tag) for tag in tags] + ([] if owner is None else [self._name(OWNER, owner)])
        yield from self._ask([put(name, _random(), 0) for name in names or (self._epoch,)], self._until())
        return None

    def flush(self) -> Flow[None]:
        """See `Tier`. Nothing that it holds survives the server."""
        yield from ()

    def close(self) -> Flow[None]:
        """See `Tier`."""
        if not self._closed:
            self._closed = True
            yield Either(self._end, self._aend)

    def _end(self) -> None:
        self._plain.close()
        self._awaited.close()

    async def _aend(self) -> None:
        self._plain.close()
        await self._awaited.aclose()

    def forked(self) -> None:
        """For the child of a fork: connections are the parent's."""
        self._plain.forked()
        self._awaited.forked()

    def stats(self) -> TierStats:
        """See `Tier`."""
        return TierStats(self.name, corrupt=self._records.corrupt, **self._counts)  # type: ignore[arg-type]

    # What is there.

    def _look(self, keys: Sequence[str], until: float | None, then: Sequence[Command] = ()) -> Flow[Seen]:
        """What is under keys; `then` is done in the same exchange."""
        if not keys:
            yield from self._ask((), until)
            return Seen(0, {}, {})
        commands = [read(self._epoch), *[read(self._name(ENTRY, key)) for key in keys], *then]
        epoch, *replies = yield from self._ask(commands, until)
        number = _number(epoch) or 0
        generation = OURS + NUMBER.pack(number)
        versions: dict[str, int] = {}
        marks: dict[str, bytes] = {}
        values: list[bytes | None] = []
        for key, (done, version, value, _) in zip(keys, replies, strict=False):
            if done:
                versions[key] = version
                if value[12:20] != PLAIN and value.startswith(generation):
                    marks[key] = value[12:20]
            values.append(value if done and value != TOMBSTONE else None)
        now = self._now()
        served = self._records.namespace, keys, values, generation, now
        ours = [number + reply.version for reply in replies[: len(keys)]]
        opens = partial(open_served, *served, versions=ours)
        found, idle, damaged = opens(most=OPENED) or (yield aside(opens))
        if marks or idle:
            yield from self._look_beside(found, marks, idle, now, until)
        if damaged:
            self._records.corrupt += len(damaged)
            yield from self._ask([delete(self._name(ENTRY, key), versions[key]) for key in damaged], until)
        return Seen(number, versions, found)

    def _look_beside(
        self, found: dict[str, Entry], marks: Mapping[str, bytes], idle: Sequence[str], now: int, until: float | None
    ) -> Flow[None]:
        """Takes out those whose tags or owner were cleared, or that lay idle too long."""
        names = list(dict.fromkeys(name for key in marks if key in found for name in self._beside(found[key])))
        replies = yield from self._ask([read(name) for name in names] + [read(self._name(USED, key)) for key in idle], until)
        epochs = {name: number for name, reply in zip(names, replies, strict=False) if (number := _number(reply)) is not None}
        for key, mark in marks.items():
            if key in found and self._mark(found[key], epochs) != mark:
                del found[key]
        for key, reply in zip(idle, replies[len(names) :], strict=True):
            if key in found and not lives(found[key], _number(reply) or 0, now):
                del found[key]

    def _use(self, found: Mapping[str, Entry], keys: Sequence[str], until: float | None) -> Flow[None]:
        """Puts the end of entries off that were read now."""
        now = self._now()
        touches = [touch(self._name(ENTRY, key), _expires(found[key], now)) for key in keys]
        yield from self._ask(touches + self._used({key: found[key] for key in keys}), until)

    def _used(self, entries: Mapping[str, Entry]) -> list[Command]:
        """Notes the time for those that have a time to idle, in items of their own: an entry's version stays when it is read."""
        now = self._now()
        idle = {key: entry for key, entry in entries.items() if entry.time_to_idle is not None}
        return [put(self._name(USED, key), NUMBER.pack(now), _expires(entry, now)) for key, entry in idle.items()]

    # What is written.

    def _places(
        self, entries: Mapping[str, Entry], until: float | None, *, absent: bool, beside: Sequence[str] = ()
    ) -> Flow[tuple[dict[bytes, int], Seen]]:
        """The epochs that entries need, and what is to be replaced by them; whether that is an entry is known if `absent`."""
        names = list(dict.fromkeys((self._epoch, *(name for entry in entries.values() for name in self._beside(entry)))))
        keys = list(dict.fromkeys((*entries, *beside)))
        if absent:
            epochs = yield from self._epochs(names, until)
            return epochs, (yield from self._look(keys, until))
        commands = [read(name) for name in names] + [peek(self._name(ENTRY, key)) for key in keys]
        replies = yield from self._ask(commands, until)
        epochs = {name: number for name, reply in zip(names, replies, strict=False) if (number := _number(reply)) is not None}
        if len(epochs) < len(names):
            epochs = yield from self._epochs(names, until)
        places = zip(keys, replies[len(names) :], strict=True)
        return epochs, Seen(epochs[self._epoch], {key: reply.version for key, reply in places if reply.done}, {})

    def _epochs(self, names: Sequence[bytes], until: float | None) -> Flow[dict[bytes, int]]:
        """Epochs, begun where there are none."""
        epochs: dict[bytes, int] = {}
        for _ in range(TURNS):
            lacking = [name for name in names if name not in epochs]
            if not lacking:
                return epochs
            replies = yield from self._ask([read(name) for name in lacking], until)
            begun = []
            for name, reply in zip(lacking, replies, strict=True):
                number = _number(reply)
                if number is None:
                    begun.append(put(name, _random(), 0, version=reply.version if reply.done else None, absent=not reply.done))
                else:
                    epochs[name] = number
            yield from self._ask(begun, until)
        raise TierUnavailable(f"{self.server}: it forgets what it has just been told")

    def _sealed(self, entries: Mapping[str, Entry]) -> Flow[dict[str, bytes]]:
        """The records of entries."""

        def sealed() -> dict[str, bytes]:
            return {key: self._records.seal(key, entry) for key, entry in entries.items()}

        if large(entries.values()):
            return (yield aside(sealed))  # type: ignore[no-any-return]
        return sealed()

    def _put(self, key: str, entry: Entry, record: bytes, epochs: Mapping[bytes, int], seen: Seen) -> Command:
        end = NEVER if entry.hard is None else min(entry.hard, NEVER)
        head = OURS + NUMBER.pack(epochs[self._epoch]) + self._mark(entry, epochs) + STAMP.pack(end)
        place = seen.versions.get(key)
        expires = _expires(entry, self._now())
        return put(self._name(ENTRY, key), head + record, expires, version=place, absent=place is None)

    def _remove(self, key: str, version: int | None = None) -> Command:
        name = self._name(ENTRY, key)
        if time.monotonic() < self._wary:
            return put(name, TOMBSTONE, WARY, version=version)
        return delete(name, version)

    def _too_large(self, record: bytes) -> bool:
        return self.largest is not None and len(record) > self.largest + BESIDE // 2

    def _beside(self, entry: Entry) -> Iterable[bytes]:
        """The names of the epochs of its tags and its owner."""
        if not entry.tags and not entry.owner:
            return ()
        owner = [self._name(OWNER, entry.owner)] if entry.owner else []
        return sorted(self._name(TAG, tag) for tag in entry.tags) + owner

    def _mark(self, entry: Entry, epochs: Mapping[bytes, int]) -> bytes:
        """What stands in the head of an entry for its tags and its owner, as long as none of them is cleared."""
        names = self._beside(entry)
        if not names:
            return PLAIN
        return blake2b(b"".join(name + NUMBER.pack(epochs.get(name, 0)) for name in names), digest_size=8).digest()


ENTRY, EPOCH, TAG, OWNER, USED = _KINDS = (b"e", b"n", b"t", b"o", b"u")


def _batches(commands: Iterable[Command]) -> Iterator[list[Command]]:
    batch: list[Command] = []
    size = 0
    for command in commands:
        batch.append(command)
        size += len(command.value or b"")
        if len(batch) == MANY or size >= MUCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _number(reply: Reply) -> int | None:
    """What an item holds that is a number."""
    return NUMBER.unpack(reply.value)[0] if reply.done and len(reply.value) == NUMBER.size else None


def _random() -> bytes:
    """An epoch: never 0, and small enough to add a version to."""
    return NUMBER.pack(int.from_bytes(os.urandom(8), "big") >> 2 | 1)


def _expires(entry: Entry, now: int) -> int:
    """When the server may forget an entry that is read or written now, as it takes times."""
    ends = [] if entry.hard is None else [entry.hard - now]
    if entry.time_to_idle is not None:
        ends.append(entry.time_to_idle)
    if not ends:
        return 0
    seconds = -(-max(min(ends), 0) // 1000) + MARGIN
    return seconds if seconds <= MONTH else int(time.time()) + seconds


def _forked() -> None:
    for tier in list(_alive):
        tier.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
