"""The Memcached tier: several servers on one ring, shared by all hosts that name them. Each server is a tier with a breaker of
its own (`memcached_server.py`), so that one that is down is a miss for its share, and the others go on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from forecache import checks
from forecache.tiers.boundary import Compressed
from forecache.tiers.breaker import Tell
from forecache.tiers.remote import Remote, needs
from forecache.tiers.ring import Ring
from forecache.tiers.tier import Now, Tier
from forecache.units import Duration, Size, wrong

__all__ = ["Memcached"]

PORT = 11211
SERVERS = "where servers are: 'host:port' (port 11211 if there is none), several with commas between or in a list, none twice"


@dataclass(frozen=True, init=False)
class Memcached(Remote):
    """A Memcached tier: `Cache(tiers=[Memcached("one:11211,two:11211")])`. Nothing is contacted until it is used.

    All who share the entries name the same servers, in any order. There are at most `connections` to each of them, and as many
    again in each event loop.

    >>> Memcached("one,two:11212").servers
    ('one:11211', 'two:11212')
    """

    servers: tuple[str, ...]
    connections: int

    def __init__(
        self,
        servers: str | Iterable[str] = "localhost:11211",
        *,
        name: str = "memcached",
        connections: int = 16,
        write: str = "through",
        queue: Size = "64MB",
        when_full: str = "wait",
        compression: str = "lz4",
        level: int | None = None,
        min_size: Size = 1024,
        min_ratio: float = 1.2,
        strict: bool = False,
        timeout: Duration | None = 0.5,
        retries: int = 1,
        hedge: Duration | None = None,
    ) -> None:
        self._take_remote(
            called=name,
            capacity=None,
            retries=retries,
            hedge=hedge,
            write=write,
            queue=queue,
            when_full=when_full,
            strict=strict,
            timeout=timeout,
            packed=Compressed.checked(name, compression, level, min_size, min_ratio),
            servers=_servers(f"{name}.servers", servers),
            connections=checks.whole(f"{name}.connections", connections, 1, 10_000),
        )

    def make(self, namespace: str, now: Now, tell: Tell | None = None) -> Tier:
        """See `Boundary`. Raises `ImportError`, which names the line for pip, where meta-memcache-socket isn't installed."""
        try:
            from forecache.tiers.memcached_ports import Server
            from forecache.tiers.memcached_server import MemcachedTier
        except ImportError as error:
            raise needs("memcached", error) from error
        parts = {}
        for text in self.servers:
            name = self.name if len(self.servers) == 1 else f"{self.name}[{text}]"
            server = Server(*_split("servers", text))
            parts[text] = self._layered(MemcachedTier(self, server, namespace, now, name), now, tell)
        return Ring(self.name, parts)


def _servers(field: str, given: str | Iterable[str]) -> tuple[str, ...]:
    texts = given.split(",") if isinstance(given, str) else given
    if not isinstance(texts, Iterable):
        raise wrong(field, given, SERVERS)
    found = []
    for text in texts:
        host, port = _split(field, text)
        found.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    if not found or len(set(found)) < len(found):
        raise wrong(field, given, SERVERS)
    return tuple(found)


def _split(field: str, text: str) -> tuple[str, int]:
    """Host and port of a server."""
    if not isinstance(text, str):
        raise wrong(field, text, SERVERS)
    bare = text.strip()
    host, mark, port = bare.rpartition(":") if not bare.endswith("]") else (bare, "", "")
    if not mark:
        host, port = bare, str(PORT)
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    elif ":" in host or "[" in host or "]" in host:
        raise wrong(field, text, SERVERS + "; an IPv6 address in brackets: [::1]:11211")
    if (
        not host
        or any(each.isspace() or each in "/@" or "\ud800" <= each <= "\udfff" for each in host)
        or not (port.isascii() and port.isdigit())
    ):
        raise wrong(field, text, SERVERS)
    if not 0 < int(port) < 65_536:
        raise wrong(field, text, SERVERS + "; a port is 1 to 65535")
    return host.lower(), int(port)
