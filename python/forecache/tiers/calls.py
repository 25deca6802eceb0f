"""Calls that are bounded in time, and what is known of those that were given up and still run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from forecache.checks import is_async
from forecache.errors import TierUnavailable
from forecache.flow import All, Call, Either, First, Flow, Request

__all__ = ["Watch"]

T = TypeVar("T")


class Watch:
    """Bounds the calls of flows, and counts those that were given up and haven't ended.

    An `Either` is left as it is: it bounds itself, and never takes effect after it was given up.
    """

    def __init__(self, timeout: float | None) -> None:
        """`timeout` is in seconds; None bounds nothing, and calls of an own timeout keep it."""
        self.timeout = timeout
        self.abandoned = 0
        self.changing = threading.Lock()
        self.ended: Callable[[], object] = lambda: None
        """Called when none is left of those that were given up."""

    def forked(self) -> None:
        """For the child of a fork: what was given up runs in the parent."""
        self.abandoned, self.changing = 0, threading.Lock()

    def whole(self, flow: Flow[T]) -> Flow[T]:
        """`flow`, its calls bounded and watched."""
        try:
            request = next(flow)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        return (yield from self.rest(flow, request))

    def rest(self, flow: Flow[T], request: Request) -> Flow[T]:
        """A flow that has yielded `request`, its calls bounded and watched from that on."""
        answer: Any = None
        error: BaseException | None = None
        while True:
            call = None
            if type(request) is not Either:  # as most are
                call = _Watched(self, request.function) if isinstance(request, Call) and not is_async(request.function) else None
                request = self._bounded(request, call)
            try:
                answer, error = (yield request), None
            except GeneratorExit:
                flow.close()
                raise
            except BaseException as raised:
                answer, error = None, raised
            finally:
                if call is not None:
                    call.let_go()
            try:
                request = flow.send(answer) if error is None else flow.throw(error)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]

    def _bounded(self, request: Request, call: _Watched | None) -> Request:
        if isinstance(request, All):
            return All([self.whole(flow) for flow in request.flows])
        if isinstance(request, First):
            return replace(request, flow=self.whole(request.flow), other=self.whole(request.other))
        if not isinstance(request, Call):
            return request
        timeout = self.timeout if request.timeout is None else request.timeout
        return replace(request, function=call or request.function, timeout=timeout)


class _Watched:
    """A function that is called once, by whoever; it may go on when nobody waits for it any more."""

    def __init__(self, watch: Watch, function: Callable[..., Any]) -> None:
        self._watch = watch
        self._function = function
        self._runs = self._ended = self._let_go = False

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        with self._watch.changing:
            if self._let_go:  # it waited for a thread until nobody waited for it
                raise TierUnavailable("given up before it began")
            self._runs = True
        try:
            return self._function(*arguments, **keywords)
        finally:
            with self._watch.changing:
                self._ended = True
                self._watch.abandoned -= self._let_go
                last = self._let_go and not self._watch.abandoned
            if last:
                self._watch.ended()

    def let_go(self) -> None:
        """Nobody waits for it any more: it has ended, or it is given up."""
        with self._watch.changing:
            self._let_go = self._let_go or not self._ended
            self._watch.abandoned += self._runs and not self._ended
