"""What a tier that is down misses and mustn't: keys that are to be deleted, clearings, and how much of it can be remembered.

It is noted in a journal, if there is one (`forecache.tiers.journal`), so that it outlives the process and others see it; else,
or where that fails, in memory.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from forecache.errors import TierUnavailable

if TYPE_CHECKING:
    from forecache._core import Entry
    from forecache.tiers.journal import Journal

__all__ = ["ALL", "BESIDE", "MOST_CLEARINGS", "MOST_KEYS", "Clearing", "Due", "Notes", "Owed", "Recent"]

Clearing: TypeAlias = tuple[tuple[str, ...], str | None]
"""Tags and an owner, as `Tier.clear` takes them."""

ALL: Clearing = ((), None)
MOST_KEYS = 100_000
"""Beyond it the whole tier is to be cleared."""
MOST_CLEARINGS = 1_000
BESIDE = 256
"""Keys that are settled beside those that are asked for."""
UNSTRUCK = -1
EVER = 2**63
LATELY = 10_000
"""Milliseconds after which a change counts as passed on, if its server still answers then: another may have lost it before."""

_log = logging.getLogger("forecache")


@dataclass(slots=True)
class Notes:
    """What is to be done, each with the number under which it was noted: what is noted again is done again."""

    keys: dict[str, int] = field(default_factory=dict)
    clearings: dict[Clearing, int] = field(default_factory=dict)
    until: dict[str, int] = field(default_factory=dict)
    """Keys of which a write that was given up may come until then, in milliseconds since 1970: they stay owed so long."""

    def __bool__(self) -> bool:
        return bool(self.keys or self.clearings)

    def add(self, keys: Iterable[str], first: int) -> None:
        """Keys to be deleted, under numbers from `first` on."""
        self.keys.update(zip(keys, itertools.count(first)))

    def hold(self, keys: Iterable[str], until: int) -> None:
        """Keys that stay owed until then."""
        self.until.update((key, max(until, self.until.get(key, 0))) for key in keys)

    def over(self) -> bool:
        """Whether it is more than is remembered one by one, or all is to be cleared anyway."""
        return len(self.keys) > MOST_KEYS or len(self.clearings) > MOST_CLEARINGS or ALL in self.clearings

    def everything(self, number: int) -> None:
        """All is to be cleared."""
        self.keys.clear()
        self.until.clear()
        self.clearings = {ALL: number}

    def due(self, keys: Iterable[str], beside: int, now: int) -> Notes:
        """What is to be done before `keys` are answered for, and some of the rest. What has to stay owed gets a number that is
        nobody's, so that it isn't struck out."""
        until = self.until
        named = [key for key in keys if key in self.keys]
        named += [key for key in islice(self.keys, beside) if until.get(key, 0) <= now]
        return Notes({key: self.keys[key] if until.get(key, 0) <= now else UNSTRUCK for key in named}, dict(self.clearings))

    def settle(self, done: Notes) -> Notes:
        """Strikes out what was done, but for what was noted again since; gives what was struck out."""
        struck = Notes(
            {key: number for key, number in done.keys.items() if self.keys.get(key) == number},
            {clearing: number for clearing, number in done.clearings.items() if self.clearings.get(clearing) == number},
        )
        for key in struck.keys:
            del self.keys[key]
            self.until.pop(key, None)
        for clearing in struck.clearings:
            del self.clearings[clearing]
        return struck


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done before some keys are answered for: as memory has it, and the journal."""

    here: Notes
    kept: Notes
    beside: bool
    strikes: bool
    """Whether the journal knows that it will be done, and can be told when it is."""

    @property
    def clearings(self) -> Collection[Clearing]:
        """All or some entries."""
        return self.here.clearings | self.kept.clearings

    @property
    def keys(self) -> Collection[str]:
        """Keys to be deleted."""
        return self.here.keys | self.kept.keys


