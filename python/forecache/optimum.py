"""Belady's optimum, also of traces that are too large for it."""

from collections.abc import Callable
from dataclasses import dataclass

from forecache import machine
from forecache._core import Trace, belady, recency

LEAST_KEYS = 100
"""That a sample has, however little memory there is."""
BYTES_A_ROW, BYTES_A_KEY = 16, 20
"""What the optimum takes beside the trace: next accesses and a heap that may hold as many, and three arrays over the keys."""


@dataclass(frozen=True)
class Counts:
    """The fewest misses, as far as they are known."""

    accesses: int
    misses: int
    bytes: int
    missed_bytes: int
    seconds: float
    requests: int = 0
    whole_requests: int = 0
    """Not known: the fewest misses needn't be the most whole requests."""
    evictions: int = 0
    right_evictions: int = 0


@dataclass(frozen=True)
class Optimum:
    """A trace, and the part of it that the optimum is taken of: all, or a sample if that wouldn't fit into memory."""

    trace: Trace
    part: Trace

    def counts(self, entries: int, *, accuracy: bool = False) -> Counts:
        """Those of a cache of so many entries. Where there is a sample only, they are LRU's, less what the sample says is won;
        evictions are the sample's own."""
        if self.part is self.trace:
            known = belady(self.trace, max_entries=entries, accuracy=accuracy)
            judged = {"evictions": known.evictions, "right_evictions": known.right_evictions}
            return Counts(known.accesses, known.misses, known.bytes, known.missed_bytes, known.seconds, **judged)
        shrunk = max(1, round(entries * self.part.unique / self.trace.unique))
        known = belady(self.part, max_entries=shrunk, accuracy=accuracy)
        # No cache misses less than one that holds everything.
        [of_all, least], [of_part] = recency(self.trace, [entries, self.trace.unique]), recency(self.part, [shrunk])
        misses = round(of_all.misses - of_all.accesses * _share(of_part.misses - known.misses, known.accesses))
        missed_bytes = round(of_all.missed_bytes - of_all.bytes * _share(of_part.missed_bytes - known.missed_bytes, known.bytes))
        return Counts(
            of_all.accesses,
            max(least.misses, misses),
            of_all.bytes,
            max(least.missed_bytes, missed_bytes),
            known.seconds,
            evictions=known.evictions,
            right_evictions=known.right_evictions,
        )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def sample(trace: Trace, share: float) -> Trace:
    """About this share of the keys, or as many more as make it enough to stand for the rest; the trace itself if that is all."""
    while share < 1:
        part = trace.sample(share)
        if part.unique >= LEAST_KEYS:
            return part
        share = max(2 * share, LEAST_KEYS / trace.unique)
    return trace


def needs(trace: Trace) -> int:
    """Bytes that the exact optimum of one size takes at most."""
    return len(trace) * BYTES_A_ROW + trace.unique * BYTES_A_KEY


def fitting(trace: Trace, name: str, memory: int | None, at_once: int, warn: Callable[[str], object]) -> Optimum:
    """As much of the trace called `name` as fits into `memory` bytes (all that are free, if None), `at_once` sizes beside each
    other. If that isn't all, a warning says so."""
    room = machine.free_memory() if memory is None else memory
    wanted = needs(trace) * at_once
    if room is None or wanted <= room:
        return Optimum(trace, trace)
    # The sample is a trace more.
    part = sample(trace, room / wanted / 2)
    if part is trace:
        return Optimum(trace, trace)
    message = (
        f"{name}: Belady's optimum of {len(trace):,} accesses would take {_megabytes(wanted)} of memory, and there are "
        f"{_megabytes(room)}: it is estimated from a sample of {100 * part.unique / trace.unique:.2g} % of the objects"
    )
    warn(message)
    return Optimum(trace, part)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.3g} MB"
