"""What a tier that is down misses and mustn't: keys that are to be deleted, clearings, and how much of it can be remembered."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

Clearing: TypeAlias = tuple[tuple[str, ...], str | None]
"""Tags and an owner, as `Tier.clear` takes them."""

ALL: Clearing = ((), None)
MOST_KEYS = 100_000
"""Beyond it the whole tier is to be cleared."""
MOST_CLEARINGS = 1_000
BESIDE = 256
"""Keys that are settled beside those that are asked for."""


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done before some keys are answered for, with the numbers under which it was noted."""

    clearings: dict[Clearing, int]
    keys: dict[str, int]


class Owed:
    """What is to be done. A note that is made again while it is being settled stays: it has another number by then."""

    def __init__(self) -> None:
        self._keys: dict[str, int] = {}
        self._clearings: dict[Clearing, int] = {}
        self._numbers = itertools.count(1)
        self._changing = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._keys or self._clearings)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    @property
    def count(self) -> int | None:
        """Keys to be deleted; None if all are."""
        return None if ALL in self._clearings else len(self._keys)

    def keys(self) -> list[str]:
        """Keys to be deleted, beside what is to be cleared."""
        with self._changing:
            return list(self._keys)

    def forked(self) -> None:
        """For the child of a fork."""
        self._changing = threading.Lock()

    def add(self, keys: Iterable[str]) -> None:
        """These are to be deleted."""
        with self._changing:
            if ALL not in self._clearings:
                for key in keys:
                    self._keys[key] = next(self._numbers)
                self._bound()
            else:
                self._clearings[ALL] = next(self._numbers)

    def add_clearing(self, clearing: Clearing) -> None:
        """All that it names is to be deleted."""
        with self._changing:
            self._clearings[clearing] = next(self._numbers)
            self._bound()

    def _bound(self) -> None:
        if len(self._keys) > MOST_KEYS or len(self._clearings) > MOST_CLEARINGS or ALL in self._clearings:
            self._keys.clear()
            self._clearings = {ALL: next(self._numbers)}

    def due(self, keys: Iterable[str]) -> Due:
        """What is to be done before `keys` are answered for, and some of the rest."""
        with self._changing:
            named = [*(key for key in keys if key in self._keys), *islice(self._keys, BESIDE)]
            return Due(dict(self._clearings), {key: self._keys[key] for key in named})

    def settle(self, due: Due) -> None:
        """All of this was done."""
        with self._changing:
            for key, number in due.keys.items():
                if self._keys.get(key) == number:
                    del self._keys[key]
            for clearing, number in due.clearings.items():
                if self._clearings.get(clearing) == number:
                    del self._clearings[clearing]