class Owed:
    """What is to be done. One caller at a time does what others owe; each does what its own keys need."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.journal = journal
        self._here = Notes()
        self._last = 0
        self._waiting: deque[list[list[str]]] = deque()
        self._noted: tuple[int, set[object]] = (-1, set())
        """Keys that this process noted, and the number of the latest settling then: nobody can have struck them out."""
        self._changing = threading.RLock()  # the end of a flow that was forgotten may owe something amid a change
        self._beside = False
        self._trouble: str | None = None
        if journal is not None:
            self._opened(journal)

    def _opened(self, journal: Journal) -> None:
        if not self._kept(journal.open) and journal.hidden():  # what others owe is there and can't be read
            self._everything()

    def keep(self, journal: Journal | None) -> None:
        """From now on it is noted there; before the first use. None: there is no place for one."""
        with self._changing:
            self.journal = journal
            if journal is not None:
                self._opened(journal)
            else:
                self._trouble = "no directory is known to be this application's; name one by journal=PATH"

    def __bool__(self) -> bool:
        journal, here = self.journal, self._here
        if journal is None:
            return bool(here.keys or here.clearings)
        if journal.changed():
            with self._changing:
                self._kept(journal.sync)
            if journal.lags():
                return True
        there = journal.notes
        return bool(here.keys or here.clearings or there.keys or there.clearings)

    @property
    def known(self) -> bool:
        """Whether anything is, as far as this process has seen."""
        return bool(self._here or (self.journal is not None and self.journal.notes))

    @property
    def count(self) -> int | None:
        """Keys to be deleted; None if all are."""
        notes = [self._here] if self.journal is None else [self._here, self.journal.notes]
        return None if any(ALL in each.clearings for each in notes) else sum(len(each.keys) for each in notes)

    @property
    def place(self) -> str | None:
        """Where it is noted: see `TierStats.journal`."""
        if self._trouble is not None:
            return f"memory: {self._trouble}"
        return None if self.journal is None else str(self.journal.path)

    def keys(self) -> list[str]:
        """Keys to be deleted, beside what is to be cleared."""
        with self._changing:
            return [*self._here.keys, *(self.journal.notes.keys if self.journal is not None else ())]

    def hides(self, key: str, entry: Entry | None = None) -> bool:
        """Whether a key, or what was found under it, is to be deleted, or may be, since what others noted can't be read now."""
        if self.journal is not None and self.journal.lags():
            return True
        notes = (self._here,) if self.journal is None else (self._here, self.journal.notes)
        return any(key in each.keys or any(_covers(clearing, entry) for clearing in list(each.clearings)) for each in notes)

    def holds(self, key: str, now: int) -> bool:
        """Whether a write of a key that was given up may still come."""
        notes = (self._here,) if self.journal is None else (self._here, self.journal.notes)
        return any(each.until.get(key, 0) > now for each in notes)

    def forked(self) -> None:
        """For the child of a fork."""
        self._changing = threading.RLock()
        self._waiting.clear()
        self._beside = False
        if self.journal is not None:
            self.journal.forked()

    def add(self, keys: Iterable[str]) -> None:
        """These are to be deleted."""
        journal = self.journal
        if journal is None:
            with self._changing:
                self._remember(keys)
            return
        begun, noted = self._noted
        if begun == journal.begun():
            if ALL in noted:
                return
            keys = [key for key in keys if key not in noted]
        self._together(list(keys), journal)

    def _together(self, keys: list[str], journal: Journal) -> None:
        """Writes what all callers have to write who wait for the lock."""
        if not keys:
            return
        mine = [keys]
        self._waiting.append(mine)
        with self._changing:
            if not mine:  # another has seen to it
                return
            batches = [mine]
            while self._waiting:
                batch = self._waiting.popleft()
                if batch is not mine:
                    batches.append(batch)
            together = [key for batch in batches for each in batch for key in each]
            begun = journal.begun()  # before: who begins to settle after this may strike out what is written now
            if self._kept(journal.add, [*together, *self._here.keys]):
                self._here.keys.clear()
                noted = self._noted[1] if self._noted[0] == begun and len(self._noted[1]) < MOST_KEYS else set()
                noted.update([ALL] if ALL in journal.notes.clearings else together)
                self._noted = begun, noted
            else:
                self._remember(together)
            for batch in batches:
                batch.clear()

    def _remember(self, keys: Iterable[str]) -> None:
        keys = list(keys)
        self._here.add(keys, self._last + 1)
        self._last += len(keys)
        self._bound()

    def hold(self, keys: Sequence[str], until: int) -> None:
        """These are to be deleted, and not for good before that time: a write that was given up may come until then."""
        with self._changing:
            if self.journal is None or not self._kept(self.journal.add, keys, until):
                self._here.hold(keys, until)
                self._remember(keys)

    def add_clearing(self, clearing: Clearing) -> None:
        """All that it names is to be deleted."""
        with self._changing:
            if self.journal is None or not self._kept(self.journal.add_clearing, clearing):
                self._last += 1
                self._here.clearings[clearing] = self._last
                self._bound()

    def _bound(self) -> None:
        if self._here.over():
            self._everything()

    def _everything(self) -> None:
        self._last += 1
        self._here.everything(self._last)

    def due(self, keys: Iterable[str], now: int = EVER) -> Due:
        """What is to be done before `keys` are answered for, and some of the rest; `now` is in milliseconds since 1970. `settle`
        or `leave` has to follow.

        Raises `TierUnavailable` while what others noted can't be read: who asked all the same might get what is old, and find
        it settled when it looks again.
        """
        with self._changing:
            if self.journal is not None and self.journal.lags() and not self._kept(self.journal.sync):
                raise TierUnavailable(f"what others have missed there can't be read: {self._trouble}")
            beside = not self._beside
            self._beside = True
            kept = Notes() if self.journal is None else self.journal.notes
            keys, most = list(keys), BESIDE if beside else 0
            here, there = self._here.due(keys, most, now), kept.due(keys, most, now)
            strikes = self.journal is not None and bool(there) and self._kept(self.journal.begin)
            return Due(here, there, beside, strikes)

    def settle(self, due: Due) -> None:
        """All of this was done."""
        with self._changing:
            self._here.settle(due.here)
            if self.journal is not None and due.strikes:
                self._kept(self.journal.settle, due.kept)

    def leave(self, due: Due) -> None:
        """Done or not, another may go on with the rest."""
        if due.beside:
            self._beside = False

    def close(self) -> None:
        """What is still owed survives a crash of the machine."""
        if self.journal is not None:
            with self._changing:
                self._kept(self.journal.close)

    def _kept(self, act: Callable[..., None], *arguments: object) -> bool:
        """Whether the journal did it."""
        try:
            act(*arguments)
        except OSError as error:
            if self._trouble is None:
                _log.warning("%s; what a tier misses is remembered in memory alone", error)
            self._trouble = str(error)
            return False
        self._trouble = None
        return True


