"""What a cache tells of its entries: which leave next, where a key is, and why it isn't."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forecache.flow import Flow
from forecache.units import wrong

if TYPE_CHECKING:
    from forecache._core import Entry
    from forecache.cache import Cache

_ENDINGS: Final = {
    "size": "evicted",
    "expired": "expired",
    "explicit": "deleted",
    "invalidated": "invalidated",
    "refused": "refused",
}
"""What users call a cause."""


class Candidate(NamedTuple):
    """An entry that may leave for space soon: `score` is the share of the entries that would stay longer."""

    key: str
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key is, and what is known of it there."""

    tier: str
    """`memory`, the name of a tier, or `queue`: on its way to the tiers."""
    weight: int
    """Bytes there, compressed or not, or the weigher's unit; 0 for a value that waits in the queue and isn't encoded yet."""
    ttl: float | None
    """Seconds until it expires if nobody asks for it; None if it doesn't."""
    age: float | None
    """Seconds since it was written; None in memory, which doesn't keep that."""
    owner: str
    tags: tuple[str, ...]
    immutable: bool
    pinned: bool
    reason: str = ""
    """How it stands with memory's policy."""

    def __str__(self) -> str:
        weight = f"weight {self.weight:,}" if self.tier == "memory" else f"{self.weight:,} bytes"
        parts = ["not encoded yet" if self.tier == "queue" and not self.weight else weight]
        parts += [] if self.age is None else [f"written {_seconds(self.age)} ago"]
        parts += [] if self.ttl is None else [f"{_seconds(self.ttl)} left"]
        parts += [f"owner {self.owner!r}"] if self.owner else []
        parts += [f"tags {', '.join(map(repr, self.tags))}"] if self.tags else []
        parts += ["immutable"] if self.immutable else []
        parts += ["pinned"] if self.pinned else []
        return f"in {self.tier}: {', '.join(parts)}" + (f"; {self.reason}" if self.reason else "")


class Left(NamedTuple):
    """What became of a key in memory: `cause` is one of "evicted", "expired", "deleted" (popped, cleared), "invalidated",
    "refused"; so many seconds ago, exact to a sixtieth; `reason` is the policy's word, or why it was refused."""

    cause: str
    seconds: float
    reason: str

    def __str__(self) -> str:
        return f"{self.cause} {_seconds(self.seconds)} ago" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a cache knows of a key. `str` of it is a sentence; it is true if the key is anywhere."""

    key: str
    places: tuple[Place, ...]
    """Where it is, the fastest first; none if it isn't there."""
    left: Left | None
    """What became of it in memory last, if that is remembered; None if it is there."""
    remembered: int | None
    """How many removals from memory are remembered, older ones being forgotten; None while none is."""

    def __bool__(self) -> bool:
        return bool(self.places)

    @property
    def state(self) -> str:
        """`there`, the cause of `left`, or else `never seen`; `not known` if it may have left before the removals remembered."""
        if self.places:
            return "there"
        if self.left is not None:
            return self.left.cause
        return "never seen" if self.remembered is None else "not known"

    def __str__(self) -> str:
        if self.places:
            told = f"{self.key!r} is {'; '.join(map(str, self.places))}"
            return told if self.left is None else f"{told}; not in memory: {self.left}"
        if self.left is not None:
            return f"{self.key!r} isn't there: {self.left}"
        if self.remembered is None:
            return f"{self.key!r} isn't there: never seen in memory"
        return f"{self.key!r} isn't there: not known: left longer ago than the last {self.remembered:,} removals, or never seen"


def candidates(cache: Cache, n: int) -> list[Candidate]:
    """See `Cache.candidates`."""
    if not isinstance(n, int) or isinstance(n, bool) or not 0 <= n < 2**31:
        raise wrong("n", n, "a whole number from 0 to 2**31 - 1")
    return [Candidate(*each) for each in cache._candidates(n)]


def explain(cache: Cache, key: str) -> Flow[Explanation]:
    """See `Cache.explain`."""
    place, told, remembered = cache._explain(key)
    places = [] if place is None else [_near(*place)]
    if cache.config.tiers:
        places += yield from _below(cache, key)
    left = None
    if place is None and told is not None:
        cause, seconds, reason = told
        left = Left(_ENDINGS[cause], seconds, reason)
    return Explanation(key, tuple(places), left, remembered)


def _near(weight: int, ttl: float | None, owner: str, tags: list[str], immutable: bool, pinned: bool, reason: str) -> Place:
    return Place("memory", weight, ttl, None, owner, tuple(tags), immutable, pinned, reason)


def _below(cache: Any, key: str) -> Flow[list[Place]]:
    """Where a key is on its way down, and in which tiers; nothing climbs."""
    from forecache import reads

    stack = cache._stack
    if not reads.is_text(key):
        return []
    places = []
    hidden, waiting = cache._waiting(key, stack.now())
    if waiting is not None and not reads.has_ended(waiting, stack.now()):
        places.append(_place("queue", waiting, stack.now()))
    for depth in stack.depths:
        if not hidden >> depth & 1:
            _, entry = yield from reads.entry_in(cache, key, [depth])
            if entry is not None:
                places.append(_place(stack.tiers[depth].name, entry, stack.now()))
    return places


def _place(tier: str, entry: Entry, now: int) -> Place:
    ends = [] if entry.hard is None else [entry.hard - now]
    ends += [] if entry.time_to_idle is None else [entry.time_to_idle]
    ttl = max(0, min(ends)) / 1000 if ends else None
    age = max(0, now - entry.written) / 1000 if entry.written else None
    weight = entry.stored_bytes or len(entry.payload)
    return Place(tier, weight, ttl, age, entry.owner, tuple(entry.tags), entry.immutable, entry.pinned)


def _seconds(seconds: float) -> str:
    """Seconds in words.

    >>> _seconds(0.0), _seconds(0.26), _seconds(75.2), _seconds(7300)
    ('0 s', '0.26 s', '75 s', '122 min')
    """
    if seconds >= 600:
        return f"{seconds / 60:,.0f} min"
    return f"{seconds:.0f} s" if seconds >= 10 or seconds == 0 else f"{seconds:.2g} s"
