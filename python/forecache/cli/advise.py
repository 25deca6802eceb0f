"""`forecache advise`: which policy and what size a recording asks for."""

from pathlib import Path
from typing import Annotated

import typer

from forecache.advice import advise as run
from forecache.cli import advice, output, plots, reading
from forecache.cli.progress import progress
from forecache.curves import REQUESTS
from forecache.splits import Prices
from forecache.units import wrong

TRY, TIERS, OUTPUT = "What to try", "Memory and disk", "Output"


def advise(
    trace: Annotated[
        Path,
        typer.Argument(metavar="TRACE", help="A trace of any known format, plain or packed (.gz, .zst)."),
    ],
    hit_rate: Annotated[str, typer.Option(help="The hit rate you wish for, in percent.", rich_help_panel=TRY)] = "90",
    policy: Annotated[str, typer.Option(help="Policies, separated by commas, or all.", rich_help_panel=TRY)] = "all",
    sizes: Annotated[
        str | None,
        typer.Option(help="Cache sizes as shares of the unique objects; 20 up to all unless given.", rich_help_panel=TRY),
    ] = None,
    byte: Annotated[bool, typer.Option("--byte", help="Sizes in bytes instead of entries.", rich_help_panel=TRY)] = False,
    ttl: Annotated[bool, typer.Option(help="Try other times to live, if the trace has any.", rich_help_panel=TRY)] = True,
    belady: Annotated[bool, typer.Option(help="Also Belady's optimum (not for bytes).", rich_help_panel=TRY)] = True,
    requests: Annotated[
        int, typer.Option(help="Accesses that each size is simulated with; a longer trace is sampled.", rich_help_panel=TRY)
    ] = REQUESTS,
    memory: Annotated[
        str | None,
        typer.Option(help="The most that Belady's optimum may take (4GB); what is free unless given.", rich_help_panel=TRY),
    ] = None,
    columns: reading.Columns = None,
    format: reading.Format = None,
    lenient: reading.Lenient = False,
    memory_price: Annotated[float, typer.Option(help="Of a GB a month.", rich_help_panel=TIERS)] = Prices.memory,
    disk_price: Annotated[float, typer.Option(help="Of a GB a month.", rich_help_panel=TIERS)] = Prices.disk,
    memory_latency: Annotated[str, typer.Option(help="Of a hit in memory.", rich_help_panel=TIERS)] = "1us",
    disk_latency: Annotated[str, typer.Option(help="Of a hit on disk.", rich_help_panel=TIERS)] = "100us",
    miss_latency: Annotated[str, typer.Option(help="Of a load from where the data comes from.", rich_help_panel=TIERS)] = "10ms",
    object_size: Annotated[
        str | None, typer.Option(help="Mean size of an object, if the trace doesn't tell (2KB).", rich_help_panel=TIERS)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of words.", rich_help_panel=OUTPUT)] = False,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the curves as CSV.", rich_help_panel=OUTPUT)
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Also draw the curves.", rich_help_panel=OUTPUT)] = None,
) -> None:
    """Says which policy and what size TRACE asks for, what other times to live would bring, and what a disk beside memory would.

    For example:

    - `forecache advise vm.fctrace` wishes for 90 % hits

    - `forecache advise log.csv --columns key=url --hit-rate 80 --plot curves.png` wishes for fewer, and draws

    - `forecache advise cdn.csv --byte --disk-price 0.02 --miss-latency 80ms` counts bytes and knows its prices
    """
    shares = (
        None
        if sizes is None
        else [_number("sizes", part, "shares of the unique objects, such as 0.01") for part in sizes.split(",")]
    )
    wished = _number("hit-rate", hit_rate.rstrip(" %"), "percent above 0 and below 100, such as 90") / 100
    if not 0 < wished < 1:
        raise wrong("hit-rate", hit_rate, "percent above 0 and below 100, such as 90")
    output.check("csv", csv)
    output.check("plot", plot)
    if plot is not None:
        plots.check(plot)
    with progress("simulating") as report:
        told = run(
            trace,
            policies=[name.strip() for name in policy.split(",")],
            sizes=shares,
            hit_rate=wished,
            byte=byte,
            ttl=ttl,
            belady=belady,
            memory_price=memory_price,
            disk_price=disk_price,
            memory_latency=memory_latency,
            disk_latency=disk_latency,
            miss_latency=miss_latency,
            object_size=object_size,
            columns=columns,
            format=format,
            lenient=lenient,
            requests=requests,
            memory=memory,
            progress=report,
        )
    if plot is not None:
        output.write(plot, lambda partial: plots.draw_advice(told, partial))
    if csv is not None:
        output.write(csv, lambda partial: partial.write_text(advice.csv_text(told), encoding="utf-8"))
    if json:
        typer.echo(advice.json_text(told))
    else:
        advice.show(told)


def _number(field: str, text: str, allowed: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise wrong(field, text, allowed) from None
