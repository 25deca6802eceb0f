"""The disk tier: it survives restarts, and the processes of a host share it. Its store is Rust's, `forecache-core/src/disk`."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from forecache import checks
from forecache._core import Counters, Entry
from forecache._core import Disk as Directory
from forecache.errors import TierReadOnly, TierUnavailable
from forecache.flow import Call, Flow
from forecache.tiers.boundary import Boundary, Compressed
from forecache.tiers.breaker import QUIET, Tell
from forecache.tiers.tier import BATCH, INLINE, SCANNED, Now, Stored, Tier, TierStats, wall_time
from forecache.units import Duration, Size, parse_size, wrong

__all__ = ["Disk", "DiskTier"]

T = TypeVar("T")

POLICIES = ("lru", "lfu", "adaptive", "learned")
"""Policies that tell an entry's worth by itself: the others need the order of all entries, which no process knows."""
POLICY = "lru"
ADMISSIONS = ("doorkeeper", "all")
LEAST = 8 * 2**20
"""Bytes that a directory may have, at least."""
PATHS = "an absolute path, such as '/var/cache/app'"

FULL = "no space is left on its file system, so it holds less than its capacity"

_alive: weakref.WeakSet[DiskTier] = weakref.WeakSet()
_log = logging.getLogger("forecache")


@dataclass(frozen=True, init=False)
class Disk(Boundary):
    """A disk tier: `Cache(tiers=[Disk("/var/cache/app", "20GB")])`. The directory is made if it isn't there.

    >>> Disk("/var/cache/app", "20GB").capacity
    20000000000
    """

    path: str
    capacity: int
    policy: str
    admission: str
    packed: Compressed
    seed: int | None

    def __init__(
        self,
        path: str | os.PathLike[str],
        capacity: Size = "1GB",
        *,
        policy: str = POLICY,
        admission: str = "doorkeeper",
        write: str = "behind",
        queue: Size = "64MB",
        when_full: str = "wait",
        compression: str = "lz4",
        level: int | None = None,
        min_size: Size = 1024,
        min_ratio: float = 1.2,
        strict: bool = False,
        timeout: Duration | None = None,
        seed: int | None = None,
    ) -> None:
        size = parse_size(capacity, "disk.capacity")
        if size < LEAST:
            raise wrong("disk.capacity", capacity, "8MiB or more: bytes of all files of the directory together")
        self._take(
            write=write,
            queue=queue,
            when_full=when_full,
            strict=strict,
            timeout=timeout,
            path=_path(path),
            capacity=size,
            policy=checks.policy("disk.policy", policy, POLICIES),
            admission=checks.one_of("disk.admission", admission, ADMISSIONS),
            packed=Compressed.checked("disk", compression, level, min_size, min_ratio),
            seed=checks.whole("disk.seed", seed, 0, 2**64 - 1),
        )

    @property
    def name(self) -> str:
        """See `Boundary`."""
        return "disk"

    def make(self, namespace: str, now: Now, tell: Tell | None = None) -> Tier:
        """See `Boundary`. Opens the directory. If it can't be, `stats` says so and it is tried later; `strict` raises."""
        tier = DiskTier(self, namespace, now)
        try:
            tier.open()
        except TierUnavailable:
            if self.strict:
                raise
        return self._layered(tier, now, tell)


