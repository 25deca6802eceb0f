"""All commands, one module each."""

import typer

from forecache.cli import replay, trace

app = typer.Typer(
    name="forecache",
    help="A cache that looks ahead. These commands measure how well it would do on what your program really asks for.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(no_args_is_help=True)(replay.replay)
app.add_typer(trace.app, name="trace")
