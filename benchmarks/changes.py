#!/usr/bin/env python3
"""How the policy `learned` does when the workload changes: two traces one after the other, and both at once.

`python benchmarks/changes.py FOLDER` takes pairs of traces of different groups (`forecache.train.GROUPS`) and replays them
*joined*, where each half is held against the better of `s3fifo` and `arc` in that half, and *interleaved*, in proportion, so
that both end together, where the whole run is. The prior has seen neither group. Keys are numbered anew, in the order of their
first requests, so that nothing tells which trace they belong to. `--check` fails if a miss ratio is more than 1.03 times the
better peer's.
"""

from __future__ import annotations

import argparse
import csv
import struct
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from forecache._core import Evidence, Prior, Trace
from forecache.replays import replay
from forecache.train import evidence, group_of
from forecache.units import wrong
from leave_one_out import PATTERNS
from report import table

PAIRS = (
    ("arc_P3", "orm_busy"),
    ("scarab_recs_a", "cpu_gzip"),
    ("arc_OLTP_a", "corda"),
    ("web12", "wiki_cdn_train"),
    ("kosarak_head", "cpu_twolf"),
    ("cloudPhysicsIO", "lirs_multi3"),
)
"""Traces of about the same length; all groups are there."""
SIZES = (0.01, 0.1)
LEARNED, PEERS = "learned", ("s3fifo", "arc")
MOST = 1.03
FIRST, JOINED, MIXED = "first", "joined", "interleaved"
ROW = struct.Struct("<IQIq")
CHUNK = 1 << 16
Request = tuple[int, int]
"""Which trace of the pair, and the key's place there."""


@dataclass(frozen=True)
class Part:
    """What came of one part of one run: a half of two traces one after the other, or both interleaved."""

    pair: str
    part: str
    size_fraction: float
    capacity: int
    requests: int
    misses: dict[str, int]
    """By policy."""

    def miss_ratio(self, policy: str) -> float:
        """The share of the requests that missed."""
        return self.misses[policy] / self.requests

    @property
    def ratio(self) -> float:
        """Misses of `learned` over those of the better peer."""
        return self.misses[LEARNED] / min(self.misses[peer] for peer in PEERS)


def keys(path: Path) -> list[str]:
    """What a trace asks for, in order."""
    trace = Trace.open(path)
    return [row[1] for start in range(0, len(trace), CHUNK) for row in trace.rows(start, start + CHUNK)]


def interleaved(pair: Sequence[list[str]]) -> Iterator[tuple[int, str]]:
    """Requests of both, the next always of the one of which less is done."""
    done = [0, 0]
    while done != [len(pair[0]), len(pair[1])]:
        which = int(done[0] * len(pair[1]) > done[1] * len(pair[0]))
        yield which, pair[which][done[which]]
        done[which] += 1


def write(path: Path, requests: Iterable[tuple[int, str]]) -> int:
    """A trace of these requests, one a second, and how many objects it has."""
    numbers: dict[tuple[int, str], int] = {}
    with path.open("wb") as file:
        for second, key in enumerate(requests):
            file.write(ROW.pack(second, numbers.setdefault(key, len(numbers)), 1, -1))
    return len(numbers)


def measure(name: str, pair: Sequence[list[str]], prior: Prior, sizes: Sequence[float]) -> Iterator[Part]:
    """All parts at all sizes. Nothing that comes later changes the first half, so a run of it alone tells its misses."""
    first, second = ([(which, key) for key in one] for which, one in enumerate(pair))
    with tempfile.TemporaryDirectory() as folder:
        paths = {run: Path(folder, f"{run}.oracleGeneral") for run in (FIRST, JOINED, MIXED)}
        write(paths[FIRST], first)
        write(paths[MIXED], interleaved(pair))
        unique = write(paths[JOINED], first + second)
        for size in sizes:
            most = int(unique * size)
            rows = replay(paths.values(), policies=(LEARNED, *PEERS), capacity=most, prior=prior)
            misses = {run: {row.policy: row.misses for row in rows if row.trace == run} for run in paths}
            after = {policy: count - misses[FIRST][policy] for policy, count in misses[JOINED].items()}
            yield Part(name, "first half", size, most, len(first), misses[FIRST])
            yield Part(name, "second half", size, most, len(second), after)
            yield Part(name, MIXED, size, most, len(first) + len(second), misses[MIXED])


