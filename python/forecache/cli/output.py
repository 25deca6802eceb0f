"""What the commands print and write: tables, CSV, JSON, and files that are complete or not there."""

import csv
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

from forecache.errors import ConfigError
from forecache.replay import Row

CSV_COLUMNS = ("trace", "size_fraction", "policy", "miss_ratio", "byte_miss_ratio")
SIZES_ABREAST = 6


def check(option: str, path: Path | None) -> None:
    """Raises `ConfigError`, before hours of work, if nothing can be written at `path`."""
    if path is not None and (not path.parent.is_dir() or (path.exists() and not path.is_file())):
        raise ConfigError(f"{option}: got {str(path)!r}; allowed: a file in a directory that exists")


def write(path: Path, fill: Callable[[Path], object]) -> None:
    """Has `fill` write a file beside `path`, which then takes its place; if that is a link, the place of what it leads to."""
    path = path.resolve()
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
        os.close(handle)
        try:
            fill(Path(name))
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: can't be written: {error.strerror}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def csv_text(rows: Iterable[Row]) -> str:
    """One line a row, ratios with all their digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows([getattr(row, column) for column in CSV_COLUMNS] for row in rows)
    return out.getvalue()


def json_text(rows: Iterable[Row]) -> str:
    """A list of objects, one a row."""
    return json.dumps(
        [asdict(row) | {"miss_ratio": row.miss_ratio, "byte_miss_ratio": row.byte_miss_ratio} for row in rows], indent=2
    )


def print_tables(rows: Sequence[Row]) -> None:
    """A table a trace: a line a policy, a column a size, the best of each size marked."""
    console = Console()
    for trace, of_trace in groupby(rows, key=lambda row: row.trace):
        by_policy: dict[str, list[Row]] = {}
        for row in of_trace:
            by_policy.setdefault(row.policy, []).append(row)
        first = next(iter(by_policy.values()))
        console.print(f"[bold]{trace}[/]: misses of {first[0].accesses:,} accesses", highlight=False)
        for start in range(0, len(first), SIZES_ABREAST):
            console.print(_table(by_policy, slice(start, start + SIZES_ABREAST)))


def _table(by_policy: dict[str, list[Row]], part: slice) -> Table:
    table = Table("policy", box=None, header_style="dim", pad_edge=False)
    columns = list(zip(*(rows[part] for rows in by_policy.values()), strict=True))
    best = [min((row.misses for row in column if row.policy != "belady"), default=-1) for column in columns]
    for column in columns:
        table.add_column(_heading(column[0]), justify="right")
    for policy, rows in by_policy.items():
        cells = [_cell(row, row.misses == least) for row, least in zip(rows[part], best, strict=True)]
        table.add_row(policy, *cells, style="dim" if policy == "belady" else None)
    return table


def _heading(row: Row) -> str:
    size = f"{row.capacity:,}" + (" B" if row.by_bytes else "")
    return size if row.size_fraction is None else f"{100 * row.size_fraction:g} %\n{size}"


def _cell(row: Row, best: bool) -> str:
    text = f"{100 * row.miss_ratio:.2f} %"
    if row.by_bytes and row.byte_miss_ratio is not None:
        text += f"\n{100 * row.byte_miss_ratio:.2f} % bytes"
    return f"[bold green]{text}[/]" if best else text
