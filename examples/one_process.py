"""A cache in one process: memory over a disk, in front of something slow; and again after a restart.

Needs nothing but this package.
"""

from __future__ import annotations

import tempfile
import time

from local import answers, drawn, show

from forecache import Cache

SLOW = 0.002
"""Seconds that the origin takes for an article."""
ARTICLES, READS = 2_000, 20_000


def origin(number: int) -> dict[str, object]:
    """What is slow: a database, a rendered page, another service."""
    time.sleep(SLOW)
    return {"number": number, "text": f"article {number} " * 100}


def read(directory: str, seed: int) -> tuple[dict[str, int], float]:
    """A process's life: makes its cache, reads articles, and closes it."""
    with Cache.from_url("memory://?capacity=256KB", f"disk://{directory}?capacity=64MB", ttl="1h") as cache:

        @cache.cached(key="article:{number}")
        def article(number: int) -> dict[str, object]:
            return origin(number)

        began = time.perf_counter()
        for number in drawn(READS, ARTICLES, seed):
            assert article(number)["number"] == number
        return answers(cache), time.perf_counter() - began


def main() -> None:
    """Everything in order."""
    print(f"{READS:,} reads of {ARTICLES:,} articles; the origin takes {SLOW * 1e3:g} ms for one.")
    with tempfile.TemporaryDirectory(prefix="forecache-example-") as directory:
        cold, first = read(directory, seed=1)
        warm, second = read(directory, seed=2)
    show({"cold": cold, "after a restart": warm})
    print(f"Cold it took {first:.1f} s, after the restart {second:.1f} s; without a cache it were {READS * SLOW:.0f} s.")


if __name__ == "__main__":
    main()
