#!/usr/bin/env python3
"""The memory cache beside others, all in one run: `make bench`, or `python benchmarks/memory.py --quick`.

Prints tables and which promises are met; README.md beside this says how to read them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import awaited
import footprint
import report
from contestants import WITH_TTL, WITHOUT_TTL
from timing import LOOP, Lane, Workload, compiled, race

ENTRIES = 10_000
PACKAGES = ("forecache", "cachebox", "cachetools", "theine", "moka-py", "aiocache", "cashews")


def progress(text: str) -> None:
    """One line on a terminal that the next one replaces."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="" if text else "\r", file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    """Where and with what this ran."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "cpu": f"{os.cpu_count()} x {cpu}",
        "load": f"{os.getloadavg()[0]:.1f}",
        **{name: version(name) for name in PACKAGES},
    }


def blocks_of_hits(work: Workload) -> int:
    """Memory blocks that Python holds more of after a pass of hits than before, the smallest of three."""
    cache = WITH_TTL[0].make(work.entries)
    for key in work.keys:
        cache.set(key, work)
    hits = compiled(LOOP, "cache.get(key)")
    growth = []
    for _ in range(3):
        before = sys.getallocatedblocks()
        hits(cache, work.asked, None)
        growth.append(sys.getallocatedblocks() - before)
    return min(abs(blocks) for blocks in growth)


def timed(rounds: int) -> report.Results:
    """All times."""
    work = Workload(ENTRIES)
    results: report.Results = {setting: {} for setting in report.SETTINGS}
    for threads in (1, 2):
        lanes = [
            (setting, Lane(contestant, operation, work, threads))
            for setting, contestants in zip(report.SETTINGS, (WITH_TTL, WITHOUT_TTL), strict=True)
            for contestant in contestants
            for operation in (report.OPERATIONS if threads == 1 else report.THREADED)
            if operation not in contestant.lacks
        ]
        race([lane for _, lane in lanes], rounds if threads == 1 else max(rounds // 3, 1), progress)
        for setting, lane in lanes:
            name = lane.operation if threads == 1 else f"{lane.operation} x{threads}"
            results[setting].setdefault(lane.contestant.name, {})[name] = lane.times()
    progress("awaited hits")
    results["awaited"] = awaited.race_awaited(work, rounds)
    results["blocks"] = blocks_of_hits(work)
    return results


def footprints(sizes: list[int]) -> dict[str, dict[str, footprint.Bytes]]:
    """Bookkeeping, by number of entries and cache."""
    found: dict[str, dict[str, footprint.Bytes]] = {}
    for entries in sizes:
        of_size = found.setdefault(str(entries), {})
        for setting, contestants in footprint.FAMILIES.items():
            for contestant in contestants:
                progress(f"bookkeeping of {entries:,} entries: {contestant.name}")
                name = (
                    f"{contestant.name}, no TTL"
                    if contestant.name == "forecache" and contestants is WITHOUT_TTL
                    else contestant.name
                )
                if name not in of_size:
                    of_size[name] = footprint.measured(setting, contestant.name, entries)
    return found


def main() -> int:
    """Measures, prints, and with --check fails if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few rounds, 100,000 entries only: a minute, and noisier")
    parser.add_argument("--rounds", type=int, help="rounds of which the best is taken (default 15, 4 with --quick)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the main ones")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a bar isn't met")
    options = parser.parse_args()

    results: report.Results = {"machine": machine()}
    results |= timed(options.rounds or (4 if options.quick else 15))
    results["footprint"] = footprints([100_000] if options.quick else [100_000, 1_000_000])
    progress("")
    found = report.bars(results)
    print(", ".join(f"{name} {value}" for name, value in results["machine"].items()), end="\n\n")
    print(report.tables(results), report.verdicts(found), sep="\n\n")
    if options.json:
        options.json.write_text(json.dumps(report.as_json(results, found), indent=1))
    if options.plot:
        report.plot(results, options.plot)
    return int(options.check and not all(bar.met for bar in found))


if __name__ == "__main__":
    sys.exit(main())
