"""The Redis tier: one server, a master that sentinels watch, or a cluster, also of Valkey; shared by all hosts that name it.

What is one step on a server is a script (`redis_scripts.py`); whom to ask know `redis_servers.py` and `redis_route.py`, and
connections are pooled by `redis_pool.py` and made by `redis_wire.py`.
"""

from __future__ import annotations

import os
import weakref
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from forecache import checks
from forecache._core import Entry, ask_served, open_reply, open_served
from forecache.flow import Flow, aside
from forecache.tiers import redis_scripts as scripts
from forecache.tiers.boundary import Compressed
from forecache.tiers.breaker import Tell
from forecache.tiers.dict_tier import matcher
from forecache.tiers.redis_url import Target, target
from forecache.tiers.remote import OPENED, Records, Remote, large, marked, needs
from forecache.tiers.retry import unsent
from forecache.tiers.tier import SCANNED, Now, Stored, Tier, TierStats, wall_time
from forecache.units import Duration, Size, wrong

if TYPE_CHECKING:
    from forecache.tiers.redis_wire import Command, Reply

__all__ = ["Redis", "RedisTier"]

LEAST = 2**20
"""Bytes that a capacity may be, at least."""
UNIT = 64
"""Bytes in which sizes are entered: see `redis_scripts.py`."""
BESIDE = 150
"""Bytes that a server takes for an entry beside its key, twice, and its value: measured with Redis 7.0."""
MOST_UNITS = 2**23 - 1
NEVER = 2**53
"""The end of what has none, in milliseconds."""
MARGIN = 1000
"""Milliseconds that the server keeps an entry longer: its end is decided here, and that is only to free the memory."""
CHUNK_KEYS, CHUNK_BYTES = 256, 2**20
"""What is written in one command, so that others needn't wait long for the server, and in one go, so that it is done in time."""
READ_KEYS = 1024
"""Keys that are read in one command, and whose use one step of the sweeper enters."""
USED_AT_ONCE = 64
"""Commands that put times to idle off, in one go."""
EACH = 1024
"""Bytes in whose time a server does what an entry takes beside its size."""
TENDING = 1024
"""Keys read, or a 16th of that written, until a call takes a step of the sweeper along."""
WRITTEN = 16
READ, IDLE = 1, 1 / 32
"""What a read counts: where there is a capacity the index has to learn of it, else it is only looked for what has expired."""
SWEPT = 128
"""Places that a step looks at."""
STEP = 500
"""Entries that one command removes, at most."""
OURS = b"fc1:"
"""What the generation begins with, and so every value: what doesn't is somebody else's."""
ANY, NOTHING = b"*", b""
"""What an entry may replace: whatever is there, or nothing. Else a version."""
NOT_DONE, WAS_THERE = b"02"

_alive: weakref.WeakSet[RedisTier] = weakref.WeakSet()


