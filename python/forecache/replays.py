"""Replays recordings of real programs through the cache's own store, to choose a policy and a size by numbers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from forecache import machine, optimum
from forecache._core import ALIASES, POLICIES, Prior, Tally, Trace, simulate
from forecache._core import belady as optimal
from forecache.errors import TraceError
from forecache.optimum import Counts, Optimum
from forecache.traces import TracePath, open_trace
from forecache.units import Size, parse_size, wrong

__all__ = ["BELADY", "SIZES", "Row", "replay"]

Job: TypeAlias = tuple[float | None, str, int]

BELADY = "belady"
"""The policy of the rows that show what could be reached with the future known."""
SIZES = (0.001, 0.01, 0.05, 0.1)
"""The shares of the unique objects that are tried unless others are given."""
ALL_KEYS = 1_000_000
"""What `Trace.sampled` is where no key was left out."""
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
    requests: int = 0
    """Accesses that belong together count as one; each for itself where the trace doesn't say. 0 where none can be counted: of
    requests of several accesses Belady's optimum is unknown."""
    whole_requests: int = 0
    """The requests whose accesses all hit."""
    skipped: Mapping[str, int] = field(default_factory=dict, hash=False)
    """How many rows of the trace `lenient` left out, by what was wrong."""
    evictions: int = 0
    """Those that could be judged, if `accuracy` was asked for."""
    right_evictions: int = 0
    """Those of them after which nobody asked for the object within as many requests as the cache held entries."""

    @property
    def miss_ratio(self) -> float:
        """The share of the accesses that missed."""
        return self.misses / self.accesses

    @property
    def byte_miss_ratio(self) -> float | None:
        """The share of the bytes that missed; None if the trace knows no sizes."""
        return self.missed_bytes / self.bytes if self.bytes else None

    @property
    def request_hit_ratio(self) -> float | None:
        """The share of the requests whose accesses all hit; None if there are none."""
        return self.whole_requests / self.requests if self.requests else None

    @property
    def eviction_accuracy(self) -> float | None:
        """The share of the evictions that were right; None if none was judged."""
        return self.right_evictions / self.evictions if self.evictions else None


