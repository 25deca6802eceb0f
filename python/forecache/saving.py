"""Who saves what caches have learned: one thread a process, as long as there are caches with a `save_interval`.

It sleeps until the next one is due, and holds none of them: a cache that nobody has any more is forgotten. After a fork the
child has a thread of its own, and at the end of a process what was learned since is saved once more.
"""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from forecache import exits
from forecache.model import forked, keep

if TYPE_CHECKING:
    from forecache.cache import Cache

LONGEST = 3600.0
"""Seconds after which it looks whether its caches are still there."""


class Saver:
    """Saves each of its caches whenever its interval is over."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._due: dict[weakref.ref[Cache], float] = {}
        self._changing = threading.RLock()  # a finalizer that closes a cache may come up inside
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, cache: Cache) -> None:
        """Looks after a cache until it is closed, or nobody has it any more."""
        with self._changing:
            self._due[weakref.ref(cache)] = self._next(cache)
            if self._thread is None:
                self._start()
        self._changed.set()

    def _next(self, cache: Cache) -> float:
        return self._now() + (cache.config.save_interval or 0)

    def _start(self) -> None:
        thread = threading.Thread(target=self._save, name="forecache-models", daemon=True)
        thread.start()
        self._thread = thread

    def look(self) -> float | None:
        """Saves what is due. Seconds until something is due again; None if there is nothing to look after any more."""
        for cache in self._there():
            with self._changing:
                held = weakref.ref(cache)
                is_due = self._due.get(held, math.inf) <= self._now()
                if is_due:
                    self._due[held] = self._next(cache)
            if is_due:
                keep(cache)
        with self._changing:
            return min(self._due.values()) - self._now() if self._due else None

    def _there(self) -> list[Cache]:
        """The caches that are still in use; the others are forgotten."""
        with self._changing:
            there = {held: cache for held in list(self._due) if (cache := held()) is not None and not cache.closed}
            for held in [held for held in self._due if held not in there]:
                self._due.pop(held, None)
            return list(there.values())

    def _save(self) -> None:
        while True:
            self._changed.clear()
            pause = self.look()
            with self._changing:
                if not self._due:
                    self._thread = None
                    return
            self._changed.wait(min(pause or 0, LONGEST))

    def forget(self, cache: Cache) -> bool:
        """It is closed. Whether it was looked after."""
        with self._changing:
            known = self._due.pop(weakref.ref(cache), None) is not None
        self._changed.set()
        return known

    def save_all(self) -> None:
        """At the end of the process."""
        for cache in self._there():
            keep(cache)

    def restart(self) -> None:
        """In the child of a fork: there the thread is gone, and a lock may be held by nobody."""
        self._changing, self._changed, self._thread = threading.RLock(), threading.Event(), None
        for cache in self._there():
            forked(cache)
        if self._due:
            self._start()


SAVER = Saver()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SAVER.restart)


def _end() -> None:
    SAVER.save_all()


exits.register(_end)
