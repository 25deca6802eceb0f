"""Options out of URLs, TOML files and the environment, and how what they say is put together.

One rule for all three: an option stands with its tier, or, if it is the cache's own, at the top level or with memory; those of
memory may stand at the top level too, since `Cache(capacity=…)` has them so. An option stands in one place of a source only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from forecache.errors import ConfigError
from forecache.hiding import HIDDEN, Shape, hides
from forecache.options import REPEATED, TIERS, UPPER, Option, flag
from forecache.units import nearest, wrong
from forecache.urls import SCHEMES, schemes_of, split

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["CONFIG", "PREFIX", "Given", "Said", "Section", "from_env", "from_toml", "from_urls"]

PREFIX = "FORECACHE_"
CONFIG = f"{PREFIX}CONFIG"
"""Says where the TOML file is: no option, since it is none of a cache."""
REGISTRY = f"{PREFIX}REGISTRY"
"""Says where models are: no option either, but of `forecache.registry`."""


class Said(NamedTuple):
    """A value, and where it was said."""

    value: Any
    origin: str


@dataclass
class Section:
    """What is said of one tier. `enabled` is an option among the others."""

    kind: str
    said: dict[str, Said] = field(default_factory=dict)
    meant: str | None = None
    """What the tier is called in other sources, if this one doesn't say."""

    @property
    def name(self) -> str:
        """What the tier is called, as far as it can be told by now."""
        return self.said["name"].value if "name" in self.said else self.meant or self.kind

    @property
    def on(self) -> bool:
        """Whether the tier is there: to be named is enough."""
        return "enabled" not in self.said or bool(self.said["enabled"].value)

    def options(self) -> dict[str, Any]:
        """What its class is told."""
        return {name: said.value for name, said in self.said.items() if name != "enabled"}


class Given:
    """What a source says, or several together: options of the cache, and sections of tiers."""

    def __init__(self) -> None:
        self.options: dict[str, Said] = {}
        self.sections: list[Section] = []
        self.order: list[str] = []
        """Names of tiers that stand in an order of their own: that of their URLs."""

    def section(self, kind: str) -> Section | None:
        """A new one; None for memory, whose options are the cache's."""
        if kind == "memory":
            return None
        self.sections.append(Section(kind))
        return self.sections[-1]

    def put(
        self,
        section: Section | None,
        name: str,
        value: Any,
        *,
        at: str,
        origin: str,
        read: bool = False,
        beside: Iterable[str] = (),
    ) -> None:
        """Notes an option of a tier (None: of memory or the cache), found `at` a field; `beside` are other names for it."""
        allowed = UPPER if section is None else TIERS[section.kind]
        option = allowed.get(name)
        if option is None or option.read is None:
            names = [each for each, known in allowed.items() if known.read is not None]
            tables = list(beside)
            meant = SCHEMES.get(name)
            raise wrong(at, _unknown(name, value), nearest(meant if meant in tables else name, (*names, *tables)))
        if section is not None and name == "url" and isinstance(value, str):
            self._place(section, value, at=at, origin=origin)
        else:
            self._note(section, name, option.read(value) if read else value, at=at, origin=origin)

    def url(self, section: Section | None, url: str, *, at: str, origin: str) -> None:
        """Notes what a URL says."""
        _, where, options = split(url, at)
        for name, text in where.items():
            self._note(section, name, text, at=at, origin=origin)
        for name, text in options:
            if name == "url":
                raise wrong(f"{at} option url", text, "one URL, and in it nothing but options")
            self.put(section, name, text, at=f"{at} option {name}", origin=origin, read=True)

    def _place(self, section: Section, url: str, *, at: str, origin: str) -> None:
        """Notes where a tier is: a URL says the same wherever it stands."""
        kind, schemes = section.kind, schemes_of(section.kind)
        scheme, found, _ = url.partition("://")
        if not found or scheme.lower() not in schemes:
            raise wrong(at, url, f"a URL of {nearest(scheme, schemes)}: {TIERS[kind]['url'].meaning.replace('`', '')}")
        self.url(section, url, at=at, origin=origin)

    def _note(self, section: Section | None, name: str, value: Any, *, at: str, origin: str) -> None:
        into = self.options if section is None else section.said
        if name in into:
            raise wrong(at, value, f"{name} in one place only")
        into[name] = Said(value, origin)

    def switch(self, section: Section | None, value: Any, *, at: str, origin: str) -> None:
        """Notes that a tier is on or off."""
        if not isinstance(value, bool):
            raise wrong(at, value, "on or off")
        if section is not None:
            section.said["enabled"] = Said(value, origin)
        elif not value:
            raise wrong(at, value, "on: every cache has memory, and other tiers lie below it")

    def over(self, low: Given) -> Given:
        """Both, this one's word before that of `low`."""
        both = Given()
        both.options = low.options | self.options
        both.order = self.order or low.order
        both.sections = [replace(section, said=dict(section.said)) for section in low.sections]
        for section in self.sections:
            there = next((each for each in both.sections if (each.kind, each.name) == (section.kind, section.name)), None)
            if there is None:
                both.sections.append(replace(section, said=dict(section.said)))
            else:
                there.said |= section.said
        return both

    def about(self, others: Given) -> Given:
        """The same, where a section without a name is about the tier of its kind that others have; a switch about all of them.

        Raises `ConfigError` if it could be about several.
        """
        resolved = Given()
        resolved.options = self.options
        for section in self.sections:
            names = [each.name for each in others.sections if each.kind == section.kind] if "name" not in section.said else []
            if len(names) > 1 and set(section.said) != {"enabled"}:
                at = next(said.origin for name, said in section.said.items() if name != "enabled")
                which = f"beside {PREFIX}{section.kind.upper()}_NAME, which says whose it is: {', '.join(names)}"
                raise wrong(at, Shape("it alone"), which)
            resolved.sections += [replace(section, meant=name) for name in names] or [section]
        return resolved

    def tiers(self) -> list[Section]:
        """The sections of tiers that are on, in the order of their URLs, else of their speed."""
        speed = list(TIERS)
        on = sorted((section for section in self.sections if section.on), key=lambda section: speed.index(section.kind))
        placed = sorted((section for section in on if section.name in self.order), key=lambda each: self.order.index(each.name))
        for section in on:
            if section.name not in self.order:
                slower = (at for at, each in enumerate(placed) if speed.index(each.kind) > speed.index(section.kind))
                placed.insert(next(slower, len(placed)), section)
        return placed


