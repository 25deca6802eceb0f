"""The suite that every tier and every layer passes, in both colours: what `Tier` promises, one case a promise."""

from __future__ import annotations

import asyncio
import builtins
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, TypeAlias, TypeVar

from forecache._core import Entry, FakeClock
from forecache.errors import TierUnavailable
from forecache.flow import Flow, arun, run
from forecache.testing import contract
from forecache.tiers.tier import Now, Stored, Tier, wall_time

__all__ = ["Case", "Make", "Scene", "check_tier", "tier_cases"]

T = TypeVar("T")
Make: TypeAlias = Callable[[Now], Tier]
Again: TypeAlias = Callable[[Tier, Now], Tier]

COLOURS = ("sync", "async")
PATIENCE = 60
"""Seconds after which what should have ended counts as hanging."""


class Scene:
    """A new tier whose verbs are plain calls, whichever colour is behind them, and the time by which it goes."""

    def __init__(self, make: Make, colour: str, again: Again | None) -> None:
        self.colour = colour
        self.clock = FakeClock()
        self.now = wall_time(self.clock)
        self.tier = make(self.now)
        self._again = again
        self._opened = [self.tier]

    def do(self, flow: Flow[T]) -> T:
        """Drives a flow in the scene's colour, each in an event loop of its own if it is async."""
        return run(flow) if self.colour == "sync" else asyncio.run(arun(flow))

    def together(self, flows: Sequence[Flow[object]]) -> None:
        """Drives flows at the same time, as threads or tasks."""
        if self.colour == "async":

            async def gather() -> None:
                await asyncio.gather(*(arun(flow) for flow in flows))

            asyncio.run(gather())
            return
        errors: list[BaseException] = []

        def drive(flow: Flow[object]) -> None:
            try:
                run(flow)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=drive, args=(flow,), daemon=True) for flow in flows]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the tier hangs"
        if errors:
            raise errors[0]

    def again(self) -> Tier:
        """Another tier over the same data."""
        assert self._again is not None
        self._opened.append(self._again(self.tier, self.now))
        return self._opened[-1]

    def get(self, *keys: str) -> dict[str, Entry]:
        """What is under these keys."""
        return self.do(self.tier.get_many(keys))

    def payloads(self, *keys: str) -> dict[str, bytes]:
        """The payloads under these keys."""
        return {key: entry.payload for key, entry in self.get(*keys).items()}

    def set(self, entries: Mapping[str, Entry | bytes], *, absent: bool = False) -> Stored:
        """Stores entries, or plain payloads."""
        made = {key: value if isinstance(value, Entry) else Entry(value) for key, value in entries.items()}
        return self.do(self.tier.set_many(made, absent=absent))

    def delete(self, *keys: str) -> builtins.set[str]:
        """Deletes keys."""
        return self.do(self.tier.delete_many(keys))

    def swap(self, key: str, version: int | None, entry: bytes | None) -> bool:
        """Puts a payload in the place of a version."""
        return self.do(self.tier.swap(key, version, None if entry is None else Entry(entry)))

    def version(self, key: str) -> int:
        """The version under a key."""
        return self.get(key)[key].version

    def scan(self, pattern: str | None = None) -> list[str]:
        """All keys."""
        keys: list[str] = []
        cursor: int | None = 0
        while cursor is not None:
            cursor, batch = self.do(self.tier.scan(cursor, pattern))
            keys += batch
        return keys

    @property
    def lists(self) -> bool:
        """Whether the tier knows its keys."""
        return getattr(self.tier, "lists", True)

    @property
    def largest(self) -> int | float:
        """Bytes of payload up to which the tier takes all, which it may know when it was asked something."""
        self.get("")
        largest = getattr(self.tier, "largest", None)
        return inf if largest is None else largest

    @property
    def decides(self) -> bool:
        """Whether the tier swaps. One that doesn't says so, at the latest when it is asked to."""
        try:
            self.swap("", 1, None)
        except TierUnavailable:
            if getattr(self.tier, "decides", True):
                raise
        return getattr(self.tier, "decides", True)

    def close(self) -> None:
        """Closes every tier that was opened."""
        for tier in self._opened:
            self.do(tier.close())


@dataclass(frozen=True)
class Case:
    """A promise, to be checked in a colour. Calling it raises `AssertionError` if it isn't kept."""

    name: str
    colour: str
    check: Callable[[Any], None]
    make: Make
    again: Again | None

    def __call__(self) -> None:
        """Checks it, on a new tier."""
        scene = Scene(self.make, self.colour, self.again)
        try:
            if self.check in contract.LISTING and not scene.lists:
                contract.a_tier_that_does_not_list_has_an_empty_scan(scene)
            elif self.check in contract.DECIDING and not scene.decides:
                contract.a_tier_that_does_not_decide_says_so(scene)
            else:
                self.check(scene)
        finally:
            scene.close()

    def __str__(self) -> str:
        return f"{self.name}, {self.colour}"


def tier_cases(
    make: Make, *, colours: Iterable[str] = COLOURS, again: Again | None = None, evicts: bool = False, shared: bool = False
) -> list[Case]:
    """The cases of `check_tier`, one by one, for `@pytest.mark.parametrize("case", …, ids=str)`."""
    checks = list(contract.ALWAYS)
    if again is not None:
        checks += contract.LASTING
    if shared:
        checks += contract.SHARED
    if evicts:
        checks += contract.BOUNDED
    return [Case(check.__name__.replace("_", " "), colour, check, make, again) for check in checks for colour in colours]


def check_tier(
    make: Make, *, colours: Iterable[str] = COLOURS, again: Again | None = None, evicts: bool = False, shared: bool = False
) -> None:
    """Raises `AssertionError` if the tiers of `make` don't keep what `forecache.tiers.tier.Tier` promises.

    What `make(now)` gives is a new, empty tier that takes the time, milliseconds since 1970, from `now`. `again(tier, now)` gives
    another tier over the data of that one, which `shared` tiers have open at the same time and others after it was closed;
    without it, nothing of this is checked. `evicts` says that there is a `capacity` in its stats that it doesn't exceed. What a
    tier says to be limited to (`forecache.tiers.tier.Limited`) is minded.

    The error names the promise, the colour and what was found.

    >>> from forecache.testing import DictTier
    >>> check_tier(lambda now: DictTier(now=now))
    """
    for case in tier_cases(make, colours=colours, again=again, evicts=evicts, shared=shared):
        try:
            case()
        except AssertionError as error:
            raise AssertionError(f"{case}: {error}") from error
