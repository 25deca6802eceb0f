"""The command line: `forecache --help`."""

import sys
from importlib.util import find_spec

from forecache.errors import ForecacheError
from forecache.units import printable

__all__ = ["main"]

WRONG_INPUT = 2


def main() -> None:
    """Runs the command that `sys.argv` names. A wrong option, size or trace, and an output that can't be written, is one line on
    stderr and exit code 2."""
    if find_spec("typer") is None or find_spec("rich") is None:
        sys.exit("forecache: the command line needs two more packages; install them with: pip install 'forecache[cli]'")
    from forecache.cli.app import app

    try:
        app()
    except (ForecacheError, OSError) as error:
        # What Python still holds for stdout can't be written either.
        if isinstance(error, OSError):
            sys.stdout = None
        sys.stderr.write(f"forecache: {printable(str(error))}\n")
        sys.exit(WRONG_INPUT)