def _covers(clearing: Clearing, entry: Entry | None) -> bool:
    tags, owner = clearing
    if clearing == ALL:
        return True
    return entry is not None and (not set(tags).isdisjoint(entry.tags) or (owner is not None and entry.owner == owner))


class Recent:
    """What was changed lately, to be owed again if another server answers that may have lost it."""

    def __init__(self) -> None:
        self._changing = threading.RLock()
        self._at: dict[str, int] = {}
        self._cleared: dict[Clearing, int] = {}
        self._beyond: int | None = None
        self.heard = 0
        """When the tier was last asked what it answered. Nothing is known of the time since then: another may have taken over."""

    def add(self, keys: Iterable[str], now: int) -> None:
        """These are changed now; milliseconds."""
        at = self._at
        with self._changing:
            for key in keys:
                at.pop(key, None)
                at[key] = now
            since = self._since(now)
            while at and at[first := next(iter(at))] < since:
                del at[first]
            if len(at) > MOST_KEYS:
                self._beyond = now
                at.clear()

    def add_clearing(self, clearing: Clearing, now: int) -> None:
        """All that it names is cleared now."""
        with self._changing:
            since = self._since(now)
            self._cleared = {each: at for each, at in list(self._cleared.items()) if at >= since} | {clearing: now}
            if len(self._cleared) > MOST_CLEARINGS:
                self._cleared = {ALL: now}

    def owe(self, owed: Owed, now: int) -> None:
        """All of it is to be done again."""
        with self._changing:
            since = self._since(now)
            keys = [key for key, at in self._at.items() if at >= since]
            clearings = [clearing for clearing, at in self._cleared.items() if at >= since]
            if self._beyond is not None and self._beyond >= since:
                clearings.append(ALL)
        for clearing in clearings:
            owed.add_clearing(clearing)
        owed.add(keys)

    def _since(self, now: int) -> int:
        """What was changed from then on may be lost, if another server answers."""
        return min(now, self.heard) - LATELY

    def forked(self) -> None:
        """For the child of a fork: what the parent changed is the parent's affair."""
        self.__init__()  # type: ignore[misc]
