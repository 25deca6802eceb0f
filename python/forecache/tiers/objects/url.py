"""What a URL says of a store."""

from __future__ import annotations

import re
from typing import NamedTuple

from forecache.units import wrong

__all__ = ["Access", "Where", "where"]

SCHEMES = "s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, file:///directory"
LONGEST = 300
"""Bytes of a prefix: a name of an object has 1,024 at most."""
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]*")


class Where(NamedTuple):
    """What a URL says."""

    scheme: str
    bucket: str
    """Or container, or directory."""
    prefix: str
    """It ends in a slash, or is empty."""


class Access(NamedTuple):
    """How to get in; what is None is looked for where the cloud's own tools do."""

    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    timeout: float | None = None
    ca: str | None = None


def where(field: str, url: str) -> Where:
    """A URL taken apart. Raises `ConfigError`, which never shows what stands before an `@`.

    >>> where("object.url", "s3://bucket/app/cache")
    Where(scheme='s3', bucket='bucket', prefix='app/cache/')
    >>> where("object.url", "file:///var/cache/app")
    Where(scheme='file', bucket='/var/cache/app', prefix='')
    """
    if not isinstance(url, str):
        raise wrong(field, url, SCHEMES)
    scheme, mark, rest = url.partition("://")
    shown = f"{scheme}{mark}…@{rest.rpartition('@')[2]}" if "@" in rest else url
    if not mark or scheme not in {"s3", "gs", "az", "file"} or "?" in rest or "#" in rest or "\0" in rest:
        raise wrong(field, shown, SCHEMES)
    if scheme == "file":
        from urllib.parse import unquote

        path = unquote(rest)
        if not path.startswith("/"):
            raise wrong(field, shown, "file:/// and an absolute path, such as file:///var/cache/app")
        return Where(scheme, path, "")
    bucket, _, prefix = rest.partition("/")
    if "@" in rest:
        raise wrong(field, shown, f"{SCHEMES}; keys are given by access_key and secret_key, not in the URL")
    parts = [part for part in prefix.split("/") if part]
    if not _BUCKET.fullmatch(bucket) or any(part in {".", ".."} or not part.isprintable() for part in parts):
        raise wrong(field, shown, SCHEMES)
    prefix = "".join(f"{part}/" for part in parts)
    if len(prefix.encode()) > LONGEST:
        raise wrong(field, shown, f"a prefix of {LONGEST} bytes or less")
    return Where(scheme, bucket, prefix)
