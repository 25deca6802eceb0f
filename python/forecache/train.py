"""Trains what the policy `learned` begins with, from recordings of real programs: a prior, made of nothing else, or a model,
which is a prior corrected by the traffic at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from forecache import machine, replays
from forecache._core import Evidence, Prior, Tally, Trace, simulate
from forecache.errors import ConfigError, TraceError
from forecache.traces import TracePath, open_trace
from forecache.units import wrong

__all__ = ["GROUPS", "SIZES", "Cell", "Trained", "base_prior", "evidence", "group_of", "train_model", "train_prior"]

SIZES = tuple(0.002 * 2 ** (step / 2) for step in range(13))
"""The caches by which a trace is looked at, as shares of its unique objects."""
WEIGHT = 100_000
"""Accesses that a trace stands for beside others, however long it is."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "lirs": ("lirs_*",),
    "blocks": ("arc_P*", "cloudPhysicsIO*"),
    "oltp": ("arc_OLTP*",),
    "cpu": ("cpu_*",),
    "cdn": ("wiki_*", "adaptsize_req*"),
    "scarab": ("scarab*",),
    "orm": ("orm*",),
    "web": ("web*", "kosarak_head*"),
    "corda": ("corda*",),
}
"""Traces of one domain, by their files' names. Whoever judges a prior by a trace leaves its group out of the training."""


def group_of(path: TracePath) -> str | None:
    """The group that a trace belongs to."""
    name = Path(path).name
    return next((group for group, patterns in GROUPS.items() if any(fnmatch(name, pattern) for pattern in patterns)), None)


def evidence(
    paths: Iterable[TracePath],
    *,
    share: float = 1.0,
    equal: bool = True,
    progress: Callable[[int, int], object] | None = None,
    **reading: Any,
) -> dict[str, Evidence]:
    """What became of the keys of each trace, by path, on all cores; of its first rows, if `share` is below 1.

    Each weighs the same, unless `equal` is false: then one of fewer rows than `WEIGHT` weighs no more than they are. `reading` is
    as for `open_trace`. `progress` is called with the number of traces done and their total. Raises `TraceError` for a trace that
    can't be read or is too short.
    """
    files = [str(path) for path in paths]

    def watch(path: str) -> Evidence:
        trace = open_trace(path, **reading)
        rows = _first(trace, 1 - share)
        weight = WEIGHT if equal else min(rows, WEIGHT)
        try:
            return Evidence.of(trace, [int(trace.unique * size) for size in SIZES], rows=rows, weight=weight)
        except TraceError as error:
            raise TraceError(f"{path}: {error}") from None

    with machine.pool() as pool:
        futures = {path: pool.submit(watch, path) for path in files}
        for done, future in enumerate(as_completed(futures.values()), start=1):
            future.result()
            if progress is not None:
                progress(done, len(files))
    return {path: future.result() for path, future in futures.items()}


def train_prior(
    paths: Iterable[TracePath],
    *,
    leave_out: str | None = None,
    progress: Callable[[int, int], object] | None = None,
    **reading: Any,
) -> Prior:
    """A prior learned from all traces but those of the group `leave_out`; each trace weighs the same, however long it is.

    Raises `ConfigError` for an unknown group or if no trace is left, `TraceError` for a trace that can't be used.
    """
    if leave_out is not None and leave_out not in GROUPS:
        raise wrong("leave_out", leave_out, ", ".join(GROUPS))
    files = [path for path in paths if leave_out is None or group_of(path) != leave_out]
    if not files:
        raise ConfigError(
            f"train: no trace is left without the group {leave_out!r}" if leave_out else "train: no trace was given"
        )
    return Prior.none().corrected(list(evidence(files, progress=progress, **reading).values()))


@dataclass(frozen=True)
class Cell:
    """What one cache made of the part of one trace that wasn't learned from; what came before had filled it."""

    trace: str
    """The file's name up to its first dot."""
    size_fraction: float
    """The capacity as a share of the trace's unique objects."""
    capacity: int
    accesses: int
    lru: int
    """Misses of LRU."""
    before: int
    """Misses of `learned` that begins with the base."""
    after: int
    """Misses of `learned` that begins with the model."""

    @property
    def cut_before(self) -> float:
        """The share of LRU's misses that the base saves."""
        return (self.lru - self.before) / self.lru if self.lru else 0.0

    @property
    def cut_after(self) -> float:
        """The share of LRU's misses that the model saves."""
        return (self.lru - self.after) / self.lru if self.lru else 0.0