def from_urls(urls: Iterable[str]) -> Given:
    """What `memory://?capacity=…`, `disk:///var/cache/app?capacity=…` say; tiers are in the order of their URLs."""
    given, kinds = Given(), list[str]()
    for url in urls:
        kind = split(url).kind
        if kind in kinds and kind not in REPEATED:
            raise wrong("url", url, f"one {kind}:// only")
        if kind == "memory" and kinds:
            raise wrong("url", url, "memory:// before the others: it lies above them")
        kinds.append(kind)
        section = given.section(kind)
        given.switch(section, value=True, at="url", origin="URL")
        given.url(section, url, at="url", origin="URL")
        if section is not None:
            if section.name in given.order:
                raise wrong("url", url, f"another name than {section.name!r}, which a tier before it has: name=… in the query")
            given.order.append(section.name)
    return given


def from_toml(path: Path) -> Given:
    """What a TOML file says; tiers are in the order of their speed."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    ours = content.get("forecache", content.get("tool", {}).get("forecache", content))
    if ours is content and "tool" in content:
        ours = {}  # somebody else's pyproject.toml
    if not isinstance(ours, dict):
        raise wrong("forecache", ours, "a table")
    given, origin = Given(), str(path)
    for name, value in ours.items():
        if name not in TIERS:
            given.put(None, name, value, at=name, origin=origin, beside=TIERS)
            continue
        for at, table in _tables(name, value):
            _read(given, given.section(name), at, table, origin)
    names = [section.name for section in given.sections]
    for section in given.sections:
        if names.count(section.name) > 1:
            raise wrong(f"{section.kind}.name", section.name, f"a name for each [[{section.kind}]], and each another")
    return given


def _tables(kind: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tables of a kind, each with what errors call it."""
    if isinstance(value, dict):
        yield kind, value
    elif kind in REPEATED and isinstance(value, list) and all(isinstance(table, dict) for table in value):
        yield from ((f"{kind}[{number}]", table) for number, table in enumerate(value))
    else:
        got = Shape("a list") if isinstance(value, list) else value
        raise wrong(kind, got, f"a table of options: [{kind}]" + (f", or several: [[{kind}]]" if kind in REPEATED else ""))


def _read(given: Given, section: Section | None, at: str, table: dict[str, Any], origin: str) -> None:
    for name, value in table.items():
        if name == "enabled":
            given.switch(section, value, at=f"{at}.enabled", origin=origin)
        else:
            given.put(section, name, value, at=f"{at}.{name}", origin=origin, beside=("enabled",))


def from_env(environ: Mapping[str, str]) -> Given:
    """What `FORECACHE_…` say; tiers are in the order of their speed."""
    given, sections = Given(), dict[str, Section | None]()
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in (CONFIG, REGISTRY):
            continue
        name = variable[len(PREFIX) :].lower()
        kind = next((kind for kind in TIERS if name == kind or name.startswith(f"{kind}_")), "")
        option = name[len(kind) + 1 :] if kind else name
        if option and not _known(kind, option):
            raise wrong(variable, _unknown(variable, text), _like(variable, kind))
        if kind and kind not in sections:
            sections[kind] = given.section(kind)
        section = sections.get(kind)
        if option:
            given.put(section, option, text, at=variable, origin=variable, read=True)
        else:
            given.switch(section, flag(text), at=variable, origin=variable)
    return given


def _known(kind: str, option: str) -> bool:
    known = _with(kind).get(option)
    return known is not None and known.read is not None


def _with(kind: str) -> Mapping[str, Option]:
    """Options that may stand with a kind of tier, or with none."""
    return UPPER if kind in ("", "memory") else TIERS[kind]


def _variables() -> list[str]:
    of_kinds = (f"{kind}_{name}".strip("_") for kind in ("", *TIERS) for name in _with(kind) if _known(kind, name))
    return [CONFIG] + [PREFIX + name.upper() for name in (*of_kinds, *TIERS)]


def _like(variable: str, kind: str) -> str:
    """The variables of a kind of tier, or of the cache, and the one of all that was probably meant."""
    scheme, _, option = variable[len(PREFIX) :].lower().partition("_")
    meant = f"{PREFIX}{SCHEMES[scheme]}_{option}".upper() if scheme in SCHEMES else variable
    every = _variables()
    ours = [PREFIX + (f"{kind}_" * bool(kind) + name).upper() for name in _with(kind) if _known(kind, name)]
    return nearest(meant, every, ours if kind else [CONFIG, *ours, *(f"{PREFIX}{tier.upper()}_…" for tier in TIERS)])


def _unknown(name: str, value: Any) -> Any:
    """The value of an unknown option, as errors may show it: it could be a secret whose option was misspelt."""
    return Shape(HIDDEN) if hides(name) else value
