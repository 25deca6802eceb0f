"""Which policy and what size a recording asks for."""

from __future__ import annotations

import time
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

from forecache import machine, optimum, splits
from forecache._core import POLICIES, Trace, curve
from forecache.curves import BELADY, REQUESTS, Checks, Curve, measure, thinned
from forecache.errors import TraceError
from forecache.optimum import Counts
from forecache.replays import SIZES_ALLOWED
from forecache.splits import Prices, Split
from forecache.traces import TracePath, open_trace
from forecache.units import Duration, Size, parse_duration, parse_size, wrong

__all__ = ["Advice", "TtlChange", "advise"]

COUNT = 20
"""Sizes of a curve, evenly over their logarithm."""
LEAST_SHARE, LEAST_ENTRIES = 0.001, 100
"""The least of them: this share of the objects, but so many entries."""
FACTORS = (0.5, 2.0, 4.0, None)
"""By which times to live are multiplied; None: nothing expires."""
STEPS = 10
"""Sizes that are tried between the one that misses the wished hit rate and the next that reaches it."""
NEAR = 1.01
"""Sizes that differ by no more are alike."""
UNKNOWN_SIZE = 1000
"""Bytes of an object where the trace doesn't tell."""
SAME = 0.001
"""Hit rates that differ by no more are alike: the policy that is named first is taken."""


@dataclass(frozen=True)
class TtlChange:
    """What other times to live would do to the hit rate, at the recommended policy and size."""

    factor: float | None
    """By which each is multiplied; None: nothing expires."""
    gain: float
    """What the hit rate rises by; negative if it falls."""


@dataclass(frozen=True)
class Advice:
    """What to do, and what it rests on. Sizes are entries, or bytes if `by_bytes`; rates are shares of the accesses."""

    trace: str
    """The file's name."""
    accesses: int
    unique: int
    by_bytes: bool
    object_size: float
    """Mean bytes of an object; 1,000 if the trace doesn't tell."""
    sampled_trace: float
    """The share of the objects that the recording itself kept: real caches need sizes as many times larger."""
    wished: float
    """The hit rate that was asked for."""
    reached: bool
    """Whether the recommended cache reaches it; if not, its size is the one from which on more size wins little."""
    policy: str
    size: int
    hit_rate: float
    """Of the recommended cache: a full simulation if the curves are, else from the sampled curve."""
    ceiling: float
    """The hit rate of a cache that holds everything: the rest are first accesses, or follow a delete or an expiry."""
    resets: bool
    """Whether anything is deleted or expires."""
    knee: int
    """The size from which on more size wins little, with the recommended policy."""
    sizes_for_wish: dict[str, int | None]
    """By policy (and for Belady's optimum), the least size that reaches the wished hit rate; None if none does."""
    curves: dict[str, Curve]
    """By policy, without Belady's optimum."""
    belady: Curve | None
    """What no policy can beat; None by bytes."""
    belady_hit_rate: float | None
    """Belady's at the recommended size."""
    belady_estimated: bool
    """Whether that is near the truth only: taken from a sample for want of memory, or of a trace with fills or looks."""
    ttl: list[TtlChange]
    """Empty if nothing expires."""
    cheapest: Split | None
    """Of memory and disk, the cheapest that reaches the wished hit rate (or, if nothing does, the recommended one's)."""
    memory_alone: Split
    """The recommended cache without a disk."""
    frontier: list[Split]
    """Splits of which none is both cheaper and faster."""
    checks: Checks
    seconds: float


