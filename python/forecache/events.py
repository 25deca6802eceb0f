"""What a cache tells its listeners: plain records, delivered outside any lock, on the thread that caused them."""

import functools
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from forecache.checks import IN_LINE, is_async
from forecache.units import wrong


class Removed(NamedTuple):
    """An entry left. `cause` is one of "explicit", "replaced", "expired", "size", "invalidated", "corrupt".

    The last is for one in a tier that can't be read; its value is `MISSING`.
    """

    key: str
    value: Any
    cause: str


class Refused(NamedTuple):
    """A value was not taken: it is larger than the cache, or all else is pinned."""

    key: str
    value: Any


class TierOpened(NamedTuple):
    """A tier failed too often and isn't asked for now: its breaker opened."""

    tier: str
    reason: str


class TierClosed(NamedTuple):
    """A tier answers again: its breaker closed, after so many seconds."""

    tier: str
    seconds: float


class TierFailed(NamedTuple):
    """A tier raised: what it was asked for is a miss, or was not written or deleted."""

    tier: str
    verb: str
    keys: tuple[str, ...]
    error: Exception


class Resized(NamedTuple):
    """Memory's budget follows the memory that the host has left (`reserve=`): what it is now, and what it is in full."""

    capacity: int
    full: int


class ModelFailed(NamedTuple):
    """What the cache has learned couldn't be saved (`save_interval=`)."""

    path: str
    reason: str


Event: TypeAlias = Removed | Refused | TierOpened | TierClosed | TierFailed | Resized | ModelFailed
OnRemove: TypeAlias = Callable[[str, Any, str], object]
Listener: TypeAlias = Callable[[Event], object]
Connect: TypeAlias = Callable[[Callable[[str, str, Any], None] | None], None]


class Hub:
    """The listeners of one cache. The store calls `deliver` only while there are any."""

    def __init__(self, connect: Connect, on_remove: OnRemove | None) -> None:
        """`connect` tells the store whom to call."""
        self._listeners: tuple[Listener, ...] = ()
        self._changing = threading.Lock()
        if on_remove is not None:
            self.subscribe(lambda event: on_remove(*event) if isinstance(event, Removed) else None, connect)

    def subscribe(self, listener: Listener, connect: Connect) -> Callable[[], None]:
        """Adds a listener and returns the function that takes it out again, once."""
        if not callable(listener) or is_async(listener):
            raise wrong("listener", listener, f"a function that takes one record; {IN_LINE}")
        entry = functools.partial(listener)  # an object of its own, also for a listener that came before
        with self._changing:
            self._listeners = (*self._listeners, entry)
            connect(self.deliver)

        def unsubscribe() -> None:
            with self._changing:
                self._listeners = tuple(each for each in self._listeners if each is not entry)
                connect(self.deliver if self._listeners else None)

        return unsubscribe

    def deliver(self, cause: str, key: str, value: Any) -> None:
        """Tells that an entry left or wasn't taken."""
        self.tell(Refused(key, value) if cause == "refused" else Removed(key, value, cause))

    def tell(self, event: Event) -> None:
        """Tells every listener; one that raises is logged and keeps nobody else from hearing."""
        for listener in self._listeners:
            try:
                answer = listener(event)
                if hasattr(answer, "__await__"):
                    getattr(answer, "close", lambda: None)()
                    raise TypeError("a listener can't be async: it is called in line")
            except Exception:
                import logging

                what = event.cause if isinstance(event, Removed) else type(event).__name__
                logging.getLogger("forecache").exception("a listener failed on %s of %r", what, event[0])
