"""What a cache has below memory: its tiers, how values cross to them, and who waits for what is on its way."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from forecache._core import MISSING, Counters, Entry, Memory
from forecache.codec import RAW, Codec, Json, MessagePack, codec
from forecache.errors import CodecError, TierUnavailable
from forecache.events import Hub, Removed, TierFailed
from forecache.tiers.breaker import Breaker
from forecache.tiers.disk import Disk
from forecache.tiers.ring import Ring
from forecache.tiers.tier import Tier, wall_time
from forecache.units import wrong

if TYPE_CHECKING:
    from forecache.config import Config
    from forecache.tiered import TieredCache
    from forecache.tiers.boundary import Boundary
    from forecache.tiers.journal import Journal

__all__ = ["FAILURES", "GONE", "Signal", "Stack"]

FAILURES: Final = (TierUnavailable, OSError)
"""What a tier raises that can't answer."""
GONE: Final = b"d"
_LETTERS = {"behind": b"b", "through": b"t", "demote": b"d"}


class Signal:
    """Wakes all who wait for something to change; they look again then."""

    def __init__(self) -> None:
        self._waiting: list[Future[None]] = []

    def wait(self) -> Future[None]:
        """A future for `flow.Until`. Look again after asking for it: what changed before doesn't wake it."""
        future: Future[None] = Future()
        self._waiting.append(future)
        return future

    def wake(self) -> None:
        """Something has changed. Who is interrupted here calls again: nobody leaves the list before they are woken."""
        for future in list(self._waiting):
            with suppress(InvalidStateError):  # cancelled, or another is waking them
                future.set_result(None)
            with suppress(ValueError):
                self._waiting.remove(future)


