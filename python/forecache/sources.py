"""Options out of URLs, TOML files and the environment, and the one table that tells which there are.

One rule for all three: an option stands with its tier, or, if it is the cache's own, at the top level or with memory; those of
memory may stand at the top level too, since `Cache(capacity=…)` has them so. An option stands in one place only.
"""

import difflib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from forecache.errors import ConfigError
from forecache.units import wrong

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "FORECACHE_"
EXAMPLE = "a URL such as memory://?capacity=512MB&policy=lru or disk:///var/cache/app?capacity=20GB"


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


@dataclass(frozen=True, slots=True)
class Option:
    """An option: what it is if nobody says, what it means, and how its text is read; None for what has no text."""

    default: str
    meaning: str
    read: Callable[[str], Any] | None = str


_WHOLE, _REAL = _number(int), _number(float)

CACHE = {
    "ttl": Option("none", "time to live after the write"),
    "tti": Option("none", "time to idle after the last access"),
    "jitter": Option("0", "the share of each TTL, 0 to below 1, of which a random part is cut off", _REAL),
    "weigher": Option("none", "`(key, value) -> int` in place of the estimate of bytes", None),
    "copy": Option("false", "store and give deep copies", _flag),
    "groups": Option(
        "none",
        "pattern -> TTL, or a table with `ttl` and `tti`; the first pattern that matches a key wins",
        _number(json.loads),
    ),
    "namespace": Option('`""`', "a name for this cache's keys where tiers are shared"),
    "seed": Option("random", "fixes what policies and jitter draw by lot", _WHOLE),
    "on_remove": Option("none", "`(key, value, cause)`, called for each entry that leaves", None),
    "clock": Option("the system's", "a `forecache.testing.FakeClock`, for tests", None),
    "control": Option(
        "none",
        "a path where the process can be reached for `forecache trace record`, or a directory: "
        "see [recording](replay.md#recording)",
    ),
    "tiers": Option("none", "what lies below memory, the fastest first: see [tiers](tiers.md)", None),
    "codec": Option('`"msgpack"`', "how values are stored below memory: `msgpack`, `json`, `pickle`, or a codec of your own"),
    "secret": Option("none", "what pickled values are signed with: 16 bytes or more; needed by `pickle`, and by nothing else"),
}
_PACKING = {
    "compression": Option('`"lz4"`', "`lz4`, `zstd`, `snappy`, `gzip` or `none`"),
    "level": Option("usual", "the algorithm's own: 1 to 19 for `zstd`, 1 to 9 for `gzip`", _WHOLE),
    "min_size": Option("1024", "bytes below which nothing is compressed"),
    "min_ratio": Option("1.2", "how many times smaller the compressed form must be to be kept", _REAL),
}
_BOUNDARY = {
    "queue": Option('`"64MB"`', "bytes that may wait to be written"),
    "when_full": Option('`"wait"`', "what a write does when the queue is full: `wait`, or `refuse`: the tier doesn't get it"),
    "strict": Option("false", "raise `TierUnavailable` where the cache would else go on without the tier", _flag),
    "timeout": Option("none", "time after which a call to the tier is given up"),
    "seed": Option("random", "fixes what the tier draws by lot", _WHOLE),
}
TIERS = {
    "memory": {
        "capacity": Option(
            '`"100MB"`',
            'the budget: bytes, `"512MB"` (10^6) or `"512MiB"` (2^20); with `weigher` a whole number in the weigher\'s unit',
        ),
        "max_entries": Option("none", "entries held at most, beside `capacity`; the policy balances entries then", _WHOLE),
        "policy": Option(
            '`"s3fifo"`',
            "`lru`, `lfu`, `s3fifo`, `arc`, `sieve`, `clock2q+`, `tinylfu` or `adaptive`: see [policies](policies.md)",
        ),
    },
    "zmemory": {
        "capacity": Option('`"100MB"`', "bytes of records, keys and bookkeeping"),
        "policy": Option('`"s3fifo"`', "as for memory"),
        "write": Option('`"demote"`', "`demote`, `behind` or `through`: see [below](#write-modes)"),
        **_PACKING,
        **_BOUNDARY,
    },
    "disk": {
        "path": Option("must be given", "the directory, as an absolute path; made if it isn't there"),
        "capacity": Option('`"1GB"`', "bytes of all files of the directory together, 8 MiB at least"),
        "policy": Option('`"lru"`', "`lru`, `lfu` or `adaptive`: those that need no order of all entries"),
        "admission": Option(
            '`"doorkeeper"`', "once the directory is full it takes only keys that were seen lately; `all` takes every one"
        ),
        "write": Option('`"behind"`', "`behind`, `through` or `demote`: see [below](#write-modes)"),
        **_PACKING,
        **_BOUNDARY,
    },
}
"""What each tier may be told, the fastest tier first."""

Tiers = list[tuple[str, dict[str, Any]]]
_UPPER = TIERS["memory"] | CACHE


def table(options: Mapping[str, Option]) -> str:
    """The options as a table for people, in Markdown."""
    rows = (f"| `{name}` | {option.default} | {option.meaning} |" for name, option in options.items())
    return "\n".join(("| option | default | meaning |", "|---|---|---|", *rows)) + "\n"


