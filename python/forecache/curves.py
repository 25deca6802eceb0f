"""Miss-ratio curves of all policies: in full where that is cheap, else by hash-sampled simulation, held against the full one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import ceil, exp, log
from typing import TypeAlias

from forecache import machine
from forecache._core import Tally, Trace, curve, recency
from forecache.errors import TraceError
from forecache.optimum import Optimum, sample

REQUESTS = 2_000_000
"""Accesses that each size is simulated with; of a longer trace so many are sampled."""
BELADY = "belady"
CHUNKS = 4
"""Parts of a curve, for cores to share; what is simulated in lockstep stays together."""
Job: TypeAlias = tuple[str, str, Sequence[int], Callable[[], list[float]]]
"""A policy, what is simulated, the numbers of the sizes, and the work that gives their miss ratios."""


@dataclass(frozen=True)
class Curve:
    """How often one policy misses, over the size of the cache."""

    policy: str
    sizes: tuple[int, ...]
    """Entries or bytes, ascending."""
    miss_ratios: tuple[float, ...]

    def hit_rate(self, size: float) -> float:
        """The share of hits at any size; between two that were simulated, on the line between them over the size's logarithm."""
        at = bisect_left(self.sizes, size)
        if at == 0 or at == len(self.sizes):
            return 1 - self.miss_ratios[min(at, len(self.sizes) - 1)]
        low, high = self.sizes[at - 1 : at + 1]
        part = (log(size) - log(low)) / (log(high) - log(low))
        return 1 - self.miss_ratios[at - 1] - part * (self.miss_ratios[at] - self.miss_ratios[at - 1])

    def size_for(self, hit_rate: float) -> int | None:
        """The least size that hits so often; None if none does. Below the least size that was simulated, that one."""
        rates = [1 - ratio for ratio in self.miss_ratios]
        if rates[0] >= hit_rate:
            return self.sizes[0]
        for (low, high), (less, more) in zip(pairwise(self.sizes), pairwise(rates), strict=True):
            if more >= hit_rate:
                part = (hit_rate - less) / (more - less)
                return min(high, ceil(exp(log(low) + part * (log(high) - log(low)))))
        return None


@dataclass(frozen=True)
class Checks:
    """How far sampled curves were from full ones where they were held against each other."""

    share: float
    """Of the objects that were sampled; 1 if all curves are full ones."""
    count: int
    """Full simulations that samples were held against."""
    worst: float
    """The largest difference of a miss ratio, before the full ones corrected the curves."""


def measure(
    trace: Trace,
    policies: Sequence[str],
    sizes: Sequence[int],
    *,
    by_bytes: bool,
    requests: int,
    optimum: Optimum | None,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[dict[str, Curve], Checks]:
    """The curves of `policies`, and of Belady's optimum if given, over ascending `sizes`.

    A trace of more than `requests` accesses is thinned to about so many: its keys are sampled by hash and sizes shrink alike
    (Waldspurger et al., "Cache Modeling and Optimization using Miniature Simulations", ATC 2017). LRU is known for the whole and
    for the sample, so each curve is the sample's plus what the sample says too little for LRU. Two sizes of each policy are
    simulated in full as well; what is still missing there is added between them.
    """
    part = thinned(trace, requests)
    whole = part is trace
    if not part.accesses:
        raise TraceError("holds nothing to replay; expected gets or sets")
    share = 1.0 if whole else part.unique / trace.unique
    shrunk = [max(1, round(size * share)) for size in sizes]
    checked = [] if whole else sorted({0, len(sizes) // 2})

    every = range(len(sizes))

    def run(of: Trace, amounts: Sequence[int], policy: str, numbers: Sequence[int]) -> list[float]:
        return _ratios(curve(of, policy, [amounts[number] for number in numbers], by_bytes=by_bytes))

    def control() -> list[float]:
        both = [_ratios(recency(of, amounts, by_bytes=by_bytes)) for of, amounts in ((trace, list(sizes)), (part, shrunk))]
        return [all_ - some for all_, some in zip(*both, strict=True)]

    jobs: list[Job] = [] if whole else [("", "control", every, control)]
    one_pass = {"lru"} if trace.lru_is_exact(by_bytes) else set()
    for policy in policies:
        if policy in one_pass:
            jobs.append((policy, "full", every, partial(run, trace, sizes, policy, every)))
            continue
        chunks = 1 if part.in_lockstep(policy, by_bytes) else min(CHUNKS, len(sizes))
        parts = [every[start::chunks] for start in range(chunks)]
        jobs += [(policy, "sampled", numbers, partial(run, part, shrunk, policy, numbers)) for numbers in parts]
        jobs += [(policy, "full", [number], partial(run, trace, sizes, policy, [number])) for number in checked]
    if optimum is not None:
        jobs += [(BELADY, "sampled", [number], partial(_optimal, optimum, sizes[number])) for number in every]
    known = _run(jobs, progress)

    curves, differences = {}, []
    for policy in policies:
        ratios = [known[policy, "full" if policy in one_pass else "sampled", number] for number in every]
        if not whole and policy not in one_pass:
            ratios = [ratio + known["", "control", number] for number, ratio in enumerate(ratios)]
            missing = [(number, known[policy, "full", number] - ratios[number]) for number in checked]
            differences += [abs(difference) for _, difference in missing]
            # A cache for all objects misses each once, and that the control knows.
            ratios = [ratio + _between([*missing, (len(sizes) - 1, 0.0)], number) for number, ratio in enumerate(ratios)]
        curves[policy] = Curve(policy, tuple(sizes), tuple(min(1.0, max(0.0, ratio)) for ratio in ratios))
    if optimum is not None:
        curves[BELADY] = Curve(BELADY, tuple(sizes), tuple(known[BELADY, "sampled", number] for number in every))
    return curves, Checks(share, len(differences), max(differences, default=0.0))


def thinned(trace: Trace, requests: int) -> Trace:
    """About so many accesses of the trace, or all."""
    return sample(trace, requests / max(1, len(trace)))


def _optimal(optimum: Optimum, size: int) -> list[float]:
    known = optimum.counts(size)
    return [known.misses / known.accesses]


def _run(jobs: Sequence[Job], progress: Callable[[int, int], object] | None) -> dict[tuple[str, str, int], float]:
    """Does `jobs` on all cores: the simulator lets other threads run."""
    known: dict[tuple[str, str, int], float] = {}
    with machine.pool() as pool:
        # The last are the dearest; begun first, they don't keep one core busy while the others rest.
        futures = {pool.submit(work): (policy, kind, numbers) for policy, kind, numbers, work in reversed(jobs)}
        for done, future in enumerate(as_completed(futures), start=1):
            policy, kind, numbers = futures[future]
            known |= {(policy, kind, number): ratio for number, ratio in zip(numbers, future.result(), strict=True)}
            if progress is not None:
                progress(done, len(futures))
    return known


def _ratios(tallies: Sequence[Tally]) -> list[float]:
    return [tally.misses / max(1, tally.accesses) for tally in tallies]


def _between(points: Sequence[tuple[int, float]], at: int) -> float:
    """The height of the line through `points`, ascending by place and reaching as far as `at`."""
    for (left, low), (right, high) in pairwise(points):
        if left <= at <= right and left < right:
            return low + (high - low) * (at - left) / (right - left)
    return 0.0
