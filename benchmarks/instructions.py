#!/usr/bin/env python3
"""Instructions a call under callgrind, which repeat exactly where times don't; and that a hit calls no allocator,
however many tiers there are.

`python benchmarks/instructions.py` prints them beside the baseline kept in instructions.json, `--check` fails on growth over 5 %,
`--update` writes the baseline anew. Needs valgrind. Every operation is done N times and then 2N times in one process, so that in
the difference all but the operation cancels out; an empty loop is taken off. Growth of Python's own share ("total") counts only
if the baseline is of the very same build of Python.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contestants import WITH_TTL
from forecache import Cache, Disk, ZMemory
from forecache.testing import DictTier
from forecache.tiers.boundary import Custom
from report import table
from timing import LOOP, MANY, Timed, Workload, compiled

BASELINE = Path(__file__).with_suffix(".json")
ENTRIES = 1000
OPERATIONS = {
    "hit": "cache.get(key)",
    "miss": "cache.get(key)",
    "set": "cache.set(key, value)",
    "evict": "cache.set(key, value)",
    "get_many": "cache.get_many(keys)",
    "set_many": "cache.set_many(batch)",
}
"""Those of batches count a key of the batch as a call."""
TIERED = {"hit above a disk": 1, "hit above 3 tiers": 3}
"""Hits in memory with so many tiers below, the last of which other processes share. More tiers may not cost more."""
POLICIES = {"hit under lru": "lru", "hit under learned": "learned"}
"""Hits in memory under a policy. The second may cost as many more as `MOST_LEARNED` says, Python's own share counted."""
MOST_LEARNED = 1.15
SILENT = ("hit", *TIERED, *POLICIES)
"""Operations that may call no allocator."""
ALLOCATOR = {"malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc"}
MOST_GROWTH = 1.05
MARK = "getpriority"
"""A function of the C library that nobody else calls: callgrind starts a new part at each call."""


def workload() -> None:
    """What runs under callgrind: for each operation N and 2N calls of an empty loop, then of the operation."""
    gc.disable()
    work = Workload(ENTRIES)
    cache = WITH_TTL[0].make(ENTRIES)
    names = {"KEYS": {id(batch): list(batch) for batch in work.batches}}
    for key in work.keys:
        cache.set(key, b"")
    for operation, statement in OPERATIONS.items():
        turns(cache, compiled_both(operation, statement, names), work.keys_of(operation))
    for count in TIERED.values():
        with tempfile.TemporaryDirectory() as folder, tiered(count, folder) as above:
            for key in work.keys:
                above.set(key, b"")
            above.flush()
            turns(above, compiled_both("hit", OPERATIONS["hit"], names), work.keys_of("hit"))
    for policy in POLICIES.values():
        with Cache(max_entries=ENTRIES, policy=policy) as under:
            for key in work.keys:
                under.set(key, b"")
            turns(under, compiled_both("hit", OPERATIONS["hit"], names), work.keys_of("hit"))


def tiered(count: int, folder: str) -> Cache:
    """A cache above so many tiers."""
    faster = [ZMemory("16MB"), Custom(DictTier(), write="demote")]
    return Cache("64MB", tiers=[*faster[: count - 1], Disk(folder, "64MB")])


def compiled_both(operation: str, statement: str, names: dict[str, Any]) -> list[Timed]:
    """An empty loop, and that of the operation."""
    template = MANY if operation.endswith("many") else LOOP
    return [compiled(template, body, **names) for body in ("pass", statement)]


def turns(cache: Any, loops: list[Timed], keys: list[Any]) -> None:
    """Six parts of the profile."""
    for loop in loops:
        for count in (3, 1, 2):  # the first to let the interpreter specialise
            turn(loop, cache, [keys] * count)


def turn(loop: Timed, cache: Any, rounds: list[list[Any]]) -> None:
    """One part of the profile."""
    os.getpriority(os.PRIO_PROCESS, 0)
    for keys in rounds:
        loop(cache, keys, None)
    os.getpriority(os.PRIO_PROCESS, 0)


