"""Memory pressure: caches with a `reserve` give way while the host, or the container, has less memory left than that.

One thread a process looks once a second, as long as there are such caches. What is short is taken from all of them by the same
share of what they hold, a fifth at most, since what Python frees reaches the host late. When twice the reserve was free for a
while, they get back a hundredth of their full budgets a second. It is a better chance, not a guarantee: the kernel doesn't ask
before it kills.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from forecache import machine
from forecache.errors import CacheClosed
from forecache.events import Resized

if TYPE_CHECKING:
    from forecache.cache import Cache

EVERY = 1.0
"""Seconds between two looks."""
CALM = 10
"""Looks in a row that found enough, before budgets grow again."""
MOST, LEAST, GROWTH = 0.2, 0.1, 0.01
"""Shares: what a cache loses at once at most, the part of its full budget that it always keeps, and what it gets back a look."""

_log = logging.getLogger("forecache")


class Budget:
    """The budget of a cache, in full and as it is now. Whoever calls `resize` sets a new full one."""

    def __init__(self, cache: Cache) -> None:
        self._cache = weakref.ref(cache)
        self.reserve = cache.config.reserve or 0
        self.counts_bytes = cache.config.weigher is None
        self._full = self._now = int(cache._stats()["capacity"])

    def held(self) -> int | None:
        """What the cache holds, in its unit; None if it is no longer in use."""
        cache = self._cache()
        if cache is None or cache.closed:
            return None
        stats = cache._stats()
        if stats["capacity"] != self._now:
            self._full = self._now = stats["capacity"]
        return int(stats["weight"])

    def shrink(self, share: float) -> None:
        """Takes a share of what the cache holds, or of its budget if that is less."""
        held = self.held()
        if held is not None:
            self._resize(max(int(self._full * LEAST), int(min(self._now, held) * (1 - share))))

    def grow(self) -> None:
        """Gives back a step, if it isn't full."""
        if self.held() is not None:
            self._resize(self._now + max(1, int(self._full * GROWTH)))

    def _resize(self, capacity: int) -> None:
        capacity, cache = max(1, min(self._full, capacity)), self._cache()
        if cache is not None and capacity != self._now:
            self._now = capacity
            with suppress(CacheClosed):
                cache.resize(capacity)
            cache._hub.tell(Resized(capacity, self._full))


class Watcher:
    """Looks at the memory that is left, and moves the budgets of the caches that it was given."""

    def __init__(self, free: Callable[[], int | None] = machine.free_memory, trim: Callable[[], object] | None = None) -> None:
        """`free` tells the bytes that can be had, or None if nobody knows; `trim` gives the host what was freed."""
        self._free, self._trim = free, trim or _trim
        self._budgets: list[Budget] = []
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._calm = 0

    def add(self, cache: Cache) -> None:
        """Looks after a cache until it is closed, or nobody has it any more."""
        with self._changing:
            self._budgets.append(Budget(cache))
            if self._thread is None:
                self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._watch, name="forecache-pressure", daemon=True)
        thread.start()
        self._thread = thread

    def look(self) -> bool:
        """One look and what follows from it; false if there is nothing to look after any more."""
        with self._changing:
            held = {budget: held for budget in self._budgets if (held := budget.held()) is not None}
            self._budgets = list(held)
        free = self._free()
        if free is None:
            return bool(held)
        asked = [budget for budget in held if budget.reserve > free]
        self._calm = 0 if asked else self._calm + 1
        if asked:
            short = max(budget.reserve for budget in asked) - free
            there = sum(held[budget] for budget in asked if budget.counts_bytes)
            share = min(MOST, short / there) if there else MOST
            for budget in asked:
                budget.shrink(share)
            self._trim()
        elif self._calm > CALM:
            for budget in held:
                if free > 2 * budget.reserve:
                    budget.grow()
        return bool(held)

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(EVERY):
            try:
                more = self.look()
            except Exception:
                _log.exception("a look at the memory that is left failed; the next follows")
                continue
            with self._changing:
                if not more and not self._budgets:
                    self._thread = None
                    return

    def restart(self) -> None:
        """In the child of a fork: there the thread is gone, and a lock may be held by nobody."""
        self._changing, self._thread = threading.Lock(), None
        if self._budgets:
            self._start()


def _trim() -> None:
    """Has the C library give back what is free, where it knows how to (glibc)."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


WATCHER = Watcher()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WATCHER.restart)
