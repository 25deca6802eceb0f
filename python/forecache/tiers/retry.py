"""A layer that asks again when the connection broke off, where doing a thing twice is doing it once.

Source of the waits: Brooker, "Exponential Backoff And Jitter" (AWS, 2015): each is drawn between 0 and a bound that doubles, so
that those who failed together don't come back together.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from forecache._core import Entry
from forecache.flow import Flow, Sleep
from forecache.tiers.layer import Layer
from forecache.tiers.tier import Now, Stored, Tier, TierStats, wall_time

__all__ = ["Retry", "lost", "unsent"]

T = TypeVar("T")

FIRST, LONGEST = 0.02, 1.0
"""Seconds that the first wait takes at most, and any."""


class Retry(Layer):
    """Tries again up to `retries` times what failed because a connection was refused or broke off, as long as `timeout` seconds
    (None: for ever) aren't over; what came too late has had its time. An atomic change is tried again only if nothing of it was
    sent: it may have been made, and its answer lost.
    """

    def __init__(self, tier: Tier, retries: int, timeout: float | None = None, now: Now | None = None) -> None:
        super().__init__(tier)
        self.retries = retries
        self._timeout = timeout
        self._now = now or wall_time()
        self._retried = itertools.count()
        self._told = 0

    def get_many(self, keys: Sequence[str]) -> Flow[dict[str, Entry]]:
        """See `Tier`."""
        return self._again(partial(self.tier.get_many, keys))

    def set_many(self, entries: Mapping[str, Entry], *, absent: bool = False) -> Flow[Stored]:
        """See `Tier`."""
        return self._again(partial(self.tier.set_many, entries, absent=absent), unsent if absent else lost)

    def delete_many(self, keys: Sequence[str]) -> Flow[set[str]]:
        """See `Tier`."""
        return self._again(partial(self.tier.delete_many, keys))

    def swap(self, key: str, version: int | None, entry: Entry | None) -> Flow[bool]:
        """See `Tier`."""
        return self._again(partial(self.tier.swap, key, version, entry), unsent)

    def scan(self, cursor: int, pattern: str | None) -> Flow[tuple[int | None, list[str]]]:
        """See `Tier`."""
        return self._again(partial(self.tier.scan, cursor, pattern))

    def clear(self, *, tags: Sequence[str] = (), owner: str | None = None) -> Flow[int | None]:
        """See `Tier`."""
        return self._again(partial(self.tier.clear, tags=tags, owner=owner))

    def flush(self) -> Flow[None]:
        """See `Tier`."""
        return self._again(self.tier.flush)

    def stats(self) -> TierStats:
        """See `Tier`."""
        return replace(self.tier.stats(), retried=self._told)

    def _again(self, verb: Callable[[], Flow[T]], safe: Callable[[Exception], bool] | None = None) -> Flow[T]:
        safe = safe or lost
        began = self._now()
        tried = 0
        while True:
            try:
                return (yield from verb())
            except Exception as error:
                pause = random.uniform(0, min(LONGEST, FIRST * 2**tried))  # noqa: S311  no secret
                spent = (self._now() - began) / 1000 + pause
                if tried == self.retries or not safe(error) or (self._timeout is not None and spent >= self._timeout):
                    raise
            yield Sleep(pause)
            tried += 1
            self._told = next(self._retried) + 1


def lost(error: BaseException) -> bool:
    """Whether the connection was refused or broke off: its own word (`TierUnavailable.lost`) goes first."""
    told = getattr(error, "lost", None)
    return unsent(error) or (isinstance(error, ConnectionError) if told is None else bool(told))


def unsent(error: BaseException) -> bool:
    """Whether nothing was sent."""
    return isinstance(error, ConnectionRefusedError) or bool(getattr(error, "unsent", False))
