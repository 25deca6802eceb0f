"""Connections to Redis servers, in both colours: redis-py connects and logs in, hiredis reads replies.

redis-py's own clients spend more time on a command than the server does, try again by rules of their own, and have two
implementations of Cluster and Sentinel, one a colour. So no more is taken of it than its connections. Each has a budget of time
for what it does, and whatever goes wrong on the way ends it, so that nobody gets the reply to another's command.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as StillRunning
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeAlias

import hiredis
import redis.asyncio
import redis.exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from forecache.errors import TierUnavailable
from forecache.threads import in_thread
from forecache.tiers.redis_url import Address, Target, shown

if TYPE_CHECKING:
    from forecache.tiers.redis_scripts import Script

__all__ = [
    "AwaitedLink",
    "Busy",
    "Command",
    "Dial",
    "PlainLink",
    "Reply",
    "failed",
    "is_error",
    "packed",
]

Reply: TypeAlias = Any
"""Bytes, a number, a list of replies, None, or an error of the server; or what a command's `opens` made of it."""
Opens: TypeAlias = Callable[[bytes | bytearray, int], Any]
"""Opens a reply in a buffer that holds so many bytes of it: `_MORE` if that isn't all, None if hiredis is to read it."""

READ = 2**17
"""Bytes that are read at a time, and of a reply that may be opened where they lie."""
PIECE = 2**17
"""Bytes that are handed to a loop at a time: the system takes a while to copy them."""
_MORE = False
"""What stands for a reply of which there is more to come. The protocol has no such value."""


_pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command


def is_error(reply: Reply) -> bool:
    """Whether a reply is an error of the server."""
    return isinstance(reply, hiredis.ReplyError)


def packed(*words: str) -> bytes:
    """A command as it is sent."""
    return _pack(words)


class Busy(TierUnavailable):
    """No connection came free in time: nothing is wrong with the server."""


class Command:
    """What is asked of a bucket: a command, in words or as it is sent, or a script and its arguments."""

    __slots__ = ("arguments", "asking", "base", "bucket", "elsewhere", "opens", "script", "whole")

    def __init__(
        self,
        bucket: int,
        arguments: tuple[Any, ...] | bytes,
        script: Script | None = None,
        base: bytes = b"",
        opens: Opens | None = None,
    ) -> None:
        self.bucket = bucket
        self.arguments = arguments
        self.script = script
        self.base = base
        self.opens = opens
        """What may open the reply, if it comes alone."""
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
            sent = self.arguments if isinstance(self.arguments, bytes) else _pack(self.arguments)
        else:
            name = (b"EVAL", script.text) if self.whole else (b"EVALSHA", script.sha)
            sent = _pack((*name, 1, self.base + b"g", self.base, before, *self.arguments))
        return b"*1\r\n$6\r\nASKING\r\n" + sent if self.asking else sent


FILES = {"ssl_ca_certs": "ca", "ssl_certfile": "certificate", "ssl_keyfile": "key"}
"""What redis-py calls the files of certificates, and what their options are called."""


class Dial:
    """How to connect to a server: with which name and password, certificates, limits of time."""

    def __init__(self, target: Target, *, timeout: float | None, tls: dict[str, Any]) -> None:
        self.target = target
        self.timeout = timeout
        self._tls = tls

    def ends(self) -> float | None:
        """When a call that begins now has had its time, in monotonic seconds; None: never."""
        return None if self.timeout is None else time.monotonic() + self.timeout

    def connect(self, address: Address, ends: float | None, login: bool) -> PlainLink:
        """A new link."""
        connection = self._connection(redis, address, ends, login)
        try:
            _look_up(address, ends)
            connection.connect()
            return PlainLink(connection, address, self.timeout)
        except Exception as error:
            raise failed(address, error, unsent=True) from error
        finally:
            connection.disconnect()  # what the link hasn't taken over

    async def aconnect(self, address: Address, ends: float | None, login: bool) -> AwaitedLink:
        """A new link."""
        connection = self._connection(redis.asyncio, address, ends, login)
        writers: list[asyncio.StreamWriter] = []

        async def log_in(connection: Any) -> None:
            writers.append(connection._writer)
            await connection.on_connect()

        connection.redis_connect_func = log_in
        try:
            await connection.connect()
            return AwaitedLink(connection, address, self.timeout)
        except BaseException as error:
            connection._reader = connection._writer = None
            for writer in writers:
                writer.transport.abort()
            if not isinstance(error, Exception):
                raise
            await asyncio.sleep(0)  # in which sockets are closed, even if the loop ends now
            raise failed(address, error, unsent=True) from error

    def _connection(self, library: Any, address: Address, ends: float | None, login: bool) -> Any:
        """A connection of redis-py, or of its asyncio part, that isn't open yet."""
        target = self.target
        timeout = left(ends)
        options: dict[str, Any] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            # Redis before 7.2 doesn't know CLIENT SETINFO, and redis-py looks its version up in files, at each connection.
            "driver_info": None,
        }
        if login:
            options |= {"db": target.db, "username": target.username, "password": target.password}
        host, port = address
        if not port:
            return library.UnixDomainSocketConnection(path=host, **options)
        if target.tls:
            for name, file in self._tls.items():
                if not os.access(file, os.R_OK):
                    raise TierUnavailable(f"{FILES[name]}: {file} is no file that can be read")
            return library.SSLConnection(host=host, port=port, **self._tls, **options)
        return library.Connection(host=host, port=port, **options)


