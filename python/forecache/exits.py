"""What is to be done when a process ends, those that `multiprocessing` forks among them."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable

LAST = -100
"""Priority among what `multiprocessing` does at the end: after its own, which come from 0 on."""


def register(end: Callable[[], None]) -> None:
    """Has `end` called when this process ends, or a child of it; it has to be a function of a module, and may be called twice.

    Children that `multiprocessing` forks leave by `os._exit`, which skips `atexit`: they have finalisers of their own instead.
    """
    atexit.register(end)
    _finalize(end)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _finalize(end))


def _finalize(end: Callable[[], None]) -> None:
    # Where nobody has imported it, this is none of its children.
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, end, exitpriority=LAST)
        # A child forgets all finalisers when it begins, and then does this.
        util.register_after_fork(end, lambda end: util.Finalize(None, end, exitpriority=LAST))