def of_all(pairs: Sequence[tuple[Path, Path]], seen: dict[str, Evidence], sizes: Sequence[float]) -> Iterator[Part]:
    """The parts of all pairs, each with a prior of the groups that aren't in it."""
    for pair in pairs:
        groups = {group_of(path) for path in pair}
        prior = Prior.none().corrected([known for path, known in seen.items() if group_of(path) not in groups])
        name = " + ".join(_name(path) for path in pair)
        print(name, file=sys.stderr, flush=True)
        yield from measure(name, [keys(path) for path in pair], prior, sizes)


def found(folder: Path, named: Sequence[tuple[str, ...]], files: Sequence[Path]) -> list[tuple[Path, Path]]:
    """The traces of each pair. Raises `ConfigError` for one that isn't there, or for two of one group."""
    paths = {_name(path): path for path in files}
    for pair in named:
        if len(pair) != 2 or not all(name in paths for name in pair):
            raise wrong("pairs", ":".join(pair), f"two of the traces of {folder}: {', '.join(paths)}")
        if group_of(paths[pair[0]]) == group_of(paths[pair[1]]):
            raise wrong("pairs", ":".join(pair), "traces of different groups")
    return [(paths[first], paths[second]) for first, second in named]


def _name(path: Path) -> str:
    return path.name.split(".", 1)[0]


def shown(parts: Sequence[Part]) -> str:
    """A row a part: miss ratios, and how far `learned` is from the better peer."""
    head = ["", "size", "objects", *PEERS, LEARNED, "ratio", ""]
    rows: list[list[str]] = []
    for at, part in enumerate(parts):
        if at == 0 or parts[at - 1].pair != part.pair:
            rows.append([part.pair])
        ratios = (f"{100 * part.miss_ratio(policy):.2f} %" for policy in (*PEERS, LEARNED))
        missed = "" if part.ratio <= MOST else "NOT MET"
        rows.append([f"  {part.part}", f"{part.size_fraction:g}", f"{part.capacity:,}", *ratios, f"{part.ratio:.3f}", missed])
    return table(head, rows)


def write_csv(path: Path, parts: Sequence[Part]) -> None:
    """A line for each part and policy."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["pair", "part", "size_fraction", "capacity", "requests", "policy", "misses", "miss_ratio"])
        for part in parts:
            *cell, misses = asdict(part).values()
            writer.writerows([*cell, policy, count, part.miss_ratio(policy)] for policy, count in misses.items())


def main() -> int:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", help="other pairs, as one:other,one:other")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="shares of the joint unique objects")
    parser.add_argument("--csv", type=Path, metavar="FILE")
    parser.add_argument("--check", action="store_true", help=f"fail if a ratio is over {MOST}")
    options = parser.parse_args()
    files = sorted({file for pattern in PATTERNS for file in options.folder.glob(pattern)})
    named = [tuple(pair.split(":")) for pair in options.pairs.split(",")] if options.pairs else PAIRS
    pairs = found(options.folder, named, files)
    parts = list(of_all(pairs, evidence(files), [float(size) for size in options.sizes.split(",")]))
    print(shown(parts))
    worst = max(parts, key=lambda part: part.ratio)
    over = sum(part.ratio > MOST for part in parts)
    where = f"{worst.pair}, {worst.part}, {worst.size_fraction:g}"
    print(f"\n{over} of {len(parts)} parts are over {MOST:g}; the worst is {worst.ratio:.3f} ({where})")
    if options.csv:
        write_csv(options.csv, parts)
    return int(options.check and over > 0)


if __name__ == "__main__":
    sys.exit(main())
