"""What policies made of traces, as the tables, the CSV and the picture of `hit_ratio.py`.

A *cell* is a trace at a size, of at least 50 objects. *Cut* is 1 - misses / LRU's misses; *gap* is (LRU's misses - misses) /
(LRU's misses - Belady's), over the cells where LRU could be bettered by more than 0.2 % of the accesses.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

LRU, BELADY = "lru", "belady"
LEAST = 50
"""Objects that a cell's cache holds at least: below, a policy's parts have no size."""
ROOM = 0.002
COLUMNS = ("trace", "size_fraction", "policy", "miss_ratio", "byte_miss_ratio")
OPTIMUM, BEST = "Belady's optimum", "best of libCacheSim's, picked afresh for every cell"
OURS, PEERS, NEITHER, PICKED = "#0072b2", "#8c8c8c", "#000000", "#d55e00"
"""Colours that are told apart by those who see no red or green, too."""
WHOSE = {OURS: "forecache", PEERS: "libCacheSim"}
DRAWN = 30
"""Percent more misses than LRU's: cells beyond are arrows at the edge."""
Cell = tuple[str, float]


@dataclass(frozen=True)
class Result:
    """What one policy made of one cell."""

    trace: str
    size_fraction: float
    policy: str
    miss_ratio: float
    byte_miss_ratio: float | None
    peer: bool = False
    """Whether it was libCacheSim's."""

    @property
    def name(self) -> str:
        """The policy, and whose it is."""
        return f"{self.policy} (libCacheSim)" if self.peer else self.policy


@dataclass(frozen=True)
class Standing:
    """What one policy made of all cells."""

    name: str
    colour: str
    cuts: dict[Cell, float]
    gaps: list[float]

    @property
    def cut(self) -> float:
        """The mean over the cells."""
        return fmean(self.cuts.values())

    @property
    def gap(self) -> float | None:
        """The mean, if there was room for one."""
        return fmean(self.gaps) if self.gaps else None

    @property
    def worst(self) -> Cell:
        """The cell with the least cut."""
        return min(self.cuts, key=lambda cell: self.cuts[cell])


def by_policy(results: Iterable[Result]) -> dict[str, dict[Cell, float]]:
    """Miss ratios by policy and cell."""
    found: dict[str, dict[Cell, float]] = {}
    for result in results:
        found.setdefault(result.name, {})[result.trace, result.size_fraction] = result.miss_ratio
    return found


def standings(results: Sequence[Result]) -> list[Standing]:
    """All policies that were measured in every cell, by their mean cut, Belady's first."""
    ratios = by_policy(results)
    peers = {result.name for result in results if result.peer}
    lru, optimum = ratios[LRU], ratios[BELADY]
    if peers:
        ratios[BEST] = {cell: min(ratios[name][cell] for name in peers if cell in ratios[name]) for cell in lru}
    found = []
    for name, cells in ratios.items():
        if cells.keys() != lru.keys():
            continue
        cuts = {cell: 1 - ratio / lru[cell] for cell, ratio in cells.items()}
        gaps = [
            (lru[cell] - ratio) / (lru[cell] - optimum[cell]) for cell, ratio in cells.items() if lru[cell] - optimum[cell] > ROOM
        ]
        colour = {BELADY: NEITHER, BEST: PICKED}.get(name, PEERS if name in peers else OURS)
        found.append(Standing(OPTIMUM if name == BELADY else name, colour, cuts, gaps))
    return sorted(found, key=lambda standing: (standing.name != OPTIMUM, -standing.cut, standing.name))


def percent(share: float | None) -> str:
    """A share for a table."""
    return "" if share is None else f"{100 * share:.1f} %".replace("-0.0 %", "0.0 %")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose columns but the first are numbers, to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def styled(standing: Standing) -> str:
    """The name of a policy: ours stand out, and what no policy is slants."""
    return {OURS: f"**`{standing.name}`**", PEERS: standing.name}.get(standing.colour, f"*{standing.name}*")


def summary(results: Sequence[Result]) -> str:
    """One row a policy: means and the worst cell."""
    rows = []
    for standing in standings(results):
        trace, size = standing.worst
        where = f"{percent(standing.cuts[standing.worst])} ({trace} at {100 * size:g} %)"
        rows.append([styled(standing), percent(standing.cut), percent(standing.gap), where])
    return markdown(["policy", "mean cut", "mean gap", "worst cell"], rows)


