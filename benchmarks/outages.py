#!/usr/bin/env python3
"""What callers feel while a Redis below their cache fails: `python benchmarks/outages.py [--check] [--only NAME]`, 3 min.

The load: 8 threads and 64 tasks, 5,000 requests a second, values of 1 KiB, 80 % of the reads served by memory, the rest by Redis;
what it lacks comes from a loader of 2 ms. One request in 20 changes a key, by `set` or by `delete`. Redis is killed, paused, cut
off and so on under that load, stays away for some seconds, and returns. Promised:

- no request raises, and no value is older than the latest change that was over before it was asked for, nor another key's;
- from 1 s after the outage begins, p99 is under twice that of the same load without Redis;
- 2 s after its return (for a failover: after the promotion) Redis is used again, reads and writes;
- what was changed meanwhile stays so for another process, also when the one that changed it was killed before the return.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forecache import Cache
from outage_parts import (
    OUTAGES,
    Cluster,
    Origin,
    Outage,
    SentinelSet,
    Server,
    Stale,
    deaf_replicas,
    failover,
    open_cache,
    process,
)

THREADS, TASKS, RATE = 8, 64, 5_000
HOT, COLD, HOT_SHARE, CHANGES = 300, 14_400, 0.8, 0.05
LOADING = 0.002
GRACE, BACK = 1.0, 2.0
"""Seconds after which callers feel nothing any more, and after which a server that has returned is used."""
MOST_SLOWER = 2.0
PATIENCE = 15.0


class Load:
    """The requests of all threads and tasks on one cache, at their times: who is late skips what it missed."""

    def __init__(self, cache: Cache, origin: Origin) -> None:
        self.cache, self.origin = cache, origin
        self.times: list[tuple[float, float]] = []
        self.errors: list[str] = []
        self.over = threading.Event()
        workers = THREADS + TASKS
        # Half of the requests come from threads.
        self._threads = [
            threading.Thread(target=self._thread, args=(number, 2 * THREADS / RATE), daemon=True) for number in range(THREADS)
        ]
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._tasks(range(THREADS, workers), 2 * TASKS / RATE))))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()

    def _thread(self, number: int, every: float) -> None:
        draws, due = random.Random(number), time.perf_counter()
        while not self.over.is_set():
            due = max(due + every * draws.uniform(0.5, 1.5), began := time.perf_counter())
            time.sleep(due - began)
            key, verb = self._draw(draws, number)
            least, began = self.origin.least[key], time.perf_counter()
            try:
                if verb == "read":
                    self.origin.seen(key, least, self.cache.get_or_load(key, self._load))
                elif verb == "set":
                    self.cache.set(key, self.origin.change(key))
                else:
                    self.origin.change(key)
                    self.cache.delete(key)
                self._done(key, verb, began)
            except Exception as error:
                self._wrong(verb, error)

    async def _tasks(self, numbers: range, every: float) -> None:
        await asyncio.gather(*(self._task(number, every) for number in numbers))

    async def _task(self, number: int, every: float) -> None:
        draws, due = random.Random(number), time.perf_counter()
        while not self.over.is_set():
            due = max(due + every * draws.uniform(0.5, 1.5), began := time.perf_counter())
            await asyncio.sleep(due - began)
            key, verb = self._draw(draws, number)
            least, began = self.origin.least[key], time.perf_counter()
            try:
                if verb == "read":
                    self.origin.seen(key, least, await self.cache.aio.get_or_load(key, self._aload))
                elif verb == "set":
                    await self.cache.aio.set(key, self.origin.change(key))
                else:
                    self.origin.change(key)
                    await self.cache.aio.delete(key)
                self._done(key, verb, began)
            except Exception as error:
                self._wrong(verb, error)

    def _draw(self, draws: random.Random, number: int) -> tuple[str, str]:
        """A key and what to do; each worker changes keys of its own."""
        if draws.random() < CHANGES:
            workers = THREADS + TASKS
            return cold(draws.randrange(COLD // workers) * workers + number), draws.choice(["set", "delete"])
        return (hot(draws.randrange(HOT)) if draws.random() < HOT_SHARE else cold(draws.randrange(COLD))), "read"

    def _load(self, key: str) -> bytes:
        value = self.origin.load(key)
        time.sleep(LOADING)
        return value

    async def _aload(self, key: str) -> bytes:
        value = self.origin.load(key)
        await asyncio.sleep(LOADING)
        return value

    def _done(self, key: str, verb: str, began: float) -> None:
        self.times.append((began, time.perf_counter() - began))
        if verb != "read":
            self.origin.told(key)

    def _wrong(self, verb: str, error: Exception) -> None:
        self.errors.append(f"{verb}: {type(error).__name__}: {error}")

    def p99(self, start: float, end: float) -> float:
        """Of the requests that began between two times, in seconds."""
        taken = sorted(took for began, took in list(self.times) if start <= began < end)
        return taken[len(taken) * 99 // 100] if taken else float("inf")

    def rate(self, start: float, end: float) -> float:
        """Requests a second between two times."""
        return sum(start <= began < end for began, _ in list(self.times)) / (end - start)


def hot(number: int) -> str:
    """A key that memory has."""
    return f"hot:{number}"


def cold(number: int) -> str:
    """A key that is mostly not in memory."""
    return f"cold:{number}"


def fill(cache: Cache, origin: Origin) -> None:
    """Every key in its first version; the hot ones asked for often enough to stay in memory."""
    for start in range(0, COLD, 100):
        cache.set_many({cold(number): origin.load(cold(number)) for number in range(start, start + 100)})
    for _ in range(3):
        for number in range(HOT):
            cache.get_or_load(hot(number), origin.load)


def without_redis(seconds: float = 4.0) -> float:
    """p99 of the load over a cache that has memory alone."""
    origin = Origin()
    with Cache("1MB") as cache:
        fill(cache, origin)
        with Load(cache, origin) as load:
            start = time.perf_counter()
            time.sleep(seconds)
    if load.errors:
        message = f"the load itself is wrong: {load.errors[0]}"
        raise RuntimeError(message)
    p99 = load.p99(start + 1, start + seconds)
    print(f"  without Redis: p99 {p99 * 1e3:.1f} ms at {load.rate(start, start + seconds):,.0f}/s")
    return p99


def wait(condition: Callable[[], bool]) -> float:
    """Seconds until it holds; infinite if it doesn't in time."""
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > PATIENCE:
            return float("inf")
        time.sleep(0.02)
    return time.perf_counter() - began


