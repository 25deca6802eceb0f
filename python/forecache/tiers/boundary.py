"""What a cache is told of a tier below memory: how it is made, and how values cross the boundary to it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forecache import checks
from forecache._core import Packing
from forecache.tiers.breaker import Breaker, Tell
from forecache.tiers.tier import Now, Tier
from forecache.units import Duration, Size, parse_size, wrong

__all__ = ["Boundary", "Custom", "as_boundary"]

WRITES = ("through", "behind", "demote")
WHEN_FULL = ("wait", "refuse")
VERBS = ("get_many", "set_many", "delete_many", "swap", "scan", "clear", "flush", "close", "stats")
PAUSE = 0.4, 0.5
"""Seconds between which lies the time that a tier is left alone when it has failed: one drawn for each, so that processes that
lost a server together don't ask it together."""


@dataclass(frozen=True, init=False)
class Boundary:
    """What holds for every tier below memory.

    `write`: `"through"` writes in line, `"behind"` queues and returns, `"demote"` writes what the tier above evicts. `queue`
    bounds what is queued, in bytes; when it is full, a write waits, or is refused (`when_full`). `strict` raises
    `TierUnavailable` where the cache would else go on without the tier; `timeout` bounds each call to it.
    """

    write: str
    queue: int
    when_full: str
    strict: bool
    timeout: float | None

    @property
    def name(self) -> str:
        """What the tier is called: by statistics, events and errors."""
        raise NotImplementedError

    @property
    def journalled(self) -> bool:
        """Whether what the tier misses is journalled: not if it is this process's, or lies on the disk that the journal would."""
        return False

    @property
    def address(self) -> str | None:
        """What tells its data from all other data, the same in all processes that share it, and without a secret; None if
        nothing does. Then its journal lies only where all files are the application's own.
        """
        return None

    def make(self, namespace: str, now: Now, tell: Tell | None = None) -> Tier:
        """The tier, with its layers, for the keys of a namespace; `now` gives milliseconds since 1970, `tell` gets events."""
        raise NotImplementedError

    def _layered(self, tier: Tier, now: Now, tell: Tell | None) -> Tier:
        pause = random.uniform(*PAUSE)  # noqa: S311  no secret
        return Breaker(tier, timeout=self.timeout, pause=pause, strict=self.strict, now=now, tell=tell)

    def _take(self, **options: Any) -> None:
        """Sets the fields of all boundaries, or raises `ConfigError`, and then other fields, which are valid."""
        field = self._field
        valid = {
            "write": checks.one_of(field("write"), options.pop("write"), WRITES),
            "queue": parse_size(options.pop("queue"), field("queue")),
            "when_full": checks.one_of(field("when_full"), options.pop("when_full"), WHEN_FULL),
            "strict": checks.flag(field("strict"), options.pop("strict")),
            "timeout": checks.time(field("timeout"), options.pop("timeout")),
        }
        for name, value in (valid | options).items():
            object.__setattr__(self, name, value)

    def _field(self, name: str) -> str:
        return f"{self.name}.{name}"


@dataclass(frozen=True)
class Compressed:
    """How a tier compresses what it stores."""

    compression: str
    level: int | None
    min_size: int
    min_ratio: float

    def packing(self) -> Packing:
        """The same for Rust; raises `ConfigError` for what no algorithm takes."""
        return Packing(self.compression, level=self.level, min_size=self.min_size, min_ratio=self.min_ratio)

    @classmethod
    def checked(cls, tier: str, compression: str, level: int | None, min_size: Size, min_ratio: float) -> Compressed:
        """Raises `ConfigError` for what isn't allowed."""
        if not isinstance(compression, str):
            raise wrong(f"{tier}.compression", compression, "lz4, zstd, snappy, gzip, none")
        checks.whole(f"{tier}.level", level, 1, 19)
        size = parse_size(min_size, f"{tier}.min_size", 0)
        if not isinstance(min_ratio, int | float) or isinstance(min_ratio, bool) or not 1 <= min_ratio < float("inf"):
            raise wrong(f"{tier}.min_ratio", min_ratio, "a number from 1: how many times smaller the compressed form must be")
        made = cls(compression, level, size, float(min_ratio))
        made.packing()
        return made


@dataclass(frozen=True, init=False)
class Custom(Boundary):
    """A tier of one's own: any object with the methods of `forecache.tiers.tier.Tier`. The cache closes it when it is closed.

    >>> from forecache.testing import DictTier
    >>> Cache(tiers=[Custom(DictTier(), write="behind")]).config.tiers[0].write
    'behind'
    """

    tier: Tier

    def __init__(
        self,
        tier: Tier,
        *,
        write: str = "through",
        queue: Size = "64MB",
        when_full: str = "wait",
        strict: bool = False,
        timeout: Duration | None = 5,
    ) -> None:
        lacks = [verb for verb in VERBS if not callable(getattr(tier, verb, None))]
        lacks += [field for field in ("name", "shared") if not hasattr(tier, field)]
        if lacks or isinstance(tier, type):
            raise wrong("tiers", tier, "Disk(…), ZMemory(…), or a tier of one's own; " + _lack(lacks))
        object.__setattr__(self, "tier", tier)
        if not isinstance(tier.name, str) or not tier.name:
            raise wrong("tiers", tier, f"a tier whose name is a str that isn't empty; it is {tier.name!r}")
        self._take(write=write, queue=queue, when_full=when_full, strict=strict, timeout=timeout)

    @property
    def name(self) -> str:
        """The tier's own."""
        return self.tier.name

    @property
    def journalled(self) -> bool:
        """See `Boundary`."""
        return self.tier.shared

    @property
    def address(self) -> str | None:
        """See `Boundary`. The tier may say so: `address`."""
        return getattr(self.tier, "address", None)

    def make(self, namespace: str, now: Now, tell: Tell | None = None) -> Tier:  # noqa: ARG002  the tier was made by the user
        """See `Boundary`."""
        return self._layered(self.tier, now, tell)


def _lack(lacks: Sequence[str]) -> str:
    return f"this has no {', '.join(lacks)}" if lacks else "this is a class; make one of it"


def as_boundary(tier: Any) -> Boundary:
    """What was given as a tier, with defaults if it is a tier alone."""
    return tier if isinstance(tier, Boundary) else Custom(tier)