def _look_up(address: Address, ends: float | None) -> None:
    """Asks for a server's address in a thread, since nothing else bounds how long that takes. redis-py will ask again at once."""
    host, port = address
    if not port or ends is None or _is_number(host):
        return
    try:
        in_thread(partial(socket.getaddrinfo, host, port)).result(left(ends))
    except StillRunning:
        raise TimeoutError("its name can't be looked up in time") from None


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def left(ends: float | None) -> float | None:
    """Seconds until then; raises `TimeoutError` if that is over."""
    if ends is None:
        return None
    seconds = ends - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("no answer in time")
    return seconds


def failed(address: Address, error: Exception, *, unsent: bool = False) -> Exception:
    """What is raised for an error of a connection; the reason names the server, and shows no secret."""
    if isinstance(error, TierUnavailable):
        return error
    if isinstance(error, TimeoutError | redis.exceptions.TimeoutError):
        return TimeoutError(f"{shown(address)}: no answer in time")
    if not isinstance(error, OSError | redis.exceptions.RedisError | hiredis.HiredisError | EOFError):
        return error
    text = str(error) or type(error).__name__
    told = TierUnavailable(text if shown(address) in text else f"{shown(address)}: {text}")
    told.lost = isinstance(error, OSError | EOFError) or type(error) is redis.exceptions.ConnectionError
    told.unsent = told.lost and unsent
    return told


class Link:
    """An open connection: what both colours have in common."""

    def __init__(self, address: Address, timeout: float | None) -> None:
        self.address = address
        self.timeout = timeout
        self.era = 0
        self.ahead = 0.0
        """Seconds by which the server's clock is ahead of the monotonic one here."""
        self._reader = hiredis.Reader(notEnoughData=_MORE)

    def packed(self, commands: Sequence[Command], ends: float | None) -> bytes:
        """What is sent for these commands, which the server is to refuse when the call has had its time."""
        before = 0 if ends is None else int((ends + self.ahead) * 1000)
        if len(commands) == 1:
            return commands[0].packed(before)
        return b"".join([command.packed(before) for command in commands])

    def _in_step(self) -> None:
        if self._reader.has_data():
            raise EOFError("it said more than it was asked")


def _expected(commands: Sequence[Command]) -> int:
    """How many replies there will be."""
    return len(commands) + sum(command.asking for command in commands)


def _answers(commands: Sequence[Command], replies: list[Reply]) -> list[Reply]:
    """The replies, without those that only say that a server was asked for what moves to it."""
    if len(commands) == len(replies):
        return replies
    rest = iter(replies)
    return [next(rest) if not command.asking else (next(rest), next(rest))[1] for command in commands]


