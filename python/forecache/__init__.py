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
from forecache.advise import Advice, advise
from forecache.aio import AsyncCache
from forecache.cache import Cache
from forecache.config import Config, Group
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
)
from forecache.events import Refused, Removed, TierClosed, TierOpened
from forecache.recording import Recorded, Recording
from forecache.replay import replay
from forecache.stats import Stats
from forecache.tiers.boundary import Custom
from forecache.tiers.disk import Disk
from forecache.tiers.zmemory import ZMemory

if TYPE_CHECKING:
    from forecache.tiers.memcached import Memcached
    from forecache.tiers.object_store import ObjectStore
    from forecache.tiers.redis import Redis

    __version__: str

__all__ = [
    "MISSING",
    "POLICIES",
    "Advice",
    "AsyncCache",
    "Cache",
    "CacheClosed",
    "CacheInfo",
    "CodecError",
    "Config",
    "ConfigError",
    "Custom",
    "Disk",
    "ForecacheError",
    "Group",
    "ImmutableError",
    "Memcached",
    "ObjectStore",
    "Recorded",
    "Recording",
    "Redis",
    "ReentrantLoad",
    "Refused",
    "Removed",
    "Stats",
    "TierClosed",
    "TierOpened",
    "TierReadOnly",
    "TierUnavailable",
    "TraceError",
    "ZMemory",
    "__version__",
    "advise",
    "replay",
]

if DEBUG:
    warnings.warn("forecache is a debug build and many times slower; build with --release", RuntimeWarning, stacklevel=2)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """What `import forecache` shall not pay for: remote tiers, and the version, which the package's metadata have."""
        if name == "__version__":
            from importlib.metadata import version

            return version("forecache")
        if name in ("Memcached", "ObjectStore", "Redis"):
            from forecache.loading import kind

            return kind({"ObjectStore": "object"}.get(name, name.lower()))
        raise AttributeError(f"module 'forecache' has no attribute {name!r}")
