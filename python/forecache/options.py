"""The one table of options: which there are, what they are if nobody says, what they mean, and how their text is read.

All sources read it, `forecache config` shows it, and the tables of the documentation are made of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CACHE", "REPEATED", "TIERS", "UPPER", "Option", "flag", "table"]


def flag(text: str) -> Any:
    """A bool; a text that is none stays as it is, and whoever checks it says what is wrong with it."""
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


def _size(text: str) -> int | str:
    return 0 if text.strip() == "0" else text  # sizes begin at 1, where nothing else is said


@dataclass(frozen=True, slots=True)
class Option:
    """An option: what it is if nobody says, what it means, and how its text is read; None for what has no text."""

    default: str
    meaning: str
    read: Callable[[str], Any] | None = str
    unit: str = ""
    """What a number is: `bytes`, `seconds`, or nothing of these."""


_WHOLE, _REAL = _number(int), _number(float)

CACHE = {
    "preset": Option("none", "`default`, `edge`, `regional` or `global`: see [presets](#presets)"),
    "ttl": Option("none", "time to live after the write", unit="seconds"),
    "tti": Option("none", "time to idle after the last access", unit="seconds"),
    "jitter": Option("0", "the share of each TTL, 0 to below 1, of which a random part is cut off", _REAL),
    "weigher": Option("none", "`(key, value) -> int` in place of the estimate of bytes", None),
    "copy": Option("false", "store and give deep copies", flag),
    "groups": Option(
        "none",
        "pattern -> TTL, or a table with `ttl` and `tti`; the first pattern that matches a key wins",
        _number(json.loads),
    ),
    "owners": Option(
        "none",
        "pattern -> priority, or a table with `priority` and `budget` (bytes): what owners may claim when the cache is full; the "
        "first pattern that matches an owner's name wins",
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
    "journal": Option(
        "usual", "a directory that keeps what tiers missed; usually one beside the disk tier, else where the user's state is"
    ),
    "shadow": Option(
        "none",
        "a model that is tried in miniature beside the policy in force: `name@version` of the registry, or a file: see "
        "[a model in the shadow](models.md#a-model-in-the-shadow)",
    ),
    "reserve": Option(
        "none",
        "bytes of the host's or container's memory to leave free: memory's budget shrinks while less is left, and grows back "
        "slowly: see [memory pressure](cache.md#memory-pressure)",
        unit="bytes",
    ),
    "model": Option(
        "none",
        "what `learned` begins with: a file [that a cache saved](eviction.md#saving-loading-watching), or `name` or "
        "`name@version` of a [registry](models.md)",
    ),
    "learning_rate": Option(
        "0.05", "above 0, at most 1: how much less what was seen counts with each conclusion of `learned`", _REAL
    ),
    "update_interval": Option(
        "8192", "requests between two conclusions of `learned`, 256 at least; or half the entries, if that is more", _WHOLE
    ),
    "save_interval": Option(
        "none", "time after which what `learned` has learned is saved to `model`, and again at `close`", unit="seconds"
    ),
    "online": Option("true", "whether `learned` learns; else it goes by `model`, which costs less", flag),
}
_RATIO = {"min_ratio": Option("1.2", "how many times smaller the compressed form must be to be kept", _REAL)}
_ALGORITHM = {
    "compression": Option('`"lz4"`', "`lz4`, `zstd`, `snappy`, `gzip` or `none`"),
    "level": Option("usual", "the algorithm's own: 1 to 19 for `zstd`, 1 to 9 for `gzip`", _WHOLE),
}
_PACKING = {
    **_ALGORITHM,
    "min_size": Option("1024", "bytes below which nothing is compressed", _size, unit="bytes"),
    **_RATIO,
}
_QUEUE = {
    "queue": Option('`"64MB"`', "bytes that may wait to be written", unit="bytes"),
    "when_full": Option('`"wait"`', "what a write does when the queue is full: `wait`, or `refuse`: the tier doesn't get it"),
    "strict": Option("false", "raise `TierUnavailable` where the cache would else go on without the tier", flag),
}
_LOCAL = {
    **_QUEUE,
    "timeout": Option("none", "time after which a call to the tier is given up", unit="seconds"),
    "seed": Option("random", "fixes what the tier draws by lot", _WHOLE),
}
_WRITE_THROUGH = Option('`"through"`', "`through`, `behind` or `demote`: see [below](#write-modes)")


def _called(name: str) -> dict[str, Option]:
    return {"name": Option(f'`"{name}"`', "what statistics and errors call it; two of a kind need two names")}


def _remote(timeout: str, retries: str) -> dict[str, Option]:
    return {
        **_QUEUE,
        "timeout": Option(timeout, "time after which a call to the tier is given up", unit="seconds"),
        "retries": Option(
            retries, "how often a call whose connection was refused or broke off is made again, within `timeout`", _WHOLE
        ),
        "hedge": Option("none", "time after which a read is sent a second time; the first answer counts", unit="seconds"),
    }


TIERS = {
    "memory": {
        "capacity": Option(
            '`"100MB"`',
            'the budget: bytes, `"512MB"` (10^6) or `"512MiB"` (2^20); with `weigher` a whole number in the weigher\'s unit',
            unit="bytes",
        ),
        "max_entries": Option("none", "entries held at most, beside `capacity`; the policy balances entries then", _WHOLE),
        "policy": Option(
            '`"s3fifo"`',
            "`lru`, `lfu`, `s3fifo`, `arc`, `sieve`, `clock2q+`, `tinylfu`, `adaptive`, `logistic`, `random` or `learned`: "
            "see [policies](policies.md)",
        ),
    },
    "zmemory": {
        "capacity": Option('`"100MB"`', "bytes of records, keys and bookkeeping", unit="bytes"),
        "policy": Option('`"s3fifo"`', "as for memory"),
        "write": Option('`"demote"`', "`demote`, `behind` or `through`: see [below](#write-modes)"),
        **_PACKING,
        **_LOCAL,
    },
    "disk": {
        "path": Option("must be given", "the directory, as an absolute path; made if it isn't there"),
        "capacity": Option('`"1GB"`', "bytes of all files of the directory together, 8 MiB at least", unit="bytes"),
        "policy": Option('`"lru"`', "`lru`, `lfu`, `adaptive` or `learned`: those that need no order of all entries"),
        "admission": Option(
            '`"doorkeeper"`', "once the directory is full it takes only keys that were seen lately; `all` takes every one"
        ),
        "write": Option('`"behind"`', "`behind`, `through` or `demote`: see [below](#write-modes)"),
        **_PACKING,
        **_LOCAL,
    },
    "redis": {
        "url": Option('`"redis://localhost:6379/0"`', "where it is: one of the [URLs](configuration.md#urls) of Redis"),
        "capacity": Option(
            "none", "bytes that this cache's keys may have there together, beside the server's `maxmemory`", unit="bytes"
        ),
        **_called("redis"),
        "username": Option("none", "the ACL user, if the URL has none"),
        "password": Option("none", "the password, if the URL has none; never shown"),
        "ca": Option("none", "a file with the certificates that the server's is held against, for TLS"),
        "certificate": Option("none", "a file with the client's certificate, for TLS"),
        "key": Option("none", "the file with its key"),
        "connections": Option("32", "open connections at most, for each process and for each event loop", _WHOLE),
        "write": _WRITE_THROUGH,
        **_PACKING,
        **_remote("0.5", "1"),
    },
    "memcached": {
        "servers": Option('`"localhost:11211"`', "where they are: `host:port`, several with commas between, or a list"),
        **_called("memcached"),
        "connections": Option("16", "open connections at most, to each server, for each process and for each event loop", _WHOLE),
        "write": _WRITE_THROUGH,
        **_PACKING,
        **_remote("0.5", "1"),
    },
    "object": {
        "url": Option(
            "must be given", "where it is: `s3://bucket/prefix`, `gs://…`, `az://container/prefix` or `file:///directory`"
        ),
        "capacity": Option("none", "bytes that this cache's objects may have there together", unit="bytes"),
        **_called("object"),
        "endpoint": Option("the cloud's", "the address of a store that isn't Amazon's, for S3: `http://host:9000`"),
        "region": Option("the environment's", "as the store calls it"),
        "access_key": Option("the environment's", "the name that requests are signed with; never shown"),
        "secret_key": Option("the environment's", "what they are signed with; never shown"),
        "ca": Option("none", "a file with certificates that the store's is held against, beside the system's"),
        "min_size": Option('`"4KiB"`', "bytes below which values stay out; 0 takes all", _size, unit="bytes"),
        "concurrency": Option("16", "requests at a time, at most", _WHOLE),
        "decide": Option("true", "`add`, `incr`, `pop` and `compare_and_set` are decided here, if the store can", flag),
        "sweep": Option('`"1h"`', "time between two looks at what has expired or has to leave for space", unit="seconds"),
        "write": _WRITE_THROUGH,
        **_ALGORITHM,
        **_RATIO,
        **_remote("10", "2"),
    },
}
"""What each tier may be told, the fastest tier first."""

REPEATED = tuple(kind for kind, options in TIERS.items() if "name" in options)
"""Kinds of which a cache may have several, by their names."""
UPPER = TIERS["memory"] | CACHE
"""What may stand with memory: its own options and those of the cache as a whole."""


def table(options: Mapping[str, Option]) -> str:
    """The options as a table for people, in Markdown."""
    rows = (f"| `{name}` | {option.default} | {option.meaning} |" for name, option in options.items())
    return "\n".join(("| option | default | meaning |", "|---|---|---|", *rows)) + "\n"
