#!/usr/bin/env python3
"""How good the policy `learned` is on traffic that its prior wasn't trained on.

`python benchmarks/leave_one_out.py FOLDER [-o RESULTS.csv]` takes the traces of FOLDER group by group (`forecache.train.GROUPS`),
trains a prior on those of all other groups, replays the group with it, and writes the rows of all groups as one CSV.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

from forecache._core import Prior
from forecache.cli import output
from forecache.replays import SIZES, Row, replay
from forecache.train import evidence, group_of

PATTERNS = ("*.fctrace", "*.oracleGeneral", "*.oracleGeneral.*")


def left_out(files: list[Path], sizes: list[float], byte: bool) -> list[Row]:
    """The rows of all traces, each with a prior that knows none of its group. A trace of no group is one by itself."""
    seen = evidence(files)
    groups = {str(file): group_of(file) or file.name for file in files}
    rows: list[Row] = []
    for group in dict.fromkeys(groups.values()):
        prior = Prior.none().corrected([known for path, known in seen.items() if groups[path] != group])
        mine = [path for path in groups if groups[path] == group]
        print(f"{group}: {len(mine)} traces", file=sys.stderr, flush=True)
        rows += replay(mine, policies="learned", sizes=sizes, byte=byte, prior=prior)
    return rows


def main() -> None:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--byte", action="store_true")
    options = parser.parse_args()
    files = sorted({file for pattern in PATTERNS for file in options.folder.glob(pattern)})
    if not files:
        parser.error(f"{options.folder}: no file there is {', '.join(PATTERNS)}")
    with warnings.catch_warnings():
        # Shares of short traces that are less than one object have no row.
        warnings.simplefilter("ignore")
        rows = left_out(files, [float(size) for size in options.sizes.split(",")], options.byte)
    text = output.csv_text(rows)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
