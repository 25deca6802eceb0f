"""A layer that asks a second time when a read takes long, and takes the answer that comes first.

Source: Dean and Barroso, "The Tail at Scale" (CACM 2013). With `seconds` near the 95th percentile of the tier's answers it cuts
the tail for some 5 % more requests. It is never more than 10 %: a tier may be slow because it is loaded.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from forecache._core import Entry
from forecache.errors import TierUnavailable
from forecache.flow import First, Flow
from forecache.tiers.layer import Layer
from forecache.tiers.tier import Tier, TierStats

__all__ = ["Hedge"]

SHARE = 0.1
"""Reads that may be sent a second time, of all."""
SAVED = 20.0
"""How many may follow each other, when few were before."""


class Hedge(Layer):
    """Sends a read again that has no answer after so many seconds. In the sync face each read costs a thread's hop."""

    def __init__(self, tier: Tier, seconds: float) -> None:
        super().__init__(tier)
        self.seconds = seconds
        self._hedged = itertools.count()
        self._told = 0
        self._allowed = SAVED

    def get_many(self, keys: Sequence[str]) -> Flow[dict[str, Entry]]:
        """See `Tier`."""
        self._allowed = min(SAVED, self._allowed + SHARE)
        return (yield First(self.tier.get_many(keys), self._second(keys), self.seconds))  # type: ignore[no-any-return]

    def stats(self) -> TierStats:
        """See `Tier`."""
        return replace(self.tier.stats(), hedged=self._told)

    def _second(self, keys: Sequence[str]) -> Flow[dict[str, Entry]]:
        if self._allowed < 1:
            raise TierUnavailable("too many reads were sent a second time")  # to nobody: the first one's outcome counts
        self._allowed -= 1
        self._told = next(self._hedged) + 1
        return (yield from self.tier.get_many(keys))
