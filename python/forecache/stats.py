"""What `cache.stats()` tells: plain frozen records, ready for JSON."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from forecache.latency import Latency
from forecache.tiers.tier import TierStats

if TYPE_CHECKING:
    from forecache.model import Kept


@dataclass(frozen=True, slots=True)
class GroupStats:
    """Sums of the keys of one shape: a pattern of `groups=`, or a template such as `user:{}`."""

    name: str
    hits: int
    misses: int
    entries: int
    weight: int


@dataclass(frozen=True, slots=True)
class OwnerStats:
    """What an owner has in the cache; the name of those that were stored without one is empty."""

    name: str
    entries: int
    weight: int


@dataclass(frozen=True, slots=True)
class Loads:
    """Calls of loaders, those of them that raised, and the seconds all took together."""

    count: int
    failures: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Predictions of about the same chance: that a key is asked for within the next requests, as many as there are entries."""

    predicted: float
    """Their mean."""
    seen: float
    """The share of the keys that were asked for."""
    weight: float
    """How many there are; old ones count for less."""


@dataclass(frozen=True, slots=True)
class ModelStats:
    """How the policy's learning goes. All but sums are of the present: what was found fades as what is learned does."""

    accuracy: float | None
    """The share of evictions that were right: the key wasn't asked for again within the next requests, as many as the cache holds
    entries. None before the first was judged. It is found for some hundred keys, chosen by hash."""
    judged: int
    """Evictions that were judged, since the cache was made or took another model."""
    calibration: tuple[Calibration, ...]
    """Predicted chances beside what came, from the least to the greatest."""
    calibration_error: float | None
    """How far predictions are from what came, on average; None before the first was judged."""
    updates: int
    """Conclusions drawn."""
    seconds: float
    """The time that took, of the threads that used the cache."""
    online: bool
    """Whether it learns."""
    origin: str
    """Where the model that it began with came from: a path, or "shipped"."""
    reason: str | None
    """Why a file wasn't taken, or the last attempt to save one failed."""
    saved: int
    """How often what was learned was saved."""

    @classmethod
    def of(cls, told: dict[str, Any], kept: "Kept") -> "ModelStats":
        """From what the store tells."""
        bins = [(weight, predicted, seen) for weight, predicted, seen in told.pop("bins") if weight > 0]
        weights = sum(weight for weight, _, _ in bins)
        error = sum(abs(predicted - seen) for _, predicted, seen in bins) / weights if weights else None
        calibration = tuple(Calibration(predicted / weight, seen / weight, weight) for weight, predicted, seen in bins)
        where = {"origin": kept.origin, "reason": kept.reason, "saved": kept.saved}
        return cls(**told, calibration=calibration, calibration_error=error, **where)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class ShadowStats:
    """How the model that is tried does beside the policy in force, both in miniature: caches of some thousand entries at most,
    which see all that is asked of a share of the keys. Hold their hit ratios against each other, not against the cache's own."""

    reads: int
    """Reads of those keys, since the share was last made smaller."""
    hit_rate: float
    """The share of them that hit under the policy in force."""
    shadow_hit_rate: float
    """The share of them that hit under the model that is tried."""
    error: float
    """The standard error of the difference of the two."""
    share: float
    """The share of the keys that is looked at: 1.0 for small caches."""
    entries: int
    """What the miniature under the policy in force holds."""
    shadow_entries: int

    @property
    def difference(self) -> float:
        """How much more of the reads would hit under the model that is tried."""
        return self.shadow_hit_rate - self.hit_rate

    @property
    def verdict(self) -> str:
        """`"better"` or `"worse"` is the model that is tried; `"can't tell yet"` while the difference is less than three standard
        errors, or there were fewer than 1,000 reads."""
        if self.reads < LEAST_READS or abs(self.difference) <= CERTAIN * self.error:
            return "can't tell yet"
        return "better" if self.difference > 0 else "worse"

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**asdict(self), "difference": self.difference, "verdict": self.verdict}

    @classmethod
    def of(cls, told: Any) -> "ShadowStats":
        """From what the store tells."""
        reads, (hits, shadow_hits), error, share, (entries, shadow_entries) = told
        return cls(reads, hits / max(reads, 1), shadow_hits / max(reads, 1), error, share, entries, shadow_entries)


LEAST_READS = 1000
CERTAIN = 3
"""Standard errors: who looks again and again sees two of them by chance."""


@dataclass(frozen=True, slots=True)
class Stats:
    """A cache at one moment. Sums count from its making; `weight` and `capacity` are bytes or the weigher's unit.

    >>> from forecache import Cache
    >>> cache = Cache()
    >>> cache.set("a", 1), cache.get("a"), cache.get("b")
    (True, 1, None)
    >>> stats = cache.stats()
    >>> stats.hits, stats.misses, stats.hit_rate, stats.entries, stats.evictions
    (1, 1, 0.5, 1, 0)
    """

    hits: int
    misses: int
    sets: int
    refused: int
    removed: dict[str, int]
    entries: int
    weight: int
    capacity: int
    max_entries: int | None
    bookkeeping_bytes: int
    policy: str
    uptime: float
    get_latency: Latency
    """How long `get` took in memory, of those calls that were timed: every 64th."""
    loads: Loads
    groups: tuple[GroupStats, ...]
    owners: tuple[OwnerStats, ...]
    shadow: ShadowStats | None = None
    """How the model of `Cache(shadow=…)` does; None without one."""
    tiers: tuple[TierStats, ...] = ()
    """Those below memory, from the fastest to the slowest."""
    promoted: int = 0
    """Values that climbed to memory from below."""
    model: ModelStats | None = None
    """How learning goes; None under a policy that learns no model."""

    @property
    def hit_rate(self) -> float:
        """Hits as a share of all reads; 0.0 before the first."""
        reads = self.hits + self.misses
        return self.hits / reads if reads else 0.0

    @property
    def evictions(self) -> int:
        """Entries that left for space."""
        return self.removed["size"]

    @property
    def eviction_rate(self) -> float:
        """Evictions a second, since the cache was made."""
        return self.evictions / self.uptime if self.uptime > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        shares = {"hit_rate": self.hit_rate, "evictions": self.evictions, "eviction_rate": self.eviction_rate}
        shadow = None if self.shadow is None else self.shadow.as_dict()
        return {**asdict(self), "shadow": shadow, **shares}

    @classmethod
    def of(cls, store: dict[str, Any], loads: Loads, uptime: float, kept: "Kept | None" = None) -> "Stats":
        """From what the store tells."""
        made = {
            "get_latency": Latency.of(store["get_latency"]),
            "groups": tuple(GroupStats(*group) for group in store["groups"]),
            "owners": tuple(OwnerStats(*owner) for owner in store["owners"]),
            "model": None if kept is None else ModelStats.of(store["model"], kept),
            "shadow": None if store["shadow"] is None else ShadowStats.of(store["shadow"]),
        }
        return cls(**{**store, **made}, loads=loads, uptime=uptime)
