"""Replays recordings of real programs through the cache's own store, to choose a policy and a size by numbers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from forecache import machine, optimum
from forecache._core import POLICIES, Tally, Trace, simulate
from forecache.errors import TraceError
from forecache.optimum import Counts, Optimum
from forecache.units import Size, parse_size, wrong

__all__ = ["BELADY", "SIZES", "Row", "replay"]

TracePath: TypeAlias = str | os.PathLike[str]
Job: TypeAlias = tuple[float | None, str, int]

BELADY = "belady"
"""The policy of the rows that show what no policy can beat."""
SIZES = (0.001, 0.01, 0.05, 0.1)
"""The shares of the unique objects that are tried unless others are given."""
SIZES_ALLOWED = "shares of the unique objects above 0 and up to 1, such as 0.01"


@dataclass(frozen=True)
class Row:
    """What one policy made of one trace at one size."""

    trace: str
    """The file's name up to its first dot."""
    size_fraction: float | None
    """The capacity as a share of the unique objects (or of their bytes); None if a capacity was given."""
    policy: str
    capacity: int
    """Objects, or bytes if `by_bytes`."""
    by_bytes: bool
    accesses: int
    misses: int
    bytes: int
    missed_bytes: int
    seconds: float
    """How long the replay took."""

    @property
    def miss_ratio(self) -> float:
        """The share of the accesses that missed."""
        return self.misses / self.accesses

    @property
    def byte_miss_ratio(self) -> float | None:
        """The share of the bytes that missed; None if the trace knows no sizes."""
        return self.missed_bytes / self.bytes if self.bytes else None


def replay(
    paths: TracePath | Iterable[TracePath],
    *,
    policies: str | Iterable[str] = ("lru", "s3fifo"),
    sizes: Iterable[float] = SIZES,
    capacity: Size | None = None,
    byte: bool = False,
    columns: str | Mapping[str, str] | None = None,
    seed: int = 0,
    belady: bool = False,
    memory: Size | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[Row]:
    """Replays each trace at each size with each policy, on all cores: one row for each, in that order.

    `policies` are names, or "all". `sizes` are shares: `int(unique * share)` objects, or with `byte` `int(footprint * share)`
    bytes, the footprint being the sum of each object's largest size; less than one gives a warning and no row.
    A `capacity` goes before them: a number of objects, or bytes if it has a unit ("100MB") or `byte` is set. `columns` says what
    the columns of a table hold: "key=id,size=bytes". The ratios are those of a `Cache` with this policy and `seed`. `belady` adds
    rows of that name with the fewest misses possible; they are known for objects that all count the same, so not for bytes.
    Where they would take more than `memory` (by default, all that is free), they are estimated from a sample of the objects, and
    a warning says so. `progress` is called with the number of replays done and their total.

    Raises `ConfigError` for an unknown policy or size and `TraceError` for a trace that can't be read; there are no rows then.
    """
    files = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    by_bytes = byte or _has_unit(capacity)
    names = _policies(policies, by_bytes, belady)
    _named_apart(files)
    fixed = None if capacity is None else parse_size(capacity, "capacity")
    shares = [None] if fixed is not None else _shares(sizes)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise wrong("seed", seed, "a whole number from 0 to 2**64 - 1")
    room = None if memory is None else parse_size(memory, "memory")
    rows: list[Row] = []
    each = len(shares) * len(names)
    for number, path in enumerate(files, start=1):
        trace = Trace.open(path, dict(columns) if isinstance(columns, Mapping) else columns)
        if not trace.unique:
            raise TraceError(f"{os.fspath(path)}: holds nothing to replay; expected gets or sets")
        capacities = [(share, _capacity(path, trace, share, fixed, by_bytes)) for share in shares]
        jobs = [(share, name, most) for share, most in capacities if most for name in names]
        before = number * each - len(jobs)

        def report(done: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, len(files) * each)

        best = optimum.fitting(trace, _name(path), room, machine.cores(), _warn) if BELADY in names else None
        rows += _run(path, trace, jobs, by_bytes, seed, best, report)
    return rows


def _capacity(path: TracePath, trace: Trace, share: float | None, fixed: int | None, by_bytes: bool) -> int:
    """0 if the share is less than one object or byte, with a warning."""
    if share is None:
        return fixed or 0
    whole, unit = (trace.footprint, "bytes") if by_bytes else (trace.unique, "objects")
    if int(whole * share) < 1:
        warnings.warn(f"{Path(path).name}: {share:g} of {whole:,} {unit} is less than one, so there is no row", stacklevel=3)
    return int(whole * share)


def _run(
    path: TracePath,
    trace: Trace,
    jobs: Sequence[Job],
    by_bytes: bool,
    seed: int,
    best: Optimum | None,
    report: Callable[[int], object],
) -> list[Row]:
    """The rows of `jobs`, in their order. The simulator lets other threads run, so threads use all cores."""
    name = _name(path)

    def run(job: Job) -> Row:
        share, policy, capacity = job
        if best is not None and policy == BELADY:
            tally: Tally | Counts = best.counts(capacity)
        elif by_bytes:
            tally = simulate(trace, policy, capacity=capacity, seed=seed)
        else:
            tally = simulate(trace, policy, max_entries=capacity, seed=seed)
        if not tally.accesses:
            raise TraceError(f"{os.fspath(path)}: holds nothing to replay; expected gets or sets")
        counts = (tally.accesses, tally.misses, tally.bytes, tally.missed_bytes, tally.seconds)
        return Row(name, share, policy, capacity, by_bytes, *counts)

    pool = ThreadPoolExecutor(machine.cores())
    try:
        futures: list[Future[Row]] = [pool.submit(run, job) for job in jobs]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            report(done)
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)


def _policies(given: str | Iterable[str], by_bytes: bool, belady: bool) -> list[str]:
    asked = [given] if isinstance(given, str) else list(given)
    names = [name for each in asked for name in (POLICIES if each == "all" else [each])]
    for name in names or [""]:
        if name not in (*POLICIES, BELADY):
            raise wrong("policy", name, ", ".join((*POLICIES, BELADY, "all")))
    if belady:
        names.append(BELADY)
    if by_bytes and BELADY in names:
        warnings.warn(
            "Belady's optimum is known for objects that all count the same, so not for bytes: it is left out", stacklevel=3
        )
        names = [name for name in names if name != BELADY]
    return list(dict.fromkeys(names))


def _named_apart(files: Iterable[TracePath]) -> None:
    """Rows are told apart by the files' names."""
    seen: dict[str, TracePath] = {}
    for file in files:
        other = seen.setdefault(_name(file), file)
        if other is not file:
            raise wrong("traces", [os.fspath(other), os.fspath(file)], "files whose names differ up to the first dot")


def _name(path: TracePath) -> str:
    return Path(path).name.split(".", 1)[0]


def _shares(sizes: Iterable[float]) -> list[float | None]:
    shares: list[float | None] = []
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, int | float) or not 0 < size <= 1:
            raise wrong("sizes", size, SIZES_ALLOWED)
        shares.append(float(size))
    if not shares:
        raise wrong("sizes", shares, SIZES_ALLOWED)
    return shares


def _has_unit(capacity: Size | None) -> bool:
    return isinstance(capacity, str) and capacity.strip()[-1:].isalpha()
