"""`forecache replay`: how well policies and sizes would do on recordings."""

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from forecache.cli import output, plots, reading
from forecache.cli.progress import progress
from forecache.replays import Row
from forecache.replays import replay as run
from forecache.units import wrong

TRY, OUTPUT = "What to try", "Output"


def replay(
    traces: Annotated[
        list[Path],
        typer.Argument(metavar="TRACE...", help="Traces of any known format, plain or packed (.gz, .zst)."),
    ],
    policy: Annotated[str, typer.Option(help="Policies, separated by commas, or all.", rich_help_panel=TRY)] = "lru,s3fifo",
    sizes: Annotated[str, typer.Option(help="Cache sizes as shares of the unique objects.", rich_help_panel=TRY)] = reading.SIZES,
    byte: Annotated[
        bool, typer.Option("--byte", help="Real sizes: shares are of the objects' bytes.", rich_help_panel=TRY)
    ] = False,
    capacity: Annotated[
        str | None, typer.Option(help="One size instead: objects (5000) or bytes (100MB).", rich_help_panel=TRY)
    ] = None,
    belady: Annotated[
        bool,
        typer.Option(
            "--belady", help="Also Belady's optimum, which knows the future (for bytes a heuristic).", rich_help_panel=TRY
        ),
    ] = False,
    addresses: Annotated[
        bool,
        typer.Option("--addresses", help="Tell policies the numbers that keys are (block, page), too.", rich_help_panel=TRY),
    ] = False,
    memory: Annotated[
        str | None,
        typer.Option(
            help="The most that Belady's optimum may take (4GB; not for bytes); what is free unless given.", rich_help_panel=TRY
        ),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL|none",
            help="What `learned` begins with, instead of what ships: a file or a name of the registry.",
            rich_help_panel=TRY,
        ),
    ] = None,
    accuracy: Annotated[
        bool,
        typer.Option(
            "--accuracy",
            help="Also how many evictions were right: not asked for within as many requests as the cache holds entries.",
            rich_help_panel=TRY,
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="The seed of the simulated cache.", rich_help_panel=TRY)] = 0,
    columns: reading.Columns = None,
    format: reading.Format = None,
    lenient: reading.Lenient = False,
    group_requests: reading.GroupRequests = None,
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

    - `forecache replay cluster52.csv --lenient --policy all` reads a trace of Twitter's and skips what can't be read
    """
    shares = reading.shares(sizes)
    names = "all" if policy.strip() == "all" else [name.strip() for name in policy.split(",")]
    options: dict[str, Any] = {
        "policies": names,
        "byte": byte,
        "seed": seed,
        "addresses": addresses,
        "memory": memory,
        "prior": prior,
    }
    options |= {"columns": columns, "format": format, "lenient": lenient, "group_requests": group_requests}
    shown = {"requests": group_requests is not None, "accuracy": accuracy}
    output.check("csv", csv)
    output.check("plot", plot)
    curves: list[Row] = []
    if plot is not None:
        if capacity is not None:
            raise wrong("plot", str(plot), "curves over --sizes, so leave --capacity out")
        plots.check(plot)
    with progress("replaying") as report:
        rows = run(traces, sizes=shares, capacity=capacity, belady=belady, accuracy=accuracy, progress=report, **options)
    if plot is not None:
        with progress("drawing") as report, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            curves = run(traces, sizes=plots.points(shares), belady=True, progress=report, **options)
        output.write(plot, lambda partial: plots.draw(curves, partial))
    if csv is not None:
        output.write(csv, lambda partial: partial.write_text(output.csv_text(rows, **shown), encoding="utf-8"))
    if json:
        typer.echo(output.json_text(rows))
    else:
        output.print_tables(rows, **shown)
