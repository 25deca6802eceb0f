"""What the tests share: a clock that stands, both faces under one name, and crews of threads that never hang."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from forecache import Cache
from forecache.testing import FakeClock

PATIENCE = 20
"""Seconds after which what should have happened counts as hanging."""


class Face:
    """A face of a cache whose every method is a plain call, whichever colour is behind it."""

    def __init__(self, cache: Cache, colour: str) -> None:
        self.cache = cache
        self.colour = colour

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if self.colour == "sync":
            return getattr(self.cache, name)
        method = getattr(self.cache.aio, name)

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            answer = method(*args, **kwargs)
            return [each async for each in answer] if hasattr(answer, "__aiter__") else await answer

        return lambda *args, **kwargs: asyncio.run(awaited(*args, **kwargs))


class Crew:
    """Threads whose results and errors are collected, and that are waited for with patience, not for ever."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.results: list[Any] = []
        self.errors: list[BaseException] = []

    def send(self, function: Callable[..., Any], *args: Any) -> threading.Thread:
        def work() -> None:
            try:
                self.results.append(function(*args))
            except BaseException as error:
                self.errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

    def back(self) -> "Crew":
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread hangs"
        return self


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cache(clock: FakeClock) -> Cache:
    return Cache("1MB", clock=clock)


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest, cache: Cache) -> Face:
    return Face(cache, request.param)


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    crew.back()