def advise(
    path: TracePath,
    *,
    policies: str | Iterable[str] = "all",
    sizes: Iterable[float] | None = None,
    hit_rate: float = 0.9,
    byte: bool = False,
    ttl: bool = True,
    belady: bool = True,
    memory_price: float = Prices.memory,
    disk_price: float = Prices.disk,
    memory_latency: Duration = Prices.memory_latency,
    disk_latency: Duration = Prices.disk_latency,
    miss_latency: Duration = Prices.miss_latency,
    object_size: Size | None = None,
    columns: str | Mapping[str, str] | None = None,
    format: str | None = None,
    lenient: bool = False,
    requests: int = REQUESTS,
    memory: Size | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Advice:
    """Simulates the recording at `path` with each of `policies` over `sizes` and says which policy and size to take.

    `sizes` are shares of the unique objects, or with `byte` of their bytes; by default 20 from 0.001 of them (and at least 100
    entries) up to all. `hit_rate` is the one wished for. Prices are those of a gigabyte a month. With `ttl`, other times to live
    are tried if the trace has any. `requests` is how many accesses each size is simulated with: a longer trace is sampled, and
    `Advice.checks` says how far samples were from full simulations. `memory` bounds what Belady's optimum may take, by default to
    what is free; beyond it comes a warning and a sample. `columns`, `format` and `lenient` are as in `replay`.

    Raises `ConfigError` for a wrong option and `TraceError` for a trace that can't be read.
    """
    begin = time.perf_counter()
    names = _policies(policies)
    prices = Prices(
        _price("memory_price", memory_price),
        _price("disk_price", disk_price),
        parse_duration(memory_latency, "memory_latency"),
        parse_duration(disk_latency, "disk_latency"),
        parse_duration(miss_latency, "miss_latency"),
    )
    _check_share("hit_rate", hit_rate, "a share above 0 and below 1, such as 0.9", 0.999999)
    shares = None if sizes is None else [_check_share("sizes", size, SIZES_ALLOWED) for size in sizes]
    if shares == []:
        raise wrong("sizes", shares, SIZES_ALLOWED)
    if isinstance(requests, bool) or not isinstance(requests, int) or requests < 1:
        raise wrong("requests", requests, "a whole number from 1")
    room = None if memory is None else parse_size(memory, "memory")
    weight_given = None if object_size is None else parse_size(object_size, "object_size")
    trace = open_trace(path, columns, format=format, lenient=lenient)
    if not trace.unique or not trace.accesses:
        raise TraceError(f"{path}: holds nothing to replay; expected gets or sets")
    amounts = _sizes(trace, shares, byte)
    best = None
    if belady and not byte:
        best = optimum.fitting(trace, Path(path).name, room, machine.cores(), _warn)
    curves, checks = measure(trace, names, amounts, by_bytes=byte, requests=requests, optimum=best, progress=progress)
    ideal = curves.pop(BELADY, None)
    policy, size, reached = _recommended(curves, hit_rate)
    rate = curves[policy].hit_rate(size)
    if checks.share == 1:
        size, rate = _simulated(trace, curves[policy], size, hit_rate if reached else 0.0, byte)
    mean = trace.footprint / trace.unique
    weight = float(weight_given or (mean if mean > 1 else UNKNOWN_SIZE))
    unit = 1.0 if byte else weight
    needed = {name: each.size_for(hit_rate) for name, each in (curves | ({BELADY: ideal} if ideal else {})).items()}
    needed |= {policy: size} if reached else {}
    every = splits.splits(curves[policy], [size], unit, prices)
    return Advice(
        trace=Path(path).name,
        accesses=trace.accesses,
        unique=trace.unique,
        by_bytes=byte,
        object_size=weight,
        sampled_trace=trace.sampled / 1_000_000,
        wished=hit_rate,
        reached=reached,
        policy=policy,
        size=size,
        hit_rate=rate,
        ceiling=_ceiling(trace, curves, byte),
        resets=len(trace) > trace.accesses or trace.expires,
        knee=knee(curves[policy]),
        sizes_for_wish=needed,
        curves=curves,
        belady=ideal,
        belady_hit_rate=None if best is None else _hit_rate(best.counts(size)),
        belady_estimated=best is not None and (best.part is not trace or not trace.only_asks),
        ttl=_ttl_changes(trace, policy, size, byte, requests) if ttl and trace.expires else [],
        cheapest=splits.cheapest(every, hit_rate if reached else curves[policy].hit_rate(size)),
        memory_alone=splits.split(curves[policy], size, size, unit, prices),
        frontier=splits.frontier(every),
        checks=checks,
        seconds=time.perf_counter() - begin,
    )


def _hit_rate(counts: Counts) -> float:
    return 1 - counts.misses / counts.accesses


def knee(of: Curve) -> int:
    """The size at which the curve is farthest above the line from its first to its last point; the last if it is nowhere above,
    and the first if it is flat.

    Source: Satopää et al., "Finding a 'Kneedle' in a Haystack" (ICDCSW 2011).
    """
    first, last = of.sizes[0], of.sizes[-1]
    low, high = of.hit_rate(first), of.hit_rate(last)

    def above(size: int) -> float:
        return of.hit_rate(size) - low - (high - low) * (size - first) / max(1, last - first)

    if high - low <= SAME:
        return first
    best = max(of.sizes, key=above)
    return best if above(best) > 0 else last


def _recommended(curves: Mapping[str, Curve], wished: float) -> tuple[str, int, bool]:
    """The policy that reaches `wished` with the least size, and that size. If none does, the one that hits most on the
    average of all sizes, at its knee."""
    reaching = {name: size for name, each in curves.items() if (size := each.size_for(wished)) is not None}
    if reaching:
        least = min(reaching.values())
        # Policies that are alike at this size: a simple one is listed before those that cost more.
        rate = max(curves[name].hit_rate(least) for name in reaching)
        policy = next(name for name in reaching if curves[name].hit_rate(least) >= rate - SAME)
        return policy, reaching[policy], True
    means = {name: sum(each.miss_ratios) / len(each.sizes) for name, each in curves.items()}
    policy = next(name for name, mean in means.items() if mean <= min(means.values()) + SAME)
    return policy, knee(curves[policy]), False


def _simulated(trace: Trace, of: Curve, size: int, wished: float, by_bytes: bool) -> tuple[int, float]:
    """The least size, to within a hundredth, that is seen to reach `wished`, where the curve says `size`; and its hit rate."""

    def rate(size: int) -> float:
        [tally] = curve(trace, of.policy, [size], by_bytes=by_bytes)
        return 1 - tally.misses / tally.accesses

    place = bisect_left(of.sizes, size)
    if not wished or place == 0:
        return size, rate(size)
    low, high = of.sizes[place - 1 : place + 1]
    best = high, of.hit_rate(high)
    for _ in range(STEPS):
        if size <= low or high <= max(low * NEAR, low + 1):
            break
        seen = rate(size)
        if seen >= wished:
            high, best = size, (size, seen)
        else:
            low = size
        size = round(sqrt(low * high))
    return best


def _ceiling(trace: Trace, curves: Mapping[str, Curve], by_bytes: bool) -> float:
    whole = trace.footprint if by_bytes else trace.unique
    seen = [each.miss_ratios[-1] for each in curves.values() if each.sizes[-1] >= whole]
    if seen:
        return 1 - min(seen)
    [tally] = curve(trace, "lru", [whole], by_bytes=by_bytes)
    return 1 - tally.misses / tally.accesses


def _ttl_changes(trace: Trace, policy: str, size: int, by_bytes: bool, requests: int) -> list[TtlChange]:
    part = thinned(trace, requests)
    shrunk = size if part is trace else max(1, min(size, round(size * part.unique / trace.unique)))

    def rate(timed: Trace) -> float:
        [tally] = curve(timed, policy, [shrunk], by_bytes=by_bytes)
        return 1 - tally.misses / max(1, tally.accesses)

    now = rate(part)
    return [TtlChange(factor, rate(part.with_times_to_live(factor)) - now) for factor in FACTORS]


def _sizes(trace: Trace, shares: list[float] | None, by_bytes: bool) -> list[int]:
    """Ascending and each once."""
    whole = trace.footprint if by_bytes else trace.unique
    if whole == 0 or (by_bytes and whole == trace.unique):
        raise wrong("byte", True, "a trace that knows the objects' sizes; leave --byte out to count entries")
    if shares is None:
        entries = min(1.0, max(LEAST_SHARE, LEAST_ENTRIES / trace.unique))
        shares = [entries ** (1 - step / (COUNT - 1)) for step in range(COUNT)]
    return sorted({max(1, min(whole, round(whole * share))) for share in shares})


def _policies(given: str | Iterable[str]) -> list[str]:
    asked = [given] if isinstance(given, str) else list(given)
    names = [name for each in asked for name in (POLICIES if each == "all" else [each])]
    for name in names or [""]:
        if name not in POLICIES:
            raise wrong("policy", name, ", ".join((*POLICIES, "all")))
    return list(dict.fromkeys(names))


def _check_share(field: str, given: float, allowed: str, most: float = 1) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= most:
        raise wrong(field, given, allowed)
    return float(given)


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)


def _price(field: str, given: float) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < float("inf"):
        raise wrong(field, given, "a price of a gigabyte a month, from 0")
    return float(given)
