"""Who is measured: each cache by the expressions that its users write.

A contestant's expressions see `cache`, `key` and `value`; those of batches `cache`, `batch` (a dict) and `keys` (its keys). Every
cache is made for a number of entries, and filled before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from importlib import import_module
from typing import Any

TTL = 3600
HOUR = timedelta(seconds=TTL)
"""The same, as theine takes it; a constant, so that making it isn't timed."""


@dataclass(frozen=True)
class Contestant:
    """One cache in one setting."""

    name: str
    make: Callable[[int], Any]
    get: str = "cache.get(key)"
    set: str = "cache[key] = value"
    get_many: str = "{{key: {get} for key in keys}}"
    set_many: str = "for key, value in batch.items(): {set}"
    lacks: frozenset[str] = frozenset()
    """Operations that it doesn't have: no miss without a set, no eviction."""
    threadsafe: bool = True
    """False: with two threads every call takes a lock, as its documentation asks for."""

    def statement(self, operation: str) -> str:
        """What is timed for `operation`."""
        text = {"hit": self.get, "miss": self.get, "set": self.set, "evict": self.set}.get(operation)
        return text or {"get_many": self.get_many, "set_many": self.set_many}[operation].format(get=self.get, set=self.set)


def made_by(path: str, *leading: Any, named: str | None = None, **options: Any) -> Callable[[int], Any]:
    """A maker that imports `module.Class` when it is called, and gives it the number of entries by position or as `named`."""
    module, name = path.split(".")

    def make(entries: int) -> Any:
        kind = getattr(import_module(module), name)
        return kind(*leading, **{named: entries}, **options) if named else kind(entries, **options)

    return make


def memoised(entries: int) -> Any:
    """A hit is a call with a known argument; there is no miss without a set."""
    return lru_cache(maxsize=entries)(lambda key: key)


def ours(**ttl: float) -> Contestant:
    """The default policy, statistics on: there is no switch for them."""
    return Contestant(
        "forecache",
        made_by("forecache.Cache", "4GB", named="max_entries", seed=1, **ttl),
        set="cache.set(key, value)",
        get_many="cache.get_many(keys)",
        set_many="cache.set_many(batch)",
    )


WITH_TTL = (
    ours(ttl=TTL),
    Contestant(
        "cachebox VTTLCache",
        made_by("cachebox.VTTLCache"),
        set=f"cache.insert(key, value, {TTL})",
        set_many=f"cache.update(batch, {TTL})",
    ),
    Contestant("cachetools TTLCache", made_by("cachetools.TTLCache", ttl=TTL), threadsafe=False),
    Contestant("theine", made_by("theine.Cache"), set="cache.set(key, value, HOUR)"),
    Contestant("moka-py", made_by("moka_py.Moka", ttl=TTL), set="cache.set(key, value)"),
)
WITHOUT_TTL = (
    Contestant("dict", lambda _: {}, set_many="cache.update(batch)", lacks=frozenset({"evict"})),
    Contestant("lru_cache", memoised, get="cache(key)", set="cache(key)", lacks=frozenset({"miss", "set", "set_many"})),
    ours(),
    Contestant("cachebox LRUCache", made_by("cachebox.LRUCache"), set="cache.insert(key, value)", set_many="cache.update(batch)"),
    Contestant("cachetools LRUCache", made_by("cachetools.LRUCache"), threadsafe=False),
    Contestant("theine", made_by("theine.Cache"), set="cache.set(key, value)"),
    Contestant("moka-py", made_by("moka_py.Moka"), set="cache.set(key, value)"),
)