def trial(name: str, outage: Outage, folder: Path) -> list[str]:
    """One outage under load; what promises it broke."""
    print(f"{name}:")
    usual = without_redis()
    origin, journal = Origin(), folder / "journal"
    with open_cache(outage.url, journal) as cache:
        fill(cache, origin)
        with Load(cache, origin) as load:
            time.sleep(2)
            begin = time.perf_counter()
            well = load.p99(begin - 1, begin)
            outage.begin()
            time.sleep(outage.away)
            ending = time.perf_counter()
            outage.end()
            end = time.perf_counter()
            resumed = used_again(cache, outage.url, journal)
            time.sleep(1)
        stats = cache.stats().tiers[-1]
    felt, first = load.p99(begin + GRACE, end), load.p99(begin, begin + GRACE)
    slowest = max(took for began, took in load.times if began >= begin)
    print(
        f"  p99 {well * 1e3:.1f} ms before, {first * 1e3:.1f} ms in the first second, then {felt * 1e3:.1f} ms "
        f"({felt / usual:.2f}x, promised {MOST_SLOWER}x); slowest {slowest * 1e3:.0f} ms; {load.rate(begin, end):,.0f}/s"
    )
    print(
        f"  used again {resumed:.2f} s after its return (promised {BACK} s), which took {end - ending:.2f} s; "
        f"{stats.failures} failures, {stats.dropped} dropped, reason {stats.reason}"
    )
    broken = [f"{len(load.errors)} errors, such as {load.errors[0]}"] if load.errors else []
    if felt >= MOST_SLOWER * usual:
        broken.append(f"p99 {felt * 1e3:.1f} ms")
    if resumed > BACK:
        broken.append(f"used again after {resumed:.2f} s")
    return broken + old_ones(outage.url, journal, origin)


def used_again(cache: Cache, url: str, journal: Path) -> float:
    """Seconds until the cache reads from Redis and another sees what it writes there."""
    hits = cache.stats().tiers[-1].hits
    with open_cache(url, journal) as other:
        numbers = iter(range(1 << 30))

        def used() -> bool:
            probe = f"probe:{next(numbers)}"
            cache.set(probe, b"1")
            return bool(other.get(probe)) and cache.stats().tiers[-1].hits > hits

        return wait(used)


def old_ones(url: str, journal: Path, origin: Origin) -> list[str]:
    """What a cache that knows nothing of it finds older than the latest change."""
    stale, found = [], 0
    with open_cache(url, journal) as other:
        for number in range(COLD):
            key = cold(number)
            try:
                value = other.get(key)
                found += value is not None
                origin.seen(key, origin.least[key], value)
            except Stale as error:
                stale.append(str(error))
    print(f"  afterwards another cache finds {found:,} of {COLD:,} keys, {len(stale)} of them old")
    return [f"{len(stale)} old values, such as {stale[0]}"] if stale else []


