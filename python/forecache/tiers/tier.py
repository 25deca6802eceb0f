"""What a cache asks of a tier below memory. Whatever has these methods is one: nothing has to be derived from.

The verbs are those that a cache can't make of others, and each takes as many keys as there are, so that a tier is touched once
a call:

- `get_many`, `set_many`, `delete_many`: reading (also for `exists` and `ttl`), writing, deleting;
- `swap`: the one atomic step. `add`, `incr`, `pop`, `compare_and_set`, `touch` and `pin` are read, decide, swap, and again if
  another was faster;
- `scan` and `clear`: what keys there are, and an end to all or some of them, which nobody could do by knowing keys;
- `flush`, `close`, `stats`.

All but `stats` are flows (see `forecache.flow`): generators that yield requests, such as `Call(function, arguments)` for what
takes longer than some microseconds, and return the answer; threads and tasks are the driver's affair. A verb that yields
nothing is answered at once, in either colour.

```python
def get_many(self, keys):
    records = yield Call(self.client.mget, (keys,))
    return {key: Entry.open(self.namespace, key, record) for key, record in zip(keys, records) if record is not None}
```

A tier is called by any thread, and by several at once. `forecache.testing.check_tier` tells whether it keeps all this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from forecache._core import Counters, Disk, Entry, FakeClock, Gate, ZMemory, milliseconds
from forecache.flow import Flow
from forecache.latency import Latency

__all__ = [
    "Counted",
    "Indexed",
    "Limited",
    "Now",
    "Reader",
    "Stored",
    "Streams",
    "Tier",
    "TierStats",
    "lives",
    "versioned",
    "wall_time",
]

Now: TypeAlias = Callable[[], int]
"""Wall time: milliseconds since 1970."""

INLINE = 16_384
"""Bytes of payload up to which a local tier reads and writes where it stands, whatever the face: it takes less than a thread."""
BATCH = 64
"""Keys up to which they do so."""
SCANNED = 256
"""Places that a scan looks at, at a time."""
LIMITS = frozenset({"lists", "smallest", "largest", "decides"})
"""Names of what a tier may be limited to: see `Limited`."""
FAKE_START = 1_577_836_800_000
"""Wall time at which a `FakeClock` begins: 2020-01-01 00:00 UTC."""


class Stored(NamedTuple):
    """What became of a `set_many`."""

    refused: Collection[str] = ()
    """Keys whose entries the tier didn't take: too large for it, or refused admission. Whatever it had under them is gone."""
    evicted: Mapping[str, Entry] = {}
    """What left the tier to make room, if its place is the tier below. A tier that keeps nobody's victims gives none."""
    reason: str | None = None
    """What the tier lacked for `refused` that it should have; the cache raises that if the tier is strict."""


@dataclass(frozen=True, slots=True)
class TierStats:
    """A tier at one moment. Sums are of this process, since the tier was made; what a tier can't tell is None."""

    name: str
    hits: int = 0
    misses: int = 0
    sets: int = 0
    refused: int = 0
    evicted: int = 0
    corrupt: int = 0
    """Records that were found damaged; each was a miss, and was removed."""
    entries: int | None = None
    bytes: int | None = None
    capacity: int | None = None
    latency: Latency | None = None
    """How long a `get` took that was a hit here, until its value was in memory; of those that were timed: every 16th."""
    state: str = "up"
    """`up`, `down` (its breaker is open: nothing is asked of it), or `probing`."""
    reason: str | None = None
    """Why the latest call failed; None if it didn't."""
    failures: int = 0
    """Calls that failed or came too late."""
    dropped: int = 0
    """Entries that weren't written because the tier was down."""
    queued: int = 0
    """Keys with something on its way to the tier."""
    queued_bytes: int = 0
    retried: int = 0
    """Calls that were made again because the connection was refused or broke off."""
    hedged: int = 0
    """Reads that were sent a second time because they took long."""
    owed: int | None = 0
    """Keys that are still to be deleted before the tier answers for them again; None: all of them, so it will be cleared."""
    journal: str | None = None
    """The file that keeps what is owed for other processes; `memory`, and why, if there is none; None if none is wanted."""


