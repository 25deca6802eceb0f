"""URLs of tiers: which kind a scheme means, which options are ours, and what is handed on to the tier."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from forecache.hiding import hidden
from forecache.units import nearest, wrong

__all__ = ["EXAMPLE", "SCHEMES", "Url", "schemes_of", "split"]

EXAMPLE = "a URL such as memory://?capacity=512MB&policy=lru or disk:///var/cache/app?capacity=20GB"
_REDIS = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster", "unix")
SCHEMES = {
    **{kind: kind for kind in ("memory", "zmemory", "disk")},
    **dict.fromkeys(_REDIS, "redis"),
    "memcached": "memcached",
    **dict.fromkeys(("s3", "gs", "az", "file"), "object"),
}
"""The kind of tier that each scheme means."""
_PASSED = {"redis": ("db",)}
"""What else a query may say: it stays in the URL."""
_FAR = ("redis", "memcached", "object")
_WHOLE = ("redis", "object")
"""Kinds that take a URL as it is, but for our options."""


class Url(NamedTuple):
    """A URL taken apart."""

    kind: str
    where: dict[str, str]
    """The option that says where the tier is."""
    options: list[tuple[str, str]]
    """Those of the query, in their order."""


def schemes_of(kind: str) -> list[str]:
    """The schemes that mean a kind."""
    return [scheme for scheme, means in SCHEMES.items() if means == kind]


def split(url: str, field: str = "url") -> Url:
    """Takes a URL apart; raises `ConfigError` for an unknown scheme, or one that says where its tier is in a wrong way.

    >>> split("redis://cache:6379?db=2&capacity=1GB")
    Url(kind='redis', where={'url': 'redis://cache:6379?db=2'}, options=[('capacity', '1GB')])
    """
    try:
        parts = urlsplit(url)
    except (ValueError, TypeError, AttributeError):
        raise wrong(field, url, EXAMPLE) from None
    if parts.scheme not in SCHEMES:
        raise wrong(field, url, f"a scheme of {nearest(parts.scheme, SCHEMES)}: {EXAMPLE}")
    kind = SCHEMES[parts.scheme]
    if kind in _FAR and ":" in parts.netloc and "@" not in parts.netloc and "@" in url:
        # What looks like a path or an option may be the rest of a password.
        raise wrong(field, url, "a URL whose password has %2F for '/', %3F for '?', %23 for '#' and %40 for '@'")
    # A plus sign is one, as in policy=clock2q+, and no blank: this is no form.
    query = parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True)
    ours = [(name, text) for name, text in query if name not in _PASSED.get(kind, ())]
    return Url(kind, dict(_where(kind, url, parts, field)), ours)


def _where(kind: str, url: str, parts: SplitResult, field: str) -> Iterator[tuple[str, str]]:
    if kind == "disk":
        yield "path", _path(url, parts, field)
    elif kind in ("memory", "zmemory"):
        if parts.netloc or parts.path.strip("/") or parts.fragment:
            raise wrong(field, url, f"options in the query, and nothing else: {EXAMPLE}")
    elif parts.fragment or "#" in url:
        raise wrong(field, url, "a URL without '#', or with %23 for it")
    elif kind in _WHOLE:
        yield "url", _rest(kind, parts)
    elif parts.path.strip("/"):
        raise wrong(field, url, "hosts, and options in the query: memcached://h1:11211,h2:11211")
    elif parts.netloc:
        yield "servers", parts.netloc


def _rest(kind: str, parts: SplitResult) -> str:
    """The URL without our options."""
    query = parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True)
    passed = "&".join(f"{name}={quote(text)}" for name, text in query if name in _PASSED.get(kind, ()))
    # Not urlunsplit: it drops the empty host of file:///directory and unix:///path.
    return f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{passed}" if passed else "")


def _path(url: str, parts: SplitResult, field: str) -> str:
    if parts.netloc:
        raise wrong(field, url, f"an absolute path after three slashes, as in {hidden(f'disk:///{parts.netloc}{parts.path}')}")
    if not parts.path.strip("/"):
        raise wrong(field, url, "a path, as in disk:///var/cache/app")
    if parts.fragment:
        raise wrong(field, url, "a path without '#', or with %23 for it")
    return unquote(parts.path)
