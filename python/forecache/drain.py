"""The way down: what waits for a tier is taken there, in line by who needs it, or by a thread in the background."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from forecache import exits
from forecache._core import be_patient
from forecache.errors import CacheClosed, CodecError, TierUnavailable
from forecache.events import TierFailed
from forecache.flow import All, Flow, Until, run
from forecache.stack import FAILURES

if TYPE_CHECKING:
    from forecache._core import Entry, Taken
    from forecache.tiered import TieredCache

LINGER = 0.002
"""Seconds that the thread lets more come before it writes."""
PATIENCE = 10.0
"""Seconds that `close` and the end of the process go on writing what is queued."""
_log = logging.getLogger("forecache")


def settle(cache: TieredCache, depth: int, keys: Sequence[str], *, others: bool = False) -> Flow[set[str]]:
    """Returns when nothing of `keys` waits for the tier or is in flight; gives those that were deleted there."""
    stack = cache._stack
    deleted: set[str] = set()
    while True:
        deleted |= (yield from _write(cache, depth, keys, others=others))[0]
        keys = cache._queued(depth, keys)
        if not keys:
            return deleted
        woken = stack.signal.wait()
        if cache._queued(depth, keys) and not cache._ready(depth, keys) and not (yield Until(woken)):
            cache._worker.nudge(cache)  # a task of this very thread's loop has it: the thread in the background will see to it
            return deleted


def settle_all(cache: TieredCache, mask: int, keys: Sequence[str]) -> Flow[set[str]]:
    """The same for every tier in a mask: side by side, but those last by whose counters other processes see the change."""
    counting = cache._stack.counting
    deleted: set[str] = set()
    for part in (mask & ~counting, mask & counting):
        depths = [depth for depth in cache._stack.depths if part >> depth & 1]
        if len(depths) == 1:
            deleted |= yield from settle(cache, depths[0], keys)
        elif depths:
            deleted.update(*(yield All([settle(cache, depth, keys) for depth in depths])))
    return deleted


def batch(cache: TieredCache, depth: int) -> Flow[bool]:
    """Writes some of what waits for a tier, if nothing is to be changed further down first; says whether there was any."""
    return (yield from _write(cache, depth, None, others=True))[1]


def room(cache: TieredCache, depth: int) -> Flow[None]:
    """Returns when a full queue may have room: the caller writes some of it, or of what has to be changed further down first, or
    waits for who does."""
    stack = cache._stack
    further = stack.depths[depth + 1 :] if stack.counting >> depth & 1 else ()
    for each in (depth, *further):
        if (yield from batch(cache, each)):
            return
    woken = stack.signal.wait()
    keys = cache._keys(depth)
    if keys and not (yield Until(woken)):  # what it waits for further down is with a task of this very thread's loop
        yield from _write(cache, depth, keys, others=True)


def flush(cache: TieredCache, until: float | None = None) -> Flow[None]:
    """Writes all that is queued now, from the top down, but what is below a tier with counters before it; `until` that time of
    `time.monotonic()`."""
    for depth in cache._stack.depths:
        keys = cache._keys(depth)
        lower = [each for each in reversed(cache._stack.depths) if each > depth and cache._stack.counting >> depth & 1]
        for start in range(0, len(keys), 256):
            for each in (*lower, depth):
                if until is not None and time.monotonic() > until:
                    return
                yield from settle(cache, each, keys[start : start + 256], others=True)


def _write(cache: TieredCache, depth: int, keys: Sequence[str] | None, *, others: bool) -> Flow[tuple[set[str], bool]]:
    """Takes to the tier what waits of `keys`, or some of all; gives what was deleted there, and whether anything was taken.

    Where these may be `others`' deletes, who called for them is told what was there.
    """
    deleted: set[str] = set()
    with cache._take(depth, keys) as taken:
        busy = bool(taken)
        if taken.deletes:
            deleted = yield from _delete(cache, depth, taken.deletes)
            if others and cache._stack.tells(depth):
                for heard in list(cache._stack.deleting.values()):
                    heard |= deleted
        failed: list[str] = []
        lacking: dict[str, str] = {}
        if taken.sets or taken.demotes or taken.sinks:
            failed = yield from _set(cache, depth, taken, lacking)
        error = _lacks(cache, depth, lacking)
        if error is not None and others:  # before those go on who wait for it: the rest is written yet
            cache._stack.untold = error
        taken.end(failed)
        if error is not None:
            cache._stack.failed(depth, "set_many", lacking, error, raises=not others)
    return deleted, busy


def _lacks(cache: TieredCache, depth: int, lacking: Mapping[str, str]) -> TierUnavailable | None:
    """The failure that it is if a strict tier lacked something for entries."""
    if not lacking or not cache._stack.boundaries[depth].strict:
        return None
    return TierUnavailable(f"{cache._stack.tiers[depth].name}: {next(iter(lacking.values()))}")


def _delete(cache: TieredCache, depth: int, keys: list[str]) -> Flow[set[str]]:
    stack = cache._stack
    try:
        return (yield from stack.tiers[depth].delete_many(keys))
    except FAILURES as error:
        stack.failed(depth, "delete_many", keys, error)
        return set()
    finally:
        stack.attached(cache)


def _set(cache: TieredCache, depth: int, taken: Taken, lacking: dict[str, str]) -> Flow[list[str]]:
    """Gives the keys of entries of which the tier may have an older one now. Adds to `lacking` what it didn't take, and why."""
    stack = cache._stack
    tier = stack.tiers[depth]
    sets, absent = taken.sets, taken.sinks
    failed: list[str] = []  # also what can't be encoded, and has something older below
    for key, value, is_absent in taken.demotes:
        entry = _encoded(cache, depth, key, value)
        if entry is not None:
            (absent if is_absent else sets)[key] = entry
        elif not is_absent:
            failed.append(key)
    lost = len(failed)
    try:
        for entries, only in ((sets, False), (absent, True)):
            if not entries:
                continue
            failed[lost:] = [] if only else entries
            if only and hasattr(tier, "lacks"):
                lacking = yield from tier.lacks(list(entries))
                entries = {key: entries[key] for key in lacking}
            stored = yield from tier.set_many(entries, absent=only)
            del failed[lost:]
            if only:
                yield from _recall(cache, depth, entries)
            if stored.reason is not None and not only:
                lacking.update(dict.fromkeys(stored.refused, stored.reason))
            taken.sinking.update(stored.evicted)
            taken.sinking.update({key: entries[key] for key in stored.refused if only and key in entries})
    except FAILURES as error:
        stack.failed(depth, "set_many", [*sets, *absent], error)
    finally:
        stack.attached(cache)
    return failed


