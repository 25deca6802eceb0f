"""`forecache config`: what is in force, where each setting came from, and what looks unwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from json import dumps
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from forecache.cli.output import warned
from forecache.config import Config
from forecache.doubts import Doubt, doubts
from forecache.hiding import HIDDEN, SECRETS, hidden
from forecache.loading import kind_of
from forecache.options import TIERS, UPPER, Option
from forecache.tiers.boundary import Boundary
from forecache.units import duration_text, printable, size_text

DEFAULT = "default"
BY_PATTERN = {"groups": ("ttl", "tti"), "owners": ("priority", "budget")}


class Setting(NamedTuple):
    """An option of a tier; those of the cache as a whole stand with memory."""

    tier: str
    option: str
    value: Any
    text: str
    origin: str


def config(
    urls: Annotated[
        list[str] | None,
        typer.Argument(metavar="URL", help="One URL a tier, the fastest first, as a program gives them.", show_default=False),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML", help="The file to read, instead of $FORECACHE_CONFIG or ./forecache.toml.", show_default=False
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Shows the configuration that is in force here: each setting, where it came from, and what looks unwise.

    It is what `Cache.from_config()` would be made with in this directory and environment. Nothing is contacted.
    What comes first wins:

    1. URLs
    2. the environment: `FORECACHE_TTL=1h`, `FORECACHE_REDIS_URL=redis://cache:6379`, `FORECACHE_DISK=off`
    3. a TOML file: `ttl = "1h"`, and a table for each tier, such as `[redis]`
    4. a preset: `default`, `edge`, `regional` or `global`, as `FORECACHE_PRESET=edge`
    5. the defaults, which are shown dim

    - `forecache config`
    - `forecache config --file /etc/app/forecache.toml`
    - `forecache config "disk:///var/cache/app?capacity=20GB" "redis://cache:6379?capacity=2GB"`
    - `forecache config --json | jq .unwise`
    """
    with warned():
        made = Config.load(*(urls or ()), path=file)
    rows, unwise = list(settings(made)), doubts(made)
    if json:
        typer.echo(_json(made, rows, unwise))
        return
    console = Console()
    for tier in dict.fromkeys(row.tier for row in rows):
        console.print(_table(tier, [row for row in rows if row.tier == tier]))
        console.print()
    for name, value in made.planned.items():
        words = f"{name} = {value}, of the preset: kept, and not in force, because this version has no such part"
        console.print(words, highlight=False, markup=False)
    _print_doubts(console, unwise)


def settings(made: Config) -> Iterator[Setting]:
    """All settings that can be given as text."""
    names = {name: option for name, option in UPPER.items() if option.read is not None and hasattr(made, name)}
    yield from _settings("memory", names, {name: getattr(made, name) for name in names}, made.origins, "")
    for tier in made.tiers:
        options = TIERS.get(kind_of(tier) or "", {})
        values = {name: _of_tier(tier, name) for name in options}
        yield from _settings(tier.name, options, values, made.origins, f"{tier.name}.")


def _of_tier(tier: Boundary, option: str) -> Any:
    return getattr(tier, option) if hasattr(tier, option) else getattr(getattr(tier, "packed", None), option, None)


def _settings(
    tier: str, options: Mapping[str, Option], values: Mapping[str, Any], origins: Mapping[str, str], prefix: str
) -> Iterator[Setting]:
    for name, option in options.items():
        origin = origins.get(prefix + name, DEFAULT)
        value = _shown(name, values[name], given=origin != DEFAULT)
        yield Setting(tier, name, value, _text(option, value), printable(origin))


def _shown(name: str, value: Any, *, given: bool) -> Any:
    if name in SECRETS:
        return HIDDEN if given or value is not None else None
    if name in BY_PATTERN:
        return {pattern: dict(zip(BY_PATTERN[name], said, strict=True)) for pattern, *said in value}
    if isinstance(value, str | int | float | bool | None):
        return hidden(value) if isinstance(value, str) else value
    return [hidden(str(each)) for each in value] if isinstance(value, list | tuple) else hidden(str(value))


def _text(option: Option, value: Any) -> str:
    if value is None:
        return option.default.strip('`"')
    if value == {}:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | float) and option.unit:
        return size_text(int(value)) if option.unit == "bytes" else duration_text(value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return "\n".join(f"{pattern}: {_said(said)}" for pattern, said in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value) or '""'


def _said(said: Mapping[str, Any]) -> str:
    units = {"ttl": duration_text, "tti": duration_text, "budget": size_text}
    return ", ".join(f"{name} {units.get(name, str)(value)}" for name, value in said.items() if value is not None) or "none"


def _table(tier: str, rows: list[Setting]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(Text(printable(tier)), no_wrap=True, min_width=14)
    table.add_column("", overflow="fold", min_width=20)
    table.add_column("from" if any(row.origin != DEFAULT for row in rows) else "", overflow="fold", style="cyan")
    for row in rows:
        default = row.origin == DEFAULT
        cells = (row.option, printable(row.text), "" if default else row.origin)
        table.add_row(*map(Text, cells), style="dim" if default else None)
    return table


def _print_doubts(console: Console, unwise: list[Doubt]) -> None:
    if not unwise:
        console.print("Nothing looks unwise.", highlight=False)
        return
    console.print("What looks unwise:", style="bold yellow", highlight=False)
    for doubt in unwise:
        console.print(Text(f"- {printable(doubt.setting)}: {printable(doubt.words)}"))


def _json(made: Config, rows: list[Setting], unwise: list[Doubt]) -> str:
    tiers: dict[str, dict[str, Any]] = {}
    for row in rows:
        tiers.setdefault(row.tier, {})[row.option] = {"value": row.value, "from": row.origin}
    told = {"tiers": tiers, "not_in_force": dict(made.planned), "unwise": [doubt._asdict() for doubt in unwise]}
    return dumps(told, indent=2, default=str)
