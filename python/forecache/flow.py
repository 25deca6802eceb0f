"""One body, two colours: a flow is a generator that yields requests; `run` fulfils them with threads, `arun` with tasks."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
from collections.abc import Callable, Generator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as StillWaiting
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from forecache.checks import is_async
from forecache.flight import Abandoned, Flight, Flights, Loop, block, loading, own, unblock

T = TypeVar("T")

WATCH = 0.5
"""Seconds between two looks at whether the loop of a task that is waited for still lives."""


class Request(Protocol):
    """What a flow may yield: how to fulfil it in either colour."""

    def run(self) -> Any: ...
    async def arun(self) -> Any: ...


Flow: TypeAlias = Generator[Request, Any, T]


def run(flow: Flow[T]) -> T:
    """Drives a flow to its end on this thread."""
    try:
        request = next(flow)
        while True:
            try:
                answer = request.run()
            except BaseException as error:
                request = flow.throw(error)
            else:
                request = flow.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def arun(flow: Flow[T]) -> T:
    """Drives a flow to its end in this task."""
    try:
        request = next(flow)
        while True:
            try:
                answer = await request.arun()
            except BaseException as error:
                request = flow.throw(error)
            else:
                request = flow.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


@dataclass(slots=True)
class Call:
    """Calls a function of the user's: in a thread under the async face, unless it is async itself."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    def run(self) -> Any:
        if is_async(self.function):
            raise self._wrong_colour()
        answer = self._plain()
        if inspect.isawaitable(answer):
            getattr(answer, "close", lambda: None)()
            raise self._wrong_colour()
        return answer

    async def arun(self) -> Any:
        if is_async(self.function):
            return await self.function(*self.arguments, **self.keywords)
        answer = await _in_thread(self._plain)
        return await answer if inspect.isawaitable(answer) else answer

    def _plain(self) -> Any:
        try:
            return self.function(*self.arguments, **self.keywords)
        except StopIteration as error:  # no future and no generator can carry it
            raise RuntimeError("the loader raised StopIteration") from error

    def _wrong_colour(self) -> TypeError:
        name = getattr(self.function, "__qualname__", repr(self.function))
        remedy = "use `await cache.aio.get_or_load(…)`, or give a plain function"
        return TypeError(f"{name} is async, and this is the sync face: {remedy}")


async def _in_thread(function: Callable[[], Any]) -> Any:
    """Like `asyncio.to_thread`, but waits for the thread even when cancelled: it goes on, and no second load may begin."""
    context = contextvars.copy_context()
    work = asyncio.get_running_loop().run_in_executor(None, context.run, function)
    while not work.done():
        try:
            await asyncio.wait((work,))
        except asyncio.CancelledError:
            continue
    return work.result()


@dataclass(slots=True)
class Board:
    """Registers the caller with the flight of a key; answers with the flight and whether the caller leads it."""

    flights: Flights
    key: str

    def run(self) -> tuple[Flight, bool]:
        return self.flights.board(self.key, None)

    async def arun(self) -> tuple[Flight, bool]:
        return self.flights.board(self.key, asyncio.get_running_loop())


@dataclass(slots=True)
class Join:
    """Waits until a flight has landed; answers with its value or raises what it ended with."""

    flights: Flights
    flight: Flight

    def run(self) -> Any:
        loop = asyncio._get_running_loop()
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
            self.error = asyncio.CancelledError()
        self.flights.land(self.flight, error=Abandoned())  # unless it has
