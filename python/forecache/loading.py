"""From what sources say to the options of a `Config`: tiers made, presets applied, and of each setting where it came from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from forecache import presets, sources
from forecache.errors import ConfigError
from forecache.sources import Given, Said, Section
from forecache.tiers.boundary import Boundary
from forecache.tiers.disk import Disk
from forecache.tiers.memcached import Memcached
from forecache.tiers.zmemory import ZMemory
from forecache.units import wrong

__all__ = ["FILE", "KINDS", "Made", "gather", "make"]

KINDS: Mapping[str, Callable[..., Boundary]] = {"zmemory": ZMemory, "disk": Disk, "memcached": Memcached}
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
    given = sources.from_urls(urls).over(sources.from_env(environ))
    return given if file is None else given.over(sources.from_toml(file))


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


def _tier(section: Section) -> Boundary:
    options = section.options()
    for (kind, name), allowed in _NEEDED.items():
        if section.kind == kind and name not in options:
            raise wrong(f"{section.name}.{name}", None, allowed)
    if section.kind not in KINDS:
        raise ConfigError(f"{section.kind}: there is no such tier in this version")
    return KINDS[section.kind](**options)