class Stack:
    """The tiers below a cache's memory, from the fastest to the slowest."""

    def __init__(self, config: Config, hub: Hub) -> None:
        self.namespace = config.namespace
        self.hub = hub
        self.now = wall_time(config.clock)
        self.boundaries = config.tiers
        self.tiers: tuple[Tier, ...] = tuple(each.make(config.namespace, self.now, hub.tell) for each in config.tiers)
        for boundary, tier in zip(self.boundaries, self.tiers, strict=True):
            if boundary.journalled:
                for address, part in _parts(tier, boundary):
                    _keep(part, address, boundary, config)
        names = [tier.name for tier in self.tiers]
        if len(set(names)) < len(names):
            raise wrong("tiers", names, "tiers with a name each")
        self.depths = range(len(self.tiers))
        shared = [depth for depth in self.depths if self.tiers[depth].shared]
        self._shared = shared
        default = b"".join(_LETTERS[each.write] for each in self.boundaries)
        self.delete = GONE * len(self.tiers)
        self.plans = {
            None: (default, True),
            "behind": (b"b" * len(self.tiers), True),
            "through": (b"t" * len(self.tiers), True),
            "around": (default.replace(b"d", b"t"), False),
        }
        self.demotes = b"d" in default
        self.smallest = [getattr(tier, "smallest", 0) for tier in self.tiers]
        # What leaves the tier above was in these once; if another host deleted it meanwhile it must not come back.
        self.fills = [
            tier.shared and not hasattr(tier, "counters") and boundary.write != "demote"
            for boundary, tier in zip(self.boundaries, self.tiers, strict=True)
        ]
        # Tiers whose word holds on whether a key was there. A private one may have what another process has deleted; what it has
        # rightly, a shared one that isn't demoted to has too.
        copies = any(self.tiers[depth].shared and self.boundaries[depth].write != "demote" for depth in self.depths)
        self.telling = sum(1 << depth for depth in self.depths if self.tiers[depth].shared or not copies)
        self.deleting: dict[int, set[str]] = {}
        """What others deleted for callers of deletes, a set each."""
        self.signal = Signal()
        self.deciding: dict[str, tuple[int, Any]] = {}
        """Who decides about a key: thread and task."""
        self.failures = [0] * len(self.tiers)
        self.corrupt = [0] * len(self.tiers)
        self.untold: TierUnavailable | None = None
        """What a strict tier lacked for something that was written behind since the last flush."""
        self.codec: Codec = codec(config.codec, config.secret) if isinstance(config.codec, str) else config.codec
        self._raw = not isinstance(self.codec, Json)
        readers: Iterable[Codec] = (MessagePack(), Json(), self.codec)
        self._readers = {reader.number: reader for reader in readers}
        self._prefix = len(config.namespace.encode()).to_bytes(8, "little") + config.namespace.encode()
        self._counted = [tier.counters for tier in self.tiers if hasattr(tier, "counters")]
        # Who sees by a counter that a key was changed reads it anew: what lies below has to be changed by then.
        self.counting = sum(1 << depth for depth in self.depths if hasattr(self.tiers[depth], "counters"))
        self.order = sorted(self.depths, key=lambda depth: self.counting >> depth & 1)
        self.counters: Counters | None = None

    def tells(self, depth: int) -> bool:
        """Whether a tier's word holds on whether a key was there."""
        return self.counters is None or bool(self.telling >> depth & 1)

    def knows(self, depth: int) -> bool:
        """Whether what a tier lacks isn't there, whatever memory and the tiers above say: it gets all that is set, and others may
        have taken it away. Where there are counters, memory knows that, too."""
        return self.boundaries[depth].write != "demote" and not self.counting >> depth & 1

    def is_outdone(self) -> bool:
        """Whether a tier may know better than memory what is there."""
        return any(map(self.knows, self._shared))

    def takes(self, depth: int, size: int) -> bool:
        """Whether a tier takes payloads of so many bytes."""
        largest = getattr(self.tiers[depth], "largest", None)
        return self.smallest[depth] <= size and (largest is None or size <= largest)

    def decider(self) -> int | None:
        """The lowest tier that other processes share and that can decide; None if they share none.

        Raises `TierUnavailable` if none of those that they share can.
        """
        for depth in reversed(self._shared):
            if self._decides(depth):
                return depth
        if not self._shared:
            return None
        names = " and ".join(repr(self.tiers[depth].name) for depth in self._shared)
        remedy = "add a tier that can, such as a disk or Redis tier, or use `set`, which decides nothing"
        raise TierUnavailable(f"{names} can't decide between processes, as add, incr, pop and compare_and_set ask: {remedy}")

    def undecided(self, depth: int, key: str, error: Exception) -> int | None:
        """Where to decide after a tier has failed to: in the next, if it has found out that it never can; else in none."""
        if not self._decides(depth):
            return self.decider()
        self.failed(depth, "swap", (key,), error)
        return None

    def _decides(self, depth: int) -> bool:
        return getattr(self.tiers[depth], "decides", True)

    def attached(self, cache: TieredCache) -> bool:
        """Has memory compare what it holds with the counters that processes share, as soon as there are any."""
        for counters_of in self._counted:
            counters = counters_of()
            if counters is not None and counters != self.counters:
                if self.counters is not None:  # what other processes did meanwhile isn't known
                    Memory.clear(cache)
                self.counters = counters
                self.index(cache)
                cache._counters(counters, self.namespace)
                self._hasten(cache)
        return self.counters is not None

    def index(self, cache: TieredCache) -> None:
        """Has writes see whether a tier has a key, where one look tells."""
        for depth, tier in enumerate(self.tiers):
            index = tier.index() if hasattr(tier, "index") else None
            if index is not None:
                cache._index(depth, index)

    def _hasten(self, cache: TieredCache) -> None:
        """Has reads take the short way: to a disk that is the only tier, by the system's clock, for values that aren't copied."""
        tier: Any = self.tiers[0]
        disk = tier.express() if hasattr(tier, "express") and len(self.tiers) == 1 else None
        if disk is not None and cache.config.clock is None and not cache.config.copy:
            reference = weakref.ref(cache)

            def wake() -> None:
                held = reference()
                if held is not None:
                    held._worker.wake(held)

            cache._hasten(disk, tier.gate, self.decode, wake)

    def awake(self, plan: bytes) -> bytes:
        """The plan without the writes to tiers that aren't asked now."""
        if not any(getattr(tier, "down", False) for tier in self.tiers):
            return plan
        down = [getattr(tier, "down", False) and letter in b"bt" for tier, letter in zip(self.tiers, plan, strict=True)]
        return bytes(ord("-") if sleeps else letter for sleeps, letter in zip(down, plan, strict=True))

    def encode(self, key: str, value: Any) -> tuple[bytes, int]:
        """The stored form of a value, and the number of its codec. Raises `CodecError` if it has none."""
        if type(value) is bytes and self._raw:
            return value, RAW
        if value is MISSING:
            return b"", RAW  # memory refuses it
        return self.codec.encode(value, self._place(key)), self.codec.number

    def decode(self, key: str, entry: Entry) -> Any:
        """The value of a stored form. Raises `CodecError` for what can't be read here."""
        number = entry.codec
        if number == RAW:
            return entry.payload
        reader = self._readers.get(number)
        if reader is None:
            raise CodecError(f"codec {number} isn't configured here")
        return reader.decode(entry.payload, self._place(key))

    def _place(self, key: str) -> bytes:
        return self._prefix + str.encode(key)

    def forked(self) -> None:
        """In the child of a fork: nobody waits there."""
        self.signal = Signal()
        self.deciding = {}
        self.deleting = {}

    def failed(self, depth: int, verb: str, keys: Iterable[str], error: Exception, *, raises: bool = True) -> None:
        """Counts and tells that a tier didn't do what it was asked. `raises` that if the tier is strict."""
        self.failures[depth] += 1
        self.hub.tell(TierFailed(self.tiers[depth].name, verb, tuple(keys), error))
        if raises and self.boundaries[depth].strict:
            raise error

    def raise_untold(self) -> None:
        """Raises what a strict tier lacked for something that was written behind."""
        untold, self.untold = self.untold, None
        if untold is not None:
            raise untold

    def damaged(self, depth: int, key: str) -> None:
        """Counts and tells that what was stored can't be read."""
        self.corrupt[depth] += 1
        self.hub.tell(Removed(key, MISSING, "corrupt"))