@dataclass(frozen=True, init=False)
class Redis(Remote):
    """A Redis tier: `Cache(tiers=[Redis("redis://cache.example:6379/0")])`. Nothing is contacted until it is used.

    `capacity` is a budget of the cache's namespace, beside what the server has as a whole (`maxmemory`). `username` and
    `password` are for a URL that has none. `ca` is a file of certificates to trust, `certificate` and `key` are own files.
    There are at most `connections`, and as many again in each event loop.

    >>> Redis("redis+sentinel://one,two,three/main").url
    'redis+sentinel://one:26379,two:26379,three:26379/main/0'
    """

    target: Target
    ca: str | None
    certificate: str | None
    key: str | None
    connections: int

    def __init__(
        self,
        url: str = "redis://localhost:6379/0",
        capacity: Size | None = None,
        *,
        name: str = "redis",
        username: str | None = None,
        password: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        certificate: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        connections: int = 32,
        write: str = "through",
        queue: Size = "64MB",
        when_full: str = "wait",
        compression: str = "lz4",
        level: int | None = None,
        min_size: Size = 1024,
        min_ratio: float = 1.2,
        strict: bool = False,
        timeout: Duration | None = 0.5,
        retries: int = 1,
        hedge: Duration | None = None,
    ) -> None:
        self._take_remote(
            called=name,
            capacity=capacity,
            retries=retries,
            hedge=hedge,
            write=write,
            queue=queue,
            when_full=when_full,
            strict=strict,
            timeout=timeout,
            packed=Compressed.checked(name, compression, level, min_size, min_ratio),
            target=_logged_in(target(f"{name}.url", url), name, username, password),
            ca=checks.path(f"{name}.ca", ca),
            certificate=checks.path(f"{name}.certificate", certificate),
            key=checks.path(f"{name}.key", key),
            connections=checks.whole(f"{name}.connections", connections, 1, 10_000),
        )
        if self.capacity is not None and self.capacity < LEAST:
            raise wrong(f"{name}.capacity", capacity, "1MiB or more, or None: what the namespace may take of the server")
        if not self.target.tls and (ca or certificate or key):
            given = next(field for field in ("ca", "certificate", "key") if getattr(self, field))
            raise wrong(f"{name}.{given}", getattr(self, given), "nothing, unless the URL begins with rediss (TLS)")
        if bool(self.certificate) < bool(self.key):
            raise wrong(f"{name}.certificate", certificate, "the file of the certificate that `key` belongs to")

    @property
    def url(self) -> str:
        """Where it is, without user and password."""
        return self.target.url

    @property
    def address(self) -> str:
        """See `Boundary`."""
        return self.target.url

    @property
    def username(self) -> str | None:
        """The user that logs in."""
        return self.target.username

    @property
    def password(self) -> str | None:
        """What they log in with."""
        return self.target.password

    def make(self, namespace: str, now: Now, tell: Tell | None = None) -> Tier:
        """See `Boundary`."""
        return self._layered(RedisTier(self, namespace, now), now, tell)


def _logged_in(target: Target, name: str, username: str | None, password: str | None) -> Target:
    for field, given in (("username", username), ("password", password)):
        if given is not None and not isinstance(given, str):
            raise wrong(f"{name}.{field}", type(given), "a str, or None")
    target = replace(target, username=target.username or username, password=target.password or password)
    for field in ("username", "password"):
        try:
            (getattr(target, field) or "").encode()
        except UnicodeEncodeError:
            raise wrong(f"{name}.{field}", "what isn't text", "what UTF-8 can encode, or None") from None
    return target


