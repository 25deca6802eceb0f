"""`forecache trace`: makes and shows traces."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from forecache import _core
from forecache.cli import output, record
from forecache.errors import ConfigError
from forecache.units import parse_size

app = typer.Typer(help="Makes and shows traces.", no_args_is_help=True)


@app.command(name="import", no_args_is_help=True)
def import_blocks(
    source: Annotated[Path, typer.Argument(help="CSV with the columns time_us,op,offset,length; may be packed (.gz, .zst).")],
    target: Annotated[Path, typer.Argument(help="The trace to write: OUT.fctrace.")],
    page: Annotated[str, typer.Option(help="Bytes of a page.")] = "4096",
    device_size: Annotated[str, typer.Option(help="Bytes of the device, such as 8GiB; a request beyond is an error.")] = "",
    description: Annotated[str, typer.Option(help="What was recorded, and how.")] = "",
) -> None:
    """Turns the list of a block recorder into a trace.

    op is read, write or trim; offset and length are bytes. A request becomes one access a page, in order; a trim deletes pages.

    Example: `forecache trace import block.csv.gz boot.fctrace --device-size 8GiB --description "Debian boots"`
    """
    output.check("target", target)
    if target.exists() and source.exists() and target.samefile(source):
        raise ConfigError(f"target: got {str(target)!r}, which is the source; allowed: another file")
    requests, pages = _core.import_blocks(
        source,
        target,
        page_size=parse_size(page, "page"),
        device_size=parse_size(device_size, "device-size") if device_size else 0,
        description=description,
    )
    Console(soft_wrap=True).print(
        f"{target}: {requests:,} requests, {pages:,} pages, {target.stat().st_size:,} bytes", highlight=False
    )


app.command(name="record", no_args_is_help=True)(record.record)


@app.command(no_args_is_help=True)
def show(
    path: Annotated[Path, typer.Argument(metavar="TRACE", help="A trace of any known format.")],
    columns: Annotated[str | None, typer.Option(help="What the columns of a table hold: key=id,size=bytes.")] = None,
) -> None:
    """Shows what is known of a trace.

    Example: `forecache trace show boot.fctrace`
    """
    trace = _core.Trace.open(path, columns)
    facts = {
        "accesses": f"{len(trace):,}",
        "unique objects": f"{trace.unique:,}",
        "footprint": f"{trace.footprint:,} bytes",
        "page size": f"{trace.page_size:,} bytes" if trace.page_size else "",
        "device size": f"{trace.device_size:,} bytes" if trace.device_size else "",
        "keys": "numbered by first appearance" if trace.opaque else "",
        "description": trace.description,
    }
    console = Console()
    for name, fact in facts.items():
        if fact:
            console.print(f"{name:15} {fact}", highlight=False, markup=False)
