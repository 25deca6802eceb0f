"""A TCP proxy whose faults are switched while it runs: late, cut, half open, garbled, a byte at a time; and one that knows HTTP.

It has a thread with an event loop of its own. Faults hold for connections that are open as well as for new ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from servers.process import free_port

T = TypeVar("T")
CHUNK = 1 << 16
REFUSAL = b"<Error><Code>NotImplemented</Code><Message>Conditional writes are not implemented</Message></Error>"


class Link:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, client: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.source, self.client = client
        self.server: asyncio.StreamWriter | None = None
        self.marred = False
        """Bytes were lost or changed, so it can't be used once the fault is gone."""

    def reset(self) -> None:
        """Ends both with RST."""
        for writer in filter(None, (self.client, self.server)):
            with contextlib.suppress(OSError, AttributeError):  # of TLS that has ended nothing is left
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxy:
    """Listens on a port of its own and hands on to the target's; `close` ends it. Also a context manager."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.port = free_port()
        self.accepted = 0
        """Connections so far."""
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._fault = "none"
        self._late = 0.0
        self._pause = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._do(self._listen)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return "127.0.0.1", self.port

    def through(self, url: str) -> str:
        """The target's URL with the proxy's port."""
        return url.replace(f":{self.target[1]}", f":{self.port}")

    def delay(self, seconds: float) -> None:
        """Replies come that much later; several on their way are late at the same time."""
        self._switch("none", late=seconds)

    def cut(self) -> None:
        """Resets all connections and refuses new ones."""
        self._switch("cut")

    def half_open(self) -> None:
        """Accepts connections and swallows all that they send; nothing comes back, and nothing ends."""
        self._switch("swallow")

    def garbage(self) -> None:
        """Replies are random bytes, as many as the true ones."""
        self._switch("garbage")

    def trickle(self, pause: float = 0.001) -> None:
        """Replies come a byte at a time, with a pause (seconds) after each."""
        self._switch("trickle", pause=pause)

    def heal(self) -> None:
        """Ends the fault. Connections that lost bytes are reset."""
        self._switch("none")

    def close(self) -> None:
        """Resets everything and ends the thread."""
        if self._loop.is_closed():
            return
        self._switch("cut")
        self._do(self._ended)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, function: Callable[[], Awaitable[T]]) -> T:
        async def awaited() -> T:
            return await function()

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(10)

    def _switch(self, fault: str, *, late: float = 0.0, pause: float = 0.0) -> None:
        async def switched() -> None:
            self._fault, self._late, self._pause = fault, late, pause
            for link in list(self._links):
                if fault == "cut" or (fault != "swallow" and link.marred):
                    link.reset()
            if fault == "cut":
                self._listener.close()
                self._listener = None
            elif self._listener is None:
                await self._listen()

        if fault != "cut" or self._listener:
            self._do(switched)

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._accept, *self.address, limit=CHUNK)

    async def _ended(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        self.accepted += 1
        link = Link((reader, writer))
        self._links.add(link)
        try:
            if self._fault == "swallow":
                await self._swallow(link)
            else:
                await self._serve(link)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            link.reset()
            self._links.discard(link)
            self._tasks.discard(task)

    async def _swallow(self, link: Link) -> None:
        link.marred = True
        while await link.source.read(CHUNK):
            pass

    async def _serve(self, link: Link) -> None:
        answers, link.server = await asyncio.open_connection(*self.target)
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        pumps = [asyncio.create_task(pump) for pump in (self._ask(link), self._collect(answers, late), self._answer(link, late))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if pumps[1].done() and pumps[1].exception() is None:
                await pumps[2]  # the server has ended; what it said still arrives
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _ask(self, link: Link) -> None:
        while data := await link.source.read(CHUNK):
            await self._forward(link, data)

    async def _forward(self, link: Link, data: bytes) -> None:
        if self._fault == "swallow":
            link.marred = True
        else:
            link.server.write(data)
            await link.server.drain()

    async def _collect(self, answers: asyncio.StreamReader, late: asyncio.Queue[tuple[float, bytes]]) -> None:
        while data := await answers.read(CHUNK):
            late.put_nowait((self._loop.time() + self._late, data))
        late.put_nowait((0.0, b""))

    async def _answer(self, link: Link, late: asyncio.Queue[tuple[float, bytes]]) -> None:
        while True:
            due, data = await late.get()
            if not data:
                return
            if (wait := due - self._loop.time()) > 0:
                await asyncio.sleep(wait)
            await self._reply(link, data)

    async def _reply(self, link: Link, data: bytes) -> None:
        if self._fault == "swallow":
            link.marred = True
            return
        if self._fault == "garbage":
            link.marred = True
            data = os.urandom(len(data))
        while self._fault == "trickle" and data:
            link.client.write(data[:1])
            data = data[1:]
            await link.client.drain()
            await asyncio.sleep(self._pause)
        link.client.write(data)
        await link.client.drain()


class Unconditional(Proxy):
    """A proxy for an object store without conditional writes: 501 to what carries If-Match or If-None-Match and isn't a read."""

    async def _ask(self, link: Link) -> None:
        while True:
            try:
                head = await link.source.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as ended:
                if ended.partial:
                    raise
                return
            verb = head.split(b" ", 1)[0]
            names = {line.partition(b":")[0].strip().lower(): line.partition(b":")[2].strip() for line in head.split(b"\r\n")[1:]}
            refused = verb not in {b"GET", b"HEAD"} and names.keys() & {b"if-match", b"if-none-match"}
            if not refused:
                await self._forward(link, head)
            await self._body(link, names, None if refused else self._forward)
            if refused:
                reply = b"HTTP/1.1 501 Not Implemented\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n" % len(
                    REFUSAL
                )
                await self._reply(link, reply + REFUSAL)

    async def _body(
        self, link: Link, names: dict[bytes, bytes], forward: Callable[[Link, bytes], Awaitable[None]] | None
    ) -> None:
        left = int(names.get(b"content-length", 0))
        chunked = names.get(b"transfer-encoding", b"").lower() == b"chunked"
        while left or chunked:
            if chunked:
                line = await link.source.readuntil(b"\r\n")
                size = int(line.split(b";")[0], 16)
                data = line + await link.source.readexactly(size + 2)
                chunked = size > 0
            else:
                data = await link.source.read(min(left, CHUNK))
                if not data:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(data)
            if forward:
                await forward(link, data)
