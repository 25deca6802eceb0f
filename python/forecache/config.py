"""What a cache is made with: one frozen value, validated once, whose defaults work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from forecache import checks, patterns
from forecache._core import FakeClock
from forecache.events import OnRemove
from forecache.patterns import Group, Groups, Owners
from forecache.units import Duration, Size, parse_duration, parse_size, wrong

if TYPE_CHECKING:
    from forecache.codec import Codec
    from forecache.sources import Given
    from forecache.tiers.boundary import Boundary
    from forecache.tiers.tier import Tier

__all__ = ["Config", "Group", "parse_count", "parse_duration", "parse_size"]

LEARNING = ("learned",)
"""Policies that have a model."""
SHORTEST, LONGEST = 256, 2**30
"""Bounds of `update_interval`."""

Weigher: TypeAlias = Callable[[str, Any], int]


@dataclass(frozen=True, init=False)
class Config:
    """All options, in the one form that the rest of the package reads. They are explained in `Cache`.

    Raises `ConfigError` that names the option, what was given and what is allowed.

    >>> Config("512MB", ttl="2h5m").ttl
    7500.0
    >>> Config("many")
    Traceback (most recent call last):
    forecache.errors.ConfigError: capacity: got 'many'; allowed: a whole number ...
    """

    capacity: int
    max_entries: int | None
    policy: str
    ttl: float | None
    tti: float | None
    jitter: float
    weigher: Weigher | None
    copy: bool
    groups: tuple[tuple[str, float | None, float | None], ...]
    namespace: str
    seed: int | None
    on_remove: OnRemove | None
    clock: FakeClock | None
    control: str | None
    tiers: tuple[Boundary, ...]
    journal: str | None
    reserve: int | None
    owners: tuple[tuple[str, int, int | None], ...]
    shadow: str | None
    codec: str | Codec
    secret: bytes | None = field(repr=False)
    model: str | None
    learning_rate: float | None
    update_interval: int | None
    save_interval: float | None
    online: bool
    origins: Mapping[str, str] = field(init=False, repr=False, compare=False)
    """Where each setting came from that a source or a preset gave: `origins["redis.capacity"]`. What isn't here is the default,
    or was given to `Config` or `Cache` themselves."""
    planned: Mapping[str, Any] = field(init=False, repr=False, compare=False)
    """Options that a preset names whose parts aren't built yet: kept, and not in force."""

    def __init__(
        self,
        capacity: Size = "100MB",
        max_entries: int | None = None,
        policy: str = "s3fifo",
        ttl: Duration | None = None,
        tti: Duration | None = None,
        jitter: float = 0,
        weigher: Weigher | None = None,
        copy: bool = False,
        groups: Groups | None = None,
        namespace: str = "",
        seed: int | None = None,
        on_remove: OnRemove | None = None,
        clock: FakeClock | None = None,
        control: str | os.PathLike[str] | None = None,
        tiers: Iterable[Boundary | Tier] = (),
        codec: str | Codec = "msgpack",
        secret: str | bytes | None = None,
        journal: str | os.PathLike[str] | None = None,
        reserve: Size | None = None,
        owners: Owners | None = None,
        shadow: str | os.PathLike[str] | None = None,
        model: str | os.PathLike[str] | None = None,
        learning_rate: float | None = None,
        update_interval: int | None = None,
        save_interval: Duration | None = None,
        online: bool = True,
    ) -> None:
        key = secret.encode() if isinstance(secret, str) else secret
        valid = {
            "capacity": parse_size(capacity, "capacity"),
            "max_entries": checks.whole("max_entries", max_entries, 1, 2**32 - 1),
            "policy": checks.policy("policy", policy),
            "ttl": checks.time("ttl", ttl),
            "tti": checks.time("tti", tti),
            "jitter": checks.share("jitter", jitter),
            "weigher": checks.function("weigher", weigher, "a function (key, value) -> weight as a whole number"),
            "copy": checks.flag("copy", copy),
            "groups": tuple(patterns.groups(groups)),
            "namespace": checks.text("namespace", namespace),
            "seed": checks.whole("seed", seed, 0, 2**64 - 1),
            "on_remove": checks.function("on_remove", on_remove, "a function (key, value, cause)"),
            "clock": clock,
            "control": checks.path("control", control),
            "tiers": _tiers(tiers),
            "journal": checks.path("journal", journal, "a path for a directory"),
            "owners": tuple(patterns.owners(owners)),
            "reserve": None if reserve is None else parse_size(reserve, "reserve"),
            "shadow": checks.path("shadow", shadow, "a model: name, name@version or a file"),
            "codec": _codec(codec, key),
            "secret": key,
            "model": checks.path("model", model, "a path for a file"),
            "learning_rate": checks.rate("learning_rate", learning_rate),
            "update_interval": checks.whole("update_interval", update_interval, SHORTEST, LONGEST),
            "save_interval": checks.time("save_interval", save_interval),
            "online": checks.flag("online", online),
            "origins": {},
            "planned": {},
        }
        if clock is not None and not isinstance(clock, FakeClock):
            raise wrong("clock", clock, "None for the real one, or a forecache.testing.FakeClock")
        _check_learning(valid)
        for name, value in valid.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_url(cls, *urls: str, **options: Any) -> Config:
        """Reads one URL a tier, options as its query, the fastest tier first; `options` (those of `Cache`) go before them.

        Memory is there also if it isn't named. Raises `ConfigError` for an unknown tier or option.

        >>> config = Config.from_url("memory://?capacity=512MB&policy=lru&ttl=5m", "disk:///var/cache/app?capacity=20GB")
        >>> config.capacity, config.tiers[0].path
        (512000000, '/var/cache/app')
        """
        from forecache import sources

        return cls._of(sources.from_urls(urls), options)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str], **options: Any) -> Config:
        """Reads a TOML file: a table `[forecache]` (or `[tool.forecache]`), or the same at the top level.

        ```toml
        namespace = "app"
        ttl = "1h"

        [memory]                # a table for each tier
        capacity = "512MB"
        policy = "lru"

        [disk]
        path = "/var/cache/app"
        enabled = false         # a switch

        [groups]                # the first pattern that matches a key wins
        "token:*" = "5m"
        "page:*" = { ttl = "1h", tti = "10m" }
        ```

        `options` (those of `Cache`) go before the file's. Raises `ConfigError` for what is wrong in it, `OSError` if it can't
        be read.
        """
        from pathlib import Path

        from forecache import sources

        return cls._of(sources.from_toml(Path(path)), options)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **options: Any) -> Config:
        """Reads `FORECACHE_<OPTION>` and `FORECACHE_<TIER>_<OPTION>`; `FORECACHE_<TIER>=on|off` switches a tier.

        `FORECACHE_GROUPS` is JSON. `options` (those of `Cache`) go before the environment's (`os.environ` if None). Raises
        `ConfigError` for a name that is none of ours, with the nearest one that is.

        >>> Config.from_env({"FORECACHE_MEMORY_CAPACITY": "1GB", "FORECACHE_GROUPS": '{"page:*": "1h"}'}).groups
        (('page:*', 3600.0, None),)
        """
        from forecache import sources

        return cls._of(sources.from_env(os.environ if environ is None else environ), options)

    @classmethod
    def load(
        cls,
        *urls: str,
        path: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Config:
        """Puts all sources together: `options` go before `urls`, these before the environment, that before a TOML file, and the
        file before a preset. The file is that at `path`; else what `FORECACHE_CONFIG` names; else `forecache.toml` in the
        working directory, if it is there.

        Each source reads as in `from_url`, `from_env` and `from_toml`; what several say of one tier is put together option by
        option. Raises `ConfigError` for what is wrong in any of them, `OSError` if the file can't be read.

        >>> config = Config.load("disk:///var/cache/app", environ={"FORECACHE_DISK_CAPACITY": "20GB"}, ttl="1h")
        >>> config.tiers[0].path, config.tiers[0].capacity, config.origins["disk.capacity"], config.origins["ttl"]
        ('/var/cache/app', 20000000000, 'FORECACHE_DISK_CAPACITY', 'keyword')
        """
        from forecache import loading

        return cls._of(loading.gather(urls, path, os.environ if environ is None else environ), options)

    @classmethod
    def _of(cls, given: Given, keywords: Mapping[str, Any]) -> Config:
        from forecache import loading

        made = loading.make(given, keywords)
        config = cls(**made.options)
        object.__setattr__(config, "origins", made.origins)
        object.__setattr__(config, "planned", made.planned)
        return config


def parse_count(value: int, field: str) -> int:
    """A whole number of entries, at least 1; `ConfigError` that names `field` for anything else."""
    count = checks.whole(field, value, 1, 2**32 - 1)
    if count is None:
        raise wrong(field, value, "a whole number")
    return count


def _tiers(tiers: Iterable[Any]) -> tuple[Boundary, ...]:
    if isinstance(tiers, str | Mapping) or not isinstance(tiers, Iterable):
        raise wrong("tiers", tiers, "a list of tiers, the fastest first: [Disk('/var/cache/app')]")
    given = tuple(tiers)
    if not given:  # memory alone pays for no tier's module
        return ()
    from forecache.tiers.boundary import as_boundary

    made = tuple(map(as_boundary, given))
    seen = {"memory"}
    for tier in made:
        if tier.name in seen:
            raise wrong("tiers", tier, f"one tier of each name: there is a {tier.name!r} before it")
        seen.add(tier.name)
    return made


def _check_learning(options: Mapping[str, Any]) -> None:
    """Options of learning are for policies that learn, and don't contradict each other."""
    usual = {"model": None, "learning_rate": None, "update_interval": None, "save_interval": None, "online": True}
    for name, value in usual.items():
        if options[name] != value and options["policy"] not in LEARNING:
            policies = " or ".join(LEARNING)
            raise wrong(
                name, options[name], f"{value}, since the policy is {options['policy']}; with {policies} it has a meaning"
            )
    if options["save_interval"] is not None:
        if options["model"] is None:
            raise wrong("save_interval", options["save_interval"], "None without model=…, which says where it is saved")
        if not options["online"]:
            raise wrong("save_interval", options["save_interval"], "None with online=False, which learns nothing to save")


def _codec(given: str | Codec, secret: bytes | None) -> str | Codec:
    if isinstance(given, str):
        if given != "msgpack" or secret is not None:  # the default is right, and needs nothing imported
            from forecache.codec import codec

            codec(given, secret)
        return given
    if not all(hasattr(given, name) for name in ("number", "encode", "decode")):
        raise wrong("codec", given, "msgpack, json, pickle, or an object with number, encode and decode")
    if not isinstance(given.number, int) or not 128 <= given.number <= 255:
        raise wrong("codec.number", given.number, "128 to 255 for a codec of one's own")
    if secret is not None:
        raise wrong("secret", "bytes", "none: a codec of one's own has its own")
    return given
