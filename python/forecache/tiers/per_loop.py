"""Clients of the async face: each belongs to the event loop that it was made in, and is closed with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["PerLoop"]

C = TypeVar("C")
PATIENCE = 5
"""Seconds that closing the client of another thread's loop may take."""


class PerLoop(Generic[C]):
    """A client for each event loop, made at its first use there; two `asyncio.run`, one after the other, get one each.

    `make` is called inside the loop, `close` awaited there: by `aclose`, or when the loop shuts its asynchronous generators
    down, as `asyncio.run` does at its end.
    """

    def __init__(self, make: Callable[[], C], close: Callable[[C], Awaitable[object]]) -> None:
        self._make = make
        self._close = close
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[C, AsyncGenerator[None, None]]] = WeakKeyDictionary()
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
            self._clients[loop] = client, life
        await anext(life)
        return client

    async def _life(self, loop: asyncio.AbstractEventLoop, client: C) -> AsyncGenerator[None, None]:
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
        """Closes the clients of loops that run in other threads; those of loops that don't run are let go."""
        for loop, life in self._taken():
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(life.aclose(), loop).result(PATIENCE)

    async def aclose(self) -> None:
        """Closes all clients: this loop's here, those of other threads' loops there."""
        here = asyncio.get_running_loop()
        for loop, life in self._taken():
            if loop is here:
                await life.aclose()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(life.aclose(), loop))

    def _taken(self) -> list[tuple[asyncio.AbstractEventLoop, AsyncGenerator[None, None]]]:
        with self._changing:
            taken = [(loop, life) for loop, (_, life) in self._clients.items()]
            self._clients.clear()
        return taken