def _recall(cache: TieredCache, depth: int, entries: Mapping[str, Entry]) -> Flow[None]:
    """Takes out again what sank into a tier while another process changed its key, where the tier can't see that by itself."""
    stack = cache._stack
    counters = stack.counters
    if counters is None or stack.counting >> depth & 1:
        return
    late = {key: entry for key, entry in entries.items() if not cache._is_current(key, entry.mark)}
    there = (yield from stack.tiers[depth].get_many(list(late))) if late else {}
    for key, entry in there.items():
        if (entry.written, entry.payload) == (late[key].written, late[key].payload):
            yield from stack.tiers[depth].swap(key, entry.version, None)
            counters.bump(counters.stripe(stack.namespace, key))  # who has read it meanwhile lets go of it


def _encoded(cache: TieredCache, depth: int, key: str, value: Any) -> Entry | None:
    """The entry of what left memory; None if the value was changed since it was stored, to one that can't be."""
    stack = cache._stack
    try:
        payload, number = stack.encode(key, value)
        return cache._entry(depth, key, payload, number, stack.now())
    except (CodecError, CacheClosed):
        return None
    except Exception as error:  # a codec of users': the others' entries go on
        stack.hub.tell(TierFailed(stack.tiers[depth].name, "encode", (key,), error))
        return None


class Worker:
    """The thread that writes behind, one a cache: begun when first needed, and alive no longer than the cache.

    It holds the cache only while something is queued.
    """

    def __init__(self, cache: TieredCache) -> None:
        self._of = weakref.ref(cache)
        self._begin()
        weakref.finalize(cache, self.stop).atexit = False
        _workers.add(self)

    def _begin(self) -> None:
        self._thread: threading.Thread | None = None
        self._cache: TieredCache | None = None
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._starting = threading.RLock()  # what is let go of meanwhile may wake it, too

    def wake(self, cache: TieredCache) -> None:
        """There is something to write. Who is interrupted here calls again."""
        if self._woken.is_set() and self._cache is cache:
            return
        self._cache = cache
        if self._thread is None or self._thread.ident is None:
            try:
                self._start()
            except RuntimeError:  # there are too many: the next call tries again, and who finds a queue full writes
                return
        self._woken.set()

    def nudge(self, cache: TieredCache) -> None:
        """There may be something to write."""
        if cache._wakes():
            self.wake(cache)

    def _start(self) -> None:
        with self._starting:
            thread = threading.Thread(target=self._run, name="forecache-write-behind", daemon=True)
            if (self._thread is None or self._thread.ident is None) and not self._stopped.is_set():
                self._thread = thread
                thread.start()

    def _run(self) -> None:
        be_patient()
        while self._thread is threading.current_thread():  # else another was begun in place of this one
            self._woken.wait()
            self._woken.clear()  # before the look at what else was said, or that could be missed
            if self._cache is not None:
                self._cache._sleeping(False)
            if self._stopped.wait(LINGER):
                return
            self._drain()

    def _drain(self) -> None:
        cache = self._cache
        if cache is None:
            return
        try:
            busy = True
            while busy and not self._stopped.is_set():
                busy = False
                for depth in cache._stack.depths:
                    try:
                        busy |= run(batch(cache, depth))
                    except FAILURES:  # a strict tier's, which was told as an event: there is no caller
                        busy = True
            self._cache = None
            if cache._sleeping(True):
                self._cache = cache
                self._woken.set()
        except CacheClosed:
            self._cache = None
        except Exception:  # whatever it is, the next that comes finds the thread asleep, not gone
            _log.exception("what was to be written behind could not be")
            self._cache = None
            cache._sleeping(True)

    def stop(self) -> None:
        """Ends the thread, and waits for it if it isn't this one."""
        self._stopped.set()
        self._woken.set()
        thread = self._thread
        if thread is not None and thread.ident is not None and thread is not threading.current_thread():
            thread.join(PATIENCE)
        self._cache = None

    def finish(self, until: float) -> None:
        """Writes what is queued, as far as there is time."""
        cache = self._cache
        if cache is None or cache.closed:
            return
        try:
            run(flush(cache, until))
        except (CacheClosed, *FAILURES):
            return

    def forked(self) -> None:
        """In the child of a fork: the thread is the parent's, and so is what was queued."""
        self._begin()
        cache = self._of()
        if cache is not None:
            cache._stack.forked()
            cache._forked()


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


def _end() -> None:
    until = time.monotonic() + PATIENCE
    for worker in list(_workers):
        worker.finish(until)


def _after_fork() -> None:
    for worker in list(_workers):
        worker.forked()


exits.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
