"""What is said to a Memcached server, and what it replies, in the meta protocol; whoever carries the bytes.

meta-memcache-socket makes commands and takes replies apart. Source of the protocol: `doc/protocol.txt` of Memcached.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from meta_memcache_socket import (
    RESPONSE_SUCCESS,
    RESPONSE_VALUE,
    SET_MODE_ADD,
    RequestFlags,
    build_meta_delete,
    build_meta_get,
    build_meta_set,
    parse_header,
)

from forecache.errors import TierUnavailable

__all__ = ["Command", "Exchange", "Reply", "delete", "peek", "put", "read", "touch"]

NO_ROOM = (b"SERVER_ERROR object too large for cache", b"SERVER_ERROR out of memory storing object")
"""What a server says to a value that it doesn't take; what it had under the key is gone by then."""
ERRORS = (b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR")
LONGEST_LINE = 8192
"""Bytes in which a line must end: no line that a server says has as many."""
LEAST, LARGEST = 16_384, 2**20
"""Bytes to ask a socket for, at least and at most."""
EACH = 1024
"""Bytes that are asked for at once for each reply that is to come."""


class Command(NamedTuple):
    """A line to send, and what follows it."""

    line: bytes
    value: bytes | None = None


class Reply(NamedTuple):
    """What came of a command."""

    done: bool
    """Whether what was asked for was there, or was done."""
    version: int = 0
    """The server's own version of an entry that was there (its CAS unique)."""
    value: bytes = b""
    refused: bool = False
    """Whether the value was too large for the server."""


_READ = RequestFlags(return_value=True, return_cas_token=True)
_PEEK = RequestFlags(return_cas_token=True)
_DELETE = RequestFlags()
SETTINGS = Command(b"stats settings\r\n")


def read(name: bytes) -> Command:
    """The value and version of an entry."""
    return Command(build_meta_get(name, _READ))


def peek(name: bytes) -> Command:
    """Its version alone."""
    return Command(build_meta_get(name, _PEEK))


def touch(name: bytes, expires: int) -> Command:
    """Has an entry expire at another time; its version stays."""
    return Command(build_meta_get(name, RequestFlags(cache_ttl=expires)))


def delete(name: bytes, version: int | None = None) -> Command:
    """Deletes an entry, or that version of it only."""
    return Command(build_meta_delete(name, _DELETE if version is None else RequestFlags(cas_token=version)))


def put(name: bytes, value: bytes, expires: int, *, version: int | None = None, absent: bool = False) -> Command:
    """Stores a value; with `version` only in the place of that, with `absent` only where nothing is.

    `expires`: seconds from now, up to 30 days; what is more is seconds since 1970; 0 is never.
    """
    flags = RequestFlags(cache_ttl=expires, cas_token=version, mode=SET_MODE_ADD if absent else None)
    return Command(build_meta_set(name, len(value), flags), value)


def packed(commands: Sequence[Command]) -> bytes:
    """Commands as they are sent."""
    parts: list[bytes] = []
    for line, value in commands:
        parts.append(line)
        if value is not None:
            parts += (value, b"\r\n")
    return b"".join(parts)


def _reply(*of: Any) -> Reply:
    """A reply, in a third of the time."""
    return tuple.__new__(Reply, of)


class Exchange:
    """The replies to some commands, taken apart as they come in. Raises `TierUnavailable` for what is no such reply."""

    def __init__(self, commands: Sequence[Command], server: str) -> None:
        self.sent = packed(commands)
        self.replies: list[Reply] = []
        self.settings: dict[bytes, bytes] = {}
        self._settings = len(commands) == 1 and commands[0] is SETTINGS
        self._count = len(commands)
        self._server = server
        self._buffer = bytearray()
        self._at = 0
        self._lacks = 0

    @property
    def wants(self) -> int:
        """Bytes to receive at a time."""
        return min(max(self._lacks, LEAST, EACH * (self._count - len(self.replies))), LARGEST)

    def feed(self, data: bytes) -> bool:
        """Takes what came in; says whether that was all."""
        if not data:
            raise self._wrong("the server closed the connection", lost=True)
        self._buffer += data
        done = self._stats() if self._settings else self._meta()
        if done and len(self._buffer) > self._at:
            raise self._wrong("it said more than it was asked")
        return done

    def _meta(self) -> bool:
        buffer = self._buffer
        end = len(buffer)
        replies = self.replies
        while len(replies) < self._count:
            header = parse_header(buffer, self._at, end)
            if header is None:
                if end - self._at > LONGEST_LINE:
                    raise self._wrong("its reply was no line")
                return self._waits(0)
            after, code, size, flags = header
            if code == RESPONSE_VALUE and size is not None and flags is not None:
                stop = after + size
                if stop + 2 > end:
                    return self._waits(stop + 2 - end)
                if buffer[stop : stop + 2] != b"\r\n":
                    raise self._wrong("a value didn't end where it should")
                replies.append(_reply(True, flags.cas_token or 0, bytes(memoryview(buffer)[after:stop]), False))
                after = stop + 2
            elif code == RESPONSE_SUCCESS:
                self.replies.append(Reply(True, (flags and flags.cas_token) or 0))
            elif code is not None and code < _NOOP:
                self.replies.append(Reply(False))
            else:
                self.replies.append(self._error(bytes(buffer[self._at : after]).strip()))
            self._at = after
        return True

    def _waits(self, lacks: int) -> bool:
        """Lets go of what was read, and waits for more."""
        del self._buffer[: self._at]
        self._at, self._lacks = 0, lacks
        return False

    def _error(self, line: bytes) -> Reply:
        if line.startswith(NO_ROOM):
            return Reply(False, refused=True)
        if line == b"ERROR":
            raise self._wrong("it doesn't know meta commands: it must be Memcached 1.6.7 or newer")
        raise self._wrong(f"its reply was {line[:100]!r}")

    def _stats(self) -> bool:
        begun = bytes(self._buffer[:100])
        if len(self._buffer) > LARGEST or not any(
            begun.startswith(word) or word.startswith(begun) for word in (b"STAT ", *ERRORS)
        ):
            raise self._wrong(f"its reply was {begun!r}")
        # An error comes from what is between us and the server, and keeps that to itself.
        if not self._buffer.endswith(b"\r\n" if begun.startswith(ERRORS) else b"END\r\n"):
            return False
        for line in self._buffer.split(b"\r\n"):
            _, _, told = line.partition(b" ")
            name, _, value = bytes(told).partition(b" ")
            self.settings[name] = value
        self._at = len(self._buffer)
        return True

    def _wrong(self, text: str, *, lost: bool = False) -> TierUnavailable:
        error = TierUnavailable(f"{self._server}: {text}")
        error.lost = lost
        return error


_NOOP = 100
