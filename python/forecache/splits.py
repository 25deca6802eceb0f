"""Memory and disk: what each split of a cache costs, and how long it has a reader wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forecache.curves import Curve

POINTS = 6
"""Splits of the frontier that are shown."""
GIGABYTE = 1e9


@dataclass(frozen=True)
class Prices:
    """What a tier costs and how fast it is. Defaults are orders of magnitude of a cloud's list prices, and of hardware."""

    memory: float = 3.0
    """Of a gigabyte (10**9 bytes) a month, in any currency."""
    disk: float = 0.1
    memory_latency: float = 1e-6
    """Seconds until a hit in memory is there."""
    disk_latency: float = 100e-6
    miss_latency: float = 10e-3
    """Seconds until a miss is loaded from where the data comes from."""


@dataclass(frozen=True)
class Split:
    """A cache of two tiers."""

    memory: int
    """Entries or bytes, like the curve's."""
    disk: int
    """0: there is no disk."""
    memory_hit_rate: float
    hit_rate: float
    """Of both together."""
    latency: float
    """Seconds that an access takes on average."""
    cost: float
    """A month."""


def split(curve: Curve, memory: int, whole: int, weight: float, prices: Prices) -> Split:
    """The tiers of a cache of size `whole`, of which `memory` is in memory. `weight` is the bytes of one unit of size.

    The tiers are exclusive: together they hit as one cache of their size would, and memory as one of its own. A look on the disk
    comes before each miss.
    """
    near, all_ = curve.hit_rate(memory), curve.hit_rate(whole)
    disk = whole - memory
    near = all_ if disk == 0 else min(near, all_)
    missed = prices.miss_latency + (prices.disk_latency if disk else prices.memory_latency)
    latency = near * prices.memory_latency + (all_ - near) * prices.disk_latency + (1 - all_) * missed
    cost = (memory * prices.memory + disk * prices.disk) * weight / GIGABYTE
    return Split(memory, disk, near, all_, latency, cost)


def splits(curve: Curve, wholes: Sequence[int], weight: float, prices: Prices) -> list[Split]:
    """Every pair of sizes, and each size in memory alone."""
    sizes = sorted({*curve.sizes, *wholes})
    return [split(curve, memory, whole, weight, prices) for whole in sizes for memory in sizes if memory <= whole]


def cheapest(all_: Sequence[Split], hit_rate: float) -> Split | None:
    """The one that hits so often for the least money; of those of one price the fastest."""
    good = [each for each in all_ if each.hit_rate >= hit_rate - 1e-9]
    return min(good, key=lambda each: (each.cost, each.latency), default=None)


def frontier(all_: Sequence[Split]) -> list[Split]:
    """Splits of which none is both cheaper and faster, from the cheapest to the fastest: some that lie evenly by latency."""
    best: list[Split] = []
    for each in sorted(all_, key=lambda each: (each.cost, each.latency)):
        if not best or each.latency < best[-1].latency:
            best.append(each)
    slow, fast = best[0].latency, best[-1].latency
    wanted = [slow * (fast / slow) ** (step / (POINTS - 1)) for step in range(POINTS)]
    chosen = [min(best, key=lambda each: abs(each.latency - latency)) for latency in wanted]
    return list(dict.fromkeys(chosen))
