"""`forecache model`: keeps trained models under names and versions, and says which is in use."""

import json as js
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forecache import registry as registries
from forecache._core import Prior
from forecache.cli import reading
from forecache.cli.progress import progress
from forecache.registry import Model, Registry
from forecache.replays import Row, replay
from forecache.units import printable

app = typer.Typer(
    help="Keeps trained models for the policy `learned` under names and versions: `name@version`, or `name`, which means the one "
    "in use.",
    no_args_is_help=True,
)

Place = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="DIR|URL",
        help=f"A directory, or a tier: disk:///…, redis://…, s3://…; else {registries.REGISTRY}, else your own.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The model's name: a-z, 0-9, '.', '_' and '-'.")]


@app.command(no_args_is_help=True)
def push(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model that `forecache train` wrote.")],
    name: Name,
    registry: Place = None,
) -> None:
    """Stores FILE under NAME. Its version is made of its content: pushing the same again changes nothing.

    The first version of a name is in use at once, a later one when `use` says so. What `train` wrote beside FILE comes along.

    - `forecache model push model.fcm vm`

    - `forecache model push model.fcm vm --registry redis://cache:6379` shares it with all hosts
    """
    with Registry(registry) as models:
        _say(models.push(file, name))


@app.command(name="list")
def list_models(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this name.")] = None,
    registry: Place = None,
    json: Json = False,
) -> None:
    """Shows all versions, or those of NAME: which is in use, when they were pushed, and what their training said.

    - `forecache model list`

    - `forecache model list vm --json | jq '.[] | select(.in_use).version'`
    """
    with Registry(registry) as models:
        found = models.list(name)
        where = models.name
    if json:
        typer.echo(js.dumps([asdict(model) for model in found], indent=2))
        return
    if not found:
        _say(f"{where}: no models{f' of the name {name}' if name else ''}; push one: forecache model push model.fcm NAME")
        return
    table = Table("model", "in use", "pushed", "by", box=None, header_style="dim", pad_edge=False)
    for heading in ("traces", "cut"):
        table.add_column(heading, justify="right")
    for model in found:
        facts = (model.spec, "yes" if model.in_use else "", model.pushed[:16].replace("T", " "), model.by, *_trained(model))
        table.add_row(*(escape(printable(fact)) for fact in facts))
    Console().print(table, highlight=False)


def _trained(model: Model) -> tuple[str, str]:
    traces, cut = model.trained.get("traces"), model.trained.get("cut_after")
    return (str(traces) if isinstance(traces, int) else "", f"{100 * cut:.2f} %" if isinstance(cut, float) else "")


@app.command(no_args_is_help=True)
def use(
    model: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="As `list` shows it.")], registry: Place = None
) -> None:
    """Has NAME mean this version from now on. Programs see it when they make their next cache.

    - `forecache model use vm@3f9a0c5d1e7b2468`
    """
    with Registry(registry) as models:
        _say(f"{models.use(model)} is in use")


@app.command(no_args_is_help=True)
def rollback(name: Name, registry: Place = None) -> None:
    """Has NAME mean again what it meant before the latest `use`.

    - `forecache model rollback vm`
    """
    with Registry(registry) as models:
        _say(f"{models.rollback(name)} is in use")


@app.command(no_args_is_help=True)
def compare(
    one: Annotated[str, typer.Argument(metavar="A", help="A model: name, name@version or file; shipped, or none.")],
    other: Annotated[str, typer.Argument(metavar="B", help="The same.")],
    traces: Annotated[list[Path], typer.Argument(metavar="TRACE...", help="Traces that neither was trained on.")],
    sizes: Annotated[str, typer.Option(help="Cache sizes as shares of the unique objects.")] = reading.SIZES,
    registry: Place = None,
    columns: reading.Columns = None,
    format: reading.Format = None,
    lenient: reading.Lenient = False,
    json: Json = False,
) -> None:
    """Replays TRACES with A and with B, and shows how much of LRU's misses each saves.

    - `forecache model compare shipped model.fcm tomorrow.fctrace`

    - `forecache model compare vm vm@3f9a0c5d1e7b2468 *.fctrace --sizes 0.02,0.1`
    """
    with Registry(registry) as models:
        priors = [_prior(spec, models) for spec in (one, other)]
    options: dict[str, Any] = {"sizes": reading.shares(sizes), "columns": columns, "format": format, "lenient": lenient}
    with progress("comparing") as report:
        lru = replay(traces, policies="lru", **options)
        rows = [replay(traces, policies="learned", prior=prior, progress=report, **options) for prior in priors]
    cells = [_cell(*three) for three in zip(lru, *rows, strict=True)]
    cuts = [fmean(cell[cut] for cell in cells) if cells else 0.0 for cut in ("cut_a", "cut_b")]
    if json:
        typer.echo(js.dumps({"a": one, "b": other, "cut_a": cuts[0], "cut_b": cuts[1], "cells": cells}, indent=2))
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("trace", max_width=24, overflow="ellipsis", no_wrap=True)
    for heading in ("objects", "LRU misses", *(f"{escape(printable(spec))}\ncut" for spec in (one, other))):
        table.add_column(heading, justify="right")
    for cell in cells:
        texts = (f"{cell['capacity']:,}", *(f"{100 * cell[ratio]:.2f} %" for ratio in ("lru_miss_ratio", "cut_a", "cut_b")))
        table.add_row(escape(printable(cell["trace"])), *texts)
    table.add_row("mean", "", "", *(f"[bold]{100 * cut:.2f} %[/]" for cut in cuts))
    Console().print(table, highlight=False)


def _prior(spec: str, models: Registry) -> Prior:
    if spec in ("shipped", "none"):
        return Prior.shipped() if spec == "shipped" else Prior.none()
    return Prior.read(registries.resolve(spec, models), f"model: {spec!r}")


def _cell(lru: Row, a: Row, b: Row) -> dict[str, Any]:
    cuts = [(lru.misses - row.misses) / lru.misses if lru.misses else 0.0 for row in (a, b)]
    facts = {"trace": lru.trace, "size_fraction": lru.size_fraction, "capacity": lru.capacity, "accesses": lru.accesses}
    ratios = {"lru_miss_ratio": lru.miss_ratio, "a_miss_ratio": a.miss_ratio, "b_miss_ratio": b.miss_ratio}
    return facts | ratios | {"cut_a": cuts[0], "cut_b": cuts[1]}


def _say(text: str) -> None:
    Console(soft_wrap=True).print(printable(text), highlight=False, markup=False)