@dataclass(frozen=True)
class Trained:
    """A model, and what it made of the parts of the traces that it hasn't seen."""

    model: Prior
    cells: tuple[Cell, ...]

    @property
    def cut_before(self) -> float:
        """The mean of the cells' cuts with the base."""
        return fmean(cell.cut_before for cell in self.cells)

    @property
    def cut_after(self) -> float:
        """The mean of the cells' cuts with the model."""
        return fmean(cell.cut_after for cell in self.cells)

    @property
    def better(self) -> bool:
        """Whether the model saves more than the base."""
        return self.cut_after > self.cut_before


def base_prior(given: TracePath | Prior) -> Prior:
    """What a model is made of: a prior, a file of one, "shipped", or "none", which says that hits become rarer with age."""
    if isinstance(given, str) and given == "shipped":
        return Prior.shipped()
    prior = replays.read_prior(given)
    if prior is None:
        raise wrong("base", given, 'a file, "shipped" or "none"')
    return prior


def train_model(
    paths: Iterable[TracePath],
    *,
    base: TracePath | Prior = "shipped",
    sizes: Iterable[float] = replays.SIZES,
    hold_out: float = 0.2,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
    **reading: Any,
) -> Trained:
    """`base`, corrected by what the traces show, and what that is worth.

    Each trace weighs the same from `WEIGHT` rows on, and less below. The last `hold_out` of its rows isn't learned from: there
    LRU and `learned`, with the base and with the model, are compared, in caches of `sizes`, shares of the trace's unique objects,
    which the rows before have filled. `progress` is called with the number of steps done and their total.

    Raises `ConfigError` for what isn't allowed, `TraceError` for a trace that can't be used.
    """
    files = list(paths)
    if not files:
        raise ConfigError("train: no trace was given")
    if isinstance(hold_out, bool) or not isinstance(hold_out, int | float) or not 0 < hold_out < 1:
        raise wrong("hold_out", hold_out, "a share of each trace's rows above 0 and below 1, such as 0.2")
    wanted, before = replays.shares(sizes), base_prior(base)
    replays.named_apart(files)
    each = 3 * len(wanted)
    total = len(files) * (1 + each)

    def report(before: int, done: int) -> None:
        if progress is not None:
            progress(before + done, total)

    found = evidence(files, share=1 - hold_out, equal=False, progress=lambda done, _: report(0, done), **reading)
    after = before.corrected(list(found.values()))
    cells: list[Cell] = []
    for number, path in enumerate(files):
        trace = open_trace(path, **reading)
        told = partial(report, len(files) + number * each)
        cells += _judge(path, trace, (before, after), wanted, _first(trace, hold_out), seed, told)
    if not cells:
        raise TraceError("train: the last rows of the traces ask for nothing, or all sizes are less than one object")
    return Trained(after, tuple(cells))


def _first(trace: Trace, hold_out: float) -> int:
    """The first row of the last part."""
    return len(trace) - round(len(trace) * hold_out)


def _judge(
    path: TracePath,
    trace: Trace,
    priors: tuple[Prior, Prior],
    sizes: Iterable[float],
    first: int,
    seed: int,
    report: Callable[[int], object],
) -> list[Cell]:
    """The cells of a trace, all replays at once. The simulator lets other threads run."""
    capacities = {share: int(trace.unique * share) for share in sizes if int(trace.unique * share) >= 1}
    tried = (("lru", None), *(("learned", prior) for prior in priors))
    with machine.pool() as pool:
        jobs = {
            share: [
                pool.submit(simulate, trace, policy, max_entries=capacity, seed=seed, prior=prior, first=first)
                for policy, prior in tried
            ]
            for share, capacity in capacities.items()
        }
        every: list[Future[Tally]] = [job for of_share in jobs.values() for job in of_share]
        for done, job in enumerate(as_completed(every), start=1):
            job.result()
            report(done)
    cells = []
    for share, of_share in jobs.items():
        lru, before, after = (job.result() for job in of_share)
        if lru.accesses:
            name = replays.name_of(path)
            cells.append(Cell(name, share, capacities[share], lru.accesses, lru.misses, before.misses, after.misses))
    return cells
