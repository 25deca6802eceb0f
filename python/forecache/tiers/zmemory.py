"""Compressed memory: encoded, compressed values, for working sets that are larger than live objects allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from forecache import checks
from forecache._core import Entry
from forecache._core import ZMemory as Store
from forecache.errors import TierUnavailable
from forecache.flow import Call, Flow
from forecache.tiers.boundary import Boundary, Compressed
from forecache.tiers.breaker import Tell
from forecache.tiers.tier import BATCH, INLINE, SCANNED, Now, Stored, Tier, TierStats, wall_time
from forecache.units import Duration, Size, parse_size

__all__ = ["ZMemory", "ZMemoryTier"]


@dataclass(frozen=True, init=False)
class ZMemory(Boundary):
    """A compressed memory tier: `Cache(tiers=[ZMemory("256MB")])`. What it evicts goes to the tier below it.

    >>> ZMemory("256MB").capacity
    256000000
    """

    capacity: int
    policy: str
    packed: Compressed
    seed: int | None

    def __init__(
        self,
        capacity: Size = "100MB",
        *,
        policy: str = "s3fifo",
        write: str = "demote",
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
        self._take(
            write=write,
            queue=queue,
            when_full=when_full,
            strict=strict,
            timeout=timeout,
            capacity=parse_size(capacity, "zmemory.capacity"),
            policy=checks.policy("zmemory.policy", policy),
            packed=Compressed.checked("zmemory", compression, level, min_size, min_ratio),
            seed=checks.whole("zmemory.seed", seed, 0, 2**64 - 1),
        )

    @property
    def name(self) -> str:
        """See `Boundary`."""
        return "zmemory"

    def make(self, namespace: str, now: Now, tell: Tell | None = None) -> Tier:  # noqa: ARG002  it has no events
        """See `Boundary`. There is nothing that could fail, so there is no breaker."""
        return ZMemoryTier(self, namespace, now)


class ZMemoryTier:
    """See the head of this module. What is large is packed and unpacked in a thread under the async face."""

    shared = False

    def __init__(self, options: ZMemory, namespace: str = "", now: Now | None = None) -> None:
        self.name = options.name
        self._now = now or wall_time()
        self._store: Store | None = Store(
            namespace=namespace,
            capacity=options.capacity,
            policy=options.policy,
            packing=options.packed.packing(),
            seed=options.seed,
        )
        self._last = TierStats(self.name)

    def _open(self) -> Store:
        if self._store is None:
            raise TierUnavailable(f"{self.name}: closed")
        return self._store

    def index(self) -> Store | None:
        """See `Indexed`."""
        return self._store

    def get_many(self, keys: Sequence[str]) -> Flow[dict[str, Entry]]:
        """See `Tier`."""
        store = self._open()
        if len(keys) > BATCH:
            found, _ = yield Call(store.get_many, (keys, self._now(), None))
            return found  # type: ignore[no-any-return]
        found, large = store.get_many(keys, self._now(), INLINE)
        if large:
            more, _ = yield Call(store.get_many, (large, self._now(), None))
            found.update(more)
        return found

    def set_many(self, entries: Mapping[str, Entry], *, absent: bool = False) -> Flow[Stored]:
        """See `Tier`."""
        store = self._open()
        arguments = (list(entries.items()), self._now(), absent)
        if len(entries) > BATCH or sum(len(entry.payload) for entry in entries.values()) > INLINE:
            return Stored(*(yield Call(store.set_many, arguments)))
        return Stored(*store.set_many(*arguments))

    def delete_many(self, keys: Sequence[str]) -> Flow[set[str]]:
        """See `Tier`."""
        yield from ()
        return set(self._open().delete_many(keys, self._now()))

    def swap(self, key: str, version: int | None, entry: Entry | None) -> Flow[bool]:
        """See `Tier`."""
        store = self._open()
        if entry is not None and len(entry.payload) > INLINE:
            return (yield Call(store.swap, (key, version, entry, self._now())))  # type: ignore[no-any-return]
        return store.swap(key, version, entry, self._now())

    def scan(self, cursor: int, pattern: str | None) -> Flow[tuple[int | None, list[str]]]:
        """See `Tier`."""
        yield from ()
        return self._open().scan(cursor, SCANNED, pattern, self._now())

    def clear(self, *, tags: Sequence[str] = (), owner: str | None = None) -> Flow[int | None]:
        """See `Tier`."""
        yield from ()
        return self._open().clear(tags, owner, self._now())

    def flush(self) -> Flow[None]:
        """See `Tier`. Memory survives nothing."""
        yield from ()
        self._open()

    def close(self) -> Flow[None]:
        """See `Tier`. All of it is gone."""
        yield from ()
        self._last = replace(self.stats(), entries=0, bytes=0)
        self._store = None

    def stats(self) -> TierStats:
        """See `Tier`."""
        return self._last if self._store is None else TierStats(self.name, **self._store.stats())  # type: ignore[arg-type]
