"""The requests by which flows share flights: register, wait, lead."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future
from concurrent.futures import TimeoutError as StillWaiting
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forecache.flight import Abandoned, Flight, Flights, block, loading, own, unblock
from forecache.flow import Flow, arun, run
from forecache.threads import running_loop

if TYPE_CHECKING:
    import asyncio

    from forecache.flight import Loop

WATCH = 0.5
"""Seconds between two looks at whether the loop of a task that is waited for still lives."""


@dataclass(slots=True)
class Board:
    """Registers the caller with the flight of a key; answers with the flight and whether the caller leads it."""

    flights: Flights
    key: str

    def run(self) -> tuple[Flight, bool]:
        return self.flights.board(self.key, None)

    async def arun(self) -> tuple[Flight, bool]:
        return self.flights.board(self.key, running_loop())


@dataclass(slots=True)
class Join:
    """Waits until a flight has landed; answers with its value or raises what it ended with."""

    flights: Flights
    flight: Flight

    def run(self) -> Any:
        loop = running_loop()
        if loop is not None:
            block(self.flight, loop)
        try:
            return _outcome(self._landing())
        finally:
            if loop is not None:
                unblock(loop)

    def _landing(self) -> Future[Any]:
        landing = self.flight.landing
        while True:
            try:
                landing.exception(None if self.flight.loop is None else WATCH)
            except StillWaiting:
                self._check()
            else:
                return landing

    async def arun(self) -> Any:
        import asyncio

        loop = asyncio.get_running_loop()
        landing = self.flight.landing
        woken = loop.create_future()
        landing.add_done_callback(lambda _: _wake(loop, woken))
        if self.flight.loop is None or self.flight.loop is loop:
            await woken
        while not woken.done():
            await asyncio.wait((woken,), timeout=WATCH)
            self._check()
        return _outcome(landing)

    def _check(self) -> None:
        if self.flight.lost():
            self.flights.land(self.flight, error=Abandoned())


def _wake(loop: Loop, woken: asyncio.Future[None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop that waited is closed
        loop.call_soon_threadsafe(_set, woken)


def _set(woken: asyncio.Future[None]) -> None:
    if not woken.done():  # not cancelled
        woken.set_result(None)


def _outcome(landing: Future[Any]) -> Any:
    error = landing.exception()
    if error is not None:
        raise own(error)
    return landing.result()


@dataclass(slots=True)
class Lead:
    """Runs the flow of a flight that the caller has registered, and lands it, whatever happens.

    Under the async face it runs in a task of its own, so that a caller who is cancelled takes nothing from the others.
    """

    flights: Flights
    flight: Flight
    flow: Flow[Any]
    error: BaseException | None = None

    def run(self) -> Any:
        before = loading.set(self.flight)
        try:
            value = run(self.flow)
        except Exception as error:
            self.flights.land(self.flight, error=error)
            raise
        else:
            self.flights.land(self.flight, value)
            return value
        finally:
            loading.reset(before)
            self.flights.land(self.flight, error=Abandoned())  # unless it has

    async def arun(self) -> Any:
        import asyncio

        flight = self.flight
        try:
            flight.task = asyncio.get_running_loop().create_task(self._fly())
            flight.task.add_done_callback(self._ended)
        except BaseException:
            self.flights.land(flight, error=Abandoned())
            raise
        try:
            return await Join(self.flights, flight).arun()
        except Exception as error:  # not a cancellation, which is the caller's own
            ended = self.error or error
        try:
            raise ended
        finally:
            del ended, self.error  # else they would hold themselves, through their traceback

    async def _fly(self) -> None:
        loading.set(self.flight)
        try:
            value = await arun(self.flow)
        except Exception as error:
            self.error = error
            self.flights.land(self.flight, error=error)
        except BaseException as error:
            self.error = error
            self.flights.land(self.flight, error=Abandoned())
            raise
        else:
            self.flights.land(self.flight, value)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() and not self.flight.landed:
            from asyncio import CancelledError

            self.error = CancelledError()
        self.flights.land(self.flight, error=Abandoned())  # unless it has
