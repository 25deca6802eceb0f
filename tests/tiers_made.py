"""Tiers whose every call is noted, and which can be held up: what the tests of caches with tiers stand on."""

import threading

from conftest import PATIENCE, Face

from forecache import Cache
from forecache.flow import Call
from forecache.testing import DictTier, FakeClock
from forecache.tiers.boundary import Custom
from forecache.tiers.tier import Stored, wall_time


class Noted(DictTier):
    """A `DictTier` that notes its calls, refuses what it is told to, and has writes wait while its gate is shut."""

    def __init__(self, entries=None, *, name="noted", shared=False, clock=None):
        super().__init__(entries, name=name, shared=shared, now=wall_time(clock))
        self.asked = []
        self.refuses = set()
        self.evicts = {}
        self.gate = threading.Event()
        self.gate.set()
        self.held = threading.Semaphore(0)

    def _pass(self):
        if not self.gate.is_set():
            self.held.release()
            assert self.gate.wait(PATIENCE), "nobody opened the gate"

    def get_many(self, keys):
        self.asked.append(("get", sorted(keys)))
        return (yield from super().get_many(keys))

    def set_many(self, entries, *, absent=False):
        self.asked.append(("demote" if absent else "set", sorted(entries)))
        yield Call(self._pass)
        taken = {key: entry for key, entry in entries.items() if key not in self.refuses}
        yield from super().set_many(taken, absent=absent)
        evicted, self.evicts = self.evicts, {}
        return Stored(set(entries) - set(taken), evicted)

    def delete_many(self, keys):
        self.asked.append(("delete", sorted(keys)))
        yield Call(self._pass)
        return (yield from super().delete_many(keys))

    def of(self, verb):
        return [keys for name, keys in self.asked if name == verb]


class Counting(DictTier):
    """A shared tier with counters, as the disk has them: each cache has a view of its own."""

    def __init__(self, entries, counters, now=None):
        super().__init__(entries, name="shared", shared=True, now=now)
        self._view = counters

    def counters(self):
        return self._view

    def _bump(self, keys):
        for key in keys:
            self._view.bump(self._view.stripe("", key))

    def set_many(self, entries, *, absent=False):
        stored = yield from super().set_many(entries, absent=absent)
        if not absent:
            self._bump(entries)
        return stored

    def delete_many(self, keys):
        deleted = yield from super().delete_many(keys)
        self._bump(keys)  # whether they were there or not: others may have them from elsewhere
        return deleted

    def swap(self, key, version, entry):
        swapped = yield from super().swap(key, version, entry)
        if swapped:
            self._bump([key])
        return swapped

    def clear(self, *, tags=(), owner=None):
        before = set(self.entries)
        count = yield from super().clear(tags=tags, owner=owner)
        self._bump(before - set(self.entries))
        return count


def made(*tiers, colour="sync", clock=None, capacity="1MB", options=None, **kwargs):
    """A face of a cache over tiers, each with its write mode: `made((tier, "behind"))`."""
    boundaries = [Custom(tier, write=write, timeout=None, **(options or {})) for tier, write in tiers]
    return Face(Cache(capacity, tiers=boundaries, clock=clock or FakeClock(), **kwargs), colour)
