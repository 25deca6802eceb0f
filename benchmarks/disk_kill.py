#!/usr/bin/env python3
"""Writers of one directory killed at random moments: `python benchmarks/disk_kill.py --kills 200`, or `make campaign`.

Each writer says what it begins and what it has done. After each kill the directory opens in under a second, and every key holds
what was done to it last, or what was being done. Every other time another process, this one, has the directory open meanwhile
and goes on to use it. Half of the kills are in a directory that is full, where keys may be gone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from disk_parts import History, Work, draws_of, open_disk, read_all
from walks import must

KEYS = 150
ROOMY, TIGHT = (64_000_000, 50_000), (9_000_000, 400_000)
"""Capacity, and the length of the largest values: of a directory where all have room, and of one that is always full."""
MOST_SECONDS = 1.0


class Spoken(History):
    """A history that is told to whoever reads the standard output."""

    def begin(self, what: str, number: int, keys: object) -> None:
        """Says what begins."""
        sys.stdout.write(f"{what} {number} {' '.join(keys)}\n")  # type: ignore[call-overload]
        sys.stdout.flush()

    def end(self) -> None:
        """Says that it is done."""
        sys.stdout.write("done\n")
        sys.stdout.flush()


def writer(directory: Path, capacity: int, most: int, seed: str, start: int) -> subprocess.Popen[str]:
    """A process that writes until it is killed."""
    arguments = [str(directory), str(capacity), str(most), seed, str(start)]
    return subprocess.Popen([sys.executable, __file__, "--write", *arguments], stdout=subprocess.PIPE, text=True)


def write(directory: str, capacity: str, most: str, seed: str, start: str) -> None:
    """What that process does."""
    work = Work(open_disk(Path(directory), int(capacity)), Spoken(), seed, keys=KEYS, most=int(most), start=int(start))
    while True:
        work.step()


def hear(history: History, line: str) -> int:
    """Notes what a writer said; returns the number it named, or 0."""
    if not line.endswith("\n"):
        return 0
    what, *rest = line.split()
    if what == "done":
        history.end()
        return 0
    history.begin(what, int(rest[0]), rest[1:])
    return int(rest[0])


def kills(count: int, seed: int = 1) -> dict[str, float]:
    """Kills so many writers; returns the longest time that it took to open the directory, and what was read."""
    draws = draws_of(seed)
    longest, read, operations = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        histories = {setting: History() for setting in (ROOMY, TIGHT)}
        number = 1
        for turn in range(count):
            setting = (ROOMY, TIGHT)[turn % 2]
            history, (capacity, most) = histories[setting], setting
            directory = Path(folder) / str(capacity)
            beside = open_disk(directory, capacity) if turn % 4 >= 2 else None
            process = writer(directory, capacity, most, f"{seed} {turn}", number)
            for _ in range(draws.randint(1, 300)):
                number = max(number, hear(history, process.stdout.readline()))
            end = time.perf_counter() + draws.random() * 0.003
            while time.perf_counter() < end:
                pass
            process.kill()
            for line in process.stdout:
                number = max(number, hear(history, line))
            process.wait()
            process.stdout.close()
            keys = [f"key:{each}" for each in range(KEYS)]
            if beside is not None:
                history.check_kill(read_all(beside, keys), full=setting is TIGHT)
            begin = time.perf_counter()
            disk = open_disk(directory, capacity)
            longest = max(longest, time.perf_counter() - begin)
            numbers = read_all(disk, keys)
            history.check_kill(numbers, full=setting is TIGHT)
            history.observe(keys, numbers)
            for each in (disk, beside):
                if each is not None:
                    work = Work(each, history, f"after {turn}", keys=KEYS, most=most, start=number)
                    for _ in range(5):
                        work.step()
                    number = work.number
                    each.close()
            operations = number
            read += len(numbers)
    must(longest < MOST_SECONDS, f"{longest:.2f} s to open a directory after a kill")
    return {"kills": count, "operations": operations, "values read": read, "longest opening (s)": round(longest, 4)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(*options.write)
    print(kills(options.kills, options.seed))


if __name__ == "__main__":
    main()
