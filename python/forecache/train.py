"""Trains what the policy `learned` begins with: a prior, from recordings of real programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from fnmatch import fnmatch
from pathlib import Path

from forecache import machine
from forecache._core import Evidence, Prior
from forecache.errors import ConfigError
from forecache.traces import TracePath, open_trace
from forecache.units import wrong

__all__ = ["GROUPS", "SIZES", "evidence", "group_of", "train_prior"]

SIZES = tuple(0.002 * 2 ** (step / 2) for step in range(13))
"""The caches by which a trace is looked at, as shares of its unique objects."""
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
    paths: Iterable[TracePath], *, progress: Callable[[int, int], object] | None = None, **reading: object
) -> dict[str, Evidence]:
    """What became of the keys of each trace, by path, on all cores. `reading` is as for `open_trace`. `progress` is called with
    the number of traces done and their total. Raises `TraceError` for a trace that can't be read or is too short."""
    files = [str(path) for path in paths]

    def watch(path: str) -> Evidence:
        trace = open_trace(path, **reading)  # type: ignore[arg-type]  # the caller's keywords
        return Evidence.of(trace, [int(trace.unique * share) for share in SIZES])

    with ThreadPoolExecutor(machine.cores()) as pool:
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
    **reading: object,
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
    return Prior.of(list(evidence(files, progress=progress, **reading).values()))
