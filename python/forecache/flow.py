"""One body, two colours: a flow is a generator that yields requests; `run` fulfils them with threads, `arun` with tasks."""

from __future__ import annotations

import contextvars
import inspect
import itertools
from collections.abc import Awaitable, Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as StillRunning
from dataclasses import dataclass
from functools import partial
from time import sleep
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from forecache.checks import is_async
from forecache.threads import in_thread, running_loop

if TYPE_CHECKING:
    import asyncio
    import logging

T = TypeVar("T")

STALLED = 1.0
"""Seconds that a thread waits which runs an event loop: what it waits for may need that loop."""
_spawned: set[asyncio.Task[Any]] = set()  # a loop holds its tasks weakly


class Request(Protocol):
    """What a flow may yield: how to fulfil it in either colour."""

    def run(self) -> Any: ...
    async def arun(self) -> Any: ...


Flow: TypeAlias = Generator[Request, Any, T]


def run(flow: Flow[T]) -> T:
    """Drives a flow to its end on this thread."""
    try:
        return _go_on(flow, next(flow))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _go_on(flow: Flow[T], request: Request) -> T:
    while True:
        try:
            answer = request.run()
        except BaseException as error:
            request = flow.throw(error)
        else:
            request = flow.send(answer)


async def arun(flow: Flow[T]) -> T:
    """Drives a flow to its end in this task."""
    try:
        request = next(flow)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    return await _ago_on(flow, request)


async def _ago_on(flow: Flow[T], request: Request) -> T:
    try:
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
    """Calls a function that may take its time: in a thread under the async face, unless it is async itself.

    After `timeout` seconds it raises `TimeoutError`; a plain function goes on in its thread then, and nobody hears of it.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] | None = None
    timeout: float | None = None

    def run(self) -> Any:
        if is_async(self.function):
            raise self._wrong_colour()
        answer = self._plain() if self.timeout is None else self._in_time()
        if inspect.isawaitable(answer):
            getattr(answer, "close", lambda: None)()
            raise self._wrong_colour()
        return answer

    def _in_time(self) -> Any:
        work = in_thread(self._plain)
        try:
            return work.result(self.timeout)
        except StillRunning:
            if work.done():  # the function's own error
                raise
            raise self._late() from None

    async def arun(self) -> Any:
        if self.timeout is None:
            return await self._await()
        import asyncio

        work = asyncio.ensure_future(self._await())
        try:
            await asyncio.wait((work,), timeout=self.timeout)
            if not work.done():
                raise self._late()
            return work.result()
        finally:
            work.cancel()

    async def _await(self) -> Any:
        if is_async(self.function):
            return await self.function(*self.arguments, **(self.keywords or {}))
        if self.timeout is None:
            answer = await _in_thread(self._plain)
        else:
            import asyncio

            answer = await asyncio.wrap_future(in_thread(self._plain))
        return await answer if inspect.isawaitable(answer) else answer

    def _plain(self) -> Any:
        try:
            return self.function(*self.arguments, **(self.keywords or {}))
        except StopIteration as error:  # no future and no generator can carry it
            raise RuntimeError("the loader raised StopIteration") from error

    def _late(self) -> TimeoutError:
        return TimeoutError(f"no answer within {self.timeout:g} s")

    def _wrong_colour(self) -> TypeError:
        name = getattr(self.function, "__qualname__", repr(self.function))
        remedy = "use `await cache.aio.get_or_load(…)`, or give a plain function"
        return TypeError(f"{name} is async, and this is the sync face: {remedy}")


async def _in_thread(function: Callable[[], Any]) -> Any:
    """Like `asyncio.to_thread`, but waits for the thread even when cancelled: it goes on, and no second load may begin."""
    import asyncio

    context = contextvars.copy_context()
    work = asyncio.get_running_loop().run_in_executor(None, context.run, function)
    while not work.done():
        try:
            await asyncio.wait((work,))
        except asyncio.CancelledError:
            continue
    return work.result()


@dataclass(slots=True)
class Either:
    """Calls `plain` on this thread, or awaits `awaited`: the same verb of two clients, as remote tiers have. Both bound their
    time themselves, and leave no connection out of step when they are interrupted or cancelled.
    """

    plain: Callable[..., Any]
    awaited: Callable[..., Awaitable[Any]]
    arguments: tuple[Any, ...] = ()

    def run(self) -> Any:
        return self.plain(*self.arguments)

    async def arun(self) -> Any:
        return await self.awaited(*self.arguments)


def aside(function: Callable[..., Any], *arguments: Any) -> Either:
    """Has the processor busy for a while, without the GIL and to no effect but its answer: here, or in a thread beside a loop."""
    return Either(function, partial(_aside, function), arguments)


async def _aside(function: Callable[..., Any], *arguments: Any) -> Any:
    import asyncio

    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


@dataclass(slots=True)
class All:
    """Drives flows side by side; answers with what they return, in their order, or raises the first error when all have ended.

    What they do before they first yield is done here, one after the other: flows that yield nothing cost no thread and no task.
    """

    flows: Iterable[Flow[Any]]

    def run(self) -> list[Any]:
        begun = [_begin(flow) for flow in self.flows]
        waiting = [(ending, flow, request) for ending, flow, request in begun if request is not None]
        for ending, flow, request in waiting[1:]:
            _beside(partial(_finish, ending, flow, request))
        for ending, flow, request in waiting[:1]:
            _finish(ending, flow, request)
        return _all([ending for ending, *_ in begun])

    async def arun(self) -> list[Any]:
        begun = [_begin(flow) for flow in self.flows]
        waiting = [(ending, flow, request) for ending, flow, request in begun if request is not None]
        if waiting:
            import asyncio

            ends = await asyncio.gather(*(_ago_on(flow, request) for _, flow, request in waiting), return_exceptions=True)
            for (ending, *_), end in zip(waiting, ends, strict=True):
                ending.set_exception(end) if isinstance(end, BaseException) else ending.set_result(end)
        return _all([ending for ending, *_ in begun])


def _begin(flow: Flow[Any]) -> tuple[Future[Any], Flow[Any], Request | None]:
    ending: Future[Any] = Future()
    try:
        return ending, flow, next(flow)
    except StopIteration as end:
        ending.set_result(end.value)
    except BaseException as error:
        ending.set_exception(error)
    return ending, flow, None


def _beside(function: Callable[[], object]) -> None:
    """Calls it in a thread, or here where none can be started: there are too many, or the process ends."""
    try:
        in_thread(function)
    except RuntimeError:
        function()


def _finish(ending: Future[Any], flow: Flow[Any], request: Request) -> None:
    try:
        _go_on(flow, request)
    except StopIteration as end:
        ending.set_result(end.value)
    except BaseException as error:
        ending.set_exception(error)


def _all(endings: list[Future[Any]]) -> list[Any]:
    errors = [error for error in (ending.exception() for ending in endings) if error is not None]
    if errors:
        raise errors[0]
    return [ending.result() for ending in endings]


@dataclass(slots=True)
class First:
    """Drives `flow`, and beside it `other` if it hasn't ended after so many seconds; answers with what ends first without an
    error, or raises one when both have failed.

    The one that wasn't needed is cancelled if it is a task; a thread goes on with it, and nobody hears of it. A flow that yields
    nothing costs neither.
    """

    flow: Flow[Any]
    other: Flow[Any]
    seconds: float

    def run(self) -> Any:
        ending, flow, request = _begin(self.flow)
        if request is None:
            return ending.result()
        _beside(partial(_finish, ending, flow, request))
        if not wait((ending,), self.seconds).done:
            ending = self._second(ending)
        return ending.result()

    def _second(self, first: Future[Any]) -> Any:
        second, flow, request = _begin(self.other)
        if request is not None:
            _beside(partial(_finish, second, flow, request))
        return _first(first, *wait((first, second), return_when=FIRST_COMPLETED))

    async def arun(self) -> Any:
        ending, flow, request = _begin(self.flow)
        if request is None:
            return ending.result()
        import asyncio

        tasks = [asyncio.ensure_future(_ago_on(flow, request))]
        try:
            await asyncio.wait(tasks, timeout=self.seconds)
            if tasks[0].done():
                return tasks[0].result()
            tasks.append(asyncio.ensure_future(arun(self.other)))
            return await _first(tasks[0], *(await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)))
        finally:
            for task in tasks:
                if task.cancel():
                    task.add_done_callback(_heard)


def _first(first: Any, ended: set[Any], late: set[Any]) -> Any:
    """One that has an answer, or may yet; else the first."""
    answers = (each for each in ended if not each.cancelled() and each.exception() is None)
    return next(itertools.chain(answers, late, (first,)))


def _heard(task: asyncio.Task[Any]) -> None:
    """What a task raises that nobody waits for is nobody's concern."""
    if not task.cancelled():
        task.exception()