def profile() -> list[Counter[str]]:
    """Runs the workload; the costs of each `turn`: instructions in `total` and of `core`, and its calls of the allocator."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--dump-before={MARK}", "--callgrind-out-file=parts", sys.executable]
        subprocess.run(
            [*command, str(Path(__file__).resolve()), "--workload"],
            check=True,
            cwd=folder,
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
            stderr=subprocess.DEVNULL,
        )
        parts = sorted(Path(folder).glob("parts.*"), key=lambda part: int(part.suffix[1:]))
        # Part 1 ends at the first mark, so every second one from part 2 on is a turn.
        return [costs(part.read_text().splitlines()) for part in parts[1::2]]


def costs(lines: list[str]) -> Counter[str]:
    """Sums over one part, whose format is described in valgrind's manual, "Callgrind Format Specification"."""
    names: dict[str, str] = {}
    spaces = {"ob": "object", "cob": "object", "fn": "function", "cfn": "function"}
    at = {"ob": "", "fn": "", "cob": "", "cfn": ""}
    sums: Counter[str] = Counter()
    remaining: Iterator[str] = iter(lines)
    for line in remaining:
        if match := re.match(r"(ob|cob|fn|cfn)=\((\d+)\)(?: (.*))?", line):
            kind, number, name = match.groups()
            key = spaces[kind] + number
            names[key] = name or names.get(key, "")
            at[kind] = names[key]
        elif line.startswith("calls="):
            next(remaining)  # the callee's cost, which is in its own lines
            if "_core." in at["ob"] and at["cfn"] in ALLOCATOR:
                sums["allocator"] += int(line[6:].split()[0])
            at["cob"] = at["cfn"] = ""
        elif line.startswith(tuple("0123456789+-*")):
            instructions = int([*line.split(), "0"][1])
            sums["total"] += instructions
            sums["core"] += instructions * ("_core." in at["ob"])
    return sums


def per_call(turns: list[Counter[str]]) -> dict[str, dict[str, float]]:
    """Costs of one call: what 2N calls cost more than N, less the same of the empty loop."""
    found = {}
    for at, operation in enumerate([*OPERATIONS, *TIERED, *POLICIES]):
        _, empty, twice_empty, _, once, twice = turns[6 * at : 6 * at + 6]
        found[operation] = {
            cost: round((twice[cost] - once[cost] - twice_empty[cost] + empty[cost]) / ENTRIES, digits)
            for cost, digits in (("total", 0), ("core", 0), ("allocator", 2))
        }
    return found


def build() -> str:
    """Where a baseline holds: Python's minor version and the architecture."""
    return f"{platform.python_version().rpartition('.')[0]} {platform.machine()}"


def grown(now: dict[str, float], then: dict[str, Any], same_python: bool) -> bool:
    """Whether it takes more instructions than it may."""
    costs = ("total", "core") if same_python else ("core",)
    return any(now[cost] > then.get(cost, now[cost]) * MOST_GROWTH for cost in costs)


def main() -> int:
    """Measures and compares."""
    parser = argparse.ArgumentParser(description="Instructions a call under callgrind.")
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit code 1 on growth over 5 %%, if a hit calls the allocator, costs more above tiers or much more under learned",
    )
    parser.add_argument("--update", action="store_true", help="write the baseline")
    parser.add_argument("--workload", action="store_true", help=argparse.SUPPRESS)
    options, _ = parser.parse_known_args()
    if options.workload:
        workload()
        return 0
    if shutil.which("valgrind") is None:
        print("this needs valgrind; type: sudo apt-get install valgrind", file=sys.stderr)
        return 2
    found = per_call(profile())
    baselines = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    baseline = baselines.get(build(), {})
    same_python = baseline.get("compiler") == platform.python_compiler() and baseline.get("python") == platform.python_version()
    rows, failed = [], False
    for operation, now in found.items():
        then = baseline.get(operation, {})
        bad = grown(now, then, same_python) or (operation in SILENT and now["allocator"] > 0)
        failed |= bad
        costs_now = [f"{now[cost]:.0f}" for cost in ("total", "core")]
        costs_then = [f"{then[cost]:.0f}" if then else "-" for cost in ("total", "core")]
        rows.append([operation, *costs_now, *costs_then, f"{now['allocator']:.2f}", "GROWN" if bad else "ok"])
    fewer, more = (found[operation]["core"] for operation in TIERED)
    failed |= more > fewer
    lru, learned = (found[operation]["total"] for operation in POLICIES)
    failed |= learned > lru * MOST_LEARNED
    print(f"instructions a call, Python {build()}")
    print(table(["", "total", "in our core", "baseline total", "baseline core", "allocator calls", ""], rows))
    print(f"a hit under learned takes {learned / lru:.3f} times the instructions of one under lru; at most {MOST_LEARNED}")
    if options.update:
        about = {"python": platform.python_version(), "compiler": platform.python_compiler()}
        BASELINE.write_text(json.dumps({**baselines, build(): {**about, **found}}, indent=1, sort_keys=True) + "\n")
    return int(options.check and failed)


if __name__ == "__main__":
    sys.exit(main())
