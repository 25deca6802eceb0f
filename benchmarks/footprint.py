"""Bytes of bookkeeping an entry: how much the process grows when a cache takes keys and values that exist already.

Each figure comes from a process of its own: `python footprint.py FAMILY NAME ENTRIES` prints it. RSS is read after `malloc_trim`,
before the first and after the last entry. Ours also says itself what its core has allocated (`stats().bookkeeping_bytes`), then
and after evicting many more, when the policy remembers its ghosts.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import subprocess
import sys
from pathlib import Path

from contestants import WITH_TTL, WITHOUT_TTL, Contestant
from timing import LOOP, compiled

Bytes = dict[str, float]
FAMILIES = {"with TTL": WITH_TTL, "without TTL": WITHOUT_TTL}


def resident() -> int:
    """Bytes of this process in memory, after the allocator gave back what it could."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss:"))


def grown(contestant: Contestant, entries: int) -> Bytes:
    """Bytes an entry in this process."""
    keys = [f"user:{number}:profile" for number in range(entries)]
    fill = compiled(LOOP, contestant.set)
    fill(contestant.make(100), keys[:100], None)  # what is imported or made once
    before = resident()
    cache = contestant.make(entries)
    fill(cache, keys, None)
    result = {"resident": (resident() - before) / entries}
    if contestant.name == "forecache":
        result["own"] = cache.stats().bookkeeping_bytes / entries
        fill(cache, [f"new:{number}" for number in range(4 * entries)], None)
        result["evicting"] = cache.stats().bookkeeping_bytes / entries
    return result


def measured(family: str, name: str, entries: int) -> Bytes:
    """The same in a new process."""
    command = [sys.executable, __file__, family, name, str(entries)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output)  # type: ignore[no-any-return]


if __name__ == "__main__":
    chosen = next(one for one in FAMILIES[sys.argv[1]] if one.name == sys.argv[2])
    print(json.dumps(grown(chosen, int(sys.argv[3]))))
