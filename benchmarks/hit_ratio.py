#!/usr/bin/env python3
"""The fair comparison: every policy of ours, libCacheSim's and Belady's optimum on the same traces, in one run.

`python benchmarks/hit_ratio.py FOLDER` prints Markdown: means over all cells, then each cell. Without FOLDER it takes the
project's own recordings. A synthetic workload is shown in a section of its own and never enters a mean.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import fleet
import peers
import standings
from fleet_parts import Parameters
from forecache._core import Trace
from forecache.errors import ForecacheError, TraceError
from forecache.replays import SIZES, replay
from standings import Result

ROOT = Path(__file__).resolve().parent.parent
RECORDINGS = ROOT / "recordings"
PATTERNS = ("*.fctrace", "*.oracleGeneral", "*.oracleGeneral.*")
QUICK_SIZES = (0.01, 0.1)
FLEET_SIZE = 0.05
Progress = Callable[[str], object]


def progress(text: str) -> None:
    """One line on a terminal that the next one replaces."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="" if text else "\r", file=sys.stderr, flush=True)


def replayed(done: int, total: int) -> None:
    """How far our own policies are."""
    progress(f"replays: {done} of {total}")


def traces(given: Sequence[Path]) -> list[Path]:
    """The traces of the folders, and the files, that were given."""
    found: list[Path] = []
    for path in given or [RECORDINGS]:
        inside = sorted({file for pattern in PATTERNS for file in path.glob(pattern)}) if path.is_dir() else [path]
        if not inside:
            raise TraceError(f"{path}: holds no trace; expected {', '.join(PATTERNS)} (give tables by their names)")
        found += inside
    synthetics = [path for path in found if made_up(path)]
    if synthetics:
        names = ", ".join(path.name for path in synthetics)
        print(f"left out, because synthetic workloads enter no mean: {names} (--fleet shows the fleet's)", file=sys.stderr)
        found = [path for path in found if path not in synthetics]
    if not found:
        raise TraceError("only synthetic workloads were given; give a recording, or --fleet")
    return found


def made_up(path: Path) -> bool:
    """Whether the trace says of itself that it was made up."""
    return path.suffix == ".fctrace" and Trace.open(path).description.startswith(fleet.MARK)


def measure(paths: Sequence[Path], sizes: Sequence[float], others: Sequence[str]) -> list[Result]:
    """All policies in all cells: ours and Belady's first, then what libCacheSim's policies in `others` make of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a size of no object is no cell
        rows = replay(paths, policies="all", sizes=sizes, belady=True, progress=replayed)
    rows = [row for row in rows if row.capacity >= standings.LEAST]
    if not rows:
        tried = ", ".join(f"{size:g}" for size in sizes)
        raise TraceError(f"sizes: {tried} of the traces' objects are fewer than {standings.LEAST} each; give larger --sizes")
    results = [Result(row.trace, row.size_fraction or 0.0, row.policy, row.miss_ratio, row.byte_miss_ratio) for row in rows]
    for path in paths:
        name = path.name.split(".", 1)[0]
        ours = [row for row in rows if (row.trace, row.policy) == (name, standings.LRU)]
        if not ours:
            continue
        progress(f"{name}: libCacheSim")
        found = peers.measure(path, others, [row.capacity for row in ours])
        results += [
            Result(name, row.size_fraction or 0.0, policy, ratio, bytes_ratio if row.bytes else None, peer=True)
            for policy, ratios in found.items()
            for row, (ratio, bytes_ratio) in zip(ours, ratios, strict=True)
        ]
    progress("")
    return results


def comparison(results: Sequence[Result], others: Sequence[str]) -> str:
    """The section of real traces."""
    cells = standings.by_policy(results)[standings.LRU]
    counted = f"Means over {len(cells)} cells of {len({trace for trace, _ in cells})} traces; forecache {forecache_version()}, "
    return "\n\n".join([counted + said_of(results, others), standings.summary(results), standings.by_cell(results)])


def forecache_version() -> str:
    """Ours."""
    from forecache import __version__

    return __version__


def said_of(results: Sequence[Result], others: Sequence[str]) -> str:
    """What was measured of libCacheSim."""
    if not others:
        return "other libraries not measured (`pip install libcachesim`)."
    ratios = standings.by_policy(results)
    lacking = [name for name in others if ratios.get(f"{name} (libCacheSim)", {}).keys() != ratios[standings.LRU].keys()]
    text = f"libCacheSim {peers.installed()} with its default parameters"
    return f"{text}; left out because their process crashed: {', '.join(lacking)}." if lacking else f"{text}."


def synthetic(seeds: Sequence[int], days: int, others: Sequence[str]) -> tuple[str, list[Result]]:
    """The section of the synthetic fleet, and its figures."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"seed {seed}.fctrace") for seed in seeds]
        for seed, path in zip(seeds, paths, strict=True):
            progress(f"generating a fleet, seed {seed}")
            fleet.write(path, seed, Parameters(days=days))
        results = measure(paths, [FLEET_SIZE], others)
    made = f"SYNTHETIC: the fleet workload of `benchmarks/fleet.py`, {days} day{'s' if days > 1 else ''}"
    heading = f"{made}, at {100 * FLEET_SIZE:g} % of the unique objects; "
    return "\n\n".join([heading + said_of(results, others), standings.hits(results)]), results


