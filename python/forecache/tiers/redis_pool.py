"""Pools of connections to Redis servers, one a colour: what asks servers.

Commands go out in one write a server, and replies come back in order. There are at most so many connections; who waits for one
waits within the time of the call. A connection that its server closed while nobody used it is noticed before it is used.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, Protocol, TypeAlias, TypeVar
from weakref import WeakSet

from forecache.errors import TierUnavailable
from forecache.tiers.redis_url import Address
from forecache.tiers.redis_wire import (
    AwaitedLink,
    Busy,
    Command,
    Dial,
    PlainLink,
    Reply,
    failed,
    packed,
)

__all__ = ["Awaited", "Plain", "Requests"]

Requests: TypeAlias = Sequence[tuple[Address, Sequence[Command]]]
Greet: TypeAlias = Callable[[Address, Sequence[Reply], float], float]
"""Is told what a server said on a new connection, and when (monotonic seconds); gives how far its clock is ahead of that."""

GREETING = packed("INFO", "server") + packed("INFO", "replication") + packed("TIME")
GREETED = 3


class AnyLink(Protocol):
    """What pools know of links."""

    address: Address
    era: int

    def fresh(self) -> bool: ...
    def drop(self) -> None: ...


L = TypeVar("L", bound=AnyLink)


class Pool(Generic[L]):
    """Links that nobody uses just now, and how many there are."""

    def __init__(self, dial: Dial, greet: Greet, most: Callable[[], int]) -> None:
        """`most` tells how many there may be to one server. It is a bound for each, and servers are asked in one order, because
        who holds a link while waiting for another must not wait for those who wait for theirs."""
        self.dial = dial
        self.greet = greet
        self.most = most
        self.idle: defaultdict[Address, deque[L]] = defaultdict(deque)
        self.links: defaultdict[Address, WeakSet[L]] = defaultdict(WeakSet)
        self.opening: defaultdict[Address, int] = defaultdict(int)
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
        self.links[link.address].discard(link)
        link.drop()

    def full(self, address: Address) -> bool:
        """Whether there are as many to a server as there may be."""
        return len(self.links[address]) + self.opening[address] >= self.most()

    def patience(self, ends: float | None) -> float | None:
        """Seconds that may be waited for room; raises `Busy` if that is over."""
        if ends is None:
            return None
        seconds = ends - time.monotonic()
        if seconds <= 0:
            raise Busy(f"all {self.most()} connections are in use")
        return seconds

    def renew(self, era: int) -> None:
        """No link that was opened in another era is used again."""
        self.era = era
        for idle in list(self.idle.values()):
            with suppress(IndexError):
                while True:
                    self.lose(idle.pop())


class Plain(Pool[PlainLink]):
    """The port of the sync face. Several threads may ask at once."""

    def __init__(self, dial: Dial, greet: Greet, most: Callable[[], int]) -> None:
        super().__init__(dial, greet, most)
        self._changed = threading.Condition()
        self._waiting = 0

    def ask(self, requests: Requests) -> list[list[Reply]]:
        """The replies to each server's commands."""
        links: list[PlainLink] = []
        ends = self.dial.ends()
        address = requests[0][0]
        try:
            for address, commands in requests:
                link = self.taken(address) or self._open(address, ends)
                links.append(link)
                link.send(link.packed(commands, ends))
            replies = []
            for link, (address, commands) in zip(links, requests, strict=True):  # noqa: B007  who failed is told
                replies.append(link.answers(commands, ends))
        except BaseException as error:
            for link in links:
                self.lose(link)
            self._tell()
            if isinstance(error, Exception):
                raise failed(address, error) from error
            raise
        for link in links:
            self._give(link)
        return replies

    def once(self, address: Address, words: tuple[str, ...], login: bool) -> Reply:
        """The reply to one command over a connection of its own; errors of the server are replies, too."""
        ends = self.dial.ends()
        link = self.dial.connect(address, ends, login)
        try:
            link.send(packed(*words))
            return link.receive(1, ends)[0]
        except Exception as error:
            raise failed(address, error) from error
        finally:
            link.drop()

    def _open(self, address: Address, ends: float | None) -> PlainLink:
        link = self._wait_for_room(address, ends)
        if link is not None:
            return link
        try:
            era = self.era
            link = self.dial.connect(address, ends, login=True)
            try:
                link.send(GREETING)
                link.ahead = self.greet(address, link.receive(GREETED, ends), time.monotonic())
            except BaseException:
                link.drop()
                raise
            link.era = era
            self.links[address].add(link)
            return link
        finally:
            with self._changed:
                self.opening[address] -= 1
                self._changed.notify_all()

    def _wait_for_room(self, address: Address, ends: float | None) -> PlainLink | None:
        """A link that another gave back, or None when there is room for a new one, which is counted as opening."""
        with self._changed:
            self._waiting += 1
            try:
                while not self.closed:
                    link = self.taken(address)
                    if link is not None:
                        return link
                    if not self.full(address):
                        self.opening[address] += 1
                        return None
                    self._changed.wait(self.patience(ends))
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
            self._changed.notify_all()

    def forked(self) -> None:
        """For the child of a fork."""
        for links in self.links.values():
            for link in list(links):
                link.forked()
        self.idle, self.links, self.opening = defaultdict(deque), defaultdict(WeakSet), defaultdict(int)
        self._waiting = 0
        self._changed = threading.Condition()

    def close(self) -> None:
        """Ends what is idle; what is in use ends when it was used."""
        self.closed = True
        self.renew(self.era)
        with self._changed:
            self._changed.notify_all()


