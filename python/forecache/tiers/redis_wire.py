"""Connections to Redis servers, pooled, in both colours: redis-py connects and logs in, hiredis reads replies.

redis-py's own clients spend more time on a command than the server does, try again by rules of their own, and have two
implementations of Cluster and Sentinel, one a colour. So no more is taken of it than its connections, and a port is what asks:
commands go out in one write a server, replies come back in order. Whatever goes wrong on the way ends the connection, so that
nobody gets the reply to another's command.
"""

from __future__ import annotations

import asyncio
import select
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar
from weakref import WeakSet

import hiredis
import redis.asyncio
import redis.exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from forecache.errors import TierUnavailable
from forecache.tiers.redis_url import Address, Target, shown

if TYPE_CHECKING:
    from forecache.tiers.redis_scripts import Script

__all__ = ["Awaited", "Busy", "Command", "Dial", "Plain", "Reply", "Requests", "is_error"]

Reply: TypeAlias = Any
"""Bytes, a number, a list of replies, None, or an error of the server."""
Requests: TypeAlias = Sequence[tuple[Address, Sequence["Command"]]]
Greet: TypeAlias = Callable[[Address, Sequence[Reply], float], float]
"""Is told what a server said on a new connection, and when (monotonic seconds); gives how far its clock is ahead of that."""

GREETING = b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n*1\r\n$4\r\nTIME\r\n"
GREETED = 3
READ = 65_536
_MORE = object()


_pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command


def is_error(reply: Reply) -> bool:
    """Whether a reply is an error of the server."""
    return isinstance(reply, hiredis.ReplyError)


class Busy(TierUnavailable):
    """No connection came free in time: nothing is wrong with the server."""


class Command:
    """What is asked of a bucket: a command, or a script and its arguments."""

    __slots__ = ("arguments", "asking", "base", "bucket", "elsewhere", "script", "whole")

    def __init__(self, bucket: int, arguments: tuple[Any, ...], script: Script | None = None, base: bytes = b"") -> None:
        self.bucket = bucket
        self.arguments = arguments
        self.script = script
        self.base = base
        self.whole = False
        """Whether the server is to be told the text of the script."""
        self.asking = False
        """Whether the server is asked for what is just moving to it."""
        self.elsewhere: Address | None = None
        """The server that has it just now, if that isn't the bucket's."""

    def packed(self, before: int) -> bytes:
        """What is sent; the server is to do it `before` that time, in milliseconds of its own clock."""
        script = self.script
        if script is None:
            sent = _pack(self.arguments)
        else:
            name = (b"EVAL", script.text) if self.whole else (b"EVALSHA", script.sha)
            sent = _pack((*name, 1, self.base + b"g", self.base, before, *self.arguments))
        return b"*1\r\n$6\r\nASKING\r\n" + sent if self.asking else sent


