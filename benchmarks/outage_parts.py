"""Outages of a Redis below a cache: how each begins and ends, and the values that show when an old one is served.

Every value says its key and its version, and an *origin* knows which version of a key is the least that may still be seen.
"""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forecache import Cache, Redis

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from servers import process
from servers.proxy import Proxy
from servers.redis import Redis as Server
from servers.sets import Cluster, RedisSet, SentinelSet

__all__ = [
    "OUTAGES",
    "Cluster",
    "Origin",
    "Outage",
    "Proxy",
    "SentinelSet",
    "Server",
    "Stale",
    "deaf_replicas",
    "failover",
    "open_cache",
    "process",
]

LENGTH = 1024
WRONG = "wrong"


@dataclass
class Outage:
    """A way in which a server fails a cache that was told `url`. `end` returns when the server can be used again."""

    url: str
    begin: Callable[[], object]
    end: Callable[[], object]


@contextmanager
def _killed(server: Server) -> Iterator[Outage]:
    yield Outage(server.url, server.kill, server.start)


@contextmanager
def _paused(server: Server) -> Iterator[Outage]:
    yield Outage(server.url, server.pause, server.resume)


@contextmanager
def _cut(server: Server) -> Iterator[Outage]:
    with Proxy(server.address) as proxy:
        yield Outage(proxy.through(server.url), proxy.cut, proxy.heal)


@contextmanager
def _half_open(server: Server) -> Iterator[Outage]:
    with Proxy(server.address) as proxy:
        yield Outage(proxy.through(server.url), proxy.half_open, proxy.heal)


@contextmanager
def _garbled(server: Server) -> Iterator[Outage]:
    with Proxy(server.address) as proxy:
        yield Outage(proxy.through(server.url), proxy.garbage, proxy.heal)


@contextmanager
def _disk_full(server: Server) -> Iterator[Outage]:
    yield Outage(server.url, server.fill_disk, server.free_disk)


@contextmanager
def _memory_full(server: Server) -> Iterator[Outage]:
    def limit(most: int) -> Callable[[], object]:
        return lambda: server.ask("CONFIG", "SET", "maxmemory", most)

    yield Outage(server.url, limit(1), limit(0))


@contextmanager
def _other_password(server: Server) -> Iterator[Outage]:
    def known_by(password: str) -> None:
        server.ask("ACL", "SETUSER", "cache", "reset", "on", f">{password}", "~*", "&*", "+@all")
        server.ask("CLIENT", "KILL", "USER", "cache", "SKIPME", "yes")

    known_by("first")
    yield Outage(server.url.replace("://", "://cache:first@"), lambda: known_by("second"), lambda: known_by("first"))
    server.ask("ACL", "DELUSER", "cache")


OUTAGES = {
    "killed": _killed,
    "paused": _paused,
    "cut": _cut,
    "half open": _half_open,
    "garbled": _garbled,
    "disk full": _disk_full,
    "memory full": _memory_full,
    "other password": _other_password,
}
"""What may happen to one server. What happens to sets is `failover`."""


def failover(servers: RedisSet) -> Outage:
    """The loss of a master; it ends with the promotion of a replica."""
    return Outage(servers.url, servers.kill_master, servers.wait_failover)


@contextmanager
def deaf_replicas(servers: RedisSet, master: Server) -> Iterator[None]:
    """While it lasts the master's replicas get nothing from it, and can be promoted: they are told a wrong password for it."""
    replicas = [
        node for node in servers.nodes if node is not master and node.info("replication").get("master_port") == str(master.port)
    ]
    for node in replicas:
        node.ask("CONFIG", "SET", "masterauth", WRONG)
    master.ask("CLIENT", "KILL", "TYPE", "replica")
    try:
        yield
    finally:
        for node in replicas:
            node.ask("CONFIG", "SET", "masterauth", "")


class Stale(AssertionError):
    """A value that was deleted or overwritten before it was asked for, or another key's."""


class Origin:
    """Where values come from. A key's versions go up; `seen` holds what a cache gave against the least it may give.

    Each key is changed by one caller at a time.
    """

    def __init__(self) -> None:
        self.versions: dict[str, int] = defaultdict(int)
        self.least: dict[str, int] = defaultdict(int)
        self.changing = threading.Lock()

    def load(self, key: str) -> bytes:
        """The present value."""
        return b"%s %d " % (key.encode(), self.versions[key]) + bytes(LENGTH)

    def change(self, key: str) -> bytes:
        """A new version; when the cache has been told, call `told`."""
        self.versions[key] += 1
        return self.load(key)

    def told(self, key: str) -> None:
        """From now on nothing older may be seen."""
        self.least[key] = self.versions[key]

    def seen(self, key: str, least: int, value: Any) -> None:
        """`least` is what `self.least[key]` was before the cache was asked. Raises `Stale`."""
        if value is None:
            return
        name, version, _ = value.split(b" ", 2)
        if name != key.encode() or int(version) < least:
            message = f"{key}: {name.decode()} in version {int(version)}, and {least} is the least"
            raise Stale(message)


def open_cache(url: str, journal: Path, *, capacity: str = "1MB", max_entries: int | None = None, **options: Any) -> Cache:
    """A cache over Redis; in memory it has room for the hot part of the load."""
    return Cache(capacity, max_entries=max_entries, journal=journal, tiers=[Redis(url, **options)])
