"""All commands, one module each."""

from typing import Annotated

import typer

from forecache import __version__
from forecache.cli import advise, config, disk, model, replay, trace, train

app = typer.Typer(
    name="forecache",
    help="A cache that looks ahead. These commands measure how well it would do on what your program really asks for, "
    "and look after what it stores.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"forecache {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """What holds for all commands."""


app.command(no_args_is_help=True)(replay.replay)
app.command(no_args_is_help=True)(advise.advise)
app.command(no_args_is_help=True)(train.train)
app.command()(config.config)
app.add_typer(model.app, name="model")
app.add_typer(trace.app, name="trace")
app.add_typer(disk.app, name="disk")
