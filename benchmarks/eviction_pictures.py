#!/usr/bin/env python3
"""The pictures of docs/eviction.md: what the policy `learned` knows after a real trace, and whom it and Belady's optimum evict.

`python benchmarks/eviction_pictures.py TRACE [--size 0.05] [--out docs]` writes `eviction_hazard.png` and `eviction_map.png`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from forecache._core import Lessons, Trace, evicted

ROOT = Path(__file__).resolve().parent.parent
USES = ("no hit", "1 hit", "2", "3-4", "5-8", "9-16", "17-32", "33-80", "more")
"""Classes of frequency, as `learn/features.rs` has them."""
TURNOVER = 9
"""The class of a gap that is about as long as the cache has entries; each step is an octave."""
CURVES = (
    ("not hit yet", 0, 0, "#000000"),
    ("1 hit, gap of 1/16 turnover", 1, TURNOVER - 4, "#56b4e9"),
    ("1 hit, gap of a turnover", 1, TURNOVER, "#0072b2"),
    ("5-8 hits, gap of 1/16 turnover", 4, TURNOVER - 4, "#e69f00"),
    ("5-8 hits, gap of a turnover", 4, TURNOVER, "#d55e00"),
)
"""Frequency, gap and colour (Okabe and Ito's, which are told apart whatever one sees)."""
EVICTORS = {"learned": "learned", "Belady's optimum": "belady"}
SHORTEST, LONGEST = -8, 5
"""Ages that are shown, as powers of two of a turnover: as many requests as the cache has entries."""
Table = Sequence[tuple[tuple[int, int, int], Sequence[float]]]


def rows(table: Table, join: Any) -> dict[tuple[int, int], Any]:
    """The table by frequency and gap; classes that differ in the gap before are joined."""
    found: dict[tuple[int, int], list[Sequence[float]]] = {}
    for (uses, gap, _), values in table:
        found.setdefault((uses, gap), []).append(values)
    return {about: join(np.array(values), axis=0) for about, values in found.items()}


def hazard(lessons: Lessons, entries: int, path: Path, title: str) -> None:
    """Chances of a hit, and worths, over the age of an entry."""
    from matplotlib import pyplot

    ages = np.array(lessons.ages)
    middles, widths = np.sqrt(np.maximum(ages[:-1], 0.5) * ages[1:]) / entries, np.diff(ages)
    chances, worths = rows(lessons.chances, np.mean), rows(lessons.worths, np.mean)
    figure, axes = pyplot.subplots(1, 2, figsize=(9.6, 3.9), layout="constrained", sharex=True)
    for name, uses, gap, colour in CURVES:
        rate = -np.log1p(-chances[uses, gap]) / widths
        for axis, values in zip(axes, (rate, worths[uses, gap]), strict=True):
            axis.plot(middles, values * entries, color=colour, label=name, linewidth=1.8)
    for axis, heading in zip(axes, ("How often it is asked for (hazard)", "What it is worth (Gittins' index)"), strict=True):
        by_age(axis)
        axis.set(yscale="log", ylim=(1e-3, 3))
        axis.set_title(heading, loc="left", fontsize=10, fontweight="bold")
        axis.set_ylabel("hits a turnover")
        axis.grid(alpha=0.25)
    axes[1].legend(fontsize=8, loc="lower left", frameon=False)
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    save(figure, path)


def by_age(axis: Any) -> None:
    """Octaves from left to right."""
    axis.set_xscale("log", base=2)
    axis.set(xlim=(2.0**SHORTEST, 2.0**LONGEST), xlabel="turnovers since the last access")
    steps = range(SHORTEST, LONGEST + 1, 2)
    axis.set_xticks([2.0**step for step in steps], [f"{2**step}" if step >= 0 else f"1/{2**-step}" for step in steps])


def grid(table: dict[tuple[int, int], Any]) -> Any:
    """Rows by frequency and gap, the most used on top."""
    return np.array([table[about] for about in sorted(table)])


def mapped(lessons: Lessons, counts: dict[str, Table], entries: int, path: Path, title: str) -> None:
    """Three maps of the same classes and ages: worths, and where evictions are."""
    from matplotlib import pyplot
    from matplotlib.colors import LogNorm

    ages = np.maximum(np.array(lessons.ages), 0.5) / entries
    colours = mpl.colormaps["viridis"].with_extremes(bad="#e8e8e8")
    worths = rows(lessons.worths, np.mean)
    classes = sorted(worths)
    figure, axes = pyplot.subplots(1, 1 + len(counts), figsize=(10.4, 4.6), layout="constrained", sharey=True)
    edges = np.arange(len(classes) + 1)
    panels = [("What entries are worth", grid(worths) * entries, "hits a turnover", (1e-2, 10))]
    for name, table in counts.items():
        evictions = rows(table, np.sum)
        share = grid(evictions) / max(sum(of_class.sum() for of_class in evictions.values()), 1)
        panels.append((f"Whom {name} evicts", 100 * share, "% of all evictions", (1e-3, 3)))
    for axis, (heading, values, unit, (low, high)) in zip(axes, panels, strict=True):
        seen = np.ma.masked_less(values, low)
        drawn = axis.pcolormesh(ages, edges, seen, norm=LogNorm(low, high), cmap=colours, rasterized=True)
        by_age(axis)
        axis.set_title(heading, loc="left", fontsize=10, fontweight="bold")
        figure.colorbar(drawn, ax=axis, location="bottom", label=unit, aspect=30, pad=0.02)
    starts = [next(at for at, (uses, _) in enumerate(classes) if uses == number) for number in range(len(USES))]
    for axis in axes:
        axis.hlines(starts[1:], 2.0**SHORTEST, 2.0**LONGEST, color="white", linewidth=0.6)
    middles = [(low + high) / 2 for low, high in zip(starts, [*starts[1:], len(classes)], strict=True)]
    axes[0].set_yticks(middles, USES)
    axes[0].set_ylabel("hits so far; in each band, longer gaps upwards")
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """As a file that says how large it is."""
    from matplotlib import pyplot

    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    print(f"{path}: {path.stat().st_size / 1000:.0f} KB")


def main() -> int:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--size", type=float, default=0.05, help="share of the unique objects")
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    mpl.use("Agg")
    trace = Trace.open(options.trace)
    entries = int(trace.unique * options.size)
    lessons = Lessons.of(trace, entries)
    name = options.trace.name.split(".", 1)[0]
    cache = f"a cache of {entries:,} entries ({100 * options.size:g} % of the unique objects), after {len(trace):,} requests"
    title = f"{name}, {cache}; a turnover is as many requests as there are entries"
    hazard(lessons, entries, options.out / "eviction_hazard.png", title)
    counts = {shown: evicted(trace, policy, entries) for shown, policy in EVICTORS.items()}
    mapped(lessons, counts, entries, options.out / "eviction_map.png", title)
    return 0


if __name__ == "__main__":
    sys.exit(main())
