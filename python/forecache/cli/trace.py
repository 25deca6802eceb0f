"""`forecache trace`: makes and shows traces."""

from collections.abc import Iterator
from json import dumps
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from forecache import _core
from forecache.cli import output, reading, record
from forecache.errors import ConfigError
from forecache.replays import ALL_KEYS
from forecache.traces import open_trace
from forecache.units import parse_size

SECRET = 16
"""Bytes that a secret has at least: as many as the key that is made of it."""
FACTS = ("footprint", "page_size", "device_size", "opaque", "hashed", "sampled", "description", "skipped")

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
    _apart(source, target)
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
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A trace of any known format.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The trace to write: OUT.fctrace.")],
    hash_keys: Annotated[
        bool, typer.Option("--hash-keys", help="Write keys and owners as secret hashes, so that the trace can be shared.")
    ] = False,
    secret_file: Annotated[
        Path | None,
        typer.Option(help="What to hash with, so that several traces agree: 16 bytes or more. Thrown away if not given."),
    ] = None,
    description: Annotated[str | None, typer.Option(help="What was recorded, and how, instead of what IN says.")] = None,
    columns: reading.Columns = None,
    format: reading.Format = None,
    lenient: reading.Lenient = False,
    group_requests: reading.GroupRequests = None,
) -> None:
    """Writes any trace in forecache's own format.

    Sizes, times, costs and operations stay as they are. With --hash-keys, keys tell only which are equal.

    Example: `forecache trace convert requests.csv shared.fctrace --hash-keys --columns key=url`
    """
    _apart(source, target)
    if secret_file is not None and not hash_keys:
        raise ConfigError(f"secret-file: got {str(secret_file)!r} without --hash-keys; allowed: both, or neither")
    secret = None if secret_file is None else _secret(secret_file)
    with output.warned():
        trace = open_trace(source, columns, format=format, lenient=lenient, group_requests=group_requests)
    _core.convert_trace(trace, target, hash_keys=hash_keys, secret=secret, description=description)
    Console(soft_wrap=True).print(f"{target}: {len(trace):,} accesses, {target.stat().st_size:,} bytes", highlight=False)


def _secret(path: Path) -> bytes:
    try:
        secret = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"secret-file: {str(path)!r} can't be read: {error.strerror}") from error
    if len(secret) < SECRET:
        raise ConfigError(f"secret-file: got {len(secret)} bytes; allowed: {SECRET} or more, as random as can be")
    return secret


def _apart(source: Path, target: Path) -> None:
    output.check("target", target)
    if target.exists() and source.exists() and target.samefile(source):
        raise ConfigError(f"target: got {str(target)!r}, which is the source; allowed: another file")


def _of_keys(trace: _core.Trace) -> Iterator[str]:
    if trace.hashed:
        yield "secret hashes"
    if trace.opaque:
        yield "numbered by first appearance"
    if trace.sampled != ALL_KEYS:
        yield f"{100 * trace.sampled / ALL_KEYS:g} % of them were recorded"


@app.command(no_args_is_help=True)
def show(
    path: Annotated[Path, typer.Argument(metavar="TRACE", help="A trace of any known format.")],
    columns: reading.Columns = None,
    format: reading.Format = None,
    lenient: reading.Lenient = False,
    group_requests: reading.GroupRequests = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, with all counts.")] = False,
) -> None:
    """Shows what is known of a trace.

    Example: `forecache trace show boot.fctrace`
    """
    with output.warned():
        trace = open_trace(path, columns, format=format, lenient=lenient, group_requests=group_requests)
    if json:
        counts = {"accesses": len(trace), "unique": trace.unique} | {name: getattr(trace, name) for name in FACTS}
        typer.echo(dumps(counts, indent=2))
        return
    facts = {
        "accesses": f"{len(trace):,}",
        "unique objects": f"{trace.unique:,}",
        "footprint": f"{trace.footprint:,} bytes",
        "page size": f"{trace.page_size:,} bytes" if trace.page_size else "",
        "device size": f"{trace.device_size:,} bytes" if trace.device_size else "",
        "keys": ", ".join(_of_keys(trace)),
        "description": trace.description,
    }
    console = Console()
    for name, fact in facts.items():
        if fact:
            console.print(f"{name:15} {fact}", highlight=False, markup=False)
