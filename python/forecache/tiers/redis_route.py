"""Which server holds what: one, the master that sentinels name, or the masters of a cluster. Flows, so for both colours.

What a server says of itself on a new connection is held against what was known of it: who answers in the place of another may
lack what that one had confirmed.
"""

from __future__ import annotations

import binascii
import re
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from forecache.errors import TierUnavailable
from forecache.flow import Flow
from forecache.tiers.redis_url import Address, Target, shown

__all__ = ["CLUSTERED", "Route", "route", "tags"]

SLOTS = 16_384
CLUSTERED = 64
"""Buckets of a namespace in a cluster, each in another 256 slots: up to about as many masters share the namespace evenly."""
HANGS = 2
"""Servers that may take all their time while one is looked for; who comes next begins with the others."""
AGAIN = 0.1
"""Seconds after a look at a cluster in which a server that fails is no reason for another: what was known is asked meanwhile."""
_FACT = re.compile(rb"^(run_id|role):(\w+)\r?$", re.MULTILINE)

BLIND = "a failover can't be noticed, and may bring back what was changed last; the user needs the right to INFO (+info)"

Once = Callable[[Address, tuple[str, ...], bool], Flow[Any]]


@cache
def tags() -> tuple[bytes, ...]:
    """A hash tag for each bucket, such that they lie evenly among the slots."""
    found: dict[int, bytes] = {}
    number = 0
    while len(found) < CLUSTERED:
        tag = b"%x" % number
        found.setdefault(slot(tag) * CLUSTERED // SLOTS, tag)
        number += 1
    return tuple(found[bucket] for bucket in range(CLUSTERED))


def slot(tag: bytes) -> int:
    """The slot of keys with this hash tag."""
    return binascii.crc_hqx(tag, 0) % SLOTS


class Route:
    """One server, which is always where it is. `once` asks a server something over a connection of its own."""

    buckets = 1

    def __init__(self, target: Target, once: Once, timeout: float | None = None) -> None:
        """`timeout` is what `once` may take, in seconds."""
        self.target = target
        self.once = once
        self.patience = float("inf") if timeout is None else HANGS * timeout
        self.blind: str | None = None
        """Why another server in the place of one isn't noticed, if it isn't."""
        self.replaced = 0
        """How often another server was found in the place of one."""
        self._runs: dict[Address | None, bytes] = {}

    @property
    def servers(self) -> int:
        """How many servers there are to ask."""
        return 1

    def tag(self, bucket: int) -> bytes:  # noqa: ARG002  all keys are in one place
        """What the names of a bucket's keys have in them."""
        return b""

    def find(self) -> Flow[None]:
        """Finds out what `address` needs to know."""
        yield from ()

    def address(self, bucket: int) -> Address | None:  # noqa: ARG002  there is one
        """Where a bucket is; None if that must be found out."""
        return self.target.addresses[0]

    def doubt(self, address: Address) -> None:
        """A server failed: what is known is looked up again."""

    def moved(self, bucket: int, address: Address) -> None:
        """A server said that a bucket is elsewhere."""

    def met(self, address: Address, replies: Sequence[Any]) -> bool:
        """Whether a server is another than the one that answered in its place before, by what it says of itself."""
        facts = {name: fact for reply in replies if isinstance(reply, bytes) for name, fact in _FACT.findall(reply)}
        self._fits(address, facts)
        run, place = facts.get(b"run_id"), self._place(address)
        self.blind = None if run is not None else f"{BLIND}: {_first(replies)}"
        if run is None:
            return False
        known = self._runs.get(place)
        self._runs[place] = run
        return known not in (None, run)

    def _place(self, address: Address) -> Address | None:  # noqa: ARG002  there is one
        return None

    def _fits(self, address: Address, facts: dict[bytes, bytes]) -> None:
        """Raises `TierUnavailable` for a server that isn't what is looked for."""


def _first(replies: Sequence[Any]) -> str:
    """What a server said when it was asked for what it is."""
    return str(replies[0])[:200]


class Sentinels(Route):
    """The master that sentinels name. It is asked for again when it fails, or says that it isn't the master."""

    def __init__(self, target: Target, once: Once, timeout: float | None = None) -> None:
        super().__init__(target, once, timeout)
        self._master: Address | None = None
        self._first = 0

    def find(self) -> Flow[None]:
        """See `Route`."""
        reasons = []
        sentinels, first = self.target.addresses, self._first
        ends = time.monotonic() + self.patience
        for number in range(len(sentinels)):
            if time.monotonic() >= ends:
                break
            self._first = first + number
            sentinel = sentinels[self._first % len(sentinels)]
            words = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", str(self.target.master))
            try:
                reply = yield from self.once(sentinel, words, False)
                if str(reply).startswith("NOAUTH"):
                    reply = yield from self.once(sentinel, words, True)
            except (TierUnavailable, TimeoutError) as error:
                reasons.append(str(error))
                self._first = first + number + 1
                continue
            if isinstance(reply, list) and len(reply) == 2:
                self._master = reply[0].decode(), int(reply[1])
                return
            told = f"it knows no master {self.target.master!r}" if reply is None else str(reply)
            reasons.append(f"{shown(sentinel)}: {told}")
        raise TierUnavailable("no sentinel named the master: " + "; ".join(reasons))

    def address(self, bucket: int) -> Address | None:  # noqa: ARG002  there is one
        """See `Route`."""
        return self._master

    def doubt(self, address: Address) -> None:  # noqa: ARG002  there is one
        """See `Route`."""
        self._master = None

    def _fits(self, address: Address, facts: dict[bytes, bytes]) -> None:
        if facts.get(b"role", b"master") != b"master":
            raise TierUnavailable(f"{shown(address)}: it isn't the master any more")


class Cluster(Route):
    """The masters of a cluster, by what any of its servers says."""

    buckets = CLUSTERED

    def __init__(self, target: Target, once: Once, timeout: float | None = None) -> None:
        super().__init__(target, once, timeout)
        self._slots = [slot(tag) for tag in tags()]
        self._owners: list[Address | None] = [None] * CLUSTERED
        self._known: list[Address] = list(target.addresses)
        self._moved = self._doubted = False
        self._looked = 0.0

    @property
    def servers(self) -> int:
        """See `Route`."""
        return len(set(self._owners))

    def tag(self, bucket: int) -> bytes:
        """See `Route`."""
        return b"{%b}" % tags()[bucket]

    def find(self) -> Flow[None]:
        """See `Route`."""
        reasons = []
        self._looked = time.monotonic()
        ends = self._looked + self.patience
        for address in list(dict.fromkeys((*self._known, *self.target.addresses))):
            if time.monotonic() >= ends:
                break
            try:
                reply = yield from self.once(address, ("CLUSTER", "SLOTS"), True)
            except (TierUnavailable, TimeoutError) as error:
                reasons.append(str(error))
                self._last(address)
                continue
            if not isinstance(reply, list):
                reasons.append(f"{shown(address)}: {reply}")
                continue
            if self._enter(address, reply):
                self._moved = self._doubted = False
                return
            reasons.append(f"{shown(address)}: not all slots are served")
        raise TierUnavailable("no server told where the cluster's slots are: " + "; ".join(reasons))

    def _enter(self, asked: Address, ranges: list[Any]) -> bool:
        """Whether all slots are served; else what was known of their masters is kept."""
        owners: list[Address | None] = [None] * CLUSTERED
        nodes: dict[Address, None] = {}
        for first, last, *servers in ranges:
            for server in servers:
                nodes[(server[0] or asked[0].encode()).decode(), server[1]] = None
            host = (servers[0][0] or asked[0].encode()).decode()
            for bucket, place in enumerate(self._slots):
                if first <= place <= last:
                    owners[bucket] = host, servers[0][1]
        if None not in owners:  # who has given slots away, and still has others, gave all that was in them
            self.replaced += any(old is not None and old not in owners for old in self._owners)
            self._owners = owners
        self._known = list(nodes)
        return None not in owners

    def address(self, bucket: int) -> Address | None:
        """See `Route`."""
        doubted = self._doubted and time.monotonic() >= self._looked + AGAIN
        return None if self._moved or doubted else self._owners[bucket]

    def doubt(self, address: Address) -> None:
        """See `Route`."""
        self._doubted = True
        self._last(address)

    def _last(self, address: Address) -> None:
        """Others are asked first."""
        self._known = [*(each for each in self._known if each != address), address]

    def moved(self, bucket: int, address: Address) -> None:  # noqa: ARG002  others may have moved with it
        """See `Route`. Whether it was moved, or its master has lost its place, is looked up: where it is, they know it."""
        self._moved = True
        self._known = [address, *(each for each in self._known if each != address)]

    def _place(self, address: Address) -> Address | None:
        return address


ROUTES = {"single": Route, "sentinel": Sentinels, "cluster": Cluster}


def route(target: Target, once: Once, timeout: float | None) -> Route:
    """The route to what a URL names."""
    return ROUTES[target.kind](target, once, timeout)
