"""Single flight: one load of a key at a time, shared by all who wait for it, be they threads or tasks of any loop.

A *flight* is registered by the first who misses a key, its leader; who comes later joins. Who waits for whom is kept as a graph
over the flights of all caches, so that a wait that could never end is a `ReentrantLoad` error instead.
"""

from __future__ import annotations

import copy
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from forecache.errors import ReentrantLoad

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    Loop: TypeAlias = asyncio.AbstractEventLoop

loading: ContextVar[Flight | None] = ContextVar("forecache_loading", default=None)
"""The flight that the code at hand loads for; threads and tasks that a loader starts with its context inherit it."""

_lock = threading.RLock()  # re-entrant, since a finaliser or a signal handler may come back here; held for a few steps only
_blocked: dict[Loop, Flight] = {}  # loops whose own thread stands still until a flight lands
_registries: weakref.WeakSet[Flights] = weakref.WeakSet()


class Abandoned(Exception):
    """The leader died without a result; whoever waits may lead in its place. Never leaves the package."""


NOBODY = cast("Future[Any]", object())
"""The landing of a flight that nobody waits for: most of them, and a future takes time to make."""


class Flight:
    """One load under way. Its `landing` will be the value, the loader's exception or `Abandoned`."""

    __slots__ = ("key", "landed", "landing", "loop", "task", "waiters", "waits_for")

    def __init__(self, key: str, loop: Loop | None) -> None:
        self.key = key
        self.loop = loop  # where its task runs, if it is led by one
        self.task: asyncio.Task[None] | None = None
        self.landing = NOBODY
        self.landed = False
        self.waiters = 0
        self.waits_for: list[Flight] = []

    def lost(self) -> bool:
        """Whether the loop that it runs in was closed over it."""
        return self.loop is not None and self.loop.is_closed() and not self.landed

    def reaches(self, found: Callable[[Flight], bool]) -> bool:
        """Whether it is, or waits for, a flight that is looked for."""
        seen: set[int] = set()
        ahead = [self]
        while ahead:
            flight = ahead.pop()
            if flight.landed or id(flight) in seen:
                continue
            if found(flight):
                return True
            seen.add(id(flight))
            ahead += flight.waits_for
            if flight.loop in _blocked:
                ahead.append(_blocked[flight.loop])
        return False


class Flights:
    """The flights of one cache, and sums of its loads."""

    def __init__(self) -> None:
        self._running: dict[str, Flight] = {}
        self.loads = 0
        self.failures = 0
        self.seconds = 0.0
        _registries.add(self)

    def __len__(self) -> int:
        return len(self._running)

    def board(self, key: str, loop: Loop | None) -> tuple[Flight, bool]:
        """The flight of `key` and whether the caller leads it, in `loop` if there is one. Must be followed by `leave`.

        Raises `ReentrantLoad` if the flight waits for the one that the caller loads for.
        """
        me = loading.get()
        with _lock:
            flight = self._running.get(key)
            if flight is not None and flight.lost():
                self.land(flight, error=Abandoned())
                flight = None
            leads = flight is None
            if flight is None:
                flight = self._running[key] = Flight(key, loop)
            elif me is not None and flight.reaches(lambda other: other is me):
                chain = "itself" if flight is me else f"{key!r}, whose load waits for that of {me.key!r}"
                raise ReentrantLoad(f"the loader of {me.key!r} asks the cache for {chain}; load one without the other")
            flight.waiters += 1
            if flight.landing is NOBODY and not (leads and loop is None):
                from concurrent.futures import Future

                flight.landing = Future()
            if me is not None:
                me.waits_for.append(flight)
        return flight, leads

    def leave(self, flight: Flight) -> None:
        """The caller waits no longer; a task that nobody waits for is cancelled."""
        me = loading.get()
        with _lock:
            if me is not None and flight in me.waits_for:
                me.waits_for.remove(flight)
            flight.waiters -= 1
        if flight.loop is not None and not flight.waiters and not flight.landed:
            try:
                flight.loop.call_soon_threadsafe(self._cancel, flight)
            except RuntimeError:  # the loop is closed, and with it the task has ended
                self.land(flight, error=Abandoned())

    def _cancel(self, flight: Flight) -> None:
        with _lock:
            unwanted = flight.waiters == 0 and not flight.landed
        if unwanted and flight.task is not None:
            flight.task.cancel()

    def land(self, flight: Flight, value: Any = None, error: BaseException | None = None) -> None:
        """Ends a flight: from now on a new one may be registered, and all who wait go on. The second time does nothing."""
        with _lock:
            if flight.landed:
                return
            if self._running.get(flight.key) is flight:
                del self._running[flight.key]
            flight.landed = True
            flight.waits_for.clear()
            landing = flight.landing
        if landing is NOBODY:
            return
        if error is None:
            landing.set_result(value)
        else:
            landing.set_exception(own(error))

    def count(self, began: float, *, failed: bool) -> None:
        """Adds a load that began at that `time.perf_counter()`."""
        with _lock:
            self.loads += 1
            self.failures += failed
            self.seconds += time.perf_counter() - began

    def forget(self) -> None:
        """Drops what a parent process had under way."""
        self._running.clear()


def block(flight: Flight, loop: Loop) -> None:
    """Notes that the thread of `loop` stands still until `flight` lands. Raises `ReentrantLoad` if that needs the loop to run."""
    with _lock:
        if flight.reaches(lambda other: other.loop is loop):
            raise ReentrantLoad(
                f"{flight.key!r} is being loaded by a task of this thread's event loop, which can't run while it is waited for "
                "here; use `await cache.aio.get_or_load(…)`"
            )
        _blocked[loop] = flight


def unblock(loop: Loop) -> None:
    """The thread of `loop` goes on."""
    with _lock:
        _blocked.pop(loop, None)


def own(error: BaseException) -> BaseException:
    """A copy of a shared exception, so that callers don't write into one another's traceback; itself if it can't be copied."""
    try:
        twin = copy.copy(error)
    except Exception:
        return error
    if type(twin) is not type(error) or twin.args != error.args:
        return error
    twin.__cause__, twin.__context__, twin.__suppress_context__ = error.__cause__, error.__context__, error.__suppress_context__
    return twin.with_traceback(error.__traceback__)


def _after_fork() -> None:
    global _lock  # noqa: PLW0603  the old one may be held by a thread that the child doesn't have
    _lock = threading.RLock()
    _blocked.clear()
    for flights in list(_registries):
        flights.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
