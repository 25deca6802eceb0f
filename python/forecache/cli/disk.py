"""`forecache disk`: looks after the directories of disk tiers."""

import time
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from forecache._core import Disk
from forecache.cli.progress import progress
from forecache.units import printable

DAMAGED = 1
"""Exit code of `verify` where something was damaged."""

app = typer.Typer(help="Looks after the directory of a disk tier, in use or not.", no_args_is_help=True)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The directory, as in disk:///var/cache/app.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, with all counts.")]


@app.command(no_args_is_help=True)
def info(directory: Directory, json: Json = False) -> None:
    """Shows what DIR holds: entries and bytes, whose they are, and how the space is used.

    Nothing is read but the books, so it takes no longer for a large directory than for a small one.

    - `forecache disk info /var/cache/app`
    - `forecache disk info /var/cache/app --json | jq .entries`
    """
    told = Disk.info(directory)
    spaces = [dict(zip(("namespace", "entries", "bytes"), row, strict=True)) for row in told["namespaces"]]
    classes = [dict(zip(("record_bytes", "places", "used", "bytes"), row, strict=True)) for row in told["classes"]]
    if json:
        typer.echo(dumps(told | {"namespaces": spaces, "classes": classes}, indent=2))
        return
    console = Console()
    share = 100 * told["bytes"] / told["capacity"]
    facts = {
        "entries": f"{told['entries']:,}",
        "on disk": f"{told['bytes']:,} bytes, {share:.1f} % of {told['capacity']:,}",
        "to be dropped": f"{told['dead']:,} entries of namespaces that were cleared" if told["dead"] else "",
        "closed": "" if told["clean"] else "not properly: it was repaired just now",
        "format": str(told["format"]),
    }
    for name, fact in facts.items():
        if fact:
            console.print(f"{name:15} {fact}", highlight=False, markup=False)
    _print(console, "namespace", spaces)
    _print(console, "record_bytes", classes)


def _print(console: Console, first: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    table = Table(first.replace("_", " "), box=None, header_style="dim", pad_edge=False)
    others = [name for name in rows[0] if name != first]
    for name in others:
        table.add_column(name, justify="right")
    for row in rows:
        name = row[first] if isinstance(row[first], str) else f"{row[first]:,}"
        table.add_row(printable(name) or "(none)", *(f"{row[other]:,}" for other in others))
    console.print()
    console.print(table, highlight=False, markup=False)


@app.command(no_args_is_help=True)
def verify(directory: Directory, json: Json = False) -> None:
    """Reads every record of DIR and checks it. What is damaged is removed: it would be a miss anyway.

    The exit code is 1 if anything was damaged, else 0. Programs may use the directory meanwhile.

    - `forecache disk verify /var/cache/app`
    """
    with progress("checking") as tell:
        checked = Disk.verify(directory, lambda share: tell(round(100 * share), 100))
    if json:
        typer.echo(dumps(checked, indent=2))
    else:
        words = f"{checked['good']:,} good, {checked['corrupt']:,} damaged and removed"
        if checked["unreachable"]:
            words += f", {checked['unreachable']:,} of namespaces that were cleared"
        Console(soft_wrap=True).print(f"{printable(str(directory))}: {words}", highlight=False, markup=False)
    if checked["corrupt"]:
        raise typer.Exit(DAMAGED)


@app.command(no_args_is_help=True)
def gc(directory: Directory, json: Json = False) -> None:
    """Drops from DIR what has expired or was cleared, and gives the space back to the file system.

    A tier does without: the space is used again. It is for when others need it.

    - `forecache disk gc /var/cache/app`
    """
    with progress("collecting"):
        collected = Disk.gc(directory, time.time_ns() // 1_000_000)
    if json:
        typer.echo(dumps(collected, indent=2))
        return
    words = f"{collected['dropped']:,} entries dropped, {collected['freed']:,} bytes given back"
    Console(soft_wrap=True).print(f"{printable(str(directory))}: {words}", highlight=False, markup=False)
