"""`forecache replay`: how well policies and sizes would do on recordings."""

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from forecache.cli import output, plots
from forecache.cli.progress import progress
from forecache.replay import SIZES, SIZES_ALLOWED, Row
from forecache.replay import replay as run
from forecache.units import wrong

TRY, OUTPUT = "What to try", "Output"
DEFAULT_SIZES = ",".join(f"{size:g}" for size in SIZES)


def replay(
    traces: Annotated[
        list[Path],
        typer.Argument(metavar="TRACE...", help="Traces: .fctrace, oracleGeneral (plain or .zst), CSV or TSV (also .gz, .zst)."),
    ],
    policy: Annotated[str, typer.Option(help="Policies, separated by commas, or all.", rich_help_panel=TRY)] = "lru,s3fifo",
    sizes: Annotated[str, typer.Option(help="Cache sizes as shares of the unique objects.", rich_help_panel=TRY)] = DEFAULT_SIZES,
    byte: Annotated[
        bool, typer.Option("--byte", help="Real sizes: shares are of the objects' bytes.", rich_help_panel=TRY)
    ] = False,
    capacity: Annotated[
        str | None, typer.Option(help="One size instead: objects (5000) or bytes (100MB).", rich_help_panel=TRY)
    ] = None,
    belady: Annotated[
        bool,
        typer.Option("--belady", help="Also Belady's optimum, which knows the future (not for bytes).", rich_help_panel=TRY),
    ] = False,
    columns: Annotated[
        str | None,
        typer.Option(
            help="What a table's columns hold: key=id,size=bytes,time=ts,op=verb (and ttl, owner, request), if not obvious.",
            rich_help_panel=TRY,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(help="The most that Belady's optimum may take (4GB); what is free unless given.", rich_help_panel=TRY),
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed of the simulated cache.", rich_help_panel=TRY)] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.", rich_help_panel=OUTPUT)] = False,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a CSV file.", rich_help_panel=OUTPUT)] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Also draw miss-ratio curves, with Belady's optimum.", rich_help_panel=OUTPUT),
    ] = None,
) -> None:
    """Replays TRACES through the cache's own store and shows how often each policy misses.

    The ratios are those that a cache with this policy would have had; the lower, the better.

    For example:

    - `forecache replay vm.fctrace` compares two policies at four sizes

    - `forecache replay vm.fctrace --policy all --plot curves.png` draws them all over the size

    - `forecache replay log.csv --columns key=url,size=length --capacity 512MB` tries one size

    - `forecache replay *.zst --byte --csv results.csv` weighs objects by their bytes
    """
    shares = [_share(text) for text in sizes.split(",") if text.strip()]
    names = "all" if policy.strip() == "all" else [name.strip() for name in policy.split(",")]
    options: dict[str, Any] = {"policies": names, "byte": byte, "columns": columns, "seed": seed, "memory": memory}
    output.check("csv", csv)
    output.check("plot", plot)
    curves: list[Row] = []
    if plot is not None:
        if capacity is not None:
            raise wrong("plot", str(plot), "curves over --sizes, so leave --capacity out")
        plots.check(plot)
    with progress("replaying") as report:
        rows = run(traces, sizes=shares, capacity=capacity, belady=belady, progress=report, **options)
    if plot is not None:
        with progress("drawing") as report, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            curves = run(traces, sizes=plots.points(shares), belady=True, progress=report, **options)
        output.write(plot, lambda partial: plots.draw(curves, partial))
    if csv is not None:
        output.write(csv, lambda partial: partial.write_text(output.csv_text(rows), encoding="utf-8"))
    if json:
        typer.echo(output.json_text(rows))
    else:
        output.print_tables(rows)


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise wrong("sizes", text, SIZES_ALLOWED) from None
