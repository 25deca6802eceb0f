"""The options of every command that reads a trace."""

from pathlib import Path
from typing import Annotated

import typer

from forecache import _core, replays
from forecache.units import wrong

PANEL = "How to read the traces"
SIZES = ",".join(f"{size:g}" for size in replays.SIZES)
"""What `--sizes` says unless given."""


def shares(text: str) -> list[float]:
    """The numbers of `--sizes`."""
    return [_share(part) for part in text.split(",") if part.strip()]


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise wrong("sizes", text, replays.SIZES_ALLOWED) from None


Columns = Annotated[
    str | None,
    typer.Option(
        help="What a table's columns hold, by name or number: key=id,size=bytes,time=ts,op=verb "
        "(and ttl, owner, request, cost, key_size, count), if not obvious.",
        rich_help_panel=PANEL,
    ),
]
Format = Annotated[
    str | None, typer.Option(help=f"The format, if not obvious: {', '.join(_core.FORMATS)}.", rich_help_panel=PANEL)
]
Lenient = Annotated[
    bool,
    typer.Option("--lenient", help="Count and skip rows that can't be used, instead of an error.", rich_help_panel=PANEL),
]
GroupRequests = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE|COLUMN",
        help="Which rows are one request: a file of one byte a row (1 for the last of a request), a directory "
        "with such a file a trace, or a column.",
        rich_help_panel=PANEL,
    ),
]
