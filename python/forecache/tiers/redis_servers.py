"""Asks the servers that hold what is asked for, in either colour, and goes where they say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from forecache.errors import TierUnavailable
from forecache.flow import Either, Flow
from forecache.tiers.per_loop import PerLoop
from forecache.tiers.redis_pool import Awaited, Plain, Requests
from forecache.tiers.redis_route import route
from forecache.tiers.redis_url import Address, shown
from forecache.tiers.redis_wire import FILES, Busy, Command, Dial, Reply, is_error

if TYPE_CHECKING:
    from forecache.tiers.redis import Redis

__all__ = ["Servers"]

DOUBTED = ("READONLY", "MASTERDOWN", "CLUSTERDOWN", "LOADING", "LATE", "NOAUTH")
"""Errors of a server that may not be the one to ask, or whose clock isn't what it was."""
_log = logging.getLogger("forecache")
TURNS = 5
"""How often a command is sent again because a server said that another has it."""


class Servers:
    """Servers of a tier, their connections, and which of them has what. `replaced` is called when another server answers than
    before, and says whether that is to be told to who asks."""

    def __init__(self, options: Redis, replaced: Callable[[], bool]) -> None:
        self._name = options.name
        self._connections = options.connections
        self._replaced = replaced
        self.route = route(options.target, self._once, options.timeout)
        dial = Dial(options.target, timeout=options.timeout, tls=_tls(options))
        self.plain = Plain(dial, self._greet, self._most)
        self.awaited: PerLoop[Awaited] = PerLoop(lambda: Awaited(dial, self._greet, self._most), Awaited.close)
        self._era = self._seen = 0
        self._closed = False

    def exchange(self, commands: list[Command]) -> Flow[list[Reply]]:
        """The replies to commands, each by the server that has its bucket. Raises `TierUnavailable` for errors of servers."""
        if self._closed:
            raise TierUnavailable(f"{self._name}: closed")
        if not commands:
            return []
        answered: dict[Command, Reply] = {}
        waiting = commands
        for _ in range(TURNS):
            requests = yield from self._requests(waiting)
            try:
                told = yield Either(self._ask, self._aask, (requests,))
            except Busy:
                raise
            except (TierUnavailable, TimeoutError):
                for address, _ in requests:
                    self._doubt(address)
                raise
            if len(commands) == 1 and not is_error(told[0][0]):  # as it is most often
                return told[0]  # type: ignore[no-any-return]
            waiting = []
            for (address, asked), replies in zip(requests, told, strict=True):
                for command, reply in zip(asked, replies, strict=True):
                    if is_error(reply):
                        self._refused(address, command, str(reply))
                        waiting.append(command)
                    else:
                        answered[command] = reply
            if not waiting:
                return [answered[command] for command in commands]
        raise TierUnavailable(f"{self._name}: servers sent a command from one to another {TURNS} times")

    def close(self) -> Flow[None]:
        """Closes all connections. Closing twice is fine."""
        if not self._closed:
            self._closed = True
            yield Either(self._end, self._aend)

    def _end(self) -> None:
        self.plain.close()
        self.awaited.close()

    async def _aend(self) -> None:
        self.plain.close()
        await self.awaited.aclose()

    def forked(self) -> None:
        """For the child of a fork: connections are the parent's."""
        self.plain.forked()
        self.awaited.forked()

    def _most(self) -> int:
        """Connections that one server may have."""
        return max(1, self._connections // self.route.servers)

    def _greet(self, address: Address, replies: Sequence[Reply], heard: float) -> float:
        """Looks at who answers at the other end of a new connection. Gives how far the server's clock is ahead of ours."""
        *_, time = replies
        if is_error(time):
            raise TierUnavailable(f"{shown(address)}: {time}")
        was = self.route.blind
        replaced = self.route.met(address, replies)
        if self.route.blind is not None and was is None:
            _log.warning("tier %s: %s: %s", self._name, shown(address), self.route.blind)
        if replaced:
            self._replace(f"another server answers at {shown(address)} than before")
        return int(time[0]) + int(time[1]) / 1e6 - heard

    def _replace(self, reason: str) -> None:
        """Tells that another server answers, which may lack what was confirmed: what is owed comes first."""
        self._era += 1
        if self._replaced():
            raise TierUnavailable(reason)

    def _once(self, address: Address, words: tuple[str, ...], login: bool) -> Flow[Reply]:
        return (yield Either(self.plain.once, self._aonce, (address, words, login)))

    async def _aonce(self, *arguments: Any) -> Reply:
        return await (await self.awaited.get()).once(*arguments)

    def _ask(self, requests: Requests) -> list[list[Reply]]:
        plain = self.plain
        if plain.era != self._era:
            plain.renew(self._era)
        return plain.ask(requests)

    async def _aask(self, requests: Requests) -> list[list[Reply]]:
        awaited = await self.awaited.get()
        awaited.closed = awaited.closed or self._closed  # meanwhile
        if awaited.era != self._era:
            awaited.renew(self._era)
        return await awaited.ask(requests)

    def _requests(self, commands: list[Command]) -> Flow[Requests]:
        """Commands by the address of the server that has their bucket."""
        found: dict[Address, list[Command]] = {}
        for command in commands:
            address = command.elsewhere or self.route.address(command.bucket)
            if address is None:
                yield from self.route.find()
                address = self.route.address(command.bucket)
            if self.route.replaced != self._seen:  # whoever found that out
                replaced = self.route.replaced
                try:
                    self._replace("other servers answer than before")
                finally:
                    self._seen = replaced
            if address is None:
                raise TierUnavailable(f"{self._name}: it isn't known which server to ask")
            found.setdefault(address, []).append(command)
        requests = list(found.items())
        if len(requests) > 1:
            requests.sort(key=_first)
        return requests

    def _doubt(self, address: Address) -> None:
        """Something is wrong with a server: connections to it that seem fine may not be, and it may not be the one to ask."""
        self._era += 1
        self.route.doubt(address)

    def _refused(self, address: Address, command: Command, text: str) -> None:
        """Sees to it that a command goes to the right place, if a server said which; else raises `TierUnavailable`."""
        code, *rest = text.split(" ")
        if code == "NOSCRIPT" and not command.whole:
            command.whole = True
        elif code in ("MOVED", "ASK") and len(rest) == 2:
            host, _, port = rest[1].rpartition(":")
            elsewhere = host or address[0], int(port)
            if code == "MOVED":
                self.route.moved(command.bucket, elsewhere)
            else:
                command.elsewhere, command.asking = elsewhere, True
        else:
            if code in DOUBTED:
                self._doubt(address)
            raise TierUnavailable(f"{shown(address)}: {text}")


def _first(request: tuple[Address, list[Command]]) -> Address:
    return request[0]


def _tls(options: Redis) -> dict[str, Any]:
    """What redis-py is told about certificates."""
    return {name: file for name, option in FILES.items() if (file := getattr(options, option)) is not None}
