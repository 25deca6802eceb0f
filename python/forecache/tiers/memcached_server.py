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
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from forecache._core import Entry
from forecache.errors import TierUnavailable
from forecache.flow import Either, Flow
from forecache.tiers.memcached_ports import Awaited, Plain, Server
from forecache.tiers.memcached_wire import SETTINGS, Command, Exchange, Reply, delete, peek, put, read, touch
from forecache.tiers.per_loop import PerLoop
from forecache.tiers.remote import Records
from forecache.tiers.tier import Now, Stored, TierStats, lives, versioned, wall_time

if TYPE_CHECKING:
    from forecache.tiers.memcached import Memcached

__all__ = ["MemcachedTier"]

HEAD = struct.Struct(">2sQQQ")
"""What an entry begins with: `MAGIC`, the epoch, the hash of other epochs (0 for none), when it was written (milliseconds)."""
MAGIC = b"f1"
TOMBSTONE = b"f0"
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
    """What is under a key."""

    version: int | None = None
    """The server's; None if there is nothing."""
    entry: Entry | None = None
    """None also if what is there is no entry any more."""
    beside: int = 0
    written: int = 0


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
        return urlsafe_b64encode(hashed.digest())

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
        return await (await self._awaited.get()).ask(commands, until)

    def _until(self) -> float | None:
        return None if self.options.timeout is None else time.monotonic() + self.options.timeout

    # The verbs.

    def get_many(self, keys: Sequence[str]) -> Flow[dict[str, Entry]]:
        """See `Tier`."""
        until = self._until()
        epoch, seen = yield from self._look(keys, until)
        found = {key: versioned(each.entry, epoch + (each.version or 0)) for key, each in seen.items() if each.entry is not None}
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
        records = {key: self._records.seal(key, entry) for key, entry in entries.items()}
        refused = {key for key, record in records.items() if self._too_large(record)}
        waiting = {key: entry for key, entry in entries.items() if key not in refused}
        gone = [] if absent else list(refused)
        for _ in range(TURNS):
            if not waiting:
                break
            epochs, seen = yield from self._places(waiting, until, absent=absent)
            waiting = {key: entry for key, entry in waiting.items() if seen[key].entry is None}
            commands = [self._put(key, entry, records[key], epochs, seen[key]) for key, entry in waiting.items()]
            replies = dict(zip(waiting, (yield from self._ask(commands, until)), strict=True))
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
        _, seen = yield from self._look(keys, self._until(), [self._remove(key) for key in keys])
        return {key for key, each in seen.items() if each.entry is not None}

    def swap(self, key: str, version: int | None, entry: Entry | None) -> Flow[bool]:
        """See `Tier`."""
        until = self._until()
        epochs, places = yield from self._places({} if entry is None else {key: entry}, until, absent=True, beside=(key,))
        seen = places[key]
        if version is None:
            if seen.entry is not None:
                return False
            if entry is None:
                return True
        elif seen.entry is None or seen.version is None or epochs[self._epoch] + seen.version != version:
            return False
        if entry is None:
            return (yield from self._ask([self._remove(key, seen.version)], until))[0].done
        record = self._records.seal(key, entry)
        if self._too_large(record):  # there is no room for it, and what was there is gone all the same
            return seen.version is None or (yield from self._ask([self._remove(key, seen.version)], until))[0].done
        (reply,) = yield from self._ask([self._put(key, entry, record, epochs, seen)], until)
        self._counts["sets"] += reply.done
        return reply.done or reply.refused

    def scan(self, cursor: int, pattern: str | None) -> Flow[tuple[int | None, list[str]]]:  # noqa: ARG002  it knows no keys
        """See `Tier`. Nobody can list what a Memcached has."""
        yield from ()
        return None, []

    def clear(self, *, tags: Sequence[str] = (), owner: str | None = None) -> Flow[int | None]:
        """See `Tier`. Nobody knows how many there were, and the memory that they take is freed as other entries need it."""
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

    def _look(self, keys: Sequence[str], until: float | None, then: Sequence[Command] = ()) -> Flow[tuple[int, dict[str, Seen]]]:
        """The epoch (0 for none) and what is under keys; `then` is done in the same exchange."""
        if not keys:
            yield from self._ask((), until)
            return 0, {}
        commands = [read(self._epoch), *(read(self._name(ENTRY, key)) for key in keys), *then]
        epoch, *replies = yield from self._ask(commands, until)
        number = _number(epoch) or 0
        now = self._now()
        corrupt = self._records.corrupt
        seen = {key: self._seen(key, reply, number, now) for key, reply in zip(keys, replies, strict=False)}
        more = [key for key, each in seen.items() if each.entry and (each.beside or each.entry.time_to_idle is not None)]
        if more:
            yield from self._look_beside(seen, more, now, until)
        if self._records.corrupt != corrupt:
            damaged = [key for key, each in seen.items() if each.beside == DAMAGED and each.entry is None]
            yield from self._ask([delete(self._name(ENTRY, key), seen[key].version) for key in damaged], until)
        return number, seen

    def _seen(self, key: str, reply: Reply, epoch: int, now: int) -> Seen:
        if not reply.done:
            return NOTHING
        value = reply.value
        if value == TOMBSTONE:
            return Seen(reply.version)
        if len(value) < HEAD.size or value[:2] != MAGIC:
            self._records.corrupt += 1
            return Seen(reply.version, None, DAMAGED)
        _, began, beside, written = HEAD.unpack_from(value)
        if began != epoch:
            return Seen(reply.version)
        entry = self._records.open(key, value[HEAD.size :])
        if entry is None:
            return Seen(reply.version, None, DAMAGED)
        if entry.hard is not None and entry.hard <= now:
            return Seen(reply.version)
        return Seen(reply.version, entry, beside, written)

    def _look_beside(self, seen: dict[str, Seen], keys: list[str], now: int, until: float | None) -> Flow[None]:
        """Takes those for gone whose tags or owner were cleared, or that lay idle too long."""
        bearing = {key: entry for key in keys if (entry := seen[key].entry) is not None}
        names = list(dict.fromkeys(name for entry in bearing.values() for name in self._beside(entry)))
        idle = [key for key, entry in bearing.items() if entry.time_to_idle is not None]
        replies = yield from self._ask([read(name) for name in names] + [read(self._name(USED, key)) for key in idle], until)
        epochs = {name: number for name, reply in zip(names, replies, strict=False) if (number := _number(reply)) is not None}
        used = dict(zip(idle, (_number(reply) or 0 for reply in replies[len(names) :]), strict=True))
        for key, entry in bearing.items():
            each = seen[key]
            if self._mark(entry, epochs) != each.beside or not lives(entry, max(each.written, used.get(key, 0)), now):
                seen[key] = Seen(each.version)

    def _use(self, found: Mapping[str, Entry], keys: Sequence[str], until: float | None) -> Flow[None]:
        """Puts the end of entries off that were read now."""
        now = self._now()
        commands = []
        for key in keys:
            expires = _expires(found[key], now)
            commands += [put(self._name(USED, key), NUMBER.pack(now), expires), touch(self._name(ENTRY, key), expires)]
        yield from self._ask(commands, until)

    # What is written.

    def _places(
        self, entries: Mapping[str, Entry], until: float | None, *, absent: bool, beside: Sequence[str] = ()
    ) -> Flow[tuple[dict[bytes, int], dict[str, Seen]]]:
        """The epochs that entries need, and what is to be replaced by them; whether that is an entry is known if `absent`."""
        names = list(dict.fromkeys((self._epoch, *(name for entry in entries.values() for name in self._beside(entry)))))
        keys = list(dict.fromkeys((*entries, *beside)))
        if absent:
            epochs = yield from self._epochs(names, until)
            return epochs, (yield from self._look(keys, until))[1]
        commands = [read(name) for name in names] + [peek(self._name(ENTRY, key)) for key in keys]
        replies = yield from self._ask(commands, until)
        epochs = {name: number for name, reply in zip(names, replies, strict=False) if (number := _number(reply)) is not None}
        if len(epochs) < len(names):
            epochs = yield from self._epochs(names, until)
        places = replies[len(names) :]
        return epochs, {key: Seen(reply.version if reply.done else None) for key, reply in zip(keys, places, strict=True)}

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

    def _put(self, key: str, entry: Entry, record: bytes, epochs: Mapping[bytes, int], seen: Seen) -> Command:
        now = self._now()
        head = HEAD.pack(MAGIC, epochs[self._epoch], self._mark(entry, epochs), now)
        name = self._name(ENTRY, key)
        return put(name, head + record, _expires(entry, now), version=seen.version, absent=seen.version is None)

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

    def _mark(self, entry: Entry, epochs: Mapping[bytes, int]) -> int:
        """What stands in the head of an entry for its tags and its owner, as long as none of them is cleared; 0 for none."""
        names = self._beside(entry)
        if not names:
            return 0
        told = b"".join(name + NUMBER.pack(epochs.get(name, 0)) for name in names)
        return int.from_bytes(blake2b(told, digest_size=8).digest(), "big") | 2


ENTRY, EPOCH, TAG, OWNER, USED = _KINDS = (b"e", b"n", b"t", b"o", b"u")
NOTHING = Seen()
DAMAGED = 1


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
