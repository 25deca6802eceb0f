"""What the commands print and write: tables, CSV, JSON, and files that are complete or not there."""

import csv
import io
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forecache.errors import ConfigError
from forecache.replays import Row
from forecache.units import printable

CSV_COLUMNS = ("trace", "size_fraction", "policy", "miss_ratio", "byte_miss_ratio")
SIZES_ABREAST = 6


@contextmanager
def warned() -> Iterator[None]:
    """Prints a line on stderr for each warning, when all is done."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    console = Console(stderr=True, soft_wrap=True)
    for warning in caught:
        console.print(f"forecache: {printable(str(warning.message))}", style="yellow", markup=False, highlight=False)


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


def csv_text(rows: Iterable[Row], *, requests: bool = False, accuracy: bool = False) -> str:
    """One line a row, ratios with all their digits. With `requests`, the share of those that hit as a whole comes last, with
    `accuracy` that of the evictions that were right."""
    columns = (*CSV_COLUMNS, *["request_hit_ratio"] * requests, *["eviction_accuracy"] * accuracy)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([getattr(row, column) for column in columns] for row in rows)
    return out.getvalue()


def json_text(rows: Iterable[Row]) -> str:
    """A list of objects, one a row."""
    ratios = ("miss_ratio", "byte_miss_ratio", "request_hit_ratio", "eviction_accuracy")
    return json.dumps([asdict(row) | {ratio: getattr(row, ratio) for ratio in ratios} for row in rows], indent=2)


def print_tables(rows: Sequence[Row], *, requests: bool = False, accuracy: bool = False) -> None:
    """A table a trace: a line a policy, a column a size, the best of each size marked. With `requests`, another one: how many
    of the requests hit as a whole. With `accuracy` another: how many of the evictions were right."""
    console = Console()
    for trace, of_trace in groupby(rows, key=lambda row: row.trace):
        by_policy: dict[str, list[Row]] = {}
        for row in of_trace:
            by_policy.setdefault(row.policy, []).append(row)
        first = next(iter(by_policy.values()))
        console.print(f"[bold]{escape(printable(trace))}[/]: misses of {first[0].accesses:,} accesses", highlight=False)
        _print_parts(console, by_policy, _cell, lambda row: -row.misses)
        if requests:
            whole = {policy: of_policy for policy, of_policy in by_policy.items() if policy != "belady"}
            console.print(f"[bold]{escape(printable(trace))}[/]: whole hits of {first[0].requests:,} requests", highlight=False)
            _print_parts(console, whole, _request_cell, lambda row: row.whole_requests)
        if accuracy:
            console.print(f"[bold]{escape(printable(trace))}[/]: evictions that were right", highlight=False)
            _print_parts(console, by_policy, _accuracy_cell, lambda row: row.eviction_accuracy or 0)


def _print_parts(
    console: Console, by_policy: dict[str, list[Row]], cell: Callable[[Row], str], merit: Callable[[Row], float]
) -> None:
    sizes = max((len(rows) for rows in by_policy.values()), default=0)
    for start in range(0, sizes, SIZES_ABREAST):
        console.print(_table(by_policy, slice(start, start + SIZES_ABREAST), cell, merit))


def _table(by_policy: dict[str, list[Row]], part: slice, cell: Callable[[Row], str], merit: Callable[[Row], float]) -> Table:
    """What `cell` says of each row; those of the greatest `merit` are marked, column by column."""
    table = Table("policy", box=None, header_style="dim", pad_edge=False)
    columns = list(zip(*(rows[part] for rows in by_policy.values()), strict=True))
    best = [max((merit(row) for row in column if row.policy != "belady"), default=None) for column in columns]
    for column in columns:
        table.add_column(_heading(column[0]), justify="right")
    for policy, rows in by_policy.items():
        marked = ((cell(row), merit(row) == most) for row, most in zip(rows[part], best, strict=True))
        cells = [f"[bold green]{text}[/]" if best_of_all else text for text, best_of_all in marked]
        table.add_row(policy, *cells, style="dim" if policy == "belady" else None)
    return table


def _heading(row: Row) -> str:
    size = f"{row.capacity:,}" + (" B" if row.by_bytes else "")
    return size if row.size_fraction is None else f"{100 * row.size_fraction:g} %\n{size}"


def _request_cell(row: Row) -> str:
    return f"{100 * (row.request_hit_ratio or 0):.2f} %"


def _accuracy_cell(row: Row) -> str:
    return "-" if row.eviction_accuracy is None else f"{100 * row.eviction_accuracy:.2f} %"


def _cell(row: Row) -> str:
    text = f"{100 * row.miss_ratio:.2f} %"
    if row.by_bytes and row.byte_miss_ratio is not None:
        text += f"\n{100 * row.byte_miss_ratio:.2f} % bytes"
    return text