class Awaited(Pool[AwaitedLink]):
    """The port of the async face, in one event loop."""

    def __init__(self, dial: Dial, greet: Greet, most: Callable[[], int]) -> None:
        super().__init__(dial, greet, most)
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def ask(self, requests: Requests) -> list[list[Reply]]:
        """See `Plain`."""
        links: list[AwaitedLink] = []
        ends = self.dial.ends()
        address = requests[0][0]
        try:
            for address, commands in requests:
                link = self.taken(address) or await self._open(address, ends)
                links.append(link)
                await link.send(link.packed(commands, ends))
            replies = []
            for link, (address, commands) in zip(links, requests, strict=True):  # noqa: B007  who failed is told
                replies.append(await link.answers(commands, ends))
        except BaseException as error:
            for link in links:
                self.lose(link)
            self._tell()
            if isinstance(error, Exception):
                raise failed(address, error) from error
            raise
        for link in links:
            self._give(link)
        return replies

    async def once(self, address: Address, words: tuple[str, ...], login: bool) -> Reply:
        """See `Plain`."""
        ends = self.dial.ends()
        link = await self.dial.aconnect(address, ends, login)
        try:
            await link.send(packed(*words))
            return (await link.receive(1, ends))[0]
        except Exception as error:
            raise failed(address, error) from error
        finally:
            link.drop()

    async def _open(self, address: Address, ends: float | None) -> AwaitedLink:
        link = await self._wait_for_room(address, ends)
        if link is not None:
            return link
        try:
            era = self.era
            link = await self.dial.aconnect(address, ends, login=True)
            try:
                await link.send(GREETING)
                link.ahead = self.greet(address, await link.receive(GREETED, ends), time.monotonic())
            except BaseException:
                link.drop()
                raise
            link.era = era
            self.links[address].add(link)
            return link
        finally:
            self.opening[address] -= 1
            self._tell()

    async def _wait_for_room(self, address: Address, ends: float | None) -> AwaitedLink | None:
        """See `Plain`."""
        while not self.closed:
            link = self.taken(address)
            if link is not None:
                return link
            if not self.full(address):
                self.opening[address] += 1
                return None
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await asyncio.wait((waiter,), timeout=self.patience(ends))
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
        """Has all look who wait for room: each waits for a certain server."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    async def close(self) -> None:
        """Ends all links, and waits until their sockets are closed."""
        self.closed = True
        links = [link for each in self.links.values() for link in each]
        self.idle.clear()
        for link in links:
            await link.end()
        self._tell()
