"""How long something took, of those times that were measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds: how many were measured, and what a half, 95 % and 99 % of them stayed at or below. None while there are none."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    buckets: tuple[tuple[float, int], ...]
    """The histogram: how many took less than so many seconds, each in the first bucket that it fits; without empty ones."""

    @classmethod
    def of(cls, told: dict[str, Any]) -> Latency:
        """From what Rust tells."""
        return cls(**told | {"buckets": tuple(told["buckets"])})
