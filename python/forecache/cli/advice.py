"""Advice as people read it: sentences first, then tables; CSV and JSON for machines."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forecache.advice import Advice
from forecache.curves import BELADY, Curve
from forecache.splits import Split
from forecache.units import printable

ABREAST = 5
"""Sizes of the table: some of those that were simulated."""
KNEE_OF = 4
"""Sizes from which on a curve has a knee."""
FEW = 1000
"""Accesses below which a recording tells little."""


def sentences(advice: Advice) -> Iterator[str]:
    """What to do, and what it would bring."""
    size, sizes = _size(advice, advice.size), advice.curves[advice.policy].sizes
    if advice.reached and advice.size == sizes[0]:
        rate = _percent(advice.hit_rate)
        yield f"Take {advice.policy} with {size} or fewer: {rate} hits with the smallest size that was tried."
    elif advice.reached:
        yield f"Take {advice.policy} with {size}: {_percent(advice.hit_rate)} hits."
        yield from _others(advice)
    else:
        rest = "first accesses, or follow a delete or an expiry" if advice.resets else "first accesses"
        tried = "No size that was tried" if advice.ceiling >= advice.wished else "No size"
        yield (
            f"{tried} reaches {_percent(advice.wished)} hits; a cache that holds everything has {_percent(advice.ceiling)}, "
            f"the rest are {rest}."
        )
        knee = len(sizes) >= KNEE_OF and advice.size < sizes[-1]
        yield (
            f"Take {advice.policy} with {size}: {_percent(advice.hit_rate)} hits"
            + ("; from there on more size wins little." if knee else ".")
        )
    if advice.belady_hit_rate is not None:
        best = advice.belady_hit_rate
        about = "about " if advice.belady_estimated else ""
        yield f"No policy could have more than {about}{_percent(max(best, advice.hit_rate))} at this size (Belady's optimum)."
    yield from _times_to_live(advice)
    yield from _tiers(advice)
    if advice.sampled_trace < 1:
        yield (
            f"The recording holds {_percent(advice.sampled_trace)} of the objects: the real cache has to be "
            f"{1 / advice.sampled_trace:,.3g} times as large as said here."
        )


def _others(advice: Advice) -> Iterator[str]:
    """How much more the usual policies would need."""
    parts = []
    for name in ("lru", "s3fifo"):
        if name != advice.policy and name in advice.curves:
            other = advice.sizes_for_wish[name]
            need = "never get there" if other is None else _times(other / advice.size)
            parts.append(f"{name} would {need}")
    if parts:
        yield f"{'; '.join(parts)}."


def _times(factor: float) -> str:
    return "need about as much" if factor < 1.05 else f"need {factor:.3g} times as much"


def _times_to_live(advice: Advice) -> Iterator[str]:
    names = {0.5: "half of every TTL", 2.0: "twice every TTL", 4.0: "four times every TTL", None: "no TTL at all"}
    parts = [f"{names[change.factor]} {100 * change.gain:+.1f}" for change in advice.ttl]
    if parts:
        yield f"Other times to live would change the hit rate by so many points: {', '.join(parts)}."


def _tiers(advice: Advice) -> Iterator[str]:
    alone, split = advice.memory_alone, advice.cheapest
    yield (
        f"In memory alone that is {_time(alone.latency)} an access on average and {_money(alone.cost)} a month"
        f" ({_bytes(advice.object_size)} an object)."
    )
    if split is not None and split.disk:
        memory, disk = _size(advice, split.memory), _amount(advice, split.disk)
        cost = f"{_time(split.latency)} and {_money(split.cost)}"
        yield f"{memory} in memory and {disk} on disk are the cheapest way to as many hits: {cost}."


def show(advice: Advice) -> None:
    """Prints all of it, 80 columns wide at least."""
    console = Console(highlight=False)
    name = escape(printable(advice.trace))
    console.print(f"[bold]{name}[/]: {advice.accesses:,} accesses to {advice.unique:,} objects\n")
    for sentence in sentences(advice):
        console.print(sentence, markup=False)
    console.print()
    console.print(_curves(advice))
    console.print()
    console.print(_frontier(advice))
    console.print()
    console.print(error(advice), markup=False, style="dim")


def error(advice: Advice) -> str:
    """How far the curves are from full simulations, and what it took."""
    checks, took = advice.checks, f"{advice.seconds:.1f} seconds."
    if advice.accesses < FEW:
        took = f"So few accesses tell little. {took}"
    if advice.sampled_trace < 1:
        took = f"The recording is a sample itself: where few keys make most of the accesses, it may be many points off. {took}"
    if checks.share == 1:
        but = " but Belady's optimum, which is an estimate" if advice.belady_estimated else ""
        sure = ": no sampling error" if not but and advice.sampled_trace == 1 else ""
        return f"Every size was simulated in full{but}{sure}. {took}"
    return (
        f"Simulated on {100 * checks.share:.2g} % of the objects. Error against the full simulation at {checks.count} points: "
        f"at most {100 * checks.worst:.2f} points of the miss ratio, before these corrected the curves. {took}"
    )


def _curves(advice: Advice) -> Table:
    sizes = next(iter(advice.curves.values())).sizes
    last = len(sizes) - 1
    shown = sorted({round(step * last / (ABREAST - 1)) for step in range(ABREAST)}) if last else [0]
    table = Table("misses", box=None, header_style="dim", pad_edge=False)
    for number in shown:
        table.add_column(_amount(advice, sizes[number]), justify="right")
    table.add_column(f"for {100 * advice.wished:g} %", justify="right")
    least = [min(curve.miss_ratios[number] for curve in advice.curves.values()) for number in shown]
    for curve in [*advice.curves.values(), *([advice.belady] if advice.belady else [])]:
        table.add_row(
            curve.policy, *_cells(curve, shown, least), _wish(advice, curve), style="dim" if curve.policy == BELADY else None
        )
    return table


def _cells(curve: Curve, shown: Sequence[int], least: Sequence[float]) -> Iterator[str]:
    for number, best in zip(shown, least, strict=True):
        text = f"{100 * curve.miss_ratios[number]:.2f} %"
        yield f"[bold green]{text}[/]" if curve.policy != BELADY and curve.miss_ratios[number] <= best else text


def _wish(advice: Advice, curve: Curve) -> str:
    size = advice.sizes_for_wish[curve.policy]
    return "-" if size is None else _amount(advice, size)


def _frontier(advice: Advice) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("in memory", "on disk", "memory hits", "hits", "latency", "a month"):
        table.add_column(heading, justify="right")
    for split in advice.frontier:
        table.add_row(*_split(advice, split))
    return table


def _split(advice: Advice, split: Split) -> Iterator[str]:
    yield _amount(advice, split.memory)
    yield _amount(advice, split.disk) if split.disk else "-"
    yield _percent(split.memory_hit_rate)
    yield _percent(split.hit_rate)
    yield _time(split.latency)
    yield _money(split.cost)


def csv_text(advice: Advice) -> str:
    """One line a policy and size."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("trace", "policy", "bytes" if advice.by_bytes else "entries", "miss_ratio"))
    for curve in [*advice.curves.values(), *([advice.belady] if advice.belady else [])]:
        writer.writerows((advice.trace, curve.policy, *point) for point in zip(curve.sizes, curve.miss_ratios, strict=True))
    return out.getvalue()


def json_text(advice: Advice) -> str:
    """All fields by their names."""
    return json.dumps(asdict(advice), indent=2)


def _size(advice: Advice, size: int) -> str:
    return _amount(advice, size) + ("" if advice.by_bytes else " entry" if size == 1 else " entries")


def _amount(advice: Advice, size: int) -> str:
    return _bytes(size) if advice.by_bytes else f"{size:,}"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _time(seconds: float) -> str:
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds / 1e-9:.3g} ns"


def _bytes(count: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.3g} bytes"


def _money(cost: float) -> str:
    return f"{cost:,.2f}" if cost >= 1 else f"{cost:.2g}"
