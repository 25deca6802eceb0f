"""Belady's optimum of traces that may be too large for it."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from forecache import machine
from forecache._core import Tally, Trace, belady

BYTES_A_ROW, BYTES_A_KEY = 16, 20
"""What `belady.rs` takes beside the trace: next accesses and a heap that may hold as many, and three arrays over the keys."""


@dataclass(frozen=True)
class Optimum:
    """The trace for Belady's optimum: all of it, or a sample if that wouldn't fit."""

    trace: Trace
    share: float
    """Of the keys that are in it."""

    def capacity(self, entries: int) -> int:
        """What a cache of so many entries shrinks to."""
        return max(1, round(entries * self.share))

    def tally(self, entries: int) -> Tally:
        """The fewest misses that a cache of so many entries could have, of the accesses that are in."""
        return belady(self.trace, self.capacity(entries))


def needs(trace: Trace) -> int:
    """Bytes that the exact optimum of one size takes at most."""
    return len(trace) * BYTES_A_ROW + trace.unique * BYTES_A_KEY


def fitting(
    trace: Trace, name: str, memory: int | None = None, warn: Callable[[str], object] | None = None, at_once: int = 1
) -> Optimum:
    """The trace called `name` as far as its optimum fits into `memory` bytes (all that is free, unless given), `at_once` sizes
    beside each other. If that isn't all, a warning says so."""
    room = machine.free_memory() if memory is None else memory
    wanted = needs(trace) * at_once
    if room is None or wanted <= room:
        return Optimum(trace, 1.0)
    # The sample itself is a trace more.
    part = trace.sample(room / wanted / 2)
    share = part.unique / trace.unique
    message = (
        f"{name}: Belady's optimum of {len(trace):,} accesses would take {_megabytes(wanted)} of memory, and there are "
        f"{_megabytes(room)}: it is that of a sample of {100 * share:.2g} % of the objects, with caches as much smaller"
    )
    (warn or warnings.warn)(message)
    return Optimum(part, share)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.3g} MB"
