"""A circuit breaker: a tier that fails or hangs is left alone for a while, and what it missed is made good before it answers
again.

Source: Nygard, "Release It!" (2007), chapter 5. While the tier is up every call goes through, until `failures` of them fail one
after the other, whoever's they are; two that were given no answer in time are enough, since each of them holds up its caller.
Then it is down: reads are misses and writes are dropped at once, until `pause` is over. One call then probes the tier, the
others go on as before; if it is answered the tier is up, if not, another pause begins.

What the tier may have missed is a delete, or a write in whose place an older entry would come back. Their keys are *owed*: they
are deleted before the tier answers for them again, to this process or, by its journal, to another. The same holds for what was
changed in the last seconds when another server answers than before: it may never have heard of that. The call that finds it out
fails, and since that server does answer the next one probes, without a pause.

A tier that refuses changes and answers reads (`TierReadOnly`) stays up. What the refused changes were to replace is owed, so
this process doesn't get to see it.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from forecache._core import Entry, Gate, are_entries
from forecache.errors import TierReadOnly, TierUnavailable
from forecache.events import TierClosed, TierFailed, TierOpened
from forecache.flow import Call, Flow
from forecache.tiers.calls import Watch
from forecache.tiers.layer import Layer
from forecache.tiers.owed import ALL, Owed, Recent
from forecache.tiers.tier import Now, Stored, Tier, TierStats, wall_time

if TYPE_CHECKING:
    from forecache.tiers.journal import Journal

__all__ = ["QUIET", "Breaker"]

Tell: TypeAlias = Callable[[TierOpened | TierClosed | TierFailed], object]

QUIET = 60_000
"""Milliseconds between two lines in the log about one tier, at least."""
NEARLY = 900
"""What makes seconds the milliseconds after which a failure counts as one that kept its caller waiting to the end."""
READS = frozenset({"get_many", "scan"})
"""What a tier that can only be read answers whatever is owed."""
SEVERAL = 256
"""Keys for which a tier may have its `timeout` once more: it may take them in several exchanges, each of which it bounds."""
_FAILED: Any = object()
_alive: weakref.WeakSet[Breaker] = weakref.WeakSet()
_log = logging.getLogger("forecache")


class Breaker(Layer):
    """A layer: a `Tier` around a `Tier`. What fails is a miss, or a write that wasn't made; `strict` raises `TierUnavailable`
    instead.

    `timeout` bounds, in seconds, each `Call` that the tier yields; what it does without yielding can't be cut short, and counts
    as a failure if it comes later. A call that was given up may still run: until it has ended the tier isn't asked, so that it
    doesn't come after what was done since. `pause` is in seconds, `now` in milliseconds since 1970. `tell` gets `TierOpened`
    and `TierClosed`, and `TierFailed` for a change that a tier refused which can only be read.
    """

    def __init__(
        self,
        tier: Tier,
        *,
        timeout: float | None = None,
        failures: int = 5,
        pause: float = 1.0,
        strict: bool = False,
        now: Now | None = None,
        tell: Tell | None = None,
    ) -> None:
        super().__init__(tier)
        self._watch = Watch(timeout)
        self._watch.ended = self._late
        self._unsure: set[str] = set()
        self._owed = Owed()
        self._recent: Recent | None = None
        if hasattr(tier, "on_replaced"):
            self._recent = Recent()
            self.on_replaced = self._replaced
        if hasattr(tier, "on_unsure"):
            self.on_unsure = self._hold
        self._failures = failures
        self._pause = int(pause * 1000)
        self._strict = strict
        self._now = now or wall_time()
        self._tell = tell or (lambda _event: None)
        self._changing, self._tending = threading.RLock(), threading.RLock()
        self._state = "up"
        self._reason: str | None = None
        self._in_a_row = self._failed = self._dropped = 0
        self._paused = self._fell = 0
        self._soon, self._hurried = False, 0
        self._read_only = False
        """Whether the tier could only be read when something was to be changed last: a read doesn't settle what is owed."""
        self._logged: int | None = None
        self.gate = Gate()
        self._hasty = True
        _alive.add(self)

    def keep(self, journal: Journal | None) -> None:
        """Has what is owed outlive this process, and others see it; before the first use. None: there is no place for it."""
        self._owed.keep(journal)
        self._tend()

    def get_many(self, keys: Sequence[str]) -> Flow[dict[str, Entry]]:
        """See `Tier`. What can't be read is a miss, and so is what came to be owed meanwhile."""
        found = yield from self._ask(are_entries, "get_many", keys, keys=keys)
        if found is _FAILED:
            return {}
        return {key: entry for key, entry in found.items() if not self._owed.hides(key, entry)} if self._owed else found

    def set_many(self, entries: Mapping[str, Entry], *, absent: bool = False) -> Flow[Stored]:
        """See `Tier`. What can't be written is dropped, and what it would have replaced is owed."""
        owed = () if absent else entries
        self._change(owed)
        stored = yield from self._ask(_is_stored, "set_many", entries, keys=entries, owed=owed, stores=entries, absent=absent)
        if stored is not _FAILED:
            return stored  # type: ignore[no-any-return]
        with self._changing:
            self._dropped += len(entries)
        return Stored()

    def delete_many(self, keys: Sequence[str]) -> Flow[set[str]]:
        """See `Tier`. What can't be deleted is owed."""
        self._change(keys)
        deleted = yield from self._ask(_is_set, "delete_many", keys, keys=keys, owed=keys)
        return set() if deleted is _FAILED else deleted

    def holds(self, key: str) -> bool:
        """Whether a write of a key that was given up may still come."""
        return bool(self._owed) and self._owed.holds(key, self._now())

    def swap(self, key: str, version: int | None, entry: Entry | None) -> Flow[bool]:
        """See `Tier`. Nothing stands for a decision: if there is none it raises `TierUnavailable`, and it may have been made."""
        self._change((key,))
        swapped = yield from self._ask(_is_bool, "swap", key, version, entry, keys=(key,), stores=(key,))
        if swapped is _FAILED:
            raise self._unavailable()
        return swapped  # type: ignore[no-any-return]

    def scan(self, cursor: int, pattern: str | None) -> Flow[tuple[int | None, list[str]]]:
        """See `Tier`. A tier that can't answer has no keys."""
        batch = yield from self._ask(_is_batch, "scan", cursor, pattern)
        end, keys = (None, []) if batch is _FAILED else batch
        return end, [key for key in keys if not self._owed.hides(key)] if self._owed else keys

    def clear(self, *, tags: Sequence[str] = (), owner: str | None = None) -> Flow[int | None]:
        """See `Tier`. What can't be cleared is owed."""
        cleared = _FAILED
        if self._recent is not None:
            self._recent.add_clearing((tuple(tags), owner), self._now())
        try:
            cleared = yield from self._ask(_is_count, "clear", tags=tags, owner=owner)
        finally:
            if cleared is _FAILED:
                self._owed.add_clearing((tuple(tags), owner))
                self._tend()
        return None if cleared is _FAILED else cleared

    def flush(self) -> Flow[None]:
        """See `Tier`. What is owed is settled, too."""
        yield from self._ask(_is_none, "flush", keys=self._owed.keys())

    def close(self) -> Flow[None]:
        """See `Tier`. What is owed is settled before, if it can be."""
        try:
            if self._owed:
                with self._changing:  # there is no later: it is tried though the pause isn't over
                    self._paused = self._now() - self._pause
                yield from self.flush()
        finally:
            if self._owed.known:
                yield Call(self._owed.close)
            yield from self._watch.whole(self.tier.close())

    @property
    def down(self) -> bool:
        """Whether the tier isn't asked now, but perhaps by a probe."""
        return self._state != "up"

    def stats(self) -> TierStats:
        """See `Tier`."""
        told = self.tier.stats()
        return replace(
            told,
            state=told.state if self._state == "up" else self._state,
            reason=self._reason or told.reason,
            failures=self._failed,
            dropped=self._dropped,
            owed=self._owed.count,
            journal=self._owed.place,
        )

    def _ask(
        self,
        fits: Callable[[Any], bool],
        verb: str,
        *arguments: Any,
        keys: Collection[str] = (),
        owed: Iterable[str] = (),
        stores: Iterable[str] = (),
        **options: Any,
    ) -> Flow[Any]:
        """What the tier answers about `keys`, or `_FAILED`; then `owed` are to be deleted, and what it `stores` late."""
        probes = self._enter()
        if probes is None:
            self._owe(owed)
            return self._failed_call()
        timeout = self._watch.timeout
        recent = self._recent
        began = 0 if timeout is None and recent is None else self._now()
        ended = False
        try:
            if self._owed and not (self._read_only and verb in READS):
                yield from self._settle(keys)
            flow = getattr(self.tier, verb)(*arguments, **options)
            try:
                request = next(flow)
            except StopIteration as end:  # it did without a call, as a small read of a local tier does
                answer = end.value
            else:
                answer = yield from self._watch.rest(flow, request)
            _check(fits, answer)
            ended = True
        except TierReadOnly as error:
            ended = True
            self._owe(owed if error.holds is None else [key for key in owed if key in error.holds])
            self._refused(error, probes)
            self._tell(TierFailed(self.name, verb, tuple(keys), error))
            return self._failed_call(error)
        except Exception as error:
            ended = True
            if isinstance(error, UnicodeEncodeError) and error.object in keys:  # the caller's key, not the tier
                self._leave(probes)
                raise
            self._owe(owed, stores)
            waited = isinstance(error, TimeoutError) or (timeout is not None and self._now() - began >= timeout * NEARLY)
            self._fail(_text(error), probes, (self._failures + 1) // 2 if waited else 1)
            return self._failed_call(error)
        finally:
            if not ended:  # the caller was, and what the tier did isn't known
                self._owe(owed, stores)
                self._leave(probes)
        if recent is not None:
            recent.heard = began
        if timeout is not None and (took := (self._now() - began) / 1000) > timeout * (1 + len(keys) // SEVERAL):
            self._fail(f"it took {took:g} s", probes)
        elif probes or self._reason is not None or not self._hasty:
            self._succeed(probes)
        return answer

    def _settle(self, keys: Iterable[str]) -> Flow[None]:
        """Does what is to be done before the tier answers for `keys`."""
        due = self._owed.due(keys, self._now())
        try:
            for tags, owner in due.clearings:
                _check(_is_count, (yield from self._watch.whole(self.tier.clear(tags=tags, owner=owner))))
            if due.keys and ALL not in due.clearings:
                _check(_is_set, (yield from self._watch.whole(self.tier.delete_many(list(due.keys)))))
            self._owed.settle(due)
            self._read_only = False
        except TierReadOnly:  # it stays owed, and hidden
            self._read_only = True
        finally:
            self._owed.leave(due)
        self._tend()

    def _change(self, keys: Iterable[str]) -> None:
        """These will be changed: noted before, since they may be just when another server takes over."""
        if self._recent is not None:
            self._recent.add(keys, self._now())

    def _replaced(self) -> None:
        """Another server answers than before, and may have lost what was changed lately."""
        if self._recent is not None:
            now = self._now()
            self._recent.owe(self._owed, now)
            self._soon = not self._within(self._hurried, now)  # one that is another each time gets its pauses
            self._tend()

    def _hold(self, keys: Sequence[str], until: int) -> None:
        """A write of these was given up, and may be done until then."""
        self._owed.hold(keys, until)
        self._tend()

    def _owe(self, keys: Iterable[str], stores: Iterable[str] = ()) -> None:
        if self._watch.abandoned:
            self._unsure.update(stores)
        self._owed.add(keys)
        self._tend()

    def _late(self) -> None:
        """What was given up has ended. This process has waited for that with settling; another may not have."""
        keys, self._unsure = self._unsure, set()
        if self._owed.journal is not None:
            self._owed.add(keys)
        self._tend()

    def _tend(self) -> None:
        """The short way is for a tier that is well and owes nothing: everything else is seen to in `_ask`."""
        with self._tending:  # who looked last has the last word
            self._hasty = self._state == "up" and not self._in_a_row and not self._owed.known and not self._watch.abandoned
            self.gate.set(self._hasty)

    def forked(self) -> None:
        """For the child of a fork: who held a lock, probes or was given up is a thread of the parent."""
        self._changing, self._tending = threading.RLock(), threading.RLock()
        self._watch.forked()
        self._owed.forked()
        if self._recent is not None:
            self._recent.forked()
        if self._state == "probing":
            self._state = "down"
        self._tend()

    def _failed_call(self, error: Exception | None = None) -> Any:
        if self._strict:
            raise self._unavailable() from error
        return _FAILED

    def _unavailable(self) -> TierUnavailable:
        return TierUnavailable(f"{self.name}: {self._reason or 'a call that was given up still runs'}")

    def _enter(self) -> bool | None:
        """Whether a call may go through: None if not, True if it probes."""
        if self._state == "up":
            return None if self._watch.abandoned else False
        with self._changing:
            if self._state != "down" or self._within(self._paused, self._now()) or self._watch.abandoned:
                return None
            self._state = "probing"
            return True

    def _within(self, since: int, now: int) -> bool:
        """Whether a pause that began then lasts. A clock that went back must not make it longer."""
        return since <= now < since + self._pause

    def _leave(self, probes: bool) -> None:
        if probes:
            with self._changing:
                self._state = "down"

    def _fail(self, reason: str, probes: bool, weight: int = 1) -> None:
        now = self._now()
        with self._changing:
            self._reason = reason
            self._failed += 1
            self._in_a_row += weight
            opens = self._state == "up" and self._in_a_row >= self._failures
            if opens:
                self._fell = now
            if opens or probes:
                self._state, self._paused = "down", now
                if self._soon:
                    self._soon, self._hurried = False, now
                    self._paused -= self._pause
            self._tend()
        self._warn(reason, now)
        if opens:
            self._tell(TierOpened(self.name, reason))

    def _refused(self, error: TierReadOnly, probes: bool) -> None:
        self._succeed(probes)  # it answers
        self._read_only = True
        with self._changing:
            self._reason = str(error)
            self._failed += 1
        self._warn(str(error), self._now())

    def _warn(self, reason: str, now: int) -> None:
        with self._changing:
            logs = self._logged is None or not self._logged <= now < self._logged + QUIET
            if logs:
                self._logged = now
        if logs:
            _log.warning("tier %s: %s; the cache goes on without what it can't do", self.name, reason)

    def _succeed(self, probes: bool) -> None:
        with self._changing:
            self._reason, self._in_a_row = None, 0
            if probes:
                self._state = "up"
            self._tend()
        if probes:
            self._tell(TierClosed(self.name, (self._now() - self._fell) / 1000))


def _text(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return str(error) or "no answer in time"
    return str(error) if isinstance(error, TierUnavailable) else f"{type(error).__name__}: {error}"


def _check(fits: Callable[[Any], bool], answer: object) -> None:
    if not fits(answer):
        raise TierUnavailable(f"its answer was {answer!r:.100}")


def _is_stored(answer: object) -> bool:
    return isinstance(answer, Stored)


def _is_set(answer: object) -> bool:
    return isinstance(answer, set)


def _is_bool(answer: object) -> bool:
    return isinstance(answer, bool)


def _is_batch(answer: object) -> bool:
    return isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], list)


def _is_count(answer: object) -> bool:
    return answer is None or isinstance(answer, int)


def _is_none(answer: object) -> bool:
    return answer is None


def _after_fork() -> None:
    for breaker in list(_alive):
        breaker.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
