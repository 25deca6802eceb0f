#!/usr/bin/env python3
"""What recording costs: a hit in a loop, and a program that makes 10,000 requests a second.

`python benchmarks/recording.py` measures both with and without a recording, in turns of one run; `--check` fails if a hit takes
more than 1.5 times as long, or the program slows down by more than 3 %. Times are processor times, so that other programs don't
count: those of the thread that asks, and beside them those of the whole process, with the thread that writes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from forecache import Cache
from report import table
from timing import LOOP, Timed, Workload, compiled

Pairs = list[tuple[float, float]]

ENTRIES = 10_000
PASSES = 50
"""Turns through the keys in one timing: half a million hits, so that the ring is gone through and the thread has to keep up."""
RATE = 10_000
BATCH = 100
MOST_HIT, MOST_PROGRAM = 1.5, 1.03


@contextmanager
def recorded(cache: Cache) -> Iterator[None]:
    """A recording of all keys, whose trace is thrown away."""
    with tempfile.TemporaryDirectory() as folder, cache.record(Path(folder) / "trace.fctrace"):
        yield


def filled(work: Workload) -> Cache:
    """A cache with all keys, none of which expires."""
    cache = Cache("1GB")
    cache.set_many(dict.fromkeys(work.keys, b"v" * 100))
    return cache


def hits(loop: Timed, cache: Cache, keys: list[str]) -> tuple[float, float]:
    """Nanoseconds a hit of processor time: of this thread, and of all threads together."""
    used, of_all = time.thread_time_ns(), time.process_time_ns()
    loop(cache, keys, None)
    return (time.thread_time_ns() - used) / len(keys), (time.process_time_ns() - of_all) / len(keys)


def work_once() -> int:
    """What a request does beside asking the cache: some ten microseconds."""
    return sum(range(1000))


def program(cache: Cache, keys: list[str], seconds: float) -> tuple[float, float]:
    """Microseconds of processor time a request, at 10,000 requests a second: of this thread, and of all threads together.

    A request is a read, its work, and for one in ten a miss and a set.
    """
    batches = int(seconds * RATE / BATCH)
    start, used, of_all = time.perf_counter(), time.thread_time(), time.process_time()
    for batch in range(batches):
        for number in range(BATCH):
            turn = batch * BATCH + number
            key = f"new:{turn}" if turn % 10 == 0 else keys[turn % len(keys)]
            if cache.get(key) is None:
                cache.set(key, turn)
            work_once()
        left = start + (batch + 1) * BATCH / RATE - time.perf_counter()
        if left > 0:
            time.sleep(left)
    requests = batches * BATCH / 1e6
    return (time.thread_time() - used) / requests, (time.process_time() - of_all) / requests


def in_turns(rounds: int, measure: Callable[[AbstractContextManager[object]], tuple[float, float]], cache: Cache) -> list[Pairs]:
    """What `measure` gives without and with a recording, round by round."""
    found: list[Pairs] = [[], []]
    for _ in range(rounds):
        found[0].append(measure(nullcontext()))
        found[1].append(measure(recorded(cache)))
    return found


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="What recording costs.")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a bar isn't met")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3, help="of one run of the program")
    options = parser.parse_args()
    work = Workload(ENTRIES)
    loop, empty = compiled(LOOP, "cache.get(key)"), compiled(LOOP, "pass")
    cache, asked = filled(work), work.asked * PASSES
    floor = min(hits(empty, cache, asked)[0] for _ in range(5))
    hits(loop, cache, asked)

    def one_loop(recording: AbstractContextManager[object]) -> tuple[float, float]:
        with recording:
            used, of_all = hits(loop, cache, asked)
        return used - floor, of_all - floor

    def one_program(recording: AbstractContextManager[object]) -> tuple[float, float]:
        with recording:
            return program(cache, asked, options.seconds)

    loops = in_turns(options.rounds, one_loop, cache)
    runs = in_turns(options.rounds, one_program, cache)
    rows, ratios = [], []
    for name, unit, found, pick in (
        ("hit in a loop, the asking thread", "ns", loops, 0),
        ("hit in a loop, the whole process", "ns", loops, 1),
        ("request at 10,000/s, the asking thread", "us", runs, 0),
        ("request at 10,000/s, the whole process", "us", runs, 1),
    ):
        plain, busy = (statistics.median(each[pick] for each in side) for side in found)
        # Of each round for itself: what else the machine does changes from one to the next.
        ratios.append(statistics.median(with_[pick] / without[pick] for without, with_ in zip(*found, strict=True)))
        rows.append([name, f"{plain:.1f} {unit}", f"{busy:.1f} {unit}", f"{ratios[-1]:.3f}"])
    print(table(["", "without", "recorded", "ratio"], rows))
    met = ratios[0] <= MOST_HIT and ratios[2] <= MOST_PROGRAM
    print(f"a hit at most {MOST_HIT} times, a program at most {MOST_PROGRAM} times: {'met' if met else 'NOT MET'}")
    return int(options.check and not met)


if __name__ == "__main__":
    sys.exit(main())
