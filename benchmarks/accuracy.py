#!/usr/bin/env python3
"""How many evictions are right: `learned` beside LRU, chance and Belady's optimum, on recordings of a virtual machine's disk.

`python benchmarks/accuracy.py [TRACE...]` prints Markdown. An eviction is right if nobody asks for the object within as many
requests as the cache holds entries. `--check` fails if fewer than 90 % of the evictions of `learned` are right in any cell, or if
it has more than half of LRU's wrong ones where LRU has more than 2 %.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from forecache.replays import Row, replay

RECORDINGS = Path(__file__).resolve().parent.parent / "recordings"
POLICIES = ("learned", "lru", "random", "belady")
SIZES = (0.01, 0.05, 0.1)
LEAST, MOST_OF_LRU, HARDLY = 0.9, 0.5, 0.02


def wrong(row: Row) -> float:
    """The share of the evictions that were wrong."""
    return 1 - row.right_evictions / max(row.evictions, 1)


def misses_bar(learned: Row, lru: Row) -> bool:
    """Whether a promise isn't kept."""
    return wrong(learned) > 1 - LEAST or (wrong(lru) > HARDLY and wrong(learned) > MOST_OF_LRU * wrong(lru))


def shown(cells: Sequence[tuple[Row, ...]]) -> str:
    """A row a cell."""
    lines = [
        "| trace | size | " + " | ".join(f"`{policy}`" for policy in POLICIES) + " | wrong, of LRU's | |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for cell in cells:
        learned, lru, *_ = cell
        rights = " | ".join(f"{100 * (1 - wrong(row)):.1f} %" for row in cell)
        share = f"{100 * wrong(learned) / wrong(lru):.0f} %" if wrong(lru) else "-"
        verdict = "missed" if misses_bar(learned, lru) else ""
        lines.append(f"| `{learned.trace}` | {100 * (learned.size_fraction or 0):g} % | {rights} | {share} | {verdict} |")
    return "\n".join(lines)


def main() -> int:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="*", type=Path, metavar="TRACE", help="instead of the project's own recordings")
    parser.add_argument("--prior", help="what `learned` begins with, instead of what ships")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    paths = options.traces or sorted(RECORDINGS.glob("*.fctrace"))
    rows = iter(replay(paths, policies=POLICIES, sizes=SIZES, prior=options.prior, accuracy=True))
    cells = list(zip(*[rows] * len(POLICIES), strict=True))
    print(shown(cells))
    return int(options.check and any(misses_bar(*cell[:2]) for cell in cells))


if __name__ == "__main__":
    sys.exit(main())
