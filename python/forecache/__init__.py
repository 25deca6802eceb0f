"""A cache that looks ahead: memory first, with a Rust core.

>>> cache = Cache("512MB", ttl="5m")
>>> @cache.cached(key="user:{id}")
... def user(id):
...     return {"id": id}
>>> user(7)
{'id': 7}
>>> cache.get("user:7")
{'id': 7}
"""

import warnings
from typing import TYPE_CHECKING, Any

from forecache._core import DEBUG, MISSING, POLICIES
from forecache.aio import AsyncCache
from forecache.cache import Cache
from forecache.config import Config
from forecache.decorators import CacheInfo
from forecache.errors import (
    CacheClosed,
    CodecError,
    ConfigError,
    ForecacheError,
    ImmutableError,
    ReentrantLoad,
    TierReadOnly,
    TierUnavailable,
    TraceError,
    UnknownModel,
)
from forecache.events import ModelFailed, Refused, Removed, Resized, TierClosed, TierOpened
from forecache.patterns import Group, Owner

if TYPE_CHECKING:
    from forecache.advice import Advice, advise
    from forecache.explain import Candidate, Explanation
    from forecache.recording import Recorded, Recording
    from forecache.replays import replay
    from forecache.stats import Stats
    from forecache.tiers.boundary import Custom
    from forecache.tiers.disk import Disk
    from forecache.tiers.memcached import Memcached
    from forecache.tiers.object_store import ObjectStore
    from forecache.tiers.redis import Redis
    from forecache.tiers.zmemory import ZMemory

    __version__: str

__all__ = [
    "MISSING",
    "POLICIES",
    "Advice",
    "AsyncCache",
    "Cache",
    "CacheClosed",
    "CacheInfo",
    "Candidate",
    "CodecError",
    "Config",
    "ConfigError",
    "Custom",
    "Disk",
    "Explanation",
    "ForecacheError",
    "Group",
    "ImmutableError",
    "Memcached",
    "ModelFailed",
    "ObjectStore",
    "Owner",
    "Recorded",
    "Recording",
    "Redis",
    "ReentrantLoad",
    "Refused",
    "Removed",
    "Resized",
    "Stats",
    "TierClosed",
    "TierOpened",
    "TierReadOnly",
    "TierUnavailable",
    "TraceError",
    "UnknownModel",
    "ZMemory",
    "__version__",
    "advise",
    "replay",
]

_HOMES = {
    "Advice": "advice",
    "Candidate": "explain",
    "Custom": "tiers.boundary",
    "Disk": "tiers.disk",
    "Explanation": "explain",
    "Memcached": "tiers.memcached",
    "ObjectStore": "tiers.object_store",
    "Recorded": "recording",
    "Recording": "recording",
    "Redis": "tiers.redis",
    "Stats": "stats",
    "ZMemory": "tiers.zmemory",
    "advise": "advice",
    "replay": "replays",
}
"""Where that is which a cache of memory alone doesn't need, and `import forecache` doesn't pay for."""

if DEBUG:
    warnings.warn("forecache is a debug build and many times slower; build with --release", RuntimeWarning, stacklevel=2)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """What is imported at its first use; and the version, which the package's metadata have."""
        if name == "__version__":
            from importlib.metadata import version

            found: Any = version("forecache")
        elif name in _HOMES:
            from importlib import import_module

            found = getattr(import_module(f"forecache.{_HOMES[name]}"), name)
        else:
            raise AttributeError(f"module 'forecache' has no attribute {name!r}")
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