@dataclass(slots=True)
class Sleep:
    """Waits so many seconds."""

    seconds: float

    def run(self) -> None:
        sleep(self.seconds)

    async def arun(self) -> None:
        import asyncio

        await asyncio.sleep(self.seconds)


@dataclass(slots=True)
class Spawn:
    """Begins a flow that goes on by itself, in a thread or task of its own; what it raises is logged."""

    flow: Flow[Any]

    def run(self) -> None:
        _beside(self._alone)

    def _alone(self) -> None:
        try:
            run(self.flow)
        except Exception:
            _log().exception("a flow in the background failed")

    async def arun(self) -> None:
        import asyncio

        task = asyncio.ensure_future(arun(self.flow))
        _spawned.add(task)
        task.add_done_callback(_ended)


def _log() -> logging.Logger:
    import logging

    return logging.getLogger("forecache")


def _ended(task: asyncio.Task[Any]) -> None:
    _spawned.discard(task)
    if not task.cancelled() and task.exception() is not None:
        _log().error("a flow in the background failed", exc_info=task.exception())


@dataclass(slots=True)
class Until:
    """Waits for a future that is the caller's alone, and says whether it came: not if this thread runs a loop and it took."""

    future: Future[None]

    def run(self) -> bool:
        try:
            self.future.result(None if running_loop() is None else STALLED)
        except StillRunning:
            return False
        return True

    async def arun(self) -> bool:
        import asyncio

        await asyncio.wrap_future(self.future)
        return True
