"""The object tier: one object a value, in S3 and what speaks like it, Google Cloud Storage, Azure, or a local directory.

Here are its options; all else is loaded when it is made. What lies where is told by `objects/names.py`, what an object looks like
by `objects/form.py`, how a write that came too late is known by `objects/bucket.py`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from forecache import checks
from forecache.tiers.boundary import Compressed
from forecache.tiers.breaker import Tell
from forecache.tiers.objects.url import Access, Where, where
from forecache.tiers.remote import Remote
from forecache.tiers.tier import Now, Tier
from forecache.units import Duration, Size, parse_size, wrong

__all__ = ["ObjectStore"]

UNPACKED = 1024
"""Bytes below which nothing is compressed."""


@dataclass(frozen=True, init=False)
class ObjectStore(Remote):
    """An object tier: `Cache(tiers=[ObjectStore("s3://bucket/app")])`.

    `url` is `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///directory`; for Azure, `access_key`
    is the account's name. What isn't given of `endpoint`, `region` and keys is looked for where the cloud's own tools do. `ca` is
    a file of certificates to trust beside the system's. Values below `min_size` stay out. `concurrency` bounds requests at a
    time, `sweep` is the time between two looks at what has expired.

    >>> ObjectStore("s3://bucket/app", "1TB").min_size
    4096
    """

    url: str
    where: Where
    endpoint: str | None
    region: str | None
    access_key: str | None = field(repr=False)
    secret_key: str | None = field(repr=False)
    ca: str | None
    min_size: int
    concurrency: int
    decide: bool
    sweep: float

    def __init__(
        self,
        url: str,
        capacity: Size | None = None,
        *,
        name: str = "object",
        endpoint: str | None = None,
        region: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        min_size: Size = "4KiB",
        concurrency: int = 16,
        decide: bool = True,
        sweep: Duration = "1h",
        write: str = "through",
        queue: Size = "64MB",
        when_full: str = "wait",
        compression: str = "lz4",
        level: int | None = None,
        min_ratio: float = 1.2,
        strict: bool = False,
        timeout: Duration | None = 10,
        retries: int = 2,
        hedge: Duration | None = None,
    ) -> None:
        name = checks.name("name", name)
        place = where(f"{name}.url", url)
        self._take_remote(
            called=name,
            capacity=capacity,
            retries=retries,
            hedge=hedge,
            write=write,
            queue=queue,
            when_full=when_full,
            strict=strict,
            timeout=timeout,
            url=url,
            where=place,
            endpoint=_endpoint(f"{name}.endpoint", endpoint),
            region=None if region is None else checks.text(f"{name}.region", region),
            access_key=_secret(f"{name}.access_key", access_key),
            secret_key=_secret(f"{name}.secret_key", secret_key),
            ca=checks.path(f"{name}.ca", ca),
            min_size=parse_size(min_size, f"{name}.min_size", 0),
            concurrency=checks.whole(f"{name}.concurrency", concurrency, 1, 1000),
            decide=checks.flag(f"{name}.decide", decide),
            sweep=checks.time(f"{name}.sweep", sweep),
            packed=Compressed.checked(name, compression, level, UNPACKED, min_ratio),
        )
        if ca is not None and (place.scheme == "file" or (endpoint or "").startswith("http://")):
            raise wrong(f"{name}.ca", self.ca, "nothing, unless requests go by https")

    @property
    def address(self) -> str | None:
        """See `Boundary`."""
        return f"{self.where.scheme}://{self.where.bucket}/{self.where.prefix}@{self.endpoint or ''}"

    def access(self) -> Access:
        """How to get in."""
        return Access(self.endpoint, self.region, self.access_key, self.secret_key, self.timeout, self.ca)

    def make(self, namespace: str, now: Now, tell: Tell | None = None) -> Tier:
        """See `Boundary`. Loads obstore; contacts nobody."""
        from forecache.tiers.objects.tier import ObjectTier

        tier = ObjectTier(self, namespace, now)
        tier.load()
        return self._layered(tier, now, tell)


def _endpoint(name: str, endpoint: str | None) -> str | None:
    if endpoint is None:
        return None
    if not isinstance(endpoint, str) or not endpoint.startswith(("http://", "https://")) or "@" in endpoint:
        shown = endpoint.rpartition("@")[2] if isinstance(endpoint, str) else endpoint
        raise wrong(name, shown, "http://host:port or https://host:port, without user and password")
    return endpoint.rstrip("/")


def _secret(name: str, value: str | None) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise wrong(name, type(value).__name__ if not isinstance(value, str) else value, "a str that isn't empty, or None")
    return value
