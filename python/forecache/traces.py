"""Opens traces for whoever reads them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from forecache import machine
from forecache._core import Trace

TracePath: TypeAlias = str | os.PathLike[str]


def open_trace(
    path: TracePath,
    columns: str | Mapping[str, str] | None = None,
    *,
    format: str | None = None,
    lenient: bool = False,
    group_requests: TracePath | None = None,
) -> Trace:
    """The trace at `path`; a warning counts what `lenient` left out."""
    named = dict(columns) if isinstance(columns, Mapping) else columns
    memory = machine.free_memory()
    trace = Trace.open(path, named, format=format, lenient=lenient, group_requests=group_requests, memory=memory)
    if trace.skipped:
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in trace.skipped.items())
        rows = sum(trace.skipped.values())
        warnings.warn(f"{Path(path).name}: {rows:,} rows can't be used and are left out ({reasons})", stacklevel=3)
    return trace
