"""Clients of the async face: each belongs to the event loop that it was made in, and is closed with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Future, wait
from typing import Any, Generic, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["PerLoop"]

C = TypeVar("C")
Life: TypeAlias = AsyncGenerator[None, None]
PATIENCE = 5
"""Seconds that closing the clients of other threads' loops may take: such a loop may wait for the very thread that closes."""
_ending: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly


class PerLoop(Generic[C]):
    """A client for each event loop, made at its first use there; two `asyncio.run`, one after the other, get one each.

    `make` is called inside the loop, `close` awaited there: by `aclose`, or when the loop shuts its asynchronous generators
    down, as `asyncio.run` does at its end.
    """

    def __init__(self, make: Callable[[], C], close: Callable[[C], Awaitable[object]]) -> None:
        self._make = make
        self._close = close
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[C, Life]] = WeakKeyDictionary()
        self._changing = threading.Lock()

    async def get(self) -> C:
        """The client of the running loop."""
        loop = asyncio.get_running_loop()
        known = self._clients.get(loop)
        if known is not None:
            return known[0]
        client = self._make()
        life = self._life(loop, client)
        with self._changing:
            # Those of loops that ended without a word hold their loops, and so themselves.
            ended = [self._clients.pop(each) for each in list(self._clients) if each.is_closed()]
            self._clients[loop] = client, life
        del ended
        await anext(life)
        return client

    async def _life(self, loop: asyncio.AbstractEventLoop, client: C) -> Life:
        """As long as the client: who closes it, or the loop, closes that."""
        try:
            yield
        finally:
            with self._changing:
                self._clients.pop(loop, None)
            await self._close(client)

    def forked(self) -> None:
        """For the child of a fork: loops and connections are the parent's."""
        self._changing = threading.Lock()
        self._clients = WeakKeyDictionary()

    def close(self) -> None:
        """Closes the clients of loops that run: this thread's as soon as it goes on with its loop. Those of others are let go."""
        here = asyncio._get_running_loop()
        endings = self._end(here)
        known = None if here is None else self._clients.get(here)
        if here is not None and known is not None:  # it is forgotten when it has ended, by this task or with its loop
            task = here.create_task(_ended(known[1]))
            _ending.add(task)
            task.add_done_callback(_ending.discard)
        wait(endings, PATIENCE)

    async def aclose(self) -> None:
        """Closes all clients: this loop's here, those of other threads' loops there."""
        here = asyncio.get_running_loop()
        endings = [asyncio.wrap_future(each) for each in self._end(here)]
        with self._changing:
            known = self._clients.pop(here, None)
        if known is not None:
            await known[1].aclose()
        if endings:
            await asyncio.wait(endings, timeout=PATIENCE)

    def _end(self, here: asyncio.AbstractEventLoop | None) -> list[Future[Any]]:
        """Begins to close the clients of all other loops that run."""
        with self._changing:
            others = [loop for loop in list(self._clients) if loop is not here]
            taken = [(loop, self._clients.pop(loop)[1]) for loop in others]
        endings = []
        for loop, life in taken:
            ending = _ended(life)
            try:
                if loop.is_running():
                    endings.append(asyncio.run_coroutine_threadsafe(ending, loop))
                    continue
            except RuntimeError:  # it was closed just now
                pass
            ending.close()
        return endings


async def _ended(life: Life) -> None:
    await life.aclose()
