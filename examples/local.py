"""What the examples share: a Redis of their own, processes that come and go, skewed requests, and a table of who answered."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from forecache import Cache

PATIENCE = 20
"""Seconds until a process that was started has to be ready."""


def drawn(count: int, among: int, seed: int = 0) -> list[int]:
    """Numbers below `among` as requests ask for things: a few very often, most of them seldom (Zipf)."""
    weights = [1 / rank for rank in range(1, among + 1)]
    return random.Random(seed).choices(range(among), weights, k=count)


def answers(cache: Cache) -> dict[str, int]:
    """How many reads there were, and how many of them were answered by memory, by each tier below, and by loading."""
    stats = cache.stats()
    return {
        "reads": stats.hits + stats.misses,
        "memory": stats.hits,
        **{tier.name: tier.hits for tier in stats.tiers},
        "loaded": stats.loads.count,
    }


def added(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The sums of what several processes counted."""
    return {name: sum(part[name] for part in parts) for name in parts[0]}


def show(rows: Mapping[str, Mapping[str, int]]) -> None:
    """Prints a line for each row: reads, and the share that each place answered."""
    places = [place for place in dict.fromkeys(place for row in rows.values() for place in row) if place != "reads"]
    first = max(map(len, rows))
    print(f"\n  {'':{first}} {'reads':>7}" + "".join(f"{place:>11}" for place in places))
    for name, row in rows.items():
        reads = row["reads"]
        shares = (f"{row[place] / reads:>11.1%}" if place in row and reads else f"{'':>11}" for place in places)
        print(f"  {name:{first}} {reads:>7,}" + "".join(shares))
    print()


def asked(url: str, **options: str) -> str:
    """A URL with more options in its query."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode(options)}"


@contextmanager
def redis(url: str | None) -> Iterator[str]:
    """The URL of a Redis: the given one, or that of a server which lives as long as this.

    Servers, clients and Redis share the cores of one machine here, so it may take its time.
    """
    if url is not None:
        yield asked(url, timeout="5s")
        return
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("this example needs a Redis: install redis-server, or give the URL of one: --redis redis://localhost:6379")
    with tempfile.TemporaryDirectory(prefix="forecache-redis-") as folder:
        socket = Path(folder) / "redis.sock"
        command = [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            end = time.monotonic() + PATIENCE
            while not socket.exists():
                if server.poll() is not None or time.monotonic() > end:
                    sys.exit(f"{program} doesn't start")
                time.sleep(0.01)
            yield asked(f"unix://{socket}", timeout="5s")
        finally:
            server.terminate()
            server.wait(PATIENCE)


class Worker:
    """A process of an example: this Python, running the same file with other arguments. What it says are lines of JSON: one when
    it is ready, and one at its end."""

    def __init__(self, script: str, *arguments: str, inherits: Sequence[int] = ()) -> None:
        command = [sys.executable, script, *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=list(inherits)
        )

    def said(self) -> Any:
        """The next line that it says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"a process of the example ended with exit code {self._process.wait(PATIENCE)}")
        return json.loads(line)

    def stop(self) -> Any:
        """Ends it, and gives what it tells: its standard input closes, which is what it waits for."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        told = self.said()
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return told


def say(line: Any) -> None:
    """A line from a process to the one that started it."""
    print(json.dumps(line), flush=True)