def by_cell(results: Sequence[Result]) -> str:
    """One row a cell: the misses of our own policies, of the best other and of the optimum."""
    shown = [standing for standing in standings(results) if standing.colour != PEERS]
    ratios = by_policy(results)
    rows = []
    for cell, lru in ratios[LRU].items():
        values = [lru * (1 - standing.cuts[cell]) for standing in shown]
        rows.append([f"{cell[0]}, {100 * cell[1]:g} %", *map(percent, values)])
    names = {OPTIMUM: "Belady", BEST: "best of libCacheSim's"}
    return markdown(["trace, size: misses", *(names.get(standing.name, f"`{standing.name}`") for standing in shown)], rows)


def hits(results: Sequence[Result]) -> str:
    """One row a policy, one column a trace: the hits. For traces of one size."""
    ratios = by_policy(results)
    traces = list(dict.fromkeys(result.trace for result in results))
    rows = []
    for standing in standings(results):
        misses = {trace: ratios[LRU][trace, size] * (1 - cut) for (trace, size), cut in standing.cuts.items()}
        rows.append([styled(standing), *(percent(1 - misses[trace]) for trace in traces), percent(1 - fmean(misses.values()))])
    return markdown(["policy: hits", *traces, "mean"], rows)


def csv_text(results: Iterable[Result]) -> str:
    """One line a policy and cell, as `forecache replay --csv` writes them."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        writer.writerow([result.trace, result.size_fraction, result.name, result.miss_ratio, result.byte_miss_ratio])
    return out.getvalue()


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Means and all cells."""
    return {
        "policies": [
            {"policy": found.name, "mean_cut": found.cut, "mean_gap": found.gap, "worst_cut": found.cuts[found.worst]}
            | {"worst_trace": found.worst[0], "worst_size_fraction": found.worst[1]}
            for found in standings(results)
        ],
        "cells": [
            {"trace": result.trace, "size_fraction": result.size_fraction, "policy": result.name}
            | {"miss_ratio": result.miss_ratio, "byte_miss_ratio": result.byte_miss_ratio}
            for result in results
        ],
    }


def plot(results: Sequence[Result], path: Path) -> None:
    """One line a policy: its mean cut as a bar, each cell as a dot. Belady's is told, not drawn: it would squeeze all others."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    optimum, *best_first = standings(results)
    found = best_first[::-1]
    spread = [100 * cut for standing in found for cut in standing.cuts.values()]
    left, right = max(min(spread), -DRAWN) - 1, max(*spread, 2) + 1
    figure, axis = pyplot.subplots(figsize=(10, 1.7 + 0.27 * len(found)), layout="constrained")
    for place, standing in enumerate(found):
        colour = standing.colour
        axis.barh(place, max(100 * standing.cut, left), color=colour, height=0.62, alpha=0.35 if colour == PEERS else 0.55)
        look: dict[str, Any] = {"color": colour, "s": 22, "edgecolor": "white", "linewidth": 0.5, "zorder": 3}
        cuts = [100 * cut for cut in standing.cuts.values()]
        within = [cut for cut in cuts if cut > left]
        axis.scatter(within, [place] * len(within), **look)
        if len(within) < len(cuts):
            axis.scatter(left + 0.4, place, marker="<", **look)
        told = f"{percent(standing.cut)}, worst {percent(standing.cuts[standing.worst])}"
        axis.annotate(told, (right, place), (6, 0), textcoords="offset points", va="center", fontsize=8, annotation_clip=False)
    axis.set_yticks(range(len(found)), [standing.name.replace(", picked", ",\npicked") for standing in found], fontsize=9)
    for label, standing in zip(axis.get_yticklabels(), found, strict=True):
        label.set_color("#555555" if standing.colour == PEERS else standing.colour)
        label.set_fontweight("bold" if standing.colour == OURS else "normal")
    axis.set(xlim=(left, right), ylim=(-0.7, len(found) - 0.3))
    axis.axvline(0, color="black", linewidth=0.8)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axis.set_xlabel("misses saved beside LRU: the more to the right, the better", loc="left")
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    if any(standing.colour == PEERS for standing in found):
        bars = [Line2D([], [], color=colour, linewidth=7, alpha=0.55, label=name) for colour, name in WHOSE.items()]
        figure.legend(handles=bars, loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    cells, traces = len(optimum.cuts), len({trace for trace, _ in optimum.cuts})
    said = f"Bars are means, dots are the {cells} cells: {traces} traces at several sizes"
    figure.suptitle(f"{said}\nBelady's optimum would save {percent(optimum.cut)}", x=0.01, ha="left", fontsize=10.5)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
