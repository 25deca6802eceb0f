"""From what sources say to the options of a `Config`: tiers made, presets applied, and of each setting where it came from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from forecache import presets, sources
from forecache.options import CACHE, TIERS
from forecache.sources import Given, Said, Section
from forecache.tiers.boundary import Boundary
from forecache.units import nearest, wrong

__all__ = ["FILE", "KINDS", "Made", "gather", "kind", "kind_of", "make"]

KINDS = {
    "zmemory": "forecache.tiers.zmemory.ZMemory",
    "disk": "forecache.tiers.disk.Disk",
    "redis": "forecache.tiers.redis.Redis",
    "memcached": "forecache.tiers.memcached.Memcached",
    "object": "forecache.tiers.object_store.ObjectStore",
}
"""Where the class of each kind of tier is: it is imported when it is needed."""
FILE = "forecache.toml"
"""The file that is looked for in the working directory."""
_NEEDED = {
    ("disk", "path"): "the directory, as an absolute path; enabled = false or FORECACHE_DISK=off for no disk",
    (
        "object",
        "url",
    ): "where the objects are, such as s3://bucket/prefix; enabled = false or FORECACHE_OBJECT=off for no such tier",
}


class Made(NamedTuple):
    """What a `Config` is made of."""

    options: dict[str, Any]
    origins: dict[str, str]
    """Where each setting that somebody gave came from: `ttl`, `redis.capacity`."""
    planned: dict[str, Any]
    """Options that are kept and not in force."""


def gather(urls: Iterable[str], path: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Given:
    """What URLs say, before the environment, before the TOML file at `path`, else where `FORECACHE_CONFIG` says, else
    `forecache.toml` in the working directory, if it is there."""
    file = _file(path, environ)
    upper, lower = sources.from_urls(urls), sources.from_toml(file) if file is not None else Given()
    return upper.over(sources.from_env(environ).about(upper.over(lower))).over(lower)


def _file(path: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Path | None:
    if path is not None:
        return Path(path)
    named = environ.get(sources.CONFIG)
    if named is None:
        return Path(FILE) if Path(FILE).is_file() else None
    if not Path(named).is_file():
        raise wrong(sources.CONFIG, named, "a TOML file")
    return Path(named)


def make(given: Given, keywords: Mapping[str, Any]) -> Made:
    """Keywords go before what was given, that before a preset; `tiers` among the keywords takes the place of all other tiers."""
    for name, value in keywords.items():
        if name not in CACHE and name not in TIERS["memory"]:
            raise wrong(name, value, nearest(name, [*CACHE, *TIERS["memory"]]))
    mine = Given()
    mine.options = {name: Said(value, "keyword") for name, value in keywords.items() if value is not None or name != "preset"}
    given = mine.over(given)
    if "tiers" in given.options:
        given.sections = []
    preset = given.options.get("preset")
    planned = {} if preset is None else presets.apply(preset.value, given)
    tiers = [_tier(section) for section in given.tiers()] if "tiers" not in given.options else []
    origins = {name: said.origin for name, said in given.options.items()}
    for section in given.tiers():
        origins |= {f"{section.name}.{name}": said.origin for name, said in section.said.items()}
    options = {name: said.value for name, said in given.options.items() if name != "preset"}
    return Made(({"tiers": tiers} if tiers else {}) | options, origins, planned)


def kind(name: str) -> type[Boundary]:
    """The class of a kind of tier."""
    module, _, called = KINDS[name].rpartition(".")
    found: type[Boundary] = getattr(import_module(module), called)
    return found


def kind_of(tier: Boundary) -> str | None:
    """What tables and variables call the kind of a tier; None for one of the user's own."""
    classes = {f"{each.__module__}.{each.__qualname__}" for each in type(tier).__mro__}
    return next((name for name, where in KINDS.items() if where in classes), None)


def _tier(section: Section) -> Boundary:
    options = section.options()
    for (needing, name), allowed in _NEEDED.items():
        if section.kind == needing and name not in options:
            raise wrong(f"{section.name}.{name}", None, allowed)
    return kind(section.kind)(**options)
