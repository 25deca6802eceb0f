"""Miss-ratio curves, drawn with matplotlib, which is loaded on use."""

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import groupby
from math import ceil, log10, sqrt
from pathlib import Path
from typing import Any

from forecache.advice import Advice
from forecache.errors import ConfigError
from forecache.replays import BELADY, Row

POINTS = 16
FORMATS = (".png", ".pdf", ".svg")
ABREAST = 4


def check(path: Path) -> None:
    """Raises `ConfigError` if matplotlib isn't there, with what to do, or can't draw such a file."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"plot: got {str(path)!r}; allowed: a file that ends in {', '.join(FORMATS)}")
    if find_spec("matplotlib") is None:
        raise ConfigError("plot: needs matplotlib; install it with: pip install 'forecache[plot]'")


def points(sizes: Sequence[float]) -> list[float]:
    """`sizes`, and between the least and the greatest enough others that lines through them are curves."""
    if not sizes or min(sizes) <= 0:
        return list(sizes)
    low, high = log10(min(sizes)), log10(max(sizes))
    between = {float(f"{10 ** (low + (high - low) * step / (POINTS - 1)):.4g}") for step in range(1, POINTS - 1)}
    return sorted({*sizes, *between})


def draw(rows: Sequence[Row], path: Path) -> None:
    """One panel a trace, one curve a policy."""
    if not rows:
        raise ConfigError("plot: there is nothing to draw; allowed: sizes of at least one object")
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot, ticker

    traces = [(trace, list(of_trace)) for trace, of_trace in groupby(rows, key=lambda row: row.trace)]
    policies = list(dict.fromkeys(row.policy for row in rows))
    across = min(ABREAST, ceil(sqrt(len(traces))))
    down = ceil(len(traces) / across)
    size = (7.2, 4.5) if len(traces) == 1 else (4.4 * across, 3.2 * down + 0.6)
    figure, axes = pyplot.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
    for panel in axes.flat[len(traces) :]:
        panel.set_visible(False)
    for panel, (trace, of_trace) in zip(axes.flat, traces, strict=False):
        for number, policy in enumerate(policies):
            curve = [row for row in of_trace if row.policy == policy]
            label, look = _look(number, policy)
            marker = "o" if len(curve) == 1 else None
            panel.plot(
                [row.capacity for row in curve], [100 * row.miss_ratio for row in curve], label=label, marker=marker, **look
            )
        by_bytes = of_trace[0].by_bytes
        panel.set(xscale="log", ylabel="misses (% of accesses)")
        panel.set_title(f"{trace}, {of_trace[0].accesses:,} accesses", parse_math=False)
        panel.set_xlabel("cache size (bytes)" if by_bytes else "cache size (objects)")
        panel.xaxis.set_major_formatter(ticker.EngFormatter(unit="B") if by_bytes else ticker.StrMethodFormatter("{x:,.0f}"))
        panel.xaxis.set_minor_formatter(ticker.NullFormatter())
        panel.grid(which="major", color="0.88")
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def draw_advice(advice: Advice, path: Path) -> None:
    """One curve a policy, and where the recommended cache stands."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot, ticker

    figure, panel = pyplot.subplots(figsize=(7.2, 4.8), layout="constrained")
    for number, curve in enumerate([*advice.curves.values(), *([advice.belady] if advice.belady else [])]):
        label, look = _look(number, curve.policy)
        panel.plot(curve.sizes, [100 * ratio for ratio in curve.miss_ratios], label=label, **look)
    missed = 100 * (1 - advice.hit_rate)
    panel.axhline(100 * (1 - advice.wished), color="0.6", linewidth=0.8, linestyle=":")
    panel.plot([advice.size], [missed], "o", color="black", markersize=6, zorder=5)
    size = f"{advice.size:,} {'bytes' if advice.by_bytes else 'entries'}"
    note = f"{advice.policy}, {size}:\n{100 - missed:.1f} % hits"
    # Curves fall, so there is room above the point.
    line, paper = {"arrowstyle": "-", "color": "0.4"}, {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}
    panel.annotate(
        note, (advice.size, missed), (0, 40), textcoords="offset points", ha="center", fontsize=9, arrowprops=line, bbox=paper
    )
    panel.set(xscale="log", ylabel="misses (% of accesses)", ylim=(0, None))
    panel.set_title(f"{advice.trace}, {advice.accesses:,} accesses", parse_math=False)
    panel.set_xlabel("cache size (bytes)" if advice.by_bytes else "cache size (entries)")
    panel.xaxis.set_major_formatter(ticker.EngFormatter(unit="B") if advice.by_bytes else ticker.StrMethodFormatter("{x:,.0f}"))
    panel.xaxis.set_minor_formatter(ticker.NullFormatter())
    panel.grid(which="major", color="0.88")
    panel.spines[["top", "right"]].set_visible(False)
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _look(number: int, policy: str) -> tuple[str, dict[str, Any]]:
    """The label of a curve and how it is drawn. Every other one is dashed and above the others, so that equal ones are seen."""
    if policy == BELADY:
        return "Belady", {"color": "black", "linestyle": "--", "linewidth": 1.2}
    style = {"linestyle": (0, (3, 1.2)), "zorder": 2.5} if number % 2 else {"linestyle": "-"}
    return policy, {"color": f"C{number}", "linewidth": 1.8, **style}
