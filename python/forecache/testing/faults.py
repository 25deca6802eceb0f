"""A tier that fails on demand, for tests of what lies above it."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from forecache._core import Entry, FakeClock
from forecache.errors import TierUnavailable
from forecache.flow import Call, Flow, run
from forecache.tiers.layer import Layer
from forecache.tiers.tier import LIMITS, Stored, Tier

__all__ = ["Delay", "Fault", "FaultyTier", "Garble", "Hang", "Lose", "Raise"]

T = TypeVar("T")
VERBS = ("get_many", "set_many", "delete_many", "swap", "scan", "clear", "flush", "close")


def _gone() -> Exception:
    return TierUnavailable("this fault was asked for")


@dataclass(frozen=True)
class Raise:
    """The call raises, and the tier isn't asked."""

    error: Exception = field(default_factory=_gone)


@dataclass(frozen=True)
class Lose:
    """The tier does what it was asked, and then the call raises."""

    error: Exception = field(default_factory=_gone)


@dataclass(frozen=True)
class Garble:
    """The tier does what it was asked, and then the call gives something else."""

    answer: Any = "garbage"


@dataclass(frozen=True)
class Delay:
    """The call takes so many seconds, by the clock of the `FaultyTier`."""

    seconds: float


@dataclass(frozen=True)
class Hang:
    """The call doesn't end until `FaultyTier.release`; then the tier does what it was asked, late as that is."""


Fault: TypeAlias = Raise | Lose | Garble | Delay | Hang


class FaultyTier(Layer):
    """A layer that passes everything on, but for the faults that were planned; both colours meet the same ones.

    >>> from forecache.flow import run
    >>> from forecache.testing import DictTier
    >>> tier = FaultyTier(DictTier())
    >>> tier.plan("get_many", Raise(OSError("no such device")))
    >>> run(tier.get_many(["a"]))
    Traceback (most recent call last):
    OSError: no such device
    >>> run(tier.get_many(["a"]))
    {}
    """

    passed = LIMITS  # what goes past the verbs would go past the faults

    def __init__(self, tier: Tier, clock: FakeClock | None = None) -> None:
        """`clock` is what `Delay` moves."""
        super().__init__(tier)
        self.clock = clock
        self.hanging = threading.Semaphore(0)
        """Released once for each call that begins to hang: `tier.hanging.acquire(timeout=10)` waits for one."""
        self.calls: list[str] = []
        """The verbs that were called, failed or not, in order."""
        self._plan: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._always: dict[str, Fault] = {}
        self._released = threading.Event()

    def plan(self, verb: str, *faults: Fault) -> None:
        """The next calls of `verb` meet these faults, one each; those that follow none."""
        self._plan[self._known(verb)].extend(faults)

    def always(self, fault: Fault, *verbs: str) -> None:
        """Every call of these verbs (all verbs if none is named) meets `fault`, until `heal`."""
        self._always.update(dict.fromkeys(map(self._known, verbs or VERBS), fault))

    def heal(self) -> None:
        """No more faults. What hangs does so until `release`."""
        self._plan.clear()
        self._always.clear()

    def release(self) -> None:
        """Lets all calls go on that hang now, or ever will."""
        self._released.set()

    @staticmethod
    def _known(verb: str) -> str:
        if verb not in VERBS:
            raise ValueError(f"verb: got {verb!r}; allowed: {', '.join(VERBS)}")
        return verb

    def _pass(self, verb: str, flow: Flow[T]) -> Flow[T]:
        self.calls.append(verb)
        planned = self._plan.get(verb)
        fault = planned.popleft() if planned else self._always.get(verb)
        if isinstance(fault, Raise):
            flow.close()
            raise fault.error
        if isinstance(fault, Delay):
            if self.clock is None:
                raise ValueError("Delay needs FaultyTier(tier, clock)")
            self.clock.advance(fault.seconds)
        if isinstance(fault, Hang):
            # All in one call, as a client's is: whoever gives it up can't keep it from being done.
            return (yield Call(self._late, (flow,), {}))  # type: ignore[no-any-return]
        answer = yield from flow
        if isinstance(fault, Lose):
            raise fault.error
        return fault.answer if isinstance(fault, Garble) else answer

    def _late(self, flow: Flow[T]) -> T:
        self.hanging.release()
        self._released.wait()
        return run(flow)

    def get_many(self, keys: Sequence[str]) -> Flow[dict[str, Entry]]:
        """See `Tier`."""
        return self._pass("get_many", self.tier.get_many(keys))

    def set_many(self, entries: Mapping[str, Entry], *, absent: bool = False) -> Flow[Stored]:
        """See `Tier`."""
        return self._pass("set_many", self.tier.set_many(entries, absent=absent))

    def delete_many(self, keys: Sequence[str]) -> Flow[set[str]]:
        """See `Tier`."""
        return self._pass("delete_many", self.tier.delete_many(keys))

    def swap(self, key: str, version: int | None, entry: Entry | None) -> Flow[bool]:
        """See `Tier`."""
        return self._pass("swap", self.tier.swap(key, version, entry))

    def scan(self, cursor: int, pattern: str | None) -> Flow[tuple[int | None, list[str]]]:
        """See `Tier`."""
        return self._pass("scan", self.tier.scan(cursor, pattern))

    def clear(self, *, tags: Sequence[str] = (), owner: str | None = None) -> Flow[int | None]:
        """See `Tier`."""
        return self._pass("clear", self.tier.clear(tags=tags, owner=owner))

    def flush(self) -> Flow[None]:
        """See `Tier`."""
        return self._pass("flush", self.tier.flush())

    def close(self) -> Flow[None]:
        """See `Tier`."""
        return self._pass("close", self.tier.close())
