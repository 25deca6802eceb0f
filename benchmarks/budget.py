#!/usr/bin/env python3
"""How far a process really grows when a cache fills its budget: `python benchmarks/budget.py`.

For each kind of value a process of its own fills a cache of 100 MB until it has evicted as many entries again as it holds, and
says how much it grew (RSS after `malloc_trim`). `--check` fails outside the bounds.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from footprint import resident
from report import table

BUDGET = 100_000_000
CHECK_EVERY = 500
WORDS = ("time", "value", "of", "price", "part", "order", "state", "north", "river", "paper", "light", "house", "night", "water")
CHANCE = random.Random(1)


def kilobyte(number: int) -> bytes:
    """1 KB of bytes."""
    return number.to_bytes(8, "little") * 128


def nested(number: int) -> dict[str, Any]:
    """Dicts of strings and numbers in dicts and lists, made by the program."""
    return {
        "id": number,
        "name": f"user number {number}",
        "score": CHANCE.random(),
        "tags": [f"tag{CHANCE.randrange(10**6)}" for _ in range(5)],
        "profile": {"city": f"city {number % 1000}", "zip": CHANCE.randrange(10**5), "visits": {"a": number, "b": number * 2.5}},
    }


def parsed(number: int) -> Any:
    """A document from a JSON parser, which makes every string and number anew."""
    lines = [
        {"sku": f"s{line}-{number}", "quantity": line * 1000, "price": line * 1.5, "on_sale": line % 2 == 0} for line in range(10)
    ]
    return json.loads(json.dumps({"id": number, "customer": nested(number), "lines": lines, "note": None}))


def integer(number: int) -> int:
    """An int beyond the shared ones."""
    return number + 10**6


def text(number: int) -> str:
    """A short string."""
    return f"value {number}"


@dataclass
class User:
    """An instance, such as an ORM gives."""

    id: int
    name: str
    scores: tuple[float, ...]


def instance(number: int) -> User:
    """An object of a user's class."""
    return User(number, f"user number {number}", (number / 7, number / 11))


def floats(_: int) -> list[float]:
    """Readings of a sensor, say."""
    return [CHANCE.random() for _ in range(200)]


def page(_: int) -> str:
    """Text of some kilobytes."""
    return " ".join(CHANCE.choices(WORDS, k=1000))


KINDS: dict[str, tuple[Callable[[int], Any], float, float]] = {
    "1 KB of bytes": (kilobyte, 0.80, 1.15),
    "nested dicts": (nested, 0.80, 1.20),
    "parsed JSON": (parsed, 0.80, 1.20),
    "instances": (instance, 0.80, 1.20),
    "ints": (integer, 0.80, 1.20),
    "short strings": (text, 0.80, 1.20),
    "lists of floats": (floats, 0.80, 1.20),
    "pages of text": (page, 0.80, 1.20),
}


def fill(kind: str, ttl: float | None) -> dict[str, float]:
    """Growth of this process, by a cache full of `kind`."""
    from forecache import Cache

    make = KINDS[kind][0]
    Cache().set("warm", make(0))
    before = resident()
    cache = Cache(BUDGET, ttl=ttl, seed=1)
    number = 0
    while True:
        for _ in range(CHECK_EVERY):
            cache.set(f"{kind}:{number}", make(number))
            number += 1
        stats = cache.stats()
        if stats.evictions >= stats.entries:
            return {"entries": stats.entries, "weight": stats.weight, "grown": resident() - before}


def main() -> int:
    """Measures all kinds."""
    parser = argparse.ArgumentParser(description="Growth of a process by a cache of 100 MB.")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a bound isn't kept")
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--ttl", type=float, help="give the cache a time to live")
    options = parser.parse_args()
    if options.kind:
        print(json.dumps(fill(options.kind, options.ttl)))
        return 0
    rows, failed = [], False
    for kind, (_, least, most) in KINDS.items():
        command = [sys.executable, __file__, "--kind", kind, *(["--ttl", str(options.ttl)] if options.ttl else [])]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        good = least <= found["grown"] / BUDGET <= most
        failed |= not good
        bounds = f"{least * BUDGET / 1e6:.0f} to {most * BUDGET / 1e6:.0f}"
        rows.append([kind, f"{found['entries']:,}", f"{found['grown'] / 1e6:.1f}", bounds, "met" if good else "NOT MET"])
    print(table([f"budget of {BUDGET / 1e6:.0f} MB, full of", "entries", "process grew by MB", "bounds", ""], rows))
    return int(options.check and failed)


if __name__ == "__main__":
    sys.exit(main())
