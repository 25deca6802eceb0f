"""Presets: capacities for three places of a deployment, cut to what the host has."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from types import FrameType
from typing import Any

from forecache import machine
from forecache.options import TIERS
from forecache.sources import Given, Said, Section
from forecache.units import nearest, parse_size, size_text, wrong

__all__ = ["PRESETS", "Preset", "apply", "table"]


@dataclass(frozen=True)
class Preset:
    """What a preset says. Tiers that hold values outside this process are named by their URLs: it gives them sizes."""

    memory: str
    """Capacity of memory."""
    below: tuple[str, ...] = ()
    """Capacities of the tiers below it, in their order; those after the last have their own defaults."""
    zmemory: str | None = None
    """Capacity of compressed memory, which the preset switches on."""
    compression: str | None = None
    """Of all tiers below memory."""
    planned: Mapping[str, Any] = field(default_factory=dict)
    """Options of parts that aren't built yet: kept, and not in force."""


PRESETS = {
    "default": Preset("10GB", ("100GB", "1TB")),
    "edge": Preset("2500MB", zmemory="2500MB", compression="lz4", planned={"prefetch": 0.9}),
    "regional": Preset("20GB", ("200GB",), compression="snappy", planned={"prefetch": 0.6}),
    "global": Preset("50GB", ("500GB", "5TB"), compression="zstd", planned={"prefetch": 0.5, "dedup": True}),
}
MEMORY_SHARE, DISK_SHARE = 0.75, 0.9
"""Shares of the host's memory, and of what a file system has left for a directory, that a preset's capacities may have."""


def apply(name: Any, given: Given) -> dict[str, Any]:
    """Puts a preset's values where `given` has none; gives those that aren't in force.

    Warns (`RuntimeWarning`) where the host has less than the preset says. Raises `ConfigError` for a name that is none.
    """
    preset = PRESETS.get(name) if isinstance(name, str) else None
    if preset is None:
        raise wrong("preset", name, nearest(name, PRESETS))
    origin = f"preset {name}"
    sections = given.sections
    if preset.zmemory is not None and not any(section.kind == "zmemory" for section in sections):
        sections.append(Section("zmemory", {"enabled": Said(value=True, origin=origin)}))
    below = given.tiers()
    _share_memory(preset, given, [section for section in below if section.kind == "zmemory"], origin)
    if preset.compression is not None:
        for section in below:
            section.said.setdefault("compression", Said(preset.compression, origin))
    sized = [section for section in below if section.kind != "zmemory" and "capacity" in TIERS[section.kind]]
    for section, capacity in zip(sized, preset.below, strict=False):
        if "capacity" not in section.said:
            section.said["capacity"] = Said(_fitted(section, parse_size(capacity, "preset"), name), origin)
    return dict(preset.planned)


def _share_memory(preset: Preset, given: Given, compressed: list[Section], origin: str) -> None:
    """Both kinds of memory are cut in the same proportion."""
    into = [(given.options, preset.memory)]
    into += [(section.said, preset.zmemory) for section in compressed if preset.zmemory is not None]
    ours = [(said, parse_size(size, "preset")) for said, size in into if "capacity" not in said]
    if not ours or "weigher" in given.options:
        return
    wished = sum(size for _, size in ours)
    there = machine.memory()
    share = 1.0 if there is None else min(1.0, MEMORY_SHARE * there / wished)
    for said, size in ours:
        said["capacity"] = Said(_round(size * share) if share < 1 else size, origin)
    if share < 1 and there is not None:
        _warn(origin, f"{size_text(wished)} of memory", _round(wished * share), f"the host has {size_text(_round(there))}")


def _fitted(section: Section, wished: int, name: str) -> int:
    path = section.said["path"].value if "path" in section.said else None
    there = machine.room(path) if isinstance(path, str) else None
    if there is None or wished <= DISK_SHARE * there:
        return wished
    fits = _round(DISK_SHARE * there)
    _warn(f"preset {name}", f"{size_text(wished)} at {path}", fits, f"its file system has room for {size_text(_round(there))}")
    return fits


def _warn(origin: str, wished: str, got: int, reason: str) -> None:
    message = f"{origin}: {wished} become {size_text(got)}, because {reason}"
    warnings.warn(message, RuntimeWarning, stacklevel=2 + _frames_of_ours())


def _frames_of_ours() -> int:
    """How many frames of this package lie above the caller's: a warning names the line that asked for the preset."""
    frames = takewhile(lambda frame: frame.f_globals.get("__name__", "").startswith("forecache."), _frames(sys._getframe(2)))
    return sum(1 for _ in frames)


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _round(size: float) -> int:
    """Down to two figures, so that processes that start one after the other agree."""
    whole = int(size)
    step: int = 10 ** max(0, len(str(whole)) - 2)
    return whole // step * step


def table() -> str:
    """The presets as a table for people, in Markdown."""
    columns: list[tuple[str, Callable[[Preset], Any]]] = [
        ("memory", lambda preset: preset.memory),
        ("compressed memory", lambda preset: preset.zmemory),
        ("the tiers below", lambda preset: ", ".join(preset.below)),
        ("compression", lambda preset: preset.compression and f"`{preset.compression}`"),
        ("kept, not in force yet", lambda preset: ", ".join(f"`{key}={value}`" for key, value in preset.planned.items())),
    ]
    rows = ["| preset | " + " | ".join(heading for heading, _ in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    rows += [f"| `{name}` | " + " | ".join(cell(preset) or "" for _, cell in columns) + " |" for name, preset in PRESETS.items()]
    return "\n".join(rows) + "\n"
