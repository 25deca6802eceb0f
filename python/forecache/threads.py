"""Threads for calls that may outlive their caller: kept for the next call for a while, and no reason for a process not to end."""

from __future__ import annotations

import contextvars
import os
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import asyncio

KEPT = 10.0
"""Seconds that an idle thread waits for another call."""

_Job: TypeAlias = tuple[contextvars.Context, Callable[[], Any], "Future[Any]"]
_idle: list[queue.SimpleQueue[_Job]] = []


def in_thread(function: Callable[[], Any]) -> Future[Any]:
    """Calls `function` in a thread, with the caller's context; the future is its result."""
    ending: Future[Any] = Future()
    job = (contextvars.copy_context(), function, ending)
    try:
        inbox = _idle.pop()
    except IndexError:
        inbox = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(inbox,), name="forecache-call", daemon=True).start()
    inbox.put(job)
    return ending


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that this thread runs. Where nobody has imported asyncio, none runs, and it isn't imported to say so."""
    loops = sys.modules.get("asyncio.events")
    running = getattr(loops, "_get_running_loop", None)  # absent while another thread is importing it
    return None if running is None else running()


def _serve(inbox: queue.SimpleQueue[_Job]) -> None:
    while True:
        try:
            context, function, ending = inbox.get(timeout=KEPT)
        except queue.Empty:
            try:
                _idle.remove(inbox)
            except ValueError:  # somebody took it just now
                continue
            return
        try:
            answer = context.run(function)
        except BaseException as error:
            _end(ending.set_exception, error)
        else:
            _end(ending.set_result, answer)
        del context, function, ending  # while it waits, a thread holds nothing of the last call
        _idle.append(inbox)


def _end(end: Callable[[Any], None], answer: Any) -> None:
    try:
        end(answer)
    except Exception:  # cancelled: nobody waits any more
        return


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # the child has none of these threads