CHANGER = """
import sys
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
from outage_parts import Origin, open_cache
origin, cache = Origin(), open_cache({url!r}, Path({journal!r}))
keys = [f"orphan:{{number}}" for number in range({keys})]
for key in keys:
    cache.set(key, origin.load(key))
print("set", flush=True)
input()
for number, key in enumerate(keys):
    value = origin.change(key)
    cache.set(key, value) if number % 2 else cache.delete(key)
print("changed", flush=True)
input()
"""
ORPHANS = 200


def orphans(outage: Outage, journal: Path, keys: int = ORPHANS) -> list[str]:
    """A process changes keys during the outage and is killed before its end; then another asks. What it was given wrongly."""
    script = CHANGER.format(benchmarks=str(Path(__file__).parent), url=outage.url, journal=str(journal), keys=keys)
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True) as changer:
        hear(changer, "set")
        outage.begin()
        changer.stdin.write("\n")
        changer.stdin.flush()
        hear(changer, "changed")
        changer.kill()
        changer.wait()
    outage.end()
    origin, stale = Origin(), set()
    with open_cache(outage.url, journal, max_entries=1) as other:

        def answers() -> bool:
            other.set("probe:orphan", b"1")
            with open_cache(outage.url, journal) as third:
                return third.get("probe:orphan") == b"1"

        for again in (False, True):  # at once, and when it is surely used again
            if again and wait(answers) == float("inf"):
                stale.add("Redis isn't used again")
            for number in range(keys):
                try:
                    origin.seen(f"orphan:{number}", 1, other.get(f"orphan:{number}"))
                except Stale as error:
                    stale.add(str(error))
    return sorted(stale)


def hear(changer: subprocess.Popen[str], word: str) -> None:
    """Waits until the process says it."""
    said = changer.stdout.readline().strip()
    if said != word:
        message = f"the changing process said {said!r}, not {word!r}"
        raise RuntimeError(message)


def lost_deletes(servers: Any, journal: Path, keys: int = ORPHANS) -> list[str]:
    """Deletes and overwrites that a master takes and that die with it, since its replica hadn't them: what is served again."""
    origin, stale = Origin(), set()
    names = [f"{{lost}}:{number}" for number in range(keys)]
    master = servers.master_of("{lost}") if isinstance(servers, Cluster) else servers.master
    with open_cache(servers.url, journal, max_entries=1) as cache, open_cache(servers.url, journal, max_entries=1) as other:
        cache.set_many({name: origin.load(name) for name in names})
        servers.pass_on()
        with deaf_replicas(servers, master):
            for number, name in enumerate(names):
                value = origin.change(name)
                cache.set(name, value) if number % 2 else cache.delete(name)
                origin.told(name)
            servers.kill(master)
            servers.wait_failover()
        used, begin = False, time.perf_counter()
        while not used or time.perf_counter() < begin + BACK:  # what is written again becomes known to all
            for name in names:
                for one in (cache, other):
                    try:
                        origin.seen(name, origin.least[name], one.get(name))
                    except Stale as error:
                        stale.add(str(error))
            cache.set("{lost}:probe", b"1")
            used = other.get("{lost}:probe") is not None
            if time.perf_counter() > begin + PATIENCE:
                return [*stale, "Redis isn't used again"]
    return sorted(stale)


def main() -> None:
    """Prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit code 1 if a promise isn't kept")
    parser.add_argument("--only", metavar="NAME", help=", ".join([*OUTAGES, "sentinel", "cluster"]))
    arguments = parser.parse_args()
    broken: dict[str, list[str]] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name in [*OUTAGES, "sentinel", "cluster"]:
                if arguments.only in {None, name}:
                    broken[name] = of_kind(name, Path(folder) / name.replace(" ", "-"))
                    for each in broken[name]:
                        print(f"  BROKEN: {each}")
    finally:
        process.end_all()
    sys.exit(bool(arguments.check and any(broken.values())))


def of_kind(name: str, folder: Path) -> list[str]:
    """All that is tried with one outage."""
    if name in OUTAGES:
        server = Server()
        server.start()
        with OUTAGES[name](server) as outage:
            broken = trial(name, outage, folder)
            server.ask("FLUSHALL")
            stale = orphans(outage, folder / "orphans")
        server.kill()
    else:
        servers = SentinelSet() if name == "sentinel" else Cluster()
        servers.start()
        broken = trial(name, failover(servers), folder)
        servers.mend()
        stale = orphans(failover(servers), folder / "orphans")
        servers.mend()
        stale += lost_deletes(servers, folder / "lost")
        servers.mend()
        for node in process.started:
            node.kill()
    print(f"  changed by a process that was killed, or lost with a master: {len(stale)} served again")
    return broken + stale[:3]


if __name__ == "__main__":
    main()