class Tier(Protocol):
    """See the head of this module. A verb that can't be answered raises `TierUnavailable`, or what its client raises.

    Times in entries are milliseconds since 1970: what has reached its `hard` isn't there, nor what nobody has read or written for
    `time_to_idle` milliseconds. `version` is the tier's own: each change gives a key one that it never had, and the entry that
    `get_many` gives bears it.
    """

    @property
    def name(self) -> str:
        """What statistics and events call it; another for each tier of a cache."""

    @property
    def shared(self) -> bool:
        """Whether other processes see it: then what must be decided once is decided there."""

    def get_many(self, keys: Sequence[str]) -> Flow[dict[str, Entry]]:
        """The entries that are there. One that is damaged isn't."""

    def set_many(self, entries: Mapping[str, Entry], *, absent: bool = False) -> Flow[Stored]:
        """Stores entries in the place of what is there, or with `absent` only those under whose keys nothing is.

        What isn't there after a `set_many` without `absent` has no older entry there either.
        """

    def delete_many(self, keys: Sequence[str]) -> Flow[set[str]]:
        """Deletes, and gives the keys that were there."""

    def swap(self, key: str, version: int | None, entry: Entry | None) -> Flow[bool]:
        """In one step: stores `entry` (None: deletes) if what is there has `version` (None: if nothing is there).

        Says whether it did.
        """

    def scan(self, cursor: int, pattern: str | None) -> Flow[tuple[int | None, list[str]]]:
        """Some keys, and the cursor to go on with, None at the end; 0 begins. `pattern` has `*` (any characters) and `?` (one).

        A key that is there all the while comes; one that comes or goes meanwhile may.
        """

    def clear(self, *, tags: Sequence[str] = (), owner: str | None = None) -> Flow[int | None]:
        """Removes all entries, or those that carry any of `tags`, or those of `owner`; how many lived, if it knows."""

    def flush(self) -> Flow[None]:
        """Returns when all that was stored survives a crash of the machine, as far as the tier can say so."""

    def close(self) -> Flow[None]:
        """Lets go of files and connections. Closing twice is fine."""

    def stats(self) -> TierStats:
        """A plain call that waits for nothing."""


class Reader(Protocol):
    """An open entry: its payload, part by part."""

    @property
    def entry(self) -> Entry:
        """All but the payload, which is empty."""

    @property
    def length(self) -> int:
        """Bytes of the payload."""

    def read(self, offset: int, length: int) -> Flow[bytes]:
        """Bytes from `offset` on: fewer than `length` at the end only."""


class Streams(Protocol):
    """What a tier may be able to do beside: give an entry without reading all of it."""

    def open(self, key: str) -> Flow[Reader | None]:
        """The entry of a key; None if there is none."""


class Counted(Protocol):
    """What a tier may have that other processes of the host share."""

    def counters(self) -> Counters | None:
        """Counters by which a read in memory sees in one look whether others changed its key; None while there are none."""


class Hasty(Protocol):
    """What a tier may have that is a directory on disk: a way to read it in one call, without a flow."""

    @property
    def gate(self) -> Gate:
        """Closed while reads have to be flows."""

    def express(self) -> Disk | None:
        """The directory; None while there is none."""


class Indexed(Protocol):
    """What a tier of this package has: one look tells whether it has a key, so that a plain `set` minds what is immutable."""

    def index(self) -> Disk | ZMemory | None:
        """Its store; None while there is none."""


class Limited(Protocol):
    """What a tier may have that can't do all of it. Each is optional; whoever lacks it has no such limit."""

    @property
    def lists(self) -> bool:
        """Whether it knows its keys; `scan` of one that doesn't gives `(None, [])`."""

    @property
    def smallest(self) -> int:
        """Bytes of payload below which `set_many` takes no entry; a `swap` takes all. It doesn't change."""

    @property
    def largest(self) -> int | None:
        """Bytes of payload up to which it takes every entry; longer ones may be refused. None: no bound, or not yet known."""

    @property
    def decides(self) -> bool:
        """Whether it has a `swap`; that of one that hasn't raises `TierUnavailable`. It may be False from the first `swap` on."""


def wall_time(clock: FakeClock | None = None) -> Now:
    """Wall time as tiers take it: the system's, or that of a clock for tests.

    >>> from forecache.testing import FakeClock
    >>> wall_time(FakeClock())()
    1577836800000
    """
    if clock is None:
        return milliseconds
    return lambda: FAKE_START + int(clock.time() * 1000)


def lives(entry: Entry, used: int, now: int) -> bool:
    """Whether an entry that was last read or written at `used` is still there."""
    idle = entry.time_to_idle
    return (entry.hard is None or now < entry.hard) and (idle is None or now < used + idle)


def versioned(entry: Entry, version: int, payload: bytes | None = None) -> Entry:
    """The same entry under another version, or with another payload: for tiers, which give versions of their own."""
    return entry.versioned(version, payload)