class _Given:
    """What was found so far: options of the cache and of tiers."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.tiers: dict[str, dict[str, Any]] = {}
        self.off: set[str] = set()

    def put(self, tier: str, field: str, name: str, value: Any, *, read: bool = False, beside: Iterable[str] = ()) -> None:
        """Notes an option of a tier, or with memory one of the cache; `beside` are other names that were allowed here."""
        allowed = _UPPER if tier == "memory" else TIERS[tier]
        option = allowed.get(name)
        if option is None or option.read is None:
            names = [each for each, known in allowed.items() if known.read is not None]
            raise wrong(field, value, nearest(name, (*names, *beside)))
        into = self.options if tier == "memory" else self.tiers.setdefault(tier, {})
        if name in into:
            raise wrong(field, value, f"{name} in one place only")
        into[name] = option.read(value) if read else value

    def switch(self, tier: str, field: str, value: Any) -> None:
        """Notes that a tier is on or off."""
        if not isinstance(value, bool):
            raise wrong(field, value, "on or off")
        if value:
            self.tiers.setdefault(tier, {})
        elif tier == "memory":
            raise wrong(field, value, "on: every cache has memory, and other tiers lie below it")
        else:
            self.off.add(tier)

    def all(self, order: Iterable[str]) -> dict[str, Any]:
        """The options, and as `tiers` those of each tier that is on."""
        named = [tier for tier in order if tier != "memory" and tier in self.tiers and tier not in self.off]
        tiers: Tiers = [(tier, self.tiers[tier]) for tier in named]
        return self.options | ({"tiers": tiers} if tiers else {})


def from_urls(urls: Iterable[str]) -> dict[str, Any]:
    """Options of `memory://?capacity=…`, `disk:///var/cache/app?capacity=…`; tiers are in the order of their URLs."""
    given, order = _Given(), list[str]()
    for url in urls:
        try:
            parts = urlsplit(url)
        except (ValueError, TypeError, AttributeError):
            raise wrong("url", url, EXAMPLE) from None
        tier = parts.scheme
        if tier not in TIERS:
            raise wrong("url", url, f"a tier of {nearest(tier, TIERS)}: {EXAMPLE}")
        if tier in order:
            raise wrong("url", url, f"one {tier}:// only")
        if tier == "memory" and order:
            raise wrong("url", url, "memory:// before the others: it lies above them")
        order.append(tier)
        given.switch(tier, "url", value=True)
        if tier == "disk":
            given.put(tier, "url", "path", _path_of(url, parts))
        elif parts.netloc or parts.path.strip("/") or parts.fragment:
            raise wrong("url", url, f"options in the query, and nothing else: {EXAMPLE}")
        # A plus sign is one, as in policy=clock2q+, and no blank: this is no form.
        for name, text in parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True):
            given.put(tier, f"url option {name}", name, text, read=True)
    return given.all(order)


def _path_of(url: str, parts: SplitResult) -> str:
    if parts.netloc:
        raise wrong("url", url, f"an absolute path after three slashes, as in disk:///{parts.netloc}{parts.path}")
    if not parts.path.strip("/"):
        raise wrong("url", url, "a path, as in disk:///var/cache/app")
    if parts.fragment:
        raise wrong("url", url, "a path without '#', or with %23 for it")
    return unquote(parts.path)


def from_toml(path: Path) -> dict[str, Any]:
    """Options of a TOML file; tiers are in the order of their speed."""
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
    given = _Given()
    for name, value in table.items():
        if name not in TIERS:
            given.put("memory", name, name, value, beside=TIERS)
        elif isinstance(value, dict):
            given.switch(name, name, value=True)
            for option, inner in value.items():
                if option == "enabled":
                    given.switch(name, f"{name}.enabled", inner)
                else:
                    given.put(name, f"{name}.{option}", option, inner, beside=("enabled",))
        else:
            raise wrong(name, value, f"a table of options: [{name}]")
    return given.all(TIERS)


def from_env(environ: Mapping[str, str]) -> dict[str, Any]:
    """Options of `FORECACHE_…`; tiers are in the order of their speed."""
    given = _Given()
    for variable, text in environ.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable[len(PREFIX) :].lower()
        if name in TIERS:
            given.switch(name, variable, _flag(text))
            continue
        tier = next((tier for tier in TIERS if name.startswith(f"{tier}_")), None)
        option = name[len(tier) + 1 :] if tier else name
        known = TIERS[tier] if tier not in (None, "memory") else _UPPER
        if option not in known or known[option].read is None:
            raise wrong(variable, text, nearest(variable, _variables()))
        given.put(tier or "memory", variable, option, text, read=True)
    return given.all(TIERS)


def _variables() -> list[str]:
    named = {name: option for name, option in _UPPER.items() if option.read is not None}
    of_tiers = [f"{tier}_{name}" for tier, options in TIERS.items() for name in (named if tier == "memory" else options)]
    return [PREFIX + name.upper() for name in (*named, *TIERS, *of_tiers)]