class RedisTier:
    """See the head of this module."""

    shared = True

    def __init__(self, options: Redis, namespace: str = "", now: Now | None = None) -> None:
        """Raises `ImportError`, which names the line for pip, where redis-py isn't installed."""
        try:
            from forecache.tiers.redis_servers import Servers
            from forecache.tiers.redis_wire import Command
        except ImportError as error:
            raise needs("redis", error) from error
        self._command = Command
        self.name = options.name
        self.options = options
        self.on_replaced: Callable[[], None] | None = None
        """Called when a server answers in the place of another, before it is asked anything."""
        self.on_unsure: Callable[[Sequence[str], int], None] | None = None
        """Called with keys of which a write was given up, and the time until which the servers may still do it."""
        self._now = now or wall_time()
        self._records = Records(namespace, options.packed.packing())
        self._servers = Servers(options, self._replaced)
        self._buckets = self._servers.route.buckets
        self._bases = [self._base(namespace, bucket) for bucket in range(self._buckets)]
        self._capacity = 0 if options.capacity is None else options.capacity // UNIT // self._buckets
        self._counts = dict.fromkeys(("hits", "misses", "sets", "refused", "evicted"), 0)
        self._held: dict[int, tuple[int, int]] = {}
        """Units and entries of each bucket, as last told."""
        self._since = [0.0] * self._buckets
        self._used: defaultdict[int, dict[str, None]] = defaultdict(dict)
        """Keys that were read since the index of their bucket was told of it."""
        _alive.add(self)

    def _base(self, namespace: str, bucket: int) -> bytes:
        tag = self._servers.route.tag(bucket)
        return b"forecache:%b:%b" % (quote(namespace, safe="").encode(), tag + b":" if tag else b"")

    def _script(self, bucket: int, script: scripts.Script, *arguments: Any) -> Command:
        return self._command(bucket, arguments, script, self._bases[bucket])

    def _replaced(self) -> bool:
        if self.on_replaced is None:
            return False
        self.on_replaced()
        return True

    def get_many(self, keys: Sequence[str]) -> Flow[dict[str, Entry]]:
        """See `Tier`."""
        found: dict[str, Entry] = {}
        idle: list[str] = []
        damaged: list[str] = []
        groups = self._grouped(keys) if keys else []
        commands = []
        tending = self._tending(groups, READ if self._capacity else IDLE)
        if len(keys) > READ_KEYS:
            groups = list(_pieces(groups, READ_KEYS))
        for bucket, names in groups:
            commands.append(self._command(bucket, ask_served(self._bases[bucket], names), opens=partial(self._opened, names)))
        replies = yield from self._servers.exchange(tending + commands)
        now = self._now()
        self._tended(tending, replies)
        for (_, names), reply in zip(groups, replies[len(tending) :], strict=True):
            some, resting, broken = reply if type(reply) is tuple else (yield from self._open(names, reply, now))
            if found:
                found.update(some)
            else:
                found = some
            idle += resting
            damaged += broken
        self._counts["hits"] += len(found)
        self._counts["misses"] += len(keys) - len(found)
        if self._capacity:
            for bucket, names in groups:
                self._used[bucket].update(dict.fromkeys(name for name in names if name in found))
        if idle:
            yield from self._put_off(found, idle, now)
        if damaged:
            self._records.corrupt += len(damaged)
            yield from self._change(dict.fromkeys(damaged), ANY)
        return found

    def _opened(self, names: list[str], buffer: bytes | bytearray, size: int) -> Any:
        """See `redis_wire.Opens`."""
        return open_reply(self._records.namespace, names, buffer, size, self._now())

    def _open(self, names: list[str], reply: Reply, now: int) -> Flow[tuple[dict[str, Entry], list[str], list[str]]]:
        """What `open_served` tells of a reply that hiredis has read."""
        generation, *values = reply
        if generation is None:
            return {}, [], []
        served = self._records.namespace, names, values, generation, now
        return open_served(*served, OPENED) or (yield aside(open_served, *served))

    def _put_off(self, found: dict[str, Entry], keys: list[str], now: int) -> Flow[None]:
        """The ends of entries with a time to idle, which were read now."""
        commands = []
        for bucket, names in _pieces(self._grouped(keys), CHUNK_KEYS):
            arguments: list[Any] = []
            for name in names:
                entry = found[name]
                end = _end(entry, now)
                stamp = entry.version.to_bytes(8, "little"), end.to_bytes(8, "little")
                arguments += (name.encode(), *stamp, max(end - now, 0) + MARGIN)
            commands.append(self._script(bucket, scripts.USE, *arguments))
        for start in range(0, len(commands), USED_AT_ONCE):
            yield from self._servers.exchange(commands[start : start + USED_AT_ONCE])

    def set_many(self, entries: Mapping[str, Entry], *, absent: bool = False) -> Flow[Stored]:
        """See `Tier`."""
        there, refused = yield from self._sealed(entries)
        done = yield from self._change(there, NOTHING if absent else ANY)
        self._counts["sets"] += len(done) - list(done.values()).count(NOT_DONE)
        self._counts["refused"] += len(refused)
        if not absent:
            yield from self._change(dict.fromkeys(refused), ANY)
        return Stored(refused)

    def delete_many(self, keys: Sequence[str]) -> Flow[set[str]]:
        """See `Tier`."""
        done = yield from self._change(dict.fromkeys(keys), ANY)
        return {key for key, each in done.items() if each == WAS_THERE}

    def swap(self, key: str, version: int | None, entry: Entry | None) -> Flow[bool]:
        """See `Tier`."""
        there, _ = yield from self._sealed({} if entry is None else {key: entry})
        done = yield from self._change(there or {key: None}, NOTHING if version is None else version.to_bytes(8, "little"))
        return done[key] != NOT_DONE

    def _sealed(self, entries: Mapping[str, Entry]) -> Flow[tuple[dict[str, Change | None], list[str]]]:
        """What is to be stored, and the keys of what is too large for the tier."""
        if large(entries.values()):
            return (yield aside(self._seal, entries))  # type: ignore[no-any-return]
        return self._seal(entries)

    def _seal(self, entries: Mapping[str, Entry]) -> tuple[dict[str, Change | None], list[str]]:
        there: dict[str, Change | None] = {}
        refused = []
        now = self._now()
        for key, entry in entries.items():
            record = self._records.seal(key, entry)
            units = -(-(_allocated(len(record)) + 2 * len(key.encode()) + BESIDE) // UNIT)
            if units > MOST_UNITS or 0 < self._capacity < units:
                refused.append(key)
                continue
            end = _end(entry, now)
            lives = 0 if end == NEVER else max(end - now, 0) + MARGIN
            marks = ["t" + tag for tag in entry.tags] + (["o" + entry.owner] if entry.owner else [])
            there[key] = Change(end, (record, lives, units, int(entry.pinned), len(marks), *(mark.encode() for mark in marks)))
        return there, refused

    def _change(self, changes: Mapping[str, Change | None], replaces: bytes) -> Flow[dict[str, int]]:
        """Stores or (None) deletes, where what is there is what is to be replaced; gives what became of each key."""
        done: dict[str, int] = {}
        for batch in _batches(self._grouped(changes), changes):
            commands = [self._changing(bucket, names, changes, replaces) for bucket, names in batch]
            tending = self._tending(batch, WRITTEN)
            try:
                replies = yield from self._servers.exchange(tending + commands)
            except BaseException as error:
                self._unsure([key for _, names in batch for key in names if changes[key] is not None], error)
                raise
            self._tended(tending, replies)
            for (bucket, names), (units, entries, evicted, flags) in zip(batch, replies[len(tending) :], strict=True):
                done.update(zip(names, flags, strict=True))
                self._held[bucket] = units, entries
                self._counts["evicted"] += evicted
        return done

    def _unsure(self, keys: list[str], error: BaseException) -> None:
        """These were to be stored, and may yet be: what was sent has the time of a call, by the servers' clocks."""
        timeout = self.options.timeout
        # What came too late had its time; what a server refused it won't do.
        given_up = not isinstance(error, Exception) or ("lost" in vars(error) and not (unsent(error) and self._buckets == 1))
        if keys and given_up and timeout is not None and self.on_unsure is not None:
            self.on_unsure(keys, self._now() + int(timeout * 1000) + 1)

    def _changing(self, bucket: int, names: list[str], changes: Mapping[str, Change | None], replaces: bytes) -> Command:
        arguments: list[Any] = []
        stores = 0
        fresh, *versions = _drawn(1 + len(names))
        for name, version in zip(names, versions, strict=True):
            change = changes[name]
            if change is None:
                arguments += (name.encode(), replaces, b"")
            else:
                stores = 1
                arguments += (name.encode(), replaces, version + change.end.to_bytes(8, "little"), *change.rest)
        return self._script(bucket, scripts.CHANGE, self._now(), self._capacity, OURS + fresh, len(names), stores, *arguments)

    def scan(self, cursor: int, pattern: str | None) -> Flow[tuple[int | None, list[str]]]:
        """See `Tier`. The cursor counts buckets, and says where in one to go on."""
        at, bucket = divmod(cursor, self._buckets)
        ((at_next, found),) = yield from self._servers.exchange([self._script(bucket, scripts.SCAN, self._now(), at, SCANNED)])
        matches = matcher(pattern)
        keys = [key for key in (name.decode() for name in found) if matches(key)]
        if int(at_next):
            return int(at_next) * self._buckets + bucket, keys
        return (bucket + 1 if bucket + 1 < self._buckets else None), keys

    def clear(self, *, tags: Sequence[str] = (), owner: str | None = None) -> Flow[int | None]:
        """See `Tier`. All entries are gone at once; the memory that they take is freed in steps, which the caller takes."""
        tags, owner = marked(tags, owner)
        marks = [b"t" + tag.encode() for tag in tags] + ([] if owner is None else [b"o" + owner.encode()])
        buckets = list(range(self._buckets))
        removed = 0
        if not marks:
            yield from self._servers.exchange([self._script(bucket, scripts.CLEAR) for bucket in buckets])
            self._held = {}
        while buckets:
            if marks:
                commands = [self._script(bucket, scripts.MARKED, self._now(), STEP, *marks) for bucket in buckets]
                replies = yield from self._servers.exchange(commands)
                for bucket, (units, entries, *_) in zip(buckets, replies, strict=True):
                    self._held[bucket] = units, entries
            else:
                replies = yield from self._servers.exchange(
                    [self._script(bucket, scripts.SWEEP, self._now(), STEP) for bucket in buckets]
                )
            removed += sum(reply[-2] for reply in replies)
            buckets = [bucket for bucket, reply in zip(buckets, replies, strict=True) if reply[-1]]
        return removed

    def flush(self) -> Flow[None]:
        """See `Tier`. When a server writes what it was told is its own affair."""
        yield from self._servers.exchange([])

    def close(self) -> Flow[None]:
        """See `Tier`."""
        return self._servers.close()

    def forked(self) -> None:
        """For the child of a fork."""
        self._servers.forked()

    def stats(self) -> TierStats:
        """See `Tier`. Bytes and entries are as servers told last, over all their clients."""
        held = list(self._held.values())
        units, entries = (sum(each) for each in zip(*held, strict=True)) if held else (None, None)
        return TierStats(
            self.name,
            reason=self._servers.route.blind,
            corrupt=self._records.corrupt,
            entries=entries,
            bytes=None if units is None else units * UNIT,
            capacity=self.options.capacity,
            **self._counts,  # type: ignore[arg-type]
        )

    # Beside the verbs.

    def _grouped(self, keys: Iterable[str]) -> list[tuple[int, list[str]]]:
        """Keys by their buckets."""
        if self._buckets == 1:
            return [(0, list(keys))]
        groups: defaultdict[int, list[str]] = defaultdict(list)
        for key in keys:
            groups[zlib.crc32(key.encode()) % self._buckets].append(key)
        return list(groups.items())

    def _tending(self, groups: list[tuple[int, list[str]]], weight: float) -> list[Command]:
        """Steps of the sweeper that are due in these buckets."""
        due = []
        for bucket, names in groups:
            self._since[bucket] += len(names) * weight
            if self._since[bucket] >= TENDING:
                self._since[bucket] = 0
                used = list(self._used.pop(bucket, {}))[-READ_KEYS:]  # a copy: another thread may be adding to it
                due.append(self._script(bucket, scripts.TEND, SWEPT, *[name.encode() for name in used]))
        return due

    def _tended(self, commands: list[Command], replies: list[Reply]) -> None:
        for command, (units, entries, gone, looked) in zip(commands, replies, strict=False):
            self._held[command.bucket] = units, entries
            if gone * 8 > looked:  # there is more to be found
                self._since[command.bucket] = TENDING


@dataclass(slots=True)
class Change:
    """What is to be stored: when it ends, and what a script is told of it after that."""

    end: int
    rest: tuple[Any, ...]


def _drawn(count: int) -> list[bytes]:
    """So many names of 8 bytes that nobody has drawn before, in this process or another."""
    drawn = os.urandom(8 * count)
    return [drawn[at : at + 8] for at in range(0, len(drawn), 8)]


def _end(entry: Entry, now: int) -> int:
    """When an entry that is read or written now ends."""
    ends = [NEVER]
    if entry.hard is not None:
        ends.append(entry.hard)
    if entry.time_to_idle is not None:
        ends.append(now + entry.time_to_idle)
    return min(ends)


def _allocated(size: int) -> int:
    """Bytes that a server's allocator gives for a record of that size with its heads: four sizes to each power of two."""
    size += 48
    step = 1 << max((size - 1).bit_length() - 3, 4)
    return -(-size // step) * step


def _pieces(groups: Iterable[tuple[int, list[str]]], most: int) -> Iterator[tuple[int, list[str]]]:
    """Keys of buckets, so many at most in a piece."""
    for bucket, names in groups:
        for start in range(0, len(names), most):
            yield bucket, names[start : start + most]


def _batches(
    groups: Iterable[tuple[int, list[str]]], changes: Mapping[str, Change | None]
) -> Iterator[list[tuple[int, list[str]]]]:
    """Keys of buckets, in pieces that keep no server busy for long, and as many pieces as are sent together."""
    batch: list[tuple[int, list[str]]] = []
    size = 0
    for bucket, names in groups:
        piece: list[str] = []
        for name in names:
            piece.append(name)
            change = changes[name]
            size += EACH + (0 if change is None else len(change.rest[0]))
            if size >= CHUNK_BYTES or len(piece) == CHUNK_KEYS:
                batch.append((bucket, piece))
                piece = []
            if size >= CHUNK_BYTES:
                yield batch
                batch, size = [], 0
        if piece:
            batch.append((bucket, piece))
    if batch:
        yield batch


def _forked() -> None:
    for tier in list(_alive):
        tier.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
