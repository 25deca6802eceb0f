"""What a run found, as tables, bars met or not, and a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from timing import BATCH

Results = dict[str, Any]
SETTINGS = ("with TTL", "without TTL")
OPERATIONS = ("hit", "miss", "set", "evict", "get_many", "set_many")
THREADED = ("hit", "set")
PARTS = ("p50", "p95", "p99")
FOOTPRINTS = ("resident", "own", "evicting")
PLAIN = ("dict", "lru_cache")
NOTES = f"""\
x2: two threads, time over all calls; cachetools takes a lock there.
evict: a set of a new key in a full cache.
get_many, set_many: {BATCH} keys a call; a loop where a cache has no such call
(all but ours, and for set_many dict and cachebox). grown: by the process.
own: what our core says it has allocated; full: the same while it evicts, ghosts included."""


@dataclass(frozen=True)
class Bar:
    """One promise and what was measured."""

    what: str
    measured: float
    most: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether it was kept."""
        return self.measured <= self.most


def bars(results: Results) -> list[Bar]:
    """The promises of the memory tier; times in nanoseconds unless said."""
    ours, peers = results["with TTL"]["forecache"], results["with TTL"]
    hit = ours["hit"]
    found = [
        Bar("hit, mean / cachebox VTTLCache", hit["mean"] / peers["cachebox VTTLCache"]["hit"]["mean"], 1.25, "x"),
        Bar("hit, mean / dict.get", hit["mean"] / results["without TTL"]["dict"]["hit"]["mean"], 4, "x"),
        Bar("hit, p95", hit["p95"], 1000, "ns"),
        Bar("miss, mean", ours["miss"]["mean"], 400, "ns"),
        Bar("set, mean", max(ours[operation]["mean"] for operation in ("set", "evict")), 600, "ns"),
        Bar(f"get_many of {BATCH}", ours["get_many"]["mean"] / 1000, 15, "µs"),
        Bar(f"set_many of {BATCH}", ours["set_many"]["mean"] / 1000, 30, "µs"),
        Bar("awaited hit, p95", results["awaited"]["forecache"]["p95"], 1000, "ns"),
        Bar("Python blocks allocated by hits", results["blocks"], 0, ""),
    ]
    for entries, footprints in results["footprint"].items():
        worst = max(footprint["evicting"] for name, footprint in footprints.items() if name.startswith("forecache"))
        found.append(Bar(f"bookkeeping an entry of {int(entries):,}", worst, 112, "B"))
    return found


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Columns as wide as they need, the first to the left; a row of one cell is a heading."""
    grid = [list(head), *map(list, rows)]
    full = [row for row in grid if len(row) > 1]
    widths = [max(len(row[at]) for row in full) for at in range(len(full[0]))]
    lines = []
    for row in grid:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def cell(results: Results, *path: str) -> str:
    """A number at the end of `path`, or a dash."""
    for name in path:
        results = results.get(name, {})
    if not results:
        return "-"
    value = float(results)  # type: ignore[arg-type]
    return f"{value / 1000:.1f} µs" if value >= 10_000 else f"{value:.0f}"


def by_setting(results: Results, columns: Callable[[Results], list[str]]) -> Iterable[list[str]]:
    """A heading for each setting, then a row for each cache."""
    for setting in SETTINGS:
        yield [setting]
        for name, found in results[setting].items():
            yield [f"  {name}", *columns(found)]


def tables(results: Results) -> str:
    """All figures."""
    means = table(
        ["mean, ns a call", *OPERATIONS, *(f"{operation} x2" for operation in THREADED)],
        by_setting(
            results,
            lambda found: [
                *(cell(found, operation, "mean") for operation in OPERATIONS),
                *(cell(found, f"{operation} x2", "mean") for operation in THREADED),
            ],
        ),
    )
    singles = table(
        ["single calls, ns", *(part for operation in OPERATIONS[:3] for part in (f"{operation} p50", *PARTS[1:]))],
        by_setting(results, lambda found: [cell(found, operation, part) for operation in OPERATIONS[:3] for part in PARTS]),
    )
    awaited = table(
        ["awaited hit, ns", "mean", *PARTS],
        ([f"  {name}", *(cell(times, part) for part in ("mean", *PARTS))] for name, times in results["awaited"].items()),
    )
    sizes = list(results["footprint"])
    footprint = table(
        [
            "bookkeeping, B an entry",
            *(part for entries in sizes for part in (f"{int(entries):,}: grown", "own", "full")),
        ],
        (
            [f"  {name}", *(cell(results["footprint"][entries][name], part) for entries in sizes for part in FOOTPRINTS)]
            for name in results["footprint"][sizes[0]]
        ),
    )
    return "\n\n".join([means, NOTES, singles, awaited, footprint])


def verdicts(found: list[Bar]) -> str:
    """The bars, met or not."""
    rows = (
        [bar.what, f"{bar.measured:.2f} {bar.unit}".strip(), f"{bar.most:g} {bar.unit}".strip(), "met" if bar.met else "NOT MET"]
        for bar in found
    )
    return table(["bar", "measured", "at most", ""], rows)


def as_json(results: Results, found: list[Bar]) -> Results:
    """All figures and verdicts."""
    return {**results, "bars": [{**asdict(bar), "met": bar.met} for bar in found]}


def plot(results: Results, path: Path) -> None:
    """Four panels of bars, ours in colour: hit, set, a batch read, bookkeeping."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    entries = list(results["footprint"])[-1]
    footprints = {name: found["resident"] for name, found in results["footprint"][entries].items()}
    panels = [
        ("A hit", "ns, mean", times(results, "hit")),
        ("A set", "ns, mean", times(results, "set")),
        (f"get_many of {BATCH}", "µs", {name: time / 1000 for name, time in times(results, "get_many").items()}),
        (f"Bookkeeping of {int(entries):,} entries", "bytes an entry", footprints),
    ]
    figure, axes = pyplot.subplots(2, 2, figsize=(11, 7.2), layout=ConstrainedLayoutEngine(hspace=0.08, wspace=0.04))
    for axis, (title, unit, values) in zip(axes.flat, panels, strict=True):
        names = sorted(values, key=values.__getitem__, reverse=True)
        colours = ["#d1495b" if name.startswith("forecache") else "#8aa1b1" if name in PLAIN else "#3d5a73" for name in names]
        drawn = axis.barh(names, [values[name] for name in names], color=colours, height=0.68)
        axis.bar_label(
            drawn,
            [f"{values[name]:,.3g}" if values[name] < 100 else f"{values[name]:,.0f}" for name in names],
            padding=4,
            fontsize=9,
        )
        axis.set_title(title, loc="left", fontweight="bold")
        axis.set_xlabel(unit, loc="left", color="#555555")
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.tick_params(axis="x", bottom=False, labelbottom=False)
        axis.tick_params(axis="y", length=0)
        axis.margins(x=0.14)
    machine = results["machine"]
    figure.suptitle(
        f"Shorter is better. Those that can have a TTL have one. Python {machine['python']}, {machine['cpu']}, {machine['date']}",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def times(results: Results, operation: str) -> dict[str, float]:
    """Means of those with TTL, and of what Python has on board."""
    found = {name: results["without TTL"][name] for name in PLAIN} | results["with TTL"]
    return {name: operations[operation]["mean"] for name, operations in found.items() if operation in operations}
