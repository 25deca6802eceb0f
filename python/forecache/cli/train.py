"""`forecache train`: makes what the policy `learned` begins with."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from forecache.cli import output, reading
from forecache.cli.progress import progress
from forecache.errors import ConfigError
from forecache.train import GROUPS, train_prior


def train(
    traces: Annotated[
        list[Path],
        typer.Argument(metavar="TRACE...", help="Traces of any known format, plain or packed (.gz, .zst)."),
    ],
    target: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write: OUT.fcp.")],
    prior: Annotated[bool, typer.Option("--prior", help="Train a prior, which serves any cache.")] = False,
    leave_out: Annotated[str | None, typer.Option(metavar="GROUP", help=f"Leave these traces out: {', '.join(GROUPS)}.")] = None,
    columns: reading.Columns = None,
    format: reading.Format = None,
    lenient: reading.Lenient = False,
) -> None:
    """Learns from TRACES when entries are asked for again, for the policy `learned`.

    Each trace weighs the same, however long it is. The file holds statistics, and nothing of the traces.

    For example:

    - `forecache train *.zst --prior -o prior.fcp` learns from all of them

    - `forecache replay mine.csv --policy learned --prior prior.fcp` shows what it is worth
    """
    if not prior:
        raise ConfigError("train: expected --prior, which is all that can be trained")
    output.check("output", target)
    with progress("learning") as report:
        trained = train_prior(
            traces, leave_out=leave_out, progress=report, columns=columns, format=format, lenient=lenient
        ).write()
    output.write(target, lambda partial: partial.write_bytes(trained))
    Console(soft_wrap=True).print(f"{target}: {len(trained):,} bytes", highlight=False)