class Dial:
    """How to connect to a server: with which name and password, certificates, limits of time."""

    def __init__(self, target: Target, *, timeout: float | None, tls: dict[str, Any]) -> None:
        self.target = target
        self.timeout = timeout
        self._tls = tls

    def connection(self, library: Any, address: Address, *, login: bool = True) -> Any:
        """A connection of redis-py, or of its asyncio part, that isn't open yet."""
        target = self.target
        options: dict[str, Any] = {
            "socket_timeout": self.timeout,
            "socket_connect_timeout": self.timeout,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        if login:
            options |= {"db": target.db, "username": target.username, "password": target.password}
        host, port = address
        if not port:
            return library.UnixDomainSocketConnection(path=host, **options)
        if target.tls:
            return library.SSLConnection(host=host, port=port, **self._tls, **options)
        return library.Connection(host=host, port=port, **options)


def failed(address: Address, error: BaseException) -> BaseException:
    """What is raised for an error of a connection; the reason names the server, and shows no secret."""
    if isinstance(error, TierUnavailable) or not isinstance(error, Exception):
        return error
    if isinstance(error, OSError | redis.exceptions.RedisError | hiredis.HiredisError | EOFError):
        text = str(error) or type(error).__name__
        return TierUnavailable(text if shown(address) in text else f"{shown(address)}: {text}")
    return error


def late(timeout: float | None) -> TimeoutError:
    return TimeoutError(f"no answer within {timeout:g} s")


class Link:
    """An open connection: what both colours have in common."""

    def __init__(self, address: Address, era: int, timeout: float | None) -> None:
        self.address = address
        self.era = era
        self.timeout = timeout
        self.ahead = 0.0
        self._reader = hiredis.Reader(notEnoughData=_MORE)

    def packed(self, commands: Sequence[Command]) -> bytes:
        """What is sent for these commands."""
        before = 0 if self.timeout is None else int((time.monotonic() + self.timeout + self.ahead) * 1000)
        if len(commands) == 1:
            return commands[0].packed(before)
        return b"".join([command.packed(before) for command in commands])

    def _in_step(self, replies: list[Reply]) -> list[Reply]:
        if self._reader.has_data():
            raise EOFError("it said more than it was asked")
        return replies


def expected(commands: Sequence[Command]) -> int:
    """How many replies there will be."""
    return len(commands) + sum(command.asking for command in commands)


def answers(commands: Sequence[Command], replies: list[Reply]) -> list[Reply]:
    """The replies, without those that only say that a server was asked for what moves to it."""
    if len(commands) == len(replies):
        return replies
    rest = iter(replies)
    return [next(rest) if not command.asking else (next(rest), next(rest))[1] for command in commands]


class PlainLink(Link):
    """A connection that blocks its thread."""

    def __init__(self, connection: Any, address: Address, era: int, timeout: float | None) -> None:
        super().__init__(address, era, timeout)
        self._socket, connection._sock = connection._sock, None
        self._buffer = bytearray(READ)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def fresh(self) -> bool:
        """Whether the server has neither closed it nor said anything unasked."""
        return not self._poll.poll(0)

    def send(self, data: bytes) -> None:
        """Sends all of it within the timeout."""
        self._socket.sendall(data)

    def receive(self, count: int) -> list[Reply]:
        """So many replies, each within the timeout."""
        gets, replies = self._reader.gets, []
        for _ in range(count):
            reply = gets()
            if reply is _MORE:
                reply = self._wait()
            replies.append(reply)
        return self._in_step(replies)

    def _wait(self) -> Reply:
        sock, reader, buffer = self._socket, self._reader, self._buffer
        ends: float | None = None
        try:
            while True:
                size = sock.recv_into(buffer)
                if not size:
                    raise EOFError("the server closed the connection")
                reader.feed(buffer, 0, size)  # type: ignore[arg-type] # nor does it know bytearray
                reply = reader.gets()
                if reply is not _MORE:
                    return reply
                if self.timeout is not None:  # all parts together may take as long as one
                    now = time.monotonic()
                    ends = ends or now + self.timeout
                    if now >= ends:
                        raise late(self.timeout)
                    sock.settimeout(ends - now)
        except TimeoutError:
            raise late(self.timeout) from None
        finally:
            if ends is not None:
                sock.settimeout(self.timeout)

    def drop(self) -> None:
        """Ends it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def forked(self) -> None:
        """For the child of a fork: lets go, and leaves the parent's connection as it is."""
        with suppress(OSError):
            self._socket.close()


class AwaitedLink(Link):
    """A connection of an event loop."""

    def __init__(self, connection: Any, address: Address, era: int, timeout: float | None) -> None:
        super().__init__(address, era, timeout)
        self._stream, self._writer = connection._reader, connection._writer
        connection._reader = connection._writer = None
        self._transport = self._writer.transport
        self._poll = select.poll()
        self._poll.register(self._writer.get_extra_info("socket").fileno(), select.POLLIN)

    def fresh(self) -> bool:
        """See `PlainLink`."""
        return not self._stream.at_eof() and not self._transport.is_closing() and not self._poll.poll(0)

    def send(self, data: bytes) -> None:
        """Hands it to the loop."""
        self._writer.write(data)

    async def receive(self, count: int) -> list[Reply]:
        """See `PlainLink`. Who is cancelled drops the link."""
        gets, replies = self._reader.gets, []
        for _ in range(count):
            reply = gets()
            if reply is _MORE:
                reply = await self._wait()
            replies.append(reply)
        return self._in_step(replies)

    async def _wait(self) -> Reply:
        reader, stream, timeout = self._reader, self._stream, self.timeout
        timer = None if timeout is None else asyncio.get_running_loop().call_later(timeout, self._transport.abort)
        try:
            while True:
                data = await stream.read(READ)
                if not data:
                    raise EOFError("the server closed the connection")
                reader.feed(data)
                reply = reader.gets()
                if reply is not _MORE:
                    return reply
        except (EOFError, OSError):
            if timer is not None and timer.when() <= asyncio.get_running_loop().time():
                raise late(timeout) from None
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def drop(self) -> None:
        """See `PlainLink`."""
        self._transport.abort()

    async def end(self) -> None:
        """Ends it, and waits until its socket is closed."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


class AnyLink(Protocol):
    """What pools know of links."""

    address: Address
    era: int

    def fresh(self) -> bool: ...
    def drop(self) -> None: ...


L = TypeVar("L", bound=AnyLink)


class Pool(Generic[L]):
    """Links that nobody uses just now, and how many there are."""

    def __init__(self, dial: Dial, greet: Greet, most: int) -> None:
        self.dial = dial
        self.greet = greet
        self.most = most
        self.idle: defaultdict[Address, deque[L]] = defaultdict(deque)
        self.links: WeakSet[L] = WeakSet()
        self.opening = 0
        self.era = 0
        self.closed = False

    def taken(self, address: Address) -> L | None:
        """A link that was used before and still is good, if there is one."""
        idle = self.idle[address]
        while True:
            try:
                link = idle.pop()
            except IndexError:
                return None
            if link.era == self.era and link.fresh():
                return link
            self.lose(link)

    def lose(self, link: L) -> None:
        """Ends a link."""
        self.links.discard(link)
        link.drop()

    def full(self) -> bool:
        """Whether there are as many as there may be. Makes room by ending one to another server, if one is idle."""
        if len(self.links) + self.opening < self.most:
            return False
        for idle in list(self.idle.values()):
            with suppress(IndexError):
                self.lose(idle.popleft())
                return False
        return True

    def renew(self, era: int) -> None:
        """No link that was opened in another era is used again."""
        self.era = era
        for idle in list(self.idle.values()):
            with suppress(IndexError):
                while True:
                    self.lose(idle.pop())


class Plain(Pool[PlainLink]):
    """The port of the sync face. Several threads may ask at once."""

    def __init__(self, dial: Dial, greet: Greet, most: int) -> None:
        super().__init__(dial, greet, most)
        self._changed = threading.Condition()
        self._waiting = 0

    def ask(self, requests: Requests) -> list[list[Reply]]:
        """The replies to each server's commands."""
        links: list[PlainLink] = []
        address = requests[0][0]
        try:
            for address, commands in requests:
                link = self.taken(address) or self._open(address)
                links.append(link)
                link.send(link.packed(commands))
            replies = []
            for link, (address, commands) in zip(links, requests, strict=True):  # noqa: B007  who failed is told
                replies.append(answers(commands, link.receive(expected(commands))))
        except BaseException as error:
            for link in links:
                self.lose(link)
            self._tell()
            raise failed(address, error) from error
        for link in links:
            self._give(link)
        return replies

    def once(self, address: Address, words: tuple[bytes, ...], login: bool) -> Reply:
        """The reply to one command over a connection of its own; errors of the server are replies, too."""
        try:
            link = self._connected(address, login)
            try:
                link.send(_pack(words))
                return link.receive(1)[0]
            finally:
                link.drop()
        except Exception as error:
            raise failed(address, error) from error

    def _connected(self, address: Address, login: bool = True) -> PlainLink:
        era, connection = self.era, self.dial.connection(redis, address, login=login)
        try:
            connection.connect()
            return PlainLink(connection, address, era, self.dial.timeout)
        finally:
            connection.disconnect()  # what a link hasn't taken over

    def _open(self, address: Address) -> PlainLink:
        link = self._wait_for_room(address)
        if link is not None:
            return link
        try:
            link = self._connected(address)
            try:
                link.send(GREETING)
                link.ahead = self.greet(address, link.receive(GREETED), time.monotonic())
            except BaseException:
                link.drop()
                raise
            self.links.add(link)
            return link
        finally:
            with self._changed:
                self.opening -= 1
                self._changed.notify()

    def _wait_for_room(self, address: Address) -> PlainLink | None:
        """A link that another gave back, or None when there is room for a new one, which is counted as opening."""
        timeout = self.dial.timeout
        ends = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._waiting += 1
            try:
                while not self.closed:
                    link = self.taken(address)
                    if link is not None:
                        return link
                    if not self.full():
                        self.opening += 1
                        return None
                    left = None if ends is None else ends - time.monotonic()
                    if left is not None and left <= 0:
                        raise Busy(f"all {self.most} connections are in use")
                    self._changed.wait(left)
                raise TierUnavailable("closed")
            finally:
                self._waiting -= 1

    def _give(self, link: PlainLink) -> None:
        if link.era != self.era or self.closed:
            self.lose(link)
        else:
            self.idle[link.address].append(link)
            if self.closed:
                self.renew(self.era)
        if self._waiting:
            self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify()

    def forked(self) -> None:
        """For the child of a fork."""
        for link in list(self.links):
            link.forked()
        self.links, self.opening, self._waiting = WeakSet(), 0, 0
        self.idle = defaultdict(deque)
        self._changed = threading.Condition()

    def close(self) -> None:
        """Ends what is idle; what is in use ends when it was used."""
        self.closed = True
        self.renew(self.era)
        with self._changed:
            self._changed.notify_all()


class Awaited(Pool[AwaitedLink]):
    """The port of the async face, in one event loop."""

    def __init__(self, dial: Dial, greet: Greet, most: int) -> None:
        super().__init__(dial, greet, most)
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def ask(self, requests: Requests) -> list[list[Reply]]:
        """See `Plain`."""
        links: list[AwaitedLink] = []
        address = requests[0][0]
        try:
            for address, commands in requests:
                link = self.taken(address) or await self._open(address)
                links.append(link)
                link.send(link.packed(commands))
            replies = []
            for link, (address, commands) in zip(links, requests, strict=True):  # noqa: B007  who failed is told
                replies.append(answers(commands, await link.receive(expected(commands))))
        except BaseException as error:
            for link in links:
                self.lose(link)
            self._tell()
            raise failed(address, error) from error
        for link in links:
            self._give(link)
        return replies

    async def once(self, address: Address, words: tuple[bytes, ...], login: bool) -> Reply:
        """See `Plain`."""
        try:
            link = await self._connected(address, login)
            try:
                link.send(_pack(words))
                return (await link.receive(1))[0]
            finally:
                link.drop()
        except Exception as error:
            raise failed(address, error) from error

    async def _connected(self, address: Address, login: bool = True) -> AwaitedLink:
        era, connection = self.era, self.dial.connection(redis.asyncio, address, login=login)
        try:
            await connection.connect()
            return AwaitedLink(connection, address, era, self.dial.timeout)
        finally:
            if connection.is_connected:  # what a link hasn't taken over
                connection._writer.transport.abort()
                connection._reader = connection._writer = None

    async def _open(self, address: Address) -> AwaitedLink:
        link = await self._wait_for_room(address)
        if link is not None:
            return link
        try:
            link = await self._connected(address)
            try:
                link.send(GREETING)
                link.ahead = self.greet(address, await link.receive(GREETED), time.monotonic())
            except BaseException:
                link.drop()
                raise
            self.links.add(link)
            return link
        finally:
            self.opening -= 1
            self._tell()

    async def _wait_for_room(self, address: Address) -> AwaitedLink | None:
        timeout = self.dial.timeout
        loop = asyncio.get_running_loop()
        ends = None if timeout is None else loop.time() + timeout
        while not self.closed:
            link = self.taken(address)
            if link is not None:
                return link
            if not self.full():
                self.opening += 1
                return None
            left = None if ends is None else ends - loop.time()
            if left is not None and left <= 0:
                raise Busy(f"all {self.most} connections are in use")
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.append(waiter)
            try:
                await asyncio.wait((waiter,), timeout=left)
            except BaseException:
                if waiter.done():  # it was told, and can't go on
                    self._tell()
                raise
            finally:
                with suppress(ValueError):
                    self._waiters.remove(waiter)
        raise TierUnavailable("closed")

    def _give(self, link: AwaitedLink) -> None:
        if link.era != self.era or self.closed:
            self.lose(link)
        else:
            self.idle[link.address].append(link)
        self._tell()

    def _tell(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def close(self) -> None:
        """Ends all links, and waits until their sockets are closed."""
        self.closed = True
        links = list(self.links)
        self.idle.clear()
        for link in links:
            await link.end()
        while self._waiters:
            self._tell()
