"""Connections to one Memcached server, in both colours: each a pool that many may ask at once.

Each exchange has its time, connecting included. Whatever goes wrong on the way ends its connection, and what wasn't sent yet
isn't sent any more; so nobody gets the reply to another's command.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import TimeoutError as StillRunning
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from forecache.errors import TierUnavailable
from forecache.threads import in_thread
from forecache.tiers.memcached_wire import Command, Exchange

__all__ = ["Awaited", "Plain", "Server"]

AT_ONCE = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing drops what wasn't acknowledged, so that the system doesn't send it again later."""


class Server(NamedTuple):
    """Where a server is."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Busy(TierUnavailable):
    """No connection came free in time: nothing is wrong with the server."""

    unsent = True


class Plain:
    """The port of the sync face, which threads share."""

    def __init__(self, server: Server, most: int, timeout: float | None) -> None:
        self._server = server
        self._most = most
        self._timeout = timeout
        self._closed = False
        self.forked()

    def forked(self) -> None:
        """For the child of a fork: it lets go of the parent's connections, and leaves them as they are."""
        for connection in getattr(self, "_idle", ()):
            connection.close()
        self._idle: deque[socket.socket] = deque()
        self._places = threading.Semaphore(self._most)

    def ask(self, commands: Sequence[Command], until: float | None) -> Exchange:
        """The exchange, done. `until` is in monotonic seconds; raises `TimeoutError` then."""
        exchange = Exchange(commands, str(self._server))
        if not self._places.acquire(timeout=_left(self._server, until)):
            raise Busy(f"{self._server}: all {self._most} connections are in use")
        try:
            connection = self._fresh() or self._connect(until)
            try:
                self._carry(connection, exchange, until)
            except BaseException:
                _drop(connection)
                raise
            self._idle.append(connection)
            if self._closed:
                self.close()
        finally:
            self._places.release()
        return exchange

    def _carry(self, connection: socket.socket, exchange: Exchange, until: float | None) -> None:
        try:
            connection.sendall(exchange.sent)
            while not exchange.feed(connection.recv(exchange.wants)):
                _left(self._server, until)
        except (TierUnavailable, TimeoutError):
            raise
        except BlockingIOError:  # what a socket says whose own time is over
            raise _late(self._server) from None
        except OSError as error:
            raise _broken(self._server, error) from error

    def _fresh(self) -> socket.socket | None:
        """A connection that was used before and has been left in peace since."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            try:
                connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return connection
            except OSError:
                pass
            connection.close()

    def _connect(self, until: float | None) -> socket.socket:
        if self._closed:
            raise TierUnavailable(f"{self._server}: closed")
        try:
            connection = self._opened(until)
        except (TimeoutError, StillRunning):
            raise _late(self._server) from None
        except OSError as error:
            raise _broken(self._server, error, unsent=True) from error
        if self._timeout is not None:  # the system's own limit: Python's would cost a call more each time
            seconds, rest = divmod(self._timeout, 1)
            limit = struct.pack("ll", int(seconds), max(int(rest * 1e6), 1))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        connection.settimeout(None)
        _prepare(connection, self._timeout)
        return connection

    def _opened(self, until: float | None) -> socket.socket:
        """Asks for the address in a thread, since nothing else bounds how long that takes."""
        looked_up = in_thread(partial(socket.getaddrinfo, *self._server, type=socket.SOCK_STREAM))
        error = OSError("it has no address")
        for family, kind, protocol, _, address in looked_up.result(_left(self._server, until)):
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(_left(self._server, until))
                connection.connect(address)
            except BaseException as raised:
                connection.close()
                if not isinstance(raised, OSError) or isinstance(raised, TimeoutError):
                    raise
                error = raised
            else:
                return connection
        raise error

    def close(self) -> None:
        """Closes what is idle; what is in use is closed when it was used."""
        self._closed = True
        with suppress(IndexError):
            while True:
                self._idle.pop().close()


class Awaited:
    """The port of the async face, in one event loop."""

    def __init__(self, server: Server, most: int, timeout: float | None) -> None:
        self._server = server
        self._most = most
        self._timeout = timeout
        self._closed = False
        self._idle: list[Line] = []
        self._lines: set[Line] = set()
        self._taken = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def ask(self, commands: Sequence[Command], until: float | None) -> Exchange:
        """See `Plain`."""
        exchange = Exchange(commands, str(self._server))
        await self._take(until)
        try:
            line = self._fresh() or await self._connect(until)
            try:
                await line.carry(exchange, until)
            except BaseException:
                line.drop()
                raise
            if self._closed:
                line.close()
            else:
                self._idle.append(line)
        finally:
            self._give()
        return exchange

    async def _take(self, until: float | None) -> None:
        if self._taken < self._most:
            self._taken += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        busy = Busy(f"{self._server}: all {self._most} connections are in use")
        try:
            await _in_time(waiter, until, busy)
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:  # it was given a place
                self._give()
            raise

    def _give(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._taken -= 1

    def _fresh(self) -> Line | None:
        while self._idle:
            line = self._idle.pop()
            if line.fresh():
                return line
            line.drop()
        return None

    async def _connect(self, until: float | None) -> Line:
        if self._closed:
            raise TierUnavailable(f"{self._server}: closed")
        loop = asyncio.get_running_loop()
        left = _left(self._server, until)
        opening = asyncio.ensure_future(loop.create_connection(partial(Line, self._server, self._lines), *self._server))
        try:
            await asyncio.wait((opening,), timeout=left)
            if not opening.done():
                raise _late(self._server)
            transport, line = opening.result()
        except BaseException as error:
            opening.add_done_callback(_unwanted)
            opening.cancel()
            if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                raise _broken(self._server, error, unsent=True) from error
            raise
        if self._closed:  # meanwhile
            line.drop()
            raise TierUnavailable(f"{self._server}: closed")
        _prepare(transport.get_extra_info("socket"), self._timeout)
        return line

    async def close(self) -> None:
        """Closes all connections, and waits until they are."""
        self._closed = True
        lines = list(self._lines)
        for line in lines:
            line.close()
        for line in lines:
            await line.ended
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


class Line(asyncio.Protocol):
    """A connection of an event loop."""

    def __init__(self, server: Server, lines: set[Line]) -> None:
        self._server = server
        self._lines = lines
        self._exchange: Exchange | None = None
        self._done: asyncio.Future[None] | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport
        self._lines.add(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`. What comes unasked ends it."""
        if self._exchange is None:
            self.drop()
            return
        try:
            if self._exchange.feed(data):
                self._end(None)
        except TierUnavailable as error:
            self._end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._lines.discard(self)
        if not self.ended.done():
            self.ended.set_result(None)
        self._end(_broken(self._server, exc or ConnectionResetError("the server closed the connection")))

    def _end(self, error: Exception | None) -> None:
        self._exchange, done = None, self._done
        if done is not None and not done.done():
            done.set_result(None) if error is None else done.set_exception(error)

    async def carry(self, exchange: Exchange, until: float | None) -> None:
        """Sends it and waits for all replies. Who is cancelled drops the connection."""
        self._exchange = exchange
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(exchange.sent)
        await _in_time(self._done, until, _late(self._server))

    def fresh(self) -> bool:
        """Whether the server has neither closed it nor said anything unasked, as far as the loop knows."""
        return not self._transport.is_closing() and not self.ended.done()

    def close(self) -> None:
        """Ends it in peace; at once if something is under way, which a server that hangs may never take."""
        if self._exchange is None:
            self._transport.close()
        else:
            self.drop()

    def drop(self) -> None:
        """Ends it at once."""
        sock = self._transport.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        self._transport.abort()


async def _in_time(future: asyncio.Future[None], until: float | None, error: Exception) -> None:
    """Waits for a future, which gets that error when the time is over."""
    if until is None:
        await future
        return
    timer = asyncio.get_running_loop().call_later(until - time.monotonic(), _fail, future, error)
    try:
        await future
    finally:
        timer.cancel()


def _fail(future: asyncio.Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _unwanted(opening: asyncio.Future[tuple[Any, Line]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[1].drop()


def _prepare(sock: Any, timeout: float | None) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if timeout is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        # What wasn't acknowledged in time isn't sent again, even if this process is gone by then.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(int(timeout * 1000), 1))


def _drop(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    connection.close()


def _left(server: Server, until: float | None) -> float | None:
    """Seconds until then; raises `TimeoutError` if that is over."""
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise _late(server)
    return left


def _late(server: Server) -> TimeoutError:
    return TimeoutError(f"{server}: no answer in time")


def _broken(server: Server, error: Exception, *, unsent: bool = False) -> TierUnavailable:
    broken = TierUnavailable(f"{server}: {error}")
    broken.lost, broken.unsent = True, unsent
    return broken