def _parts(tier: Tier, boundary: Boundary) -> list[tuple[str, Breaker]]:
    """What misses things by itself: the tier, or each of a ring; and what tells its data from all other data."""
    parts = tier.parts if isinstance(tier, Ring) else {boundary.address or boundary.name: tier}
    return [(address, part) for address, part in parts.items() if isinstance(part, Breaker)]


def _keep(tier: Breaker, address: str, boundary: Boundary, config: Config) -> None:
    """Gives a tier its journal: in the first place that can be written to, or that has one."""
    from forecache.tiers.journal import Journal, file_name  # only who has such a tier needs it

    kind = type(boundary).__name__.lower()
    about = f"{kind} {address}, namespace {config.namespace!r}"
    journals = [Journal(place / file_name(kind, about), about) for place in journal_places(config, boundary)]
    tier.keep(next((journal for journal in journals if _serves(journal)), journals[-1] if journals else None))


def journal_places(config: Config, boundary: Boundary) -> list[Path]:
    """Directories where the journal of a tier may be, the best first."""
    from forecache.tiers.journal import state_directory  # only who has such a tier needs it

    if config.journal is not None:
        return [Path(config.journal).absolute()]
    # A directory of the disk tier takes no foreign files.
    beside = [Path(f"{Path(each.path)}.journal") for each in config.tiers if isinstance(each, Disk)][:1]
    state = state_directory()
    return beside if boundary.address is None or state is None else [*beside, state]


def _serves(journal: Journal) -> bool:
    try:
        journal.open()
    except OSError:
        return os.access(journal.path, os.R_OK | os.W_OK)  # held up for now
    return True
