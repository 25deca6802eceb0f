"""What looks unwise in a configuration that is valid: `forecache config` prints it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from forecache import machine
from forecache.config import Config
from forecache.hiding import hides
from forecache.loading import kind_of
from forecache.options import TIERS
from forecache.registry import is_path
from forecache.stack import journal_places
from forecache.tiers.boundary import Boundary, Custom
from forecache.tiers.disk import Disk
from forecache.tiers.object_store import ObjectStore
from forecache.tiers.redis import Redis
from forecache.tiers.remote import Remote
from forecache.tiers.zmemory import ZMemory
from forecache.units import size_text

__all__ = ["Doubt", "doubts"]

LEAST = 4.0
"""Seconds that the timeout of an object store should have: see `tiers.objects.bucket`."""
OTHERS_READ = 0o044
"""Mode bits of a file that its group, or everybody, may read."""


class Doubt(NamedTuple):
    """A setting, and what about it may not be what was meant."""

    setting: str
    words: str


def doubts(config: Config) -> list[Doubt]:
    """All that looks unwise on this host."""
    return [
        *_memory(config),
        *_disks(config),
        *_order(config),
        *_remote(config),
        *_shared(config),
        *_secrets(config),
        *_models(config),
    ]


def _memory(config: Config) -> Iterator[Doubt]:
    there = machine.memory()
    if there is None or config.weigher is not None:
        return
    wished = config.capacity + sum(tier.capacity for tier in config.tiers if isinstance(tier, ZMemory))
    if wished > there:
        yield Doubt("memory.capacity", f"{_about(wished)} of memory, and this host (or its control group) has {_about(there)}")


def _disks(config: Config) -> Iterator[Doubt]:
    for tier in config.tiers:
        room = machine.room(tier.path) if isinstance(tier, Disk) else None
        if isinstance(tier, Disk) and room is not None and tier.capacity > room:
            words = f"{_about(tier.capacity)}, and the file system of {tier.path} has room for {_about(room)}"
            yield Doubt(f"{tier.name}.capacity", words)


def _order(config: Config) -> Iterator[Doubt]:
    above: list[str] = []
    for tier in config.tiers:
        if isinstance(tier, Remote):
            above.append(tier.name)
        elif isinstance(tier, Disk) and above:
            yield Doubt("tiers", f"{tier.name} comes after {' and '.join(above)}: the network is asked before it is")


def _remote(config: Config) -> Iterator[Doubt]:
    for tier in config.tiers:
        if not isinstance(tier, Remote):
            continue
        if tier.timeout is None:
            yield Doubt(f"{tier.name}.timeout", "none: a server that hangs keeps its callers waiting")
        if isinstance(tier, ObjectStore) and tier.where.scheme != "file" and (tier.timeout or LEAST) < LEAST:
            words = "a write that is given up may be carried out so shortly after that others read it"
            yield Doubt(f"{tier.name}.timeout", f"less than {LEAST:g} s: {words}")
        if tier.capacity is None and config.ttl is None and "capacity" in TIERS.get(kind_of(tier) or "", ()):
            yield Doubt(
                f"{tier.name}.capacity", "none, and the cache has no ttl: what is stored there stays until the server runs full"
            )
        if not config.namespace:
            yield Doubt("namespace", f"empty: another program that uses {tier.name} without one has the same keys")
        if not any(map(_writable, journal_places(config, tier))):
            words = f"can't be written: what {tier.name} misses while it is down is lost with this process"
            yield Doubt("journal", f"{' and '.join(map(str, journal_places(config, tier)))} {words}")
        if _plain_password(tier):
            yield Doubt(f"{tier.name}.url", "a password that travels unencrypted: rediss:// is with TLS")


def _writable(directory: Path) -> bool:
    """Whether files can be made in a directory, or it itself can be."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)


def _plain_password(tier: Remote) -> bool:
    """Whether a password goes to another host without TLS."""
    if not isinstance(tier, Redis) or tier.target.password is None or tier.target.tls:
        return False
    hosts = [host for host, port in tier.target.addresses if port]  # a socket of this host has no port
    return not all(host in ("localhost", "::1") or host.startswith("127.") for host in hosts)


def _shared(config: Config) -> Iterator[Doubt]:
    names = [tier.name for tier in config.tiers if _is_shared(tier)]
    if config.codec == "pickle" and names:
        words = f"pickle, in {', '.join(names)}, which others may write: whoever has the secret runs code in this process"
        yield Doubt("codec", words)


def _is_shared(tier: Boundary) -> bool:
    return tier.tier.shared if isinstance(tier, Custom) else not isinstance(tier, ZMemory)


def _secrets(config: Config) -> Iterator[Doubt]:
    for setting, origin in config.origins.items():
        file = Path(origin)
        if _is_secret(config, setting) and file.is_file() and file.stat().st_mode & OTHERS_READ:
            yield Doubt(setting, f"a secret in {origin}, which others than its owner may read: chmod 600")


def _is_secret(config: Config, setting: str) -> bool:
    name, _, option = setting.rpartition(".")
    tier = next((tier for tier in config.tiers if tier.name == name), None)
    return hides(option) or (option == "url" and isinstance(tier, Redis) and tier.target.password is not None)


def _models(config: Config) -> Iterator[Doubt]:
    made = config.save_interval is not None
    for setting, spec in (("model", None if made else config.model), ("shadow", config.shadow)):
        if spec is not None and is_path(spec) and not Path(spec).exists():
            yield Doubt(setting, f"there is no file {spec}, so no cache can be made")


def _about(size: int) -> str:
    """A size in three figures, or exactly where that is short."""
    exact = size_text(size)
    step = 10 ** max(0, len(str(size)) - 3)
    return exact if len(exact) <= 6 else size_text(size // step * step)