class PlainLink(Link):
    """A connection that blocks its thread."""

    def __init__(self, connection: Any, address: Address, timeout: float | None) -> None:
        super().__init__(address, timeout)
        self._socket, connection._sock = connection._sock, None
        self._socket.settimeout(timeout)
        self._buffer = bytearray(READ)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def fresh(self) -> bool:
        """Whether the server has neither closed it nor said anything unasked."""
        return not self._poll.poll(0)

    def send(self, data: bytes) -> None:
        """Sends all of it within the timeout."""
        self._socket.sendall(data)

    def answers(self, commands: Sequence[Command], ends: float | None) -> list[Reply]:
        """The replies to what was sent last, as `receive` waits for them."""
        if len(commands) == 1 and not commands[0].asking:
            reply = self._wait(ends, commands[0].opens)
            self._in_step()
            return [reply]
        return _answers(commands, self.receive(_expected(commands), ends))

    def receive(self, count: int, ends: float | None) -> list[Reply]:
        """So many replies: the first until then, or a little later; each of the others within the timeout."""
        gets, replies = self._reader.gets, []
        for _ in range(count):
            reply = gets()
            if reply is _MORE:
                reply = self._wait(ends)
                ends = None
            replies.append(reply)
        self._in_step()
        return replies

    def _wait(self, ends: float | None, opens: Opens | None = None) -> Reply:
        sock, reader, buffer = self._socket, self._reader, self._buffer
        limited = False
        held = 0
        try:
            while True:
                size = sock.recv_into(memoryview(buffer)[held:] if held else buffer)
                if not size:
                    raise EOFError("the server closed the connection")
                held += size
                reply = None if opens is None else opens(buffer, held)
                if reply is None or (reply is _MORE and held == READ):
                    opens = None
                    reader.feed(buffer, 0, held)  # type: ignore[arg-type] # its stub knows no bytearray
                    reply = reader.gets()
                    held = 0
                if reply is not _MORE:
                    return reply
                if self.timeout is not None:  # all parts together may take as long as one
                    ends = ends or time.monotonic() + self.timeout
                    sock.settimeout(left(ends))
                    limited = True
        finally:
            if limited:
                sock.settimeout(self.timeout)

    def drop(self) -> None:
        """Ends it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __del__(self) -> None:
        """An interrupt may fall where nobody has it in hand."""
        self._socket.close()

    def forked(self) -> None:
        """For the child of a fork: lets go, and leaves the parent's connection as it is."""
        self._socket.close()


class AwaitedLink(Link):
    """A connection of an event loop."""

    def __init__(self, connection: Any, address: Address, timeout: float | None) -> None:
        super().__init__(address, timeout)
        self._stream, self._writer = connection._reader, connection._writer
        connection._reader = connection._writer = None
        self._transport = self._writer.transport
        self._poll = select.poll()
        self._poll.register(self._writer.get_extra_info("socket").fileno(), select.POLLIN)

    def fresh(self) -> bool:
        """See `PlainLink`. What came unasked may have been read by the loop already."""
        stream: Any = self._stream
        return not (stream._buffer or stream.at_eof() or self._transport.is_closing() or self._poll.poll(0))

    async def send(self, data: bytes) -> None:
        """Hands it to the loop; what is long piece by piece, so that others have their turns."""
        if len(data) <= PIECE:
            self._writer.write(data)
            return
        for at in range(0, len(data), PIECE):
            if self._transport.is_closing():
                raise EOFError("the server closed the connection")
            self._writer.write(memoryview(data)[at : at + PIECE])
            await asyncio.sleep(0)

    async def answers(self, commands: Sequence[Command], ends: float | None) -> list[Reply]:
        """See `PlainLink`. Who is cancelled drops the link."""
        if len(commands) == 1 and not commands[0].asking:
            reply = await self._wait(self.timeout if ends is None else left(ends), commands[0].opens)
            self._in_step()
            return [reply]
        return _answers(commands, await self.receive(_expected(commands), ends))

    async def receive(self, count: int, ends: float | None) -> list[Reply]:
        """See `PlainLink`. Who is cancelled drops the link."""
        gets, replies = self._reader.gets, []
        for _ in range(count):
            reply = gets()
            if reply is _MORE:
                reply = await self._wait(self.timeout if ends is None else left(ends))
                ends = None
            replies.append(reply)
        self._in_step()
        return replies

    async def _wait(self, timeout: float | None, opens: Opens | None = None) -> Reply:
        reader, stream = self._reader, self._stream
        late = False
        held = b""

        def give_up() -> None:
            nonlocal late
            late = True
            self._transport.abort()

        timer = None if timeout is None else asyncio.get_running_loop().call_later(timeout, give_up)
        try:
            while True:
                data = await stream.read(READ)
                if not data:
                    raise EOFError("the server closed the connection")
                held = held + data if held else data
                reply = None if opens is None else opens(held, len(held))
                if reply is None or (reply is _MORE and len(held) >= READ):
                    opens = None
                    reader.feed(held)
                    reply = reader.gets()
                    held = b""
                if reply is not _MORE:
                    return reply
        except (EOFError, OSError):
            if late:
                raise TimeoutError("no answer in time") from None
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def drop(self) -> None:
        """See `PlainLink`."""
        self._transport.abort()

    async def end(self) -> None:
        """Ends it, and waits until its socket is closed: not for a server that hangs to take leave, as TLS would."""
        self._transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()
