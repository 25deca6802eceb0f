"""`forecache train`: makes what the policy `learned` begins with."""

import json as js
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forecache import registry
from forecache.cli import output, reading
from forecache.cli.progress import progress
from forecache.errors import ConfigError
from forecache.train import GROUPS, Cell, Trained, train_model, train_prior
from forecache.units import printable

HOW = "How to learn"


def train(
    traces: Annotated[
        list[Path],
        typer.Argument(metavar="TRACE...", help="Traces of any known format, plain or packed (.gz, .zst)."),
    ],
    target: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write: model.fcm.")],
    base: Annotated[
        str,
        typer.Option(
            metavar="MODEL|shipped|none", help="What the traces correct: a file, or a name of the registry.", rich_help_panel=HOW
        ),
    ] = "shipped",
    hold_out: Annotated[
        float,
        typer.Option(metavar="SHARE", help="The last part of each trace, to judge by: not learned from.", rich_help_panel=HOW),
    ] = 0.2,
    sizes: Annotated[
        str, typer.Option(help="Cache sizes to judge by, as shares of the unique objects.", rich_help_panel=HOW)
    ] = reading.SIZES,
    prior: Annotated[
        bool, typer.Option("--prior", help="Train a prior instead, from the traces alone.", rich_help_panel=HOW)
    ] = False,
    leave_out: Annotated[
        str | None,
        typer.Option(metavar="GROUP", help=f"Leave these traces out of a prior: {', '.join(GROUPS)}.", rich_help_panel=HOW),
    ] = None,
    columns: reading.Columns = None,
    format: reading.Format = None,
    lenient: reading.Lenient = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Learns from TRACES when entries are asked for again, for the policy `learned`.

    What ships knows the traffic of others; a model is that, corrected by yours. Each trace of 100,000 rows or more weighs the
    same. The last fifth of each isn't learned from: there the model is judged, beside what ships and LRU. A model that is no
    better is written too, and said to be none.

    The file holds statistics, and nothing of the traces. Beside it FILE.json says when it was trained, by whom, and what it is
    worth, for `forecache model push`.

    For example:

    - `forecache trace record /run/app/cache.sock today.fctrace` records what a program asks for

    - `forecache train today.fctrace -o model.fcm` learns from that, and says what is won

    - `forecache train *.fctrace -o model.fcm --sizes 0.02,0.1` judges by caches of these sizes

    - `forecache replay tomorrow.fctrace --policy lru,learned --prior model.fcm` tries it on what it hasn't seen

    - `forecache train *.zst --prior -o prior.fcp` makes a prior for any traffic, as the one that ships
    """
    if prior and (base != "shipped" or json):
        raise ConfigError("train: a prior is made of the traces alone and not judged, so leave --base and --json out")
    if leave_out is not None and not prior:
        raise ConfigError("train: --leave-out is for priors; expected --prior with it")
    output.check("output", target)
    options: dict[str, Any] = {"columns": columns, "format": format, "lenient": lenient}
    if prior:
        with progress("learning") as report:
            made = train_prior(traces, leave_out=leave_out, progress=report, **options)
        trained = None
    else:
        with progress("learning") as report:
            trained = train_model(traces, base=base, sizes=reading.shares(sizes), hold_out=hold_out, progress=report, **options)
        made = trained.model
    content = made.write()
    output.write(target, lambda partial: partial.write_bytes(content))
    if trained is not None:
        about = {"traces": len(traces), "base": Path(base).name, "hold_out": hold_out, **_summary(trained)}
        note = registry.note(content, trained=about)
        output.write(registry.beside(target), lambda partial: partial.write_text(js.dumps(note, indent=2), encoding="utf-8"))
    if json and trained is not None:
        typer.echo(_json(trained))
        return
    if trained is not None:
        print_report(trained)
    Console(soft_wrap=True).print(f"{printable(str(target))}: {len(content):,} bytes", highlight=False, markup=False)


def _summary(trained: Trained) -> dict[str, float]:
    return {
        "cells": len(trained.cells),
        "cut_before": trained.cut_before,
        "cut_after": trained.cut_after,
        "worst_before": min(cell.cut_before for cell in trained.cells),
        "worst_after": min(cell.cut_after for cell in trained.cells),
    }


def _json(trained: Trained) -> str:
    cells = [asdict(cell) | {"cut_before": cell.cut_before, "cut_after": cell.cut_after} for cell in trained.cells]
    return js.dumps(_summary(trained) | {"better": trained.better, "cells_by_trace": cells}, indent=2)


def print_report(trained: Trained) -> None:
    """A line a trace and size, and the mean."""
    console = Console()
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("held out", max_width=20, overflow="ellipsis", no_wrap=True)
    for name in ("objects", "LRU misses", "base misses", "model misses", "base cut", "model cut"):
        table.add_column(name, justify="right")
    for cell in trained.cells:
        table.add_row(escape(printable(cell.trace)), *_texts(cell))
    mean = (_percent(trained.cut_before), f"[bold]{_percent(trained.cut_after)}[/]")
    table.add_row("mean", "", "", "", "", *mean)
    console.print(table, highlight=False)
    verdict = "better than its base" if trained.better else "no better than its base on what it hasn't seen"
    console.print(f"The model is {verdict}; cut: the share of LRU's misses that is saved.", highlight=False)


def _texts(cell: Cell) -> list[str]:
    misses = [_percent(count / cell.accesses) for count in (cell.lru, cell.before, cell.after)]
    cut = _percent(cell.cut_after)
    return [f"{cell.capacity:,}", *misses, _percent(cell.cut_before), f"[green]{cut}[/]" if cell.after < cell.before else cut]


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