def _path(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(text, str) or not text or "\0" in text:
        raise wrong("disk.path", path, PATHS)
    if text.startswith("~"):
        raise wrong("disk.path", path, f"{PATHS}; a home directory is written out: pathlib.Path(…).expanduser()")
    if not os.path.isabs(text):  # noqa: PTH117  a text it stays
        raise wrong("disk.path", path, f"{PATHS}; a relative one would be another in another working directory")
    return text


class DiskTier:
    """See the head of this module. Small reads, and writes that needn't wait, are done at once; the others are calls."""

    shared = True

    def __init__(self, options: Disk, namespace: str = "", now: Now | None = None) -> None:
        self.name = options.name
        self.options = options
        self._namespace = namespace
        self._now = now or wall_time()
        self._opening = threading.Lock()
        self._disk: Directory | None = None
        self._closed = False
        self._last = TierStats(self.name, capacity=options.capacity)
        self._full: int | None = None
        """When the file system was found full last, unless something was written since."""
        self._logged: int | None = None
        """When that was logged."""
        _alive.add(self)

    def open(self) -> Directory:
        """The open directory; raises `TierUnavailable` with the reason if there is none."""
        with self._opening:
            if self._closed:
                raise TierUnavailable(f"{self.name}: closed")
            if self._disk is None:
                options = self.options
                try:
                    self._disk = Directory(
                        options.path,
                        namespace=self._namespace,
                        capacity=options.capacity,
                        policy=options.policy,
                        admission=options.admission,
                        packing=options.packed.packing(),
                        seed=options.seed,
                        or_read=not options.strict,
                    )
                except (OSError, ValueError) as error:
                    reason = str(error) if options.path in str(error) else f"{options.path}: {error}"
                    self._last = TierStats(self.name, capacity=options.capacity, state="down", reason=reason)
                    raise TierUnavailable(reason) from error
                if self._closed:  # meanwhile
                    self._disk = None
                    raise TierUnavailable(f"{self.name}: closed")
                self._tell_damage(self._disk)
                if told := self._disk.read_only():
                    _log.warning("%s: %s", self.name, told)
            return self._disk

    def _tell_damage(self, disk: Directory) -> None:
        """What was damaged is lost by now, and the directory is fine: that is told once."""
        if disk.stats()["corrupt"]:
            told = f"{self.name}: {self.options.path} was damaged; what could not be made out is lost, the rest is there"
            _log.warning("%s", told)
            if self.options.strict:
                raise TierUnavailable(told)

    def _opened(self) -> Flow[Directory]:
        return self._disk or (yield Call(self.open))

    def counters(self) -> Counters | None:
        """See `Counted`."""
        return None if self._disk is None else self._disk.counters()

    def express(self) -> Directory | None:
        """See `Hasty`."""
        return self._disk

    def index(self) -> Directory | None:
        """See `Indexed`."""
        return self._disk

    def forked(self) -> None:
        """For the child of a fork."""
        self._opening = threading.Lock()
        if self._disk is not None:
            self._disk.forked()

    def get_many(self, keys: Sequence[str]) -> Flow[dict[str, Entry]]:
        """See `Tier`."""
        disk = self._disk or (yield from self._opened())
        if len(keys) == 1:
            (key,) = keys
            entry = disk.get(key, self._now(), INLINE)
            if isinstance(entry, int):
                entry = yield Call(disk.get, (key, self._now(), None))
            return {} if entry is None else {key: entry}
        if len(keys) > BATCH:
            found, _ = yield Call(disk.get_many, (keys, self._now(), None))
            return found  # type: ignore[no-any-return]
        found, large = disk.get_many(keys, self._now(), INLINE)
        if large:
            more, _ = yield Call(disk.get_many, (large, self._now(), None))
            found.update(more)
        return found

    def set_many(self, entries: Mapping[str, Entry], *, absent: bool = False) -> Flow[Stored]:
        """See `Tier`."""
        disk = yield from self._opened()
        cramped = disk.cramped()
        small = len(entries) <= BATCH and sum(len(entry.payload) for entry in entries.values()) <= INLINE
        change = _change(disk.set_many, (dict(entries), self._now()), {"absent": absent}, small=small)
        refused = yield from self._changed(change, entries)
        if refused and disk.cramped() > cramped:
            return Stored(refused, reason=self._find_full())
        if len(refused) < len(entries):
            self._full = None
        return Stored(refused)

    def _find_full(self) -> str:
        """Notes, and logs once a minute, that the file system refuses what the directory might have. Gives the reason."""
        self._full = now = self._now()
        if self._logged is None or not self._logged <= now < self._logged + QUIET:
            _log.warning("%s: %s", self.name, self._why_full())
            self._logged = now
        return self._why_full()

    def _why_full(self) -> str:
        return f"{self.options.path}: {FULL}"

    def delete_many(self, keys: Sequence[str]) -> Flow[set[str]]:
        """See `Tier`."""
        disk = yield from self._opened()
        change = _change(disk.delete_many, (keys, self._now()), {}, small=len(keys) <= BATCH)
        return set((yield from self._changed(change, keys)))

    def swap(self, key: str, version: int | None, entry: Entry | None) -> Flow[bool]:
        """See `Tier`."""
        disk = yield from self._opened()
        cramped = disk.cramped()
        small = entry is None or len(entry.payload) <= INLINE
        try:
            change = _change(disk.swap, (key, version, entry, self._now()), {}, small=small)
            return (yield from self._changed(change, (key,)))
        except UnicodeEncodeError:
            raise
        except ValueError as error:  # there is no room for it, and what was there is gone all the same
            if disk.cramped() > cramped:
                reason = self._find_full()
                if self.options.strict:
                    raise TierReadOnly(reason) from error
            return True

    def _changed(self, change: Flow[T], keys: Iterable[str] = ()) -> Flow[T]:
        """What a change of `keys` gives. Raises `TierReadOnly` if the directory can't be written to."""
        try:
            return (yield from change)
        except OSError as error:
            reason = None if self._disk is None else self._disk.read_only()
            if self._disk is None or reason is None:
                raise
            keys = list(keys)
            refused = TierReadOnly(reason)
            if keys:
                refused.holds = set(keys).difference(self._disk.lacks(keys, self._now()))
            raise refused from error

    def scan(self, cursor: int, pattern: str | None) -> Flow[tuple[int | None, list[str]]]:
        """See `Tier`."""
        disk = yield from self._opened()
        return (yield Call(disk.scan, (cursor, SCANNED, pattern, self._now())))  # type: ignore[no-any-return]

    def clear(self, *, tags: Sequence[str] = (), owner: str | None = None) -> Flow[int | None]:
        """See `Tier`. Without tags and owner it takes the same short time however much there is, and counts what expired, too."""
        disk = yield from self._opened()

        def clear() -> Flow[int]:
            return (yield Call(disk.clear, (tags, owner, self._now())))  # type: ignore[no-any-return]

        return (yield from self._changed(clear()))

    def flush(self) -> Flow[None]:
        """See `Tier`. Syncs files."""
        disk = yield from self._opened()
        yield Call(disk.flush)

    def close(self) -> Flow[None]:
        """See `Tier`."""
        self._last = self.stats()
        self._closed = True
        disk, self._disk = self._disk, None
        if disk is not None:
            yield Call(disk.close)

    def stats(self) -> TierStats:
        """See `Tier`."""
        disk = self._disk
        if disk is None:
            return self._last
        told = disk.stats()
        full = self._full is not None and self._full <= self._now() < self._full + QUIET
        reason = self._why_full() if full else disk.read_only()
        return TierStats(self.name, reason=reason, **{field: told[field] for field in _TOLD if field in told})  # type: ignore[arg-type]


_TOLD = ("hits", "misses", "sets", "refused", "evicted", "corrupt", "entries", "bytes", "capacity")


def _change(function: Callable[..., T | None], arguments: tuple[Any, ...], keywords: dict[str, Any], *, small: bool) -> Flow[T]:
    """Done at once if it is `small` and nobody else is at it; else in a call that waits for the others."""
    done = function(*arguments, **keywords, wait=False) if small else None
    if done is None:
        done = yield Call(function, arguments, keywords | {"wait": True})
    return done


def _forked() -> None:
    for tier in list(_alive):
        tier.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