def put(page: Path, text: str) -> None:
    """Replaces what stands in `page` between the two marks."""
    begin, end = "<!-- hit_ratio: begin -->", "<!-- hit_ratio: end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{page}: lacks {begin} and {end}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """What was asked for, as far as it can be checked before the work."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="FOLDER", help="folders of traces, or traces (default: recordings/)"
    )
    parser.add_argument("--sizes", type=sizes, help="shares of the unique objects (default 0.001,0.01,0.05,0.1)")
    parser.add_argument("--quick", action="store_true", help="two sizes, a few of libCacheSim's policies, a fleet of one day")
    parser.add_argument(
        "--fleet", nargs="+", type=int, default=[], metavar="SEED", help="also the synthetic fleet, in its own section"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write hit_ratio.csv, .md and .png there, the fleet as synthetic.csv"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    parser.add_argument("--docs", action="store_true", help="update docs/policies.md (and docs/fleet.md), own recordings only")
    options = parser.parse_args()
    if options.docs and (options.paths or options.sizes or options.quick):
        parser.error("--docs takes the project's own recordings at the usual sizes: leave FOLDER, --sizes and --quick out")
    if options.out and options.out.exists() and not options.out.is_dir():
        parser.error(f"--out: got {str(options.out)!r}; allowed: a directory")
    return options


def sizes(text: str) -> list[float]:
    """`"0.01,0.1"`."""
    return [float(part) for part in text.split(",")]


def main() -> int:
    """Measures, prints and writes."""
    options = arguments()
    others = (peers.QUICK if options.quick else peers.POLICIES) if peers.installed() else ()
    shares = options.sizes or (QUICK_SIZES if options.quick else SIZES)
    made: list[Result] = []
    try:
        paths = traces(options.paths)
        results = measure(paths, shares, others)
        sections = [comparison(results, others)]
        if options.fleet:
            text, made = synthetic(options.fleet, 1 if options.quick else Parameters.days, others)
            sections.append(text)
    except ForecacheError as error:
        print(f"hit_ratio: {error}", file=sys.stderr)
        return 2
    if options.json:
        report = standings.as_json(results) | ({"synthetic": standings.as_json(made)} if made else {})
        print(json.dumps(report, indent=1))
    else:
        print(*sections, sep="\n\n")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "hit_ratio.csv").write_text(standings.csv_text(results), encoding="utf-8")
        (options.out / "hit_ratio.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")
        standings.plot(results, options.out / "hit_ratio.png")
        if made:
            (options.out / "synthetic.csv").write_text(standings.csv_text(made), encoding="utf-8")
    if options.docs:
        put(ROOT / "docs" / "policies.md", sections[0])
        standings.plot(results, ROOT / "benchmarks" / "hit_ratio.png")
        if made:
            put(ROOT / "docs" / "fleet.md", sections[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