def replay(
    paths: TracePath | Iterable[TracePath],
    *,
    policies: str | Iterable[str] = ("lru", "s3fifo"),
    sizes: Iterable[float] = SIZES,
    capacity: Size | None = None,
    byte: bool = False,
    columns: str | Mapping[str, str] | None = None,
    format: str | None = None,
    lenient: bool = False,
    group_requests: TracePath | None = None,
    addresses: bool = False,
    seed: int = 0,
    belady: bool = False,
    prior: TracePath | Prior | None = None,
    memory: Size | None = None,
    accuracy: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> list[Row]:
    """Replays each trace at each size with each policy, on all cores: one row for each, in that order.

    `policies` are names, or "all". `sizes` are shares: `int(unique * share)` objects, or with `byte` `int(footprint * share)`
    bytes, the footprint being the sum of each object's largest size; less than one gives a warning and no row.
    A `capacity` goes before them: a number of objects, or bytes if it has a unit ("100MB") or `byte` is set; of a trace that
    holds a sample of the keys, that share of it is simulated, with a warning. The ratios are those of a `Cache` with this
    policy and `seed`. `belady` adds rows of that name with the fewest misses possible, or for bytes, where those are infeasible
    to compute, with the misses of a heuristic that knows the future too. Where the fewest would take more than `memory` (by
    default, all that is free), they are estimated from a sample of the objects, and a warning says so. `progress` is called
    with the number of replays done and their total.

    `format` is one of `_core.FORMATS`, found by the file itself if not given; `columns` says what the columns of a table
    hold: "key=id,size=bytes". `lenient` leaves rows out that can't be used, with a warning that counts them. `group_requests`
    says which rows are one request: a file of one byte a row (1 for the last of a request), a directory of such files named
    like the traces, or a column. `addresses` tells policies the numbers that keys are, not only their fingerprints. `prior`
    is what the policy `learned` begins with, instead of what ships with it: a file that `forecache train` wrote, or "none".
    `accuracy` counts how many evictions were right: nobody asked for the object within as many requests as the cache held
    entries. An eviction so near to the end of the trace that it can't be judged counts as none, and so do those of Belady's
    heuristic for bytes.

    Raises `ConfigError` for an unknown policy or size and `TraceError` for a trace that can't be read, or whose keys are no
    addresses where they were asked for; there are no rows then.
    """
    files = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    by_bytes = byte or _has_unit(capacity)
    names = _policies(policies, belady)
    named_apart(files)
    fixed = None if capacity is None else parse_size(capacity, "capacity")
    wanted: list[float | None] = [None] if fixed is not None else [*shares(sizes)]
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise wrong("seed", seed, "a whole number from 0 to 2**64 - 1")
    begins = read_prior(prior)
    room = None if memory is None else parse_size(memory, "memory")
    asked = {"seed": seed, "addresses": addresses, "prior": begins, "accuracy": accuracy}
    rows: list[Row] = []
    each = len(wanted) * len(names)
    for number, path in enumerate(files, start=1):
        trace = open_trace(path, columns, format=format, lenient=lenient, group_requests=group_requests)
        if addresses:
            trace.check_addresses()
        if not trace.unique:
            raise TraceError(f"{os.fspath(path)}: holds nothing to replay; expected gets or sets")
        scaled = _scaled(path, trace, fixed)
        capacities = [(share, _capacity(path, trace, share, scaled, by_bytes)) for share in wanted]
        jobs = [(share, name, most) for share, most in capacities if most for name in names]
        before = number * each - len(jobs)

        def report(done: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, len(files) * each)

        best = optimum.fitting(trace, name_of(path), room, machine.cores(), _warn) if BELADY in names and not by_bytes else None
        rows += _run(path, trace, jobs, by_bytes, asked, best, report)
    return rows


def read_prior(given: TracePath | Prior | None) -> Prior | None:
    """What `learned` begins with: a prior, or a file that holds one, or "none"; None: what ships."""
    if given is None or isinstance(given, Prior):
        return given
    if os.fspath(given) == "none":
        return Prior.none()
    try:
        with Path(given).open("rb") as file:
            return Prior.read(file.read(Prior.LENGTH + 1))
    except OSError as error:
        raise wrong("prior", os.fspath(given), f'a file that can be read, or "none" ({error.strerror})') from None


def _scaled(path: TracePath, trace: Trace, fixed: int | None) -> int | None:
    """A given capacity for the keys that the trace holds. Shares are of those anyway."""
    if trace.sampled == ALL_KEYS:
        return fixed
    held = f"{Path(path).name} holds {100 * trace.sampled / ALL_KEYS:g} % of the keys"
    scaled = None if fixed is None else fixed * trace.sampled // ALL_KEYS
    if scaled is not None and scaled < 1:
        raise wrong("capacity", fixed, f"at least {-(-ALL_KEYS // trace.sampled):,}, because {held}")
    simulated = "" if scaled is None else f"; a capacity of {fixed:,} is simulated by one of {scaled:,}"
    luck = "where few keys make most of the requests, ratios may be many points off"
    warnings.warn(f"{held}{simulated}; {luck}", stacklevel=3)
    return scaled


def _capacity(path: TracePath, trace: Trace, share: float | None, fixed: int | None, by_bytes: bool) -> int:
    """0 if the share is less than one object or byte, with a warning."""
    if share is None:
        return fixed or 0
    whole, unit = (trace.footprint, "bytes") if by_bytes else (trace.unique, "objects")
    if int(whole * share) < 1:
        warnings.warn(f"{Path(path).name}: {share:g} of {whole:,} {unit} is less than one, so there is no row", stacklevel=3)
    return min(int(whole * share), whole)


def _run(
    path: TracePath,
    trace: Trace,
    jobs: Sequence[Job],
    by_bytes: bool,
    options: Mapping[str, Any],
    best: Optimum | None,
    report: Callable[[int], object],
) -> list[Row]:
    """The rows of `jobs`, in their order. The simulator lets other threads run, so threads use all cores."""
    name, skipped = name_of(path), trace.skipped

    def run(job: Job) -> Row:
        share, policy, capacity = job
        limit: dict[str, Any] = {"capacity": capacity} if by_bytes else {"max_entries": capacity}
        if policy != BELADY:
            tally: Tally | Counts = simulate(trace, policy, **options, **limit)
        elif best is not None:
            tally = best.counts(capacity, accuracy=options["accuracy"])
        else:
            tally = optimal(trace, **limit)
        if not tally.accesses:
            raise TraceError(f"{os.fspath(path)}: holds nothing to replay; expected gets or sets")
        counts = (tally.accesses, tally.misses, tally.bytes, tally.missed_bytes, tally.seconds)
        whole, right = (tally.requests, tally.whole_requests), (tally.evictions, tally.right_evictions)
        return Row(name, share, policy, capacity, by_bytes, *counts, *whole, skipped, *right)

    with machine.pool() as pool:
        futures: list[Future[Row]] = [pool.submit(run, job) for job in jobs]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            report(done)
        return [future.result() for future in futures]


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)


def _policies(given: str | Iterable[str], belady: bool) -> list[str]:
    asked = [given] if isinstance(given, str) else list(given)
    aliases = dict(ALIASES)
    names = [name for each in asked for name in (POLICIES if each == "all" else [aliases.get(each, each)])]
    for name in names or [""]:
        if name not in (*POLICIES, BELADY):
            raise wrong("policy", name, ", ".join((*POLICIES, BELADY, "all")))
    if belady:
        names.append(BELADY)
    return list(dict.fromkeys(names))


def named_apart(files: Iterable[TracePath]) -> None:
    """Rows are told apart by the files' names."""
    seen: dict[str, TracePath] = {}
    for file in files:
        other = seen.setdefault(name_of(file), file)
        if other is not file:
            raise wrong("traces", [os.fspath(other), os.fspath(file)], "files whose names differ up to the first dot")


def name_of(path: TracePath) -> str:
    """What a trace is called: its file's name up to the first dot."""
    return Path(path).name.split(".", 1)[0]


def shares(sizes: Iterable[float]) -> list[float]:
    """Sizes as shares of the unique objects; `ConfigError` for what is none, or if there are none."""
    valid: list[float] = []
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, int | float) or not 0 < size <= 1:
            raise wrong("sizes", size, SIZES_ALLOWED)
        valid.append(float(size))
    if not valid:
        raise wrong("sizes", valid, SIZES_ALLOWED)
    return valid


def _has_unit(capacity: Size | None) -> bool:
    return isinstance(capacity, str) and capacity.strip()[-1:].isalpha()
