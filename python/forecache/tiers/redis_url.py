"""Where a Redis is, by URL: one server, a set of sentinels, a cluster, or a socket of this host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from forecache.units import wrong

__all__ = ["Address", "Target", "target"]

Address = tuple[str, int]
"""Host and port; of a socket of this host its path and 0."""

SCHEMES = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "unix": ("single", False),
}
PORTS = {"single": 6379, "sentinel": 26379, "cluster": 6379}
ALLOWED = (
    "redis://host:6379/0, rediss://… (TLS), redis+sentinel://host1,host2,host3/name-of-the-master, redis+cluster://host1,host2, "
    "or unix:///path/redis.sock?db=0"
)


@dataclass(frozen=True)
class Target:
    """A URL taken apart. `master` is what sentinels call it."""

    kind: str
    addresses: tuple[Address, ...]
    tls: bool = False
    master: str | None = None
    db: int = 0
    username: str | None = None
    password: str | None = None

    @property
    def url(self) -> str:
        """The same in one form for all who mean the same, without user and password."""
        place = ",".join(map(shown, self.addresses))
        if not self.addresses[0][1]:
            return f"unix://{place}?db={self.db}"
        path = {"single": f"/{self.db}", "sentinel": f"/{self.master}/{self.db}", "cluster": ""}[self.kind]
        scheme = "rediss" if self.tls else "redis"
        return f"{scheme}{'' if self.kind == 'single' else '+' + self.kind}://{place}{path}"

    def __repr__(self) -> str:
        return f"<{self.url}>"


def shown(address: Address) -> str:
    """An address as people write it."""
    host, port = address
    host = f"[{host}]" if ":" in host and port else host
    return f"{host}:{port}" if port else host


def target(field: str, url: Any) -> Target:
    """Takes a URL apart, or raises `ConfigError`, which doesn't show what may be a password."""
    if not isinstance(url, str):
        raise wrong(field, url, ALLOWED)
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise wrong(field, hidden(url), ALLOWED)
    kind, tls = SCHEMES[parts.scheme]
    login, _, place = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    segments = [unquote(segment) for segment in parts.path.split("/") if segment]
    query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    db = query.pop("db", None)
    if query:
        raise wrong(field, hidden(url), f"no {', '.join(sorted(query))} in the query: {ALLOWED}")
    master: str | None = None
    if parts.scheme == "unix":
        addresses: tuple[Address, ...] = ((unquote(parts.path), 0),)
        fits = bool(parts.path.strip("/")) and not place
        segments = []
    else:
        addresses = tuple(_address(field, url, each, PORTS[kind]) for each in (place or "localhost").split(","))
        fits = kind != "single" or len(addresses) == 1
    if kind == "sentinel":
        fits = fits and bool(segments)
        master = segments.pop(0) if segments else None
    if segments:
        db = segments.pop(0)
    number = _db(field, url, db)
    if not fits or segments or (kind == "cluster" and number):
        raise wrong(field, hidden(url), ALLOWED)
    return Target(kind, addresses, tls, master, number, unquote(username) or None, unquote(password) or None)


def _db(field: str, url: str, db: str | None) -> int:
    if db is None:
        return 0
    if not db.isdecimal() or len(db) > 9:
        raise wrong(field, hidden(url), f"a number for the database: {ALLOWED}")
    return int(db)


def _address(field: str, url: str, text: str, port: int) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        host, own = parts.hostname, parts.port
    except ValueError:
        host, own = None, None
    if not host:
        raise wrong(field, hidden(url), f"hosts with ports from 1 to 65535: {ALLOWED}")
    return host, own or port


def hidden(url: str) -> str:
    """A URL without user and password."""
    scheme, separator, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{separator}{place.rpartition('@')[2]}{slash}{path}" if separator else "a URL without ://"
