"""Options out of URLs, TOML files and the environment.

One rule for all three: an option stands at the top level or with a tier, and those of the memory tier may stand at either, since
`Cache(capacity=…)` has them so, but not at both.
"""

import difflib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from forecache.errors import ConfigError
from forecache.units import wrong

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TIERS = ("memory",)
PREFIX = "FORECACHE_"
EXAMPLE = "a URL such as memory://?capacity=512MB&policy=lru"


def nearest(given: object, allowed: Iterable[str]) -> str:
    """The allowed names, and the one that was probably meant."""
    names = list(allowed)
    close = difflib.get_close_matches(str(given), names, n=1)
    return ", ".join(names) + (f" (did you mean {close[0]}?)" if close else "")


def _flag(text: str) -> Any:
    return {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}.get(
        text.strip().lower(), text
    )


def _number(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            return text  # `Config` says what is wrong with it

    return read


_READERS: dict[str, Callable[[str], Any]] = {
    "capacity": str,
    "max_entries": _number(int),
    "policy": str,
    "ttl": str,
    "tti": str,
    "jitter": _number(float),
    "copy": _flag,
    "groups": _number(json.loads),
    "namespace": str,
    "seed": _number(int),
    "control": str,
}
OPTIONS = tuple(_READERS)


def from_urls(urls: Iterable[str]) -> dict[str, Any]:
    """Options of `memory://?capacity=…`."""
    options: dict[str, Any] = {}
    seen = set()
    for url in urls:
        try:
            parts = urlsplit(url)
        except (ValueError, TypeError, AttributeError):
            raise wrong("url", url, EXAMPLE) from None
        if parts.scheme not in TIERS:
            raise wrong("url", url, f"a tier of {nearest(parts.scheme, TIERS)}: {EXAMPLE}")
        if parts.netloc or parts.path.strip("/") or parts.fragment:
            raise wrong("url", url, f"options in the query, and nothing else: {EXAMPLE}")
        if parts.scheme in seen:
            raise wrong("url", url, f"one {parts.scheme}:// only")
        seen.add(parts.scheme)
        # A plus sign is one, as in policy=clock2q+, and no blank: this is no form.
        for name, text in parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True):
            _put(options, f"url option {name}", name, text, read=True)
    return options


def from_toml(path: Path) -> dict[str, Any]:
    """Options of a TOML file."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    ours = content.get("forecache", content.get("tool", {}).get("forecache", content))
    if ours is content and "tool" in content:
        ours = {}  # somebody else's pyproject.toml
    return _tables(ours)


def _tables(table: Any) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise wrong("forecache", table, "a table")
    options: dict[str, Any] = {}
    for name, value in table.items():
        if name not in TIERS:
            _put(options, name, name, value)
        elif isinstance(value, dict):
            for option, inner in value.items():
                if option == "enabled":
                    _switch(name, f"{name}.enabled", inner)
                else:
                    _put(options, f"{name}.{option}", option, inner)
        else:
            raise wrong(name, value, f"a table of options: [{name}]")
    return options


def from_env(environ: Mapping[str, str]) -> dict[str, Any]:
    """Options of `FORECACHE_…`."""
    options: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable[len(PREFIX) :].lower()
        if name in TIERS:
            _switch(name, variable, _flag(text))
            continue
        tier = next((tier for tier in TIERS if name.startswith(f"{tier}_")), None)
        option = name[len(tier) + 1 :] if tier else name
        if option not in OPTIONS:
            of_tiers = [f"{tier}_{each}" for tier in TIERS for each in OPTIONS]
            raise wrong(variable, text, nearest(variable, [PREFIX + each.upper() for each in (*OPTIONS, *TIERS, *of_tiers)]))
        _put(options, variable, option, text, read=True)
    return options


def _put(options: dict[str, Any], field: str, name: str, value: Any, *, read: bool = False) -> None:
    if name not in _READERS:
        raise wrong(field, value, nearest(name, (*OPTIONS, *TIERS)))
    if name in options:
        raise wrong(field, value, f"{name} in one place only")
    options[name] = _READERS[name](value) if read else value


def _switch(tier: str, field: str, value: Any) -> None:
    if value is not True:
        raise wrong(field, value, f"on: {tier} is the only tier so far" if isinstance(value, bool) else "on or off")
