"""The requests of the object tier in both colours: obstore's own calls, bounded in number and time, with errors in our words."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, wait
from datetime import datetime
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from forecache.errors import TierUnavailable
from forecache.tiers.objects.places import Place

__all__ = ["CREATE", "OVERWRITE", "PAGE", "Awaited", "Found", "GivenUp", "Listed", "Plain"]

T = TypeVar("T")

PAGE = 1000
"""Objects that a store lists at a time."""
CREATE, OVERWRITE = "create", "overwrite"
JOINED = 2**18
"""Bytes up to which parts are copied into one: that takes less than to hand over several."""
WHOLE = 16 * 2**20
"""Bytes up to which an object is sent in one request; longer ones go in parts."""

_runtime = {"begun": False, "lost": False}
"""Whether obstore has threads in this process, and whether it had them in the process that this one was forked from."""


class Found(NamedTuple):
    """An object, or a part of it."""

    data: Any
    """A buffer."""
    size: int
    """Bytes of all of it."""
    tag: str | None
    """What the store calls this content."""
    modified: int
    """When the store had it, by its clock: milliseconds since 1970."""


class Listed(NamedTuple):
    """An object in a listing."""

    name: str
    size: int
    tag: str | None
    modified: int


class GivenUp:
    """Changes of tasks that were cancelled, and that still go on: the next change of the same object waits for their end, so that
    what was given up never comes after what was done since."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._running: dict[str, Future[None]] = {}

    def before(self, names: Sequence[str] | None) -> list[Future[None]]:
        """What is to be waited for by a change of these objects, or by who wants to know all of them."""
        if not self._running:
            return []
        with self._changing:
            return [each for name, each in self._running.items() if names is None or name in names]

    def add(self, names: Sequence[str], task: asyncio.Task[Any]) -> None:
        """A task that nobody waits for any more."""
        ended: Future[None] = Future()
        with self._changing:
            self._running.update(dict.fromkeys(names, ended))

        def end(task: asyncio.Task[Any]) -> None:
            with self._changing:
                for name in names:
                    if self._running.get(name) is ended:
                        del self._running[name]
            ended.set_result(None)
            if not task.cancelled():
                task.exception()  # nobody else asks for it

        task.add_done_callback(end)


class _Port:
    """What both colours have in common."""

    def __init__(self, place: Place, concurrency: int, timeout: float | None, given_up: GivenUp) -> None:
        self.place = place
        self._obstore = place.obstore
        self._store = place.store
        self._most = concurrency
        self._timeout = timeout
        self._given_up = given_up
        self._begun = False
        # Google knows a content by its generation, the others by an e-tag.
        self._by = "version" if place.where.scheme == "gs" else "e_tag"

    def _begin(self) -> None:
        """Before the first request; a forked process has ports of its own."""
        if _runtime["lost"]:
            remedy = "use the cache only after the fork, or start processes with spawn"
            raise TierUnavailable(f"this process was forked from one that used object stores, whose threads it hasn't: {remedy}")
        _runtime["begun"] = self._begun = True

    def _full(self) -> TierUnavailable:
        return TierUnavailable(f"{self._most} requests at a time (concurrency), and none has ended in {self._timeout:g} s")


class _Turn:
    """A turn that was taken: it is given back at the end of the block."""

    __slots__ = ("_release",)

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._release()


class Plain(_Port):
    """On the caller's thread, without the GIL while it waits."""

    def __init__(self, place: Place, concurrency: int, timeout: float | None, given_up: GivenUp) -> None:
        super().__init__(place, concurrency, timeout, given_up)
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(concurrency):
            self._free.put(None)
        self._taken = _Turn(partial(self._free.put, None))

    def _turn(self, changed: Sequence[str] | None) -> _Turn:
        """Waits for a turn to change objects, or to look at all of them; it ends with the block."""
        before = self._given_up.before(changed)
        if before:
            wait(before, self._timeout)
        self._take()
        return self._taken

    def _take(self) -> None:
        if not self._begun:
            self._begin()
        try:
            self._free.get(timeout=self._timeout)
        except Empty:
            raise self._full() from None

    def get(self, name: str, span: tuple[int, int] | None = None, tag: str | None = None) -> Found | None:
        """An object, or its bytes from and to; None if it isn't there. `Moved` if it isn't the content of `tag`."""
        options = None if span is None and tag is None else _wanted(span, tag, self._by)
        self._take()
        try:
            result = self._obstore.get(self._store, name, options=options)
            return _found(result, result.bytes(), self._by)
        except Exception as error:
            self.place.absent(error)
            return None
        finally:
            self._free.put(None)

    def put(self, name: str, parts: Sequence[bytes], mode: str = OVERWRITE) -> bool:
        """Stores an object, given in parts: whatever is there, or with `CREATE` only if nothing is, or in the place of the
        content of that tag. Says whether it did."""
        with self._turn((name,)):
            try:
                self._obstore.put(self._store, name, **_as(mode, parts, self._by))
            except Exception as error:
                return self.place.refused(error)
            return True

    def delete(self, names: Sequence[str]) -> None:
        """Deletes objects; one that isn't there is fine, where the store deletes in bulk or if it is the only one."""
        with self._turn(names):
            try:
                self._obstore.delete(self._store, names)
            except Exception as error:
                self.place.absent(error)

    def page(self, prefix: str, after: str | None = None) -> list[Listed]:
        """Objects behind `after`, by name: fewer than `PAGE` at the end only; all of them where the store has no order."""
        with self._turn(None):
            try:
                stream = self._obstore.list(self._store, prefix, offset=after, chunk_size=PAGE)
                batches = islice(stream, 1 if self.place.ordered else None)
                return _listed([each for batch in batches for each in batch], self._by)
            except Exception as error:
                self.place.absent(error)
                return []


class Awaited(_Port):
    """In the caller's task."""

    def __init__(self, place: Place, concurrency: int, timeout: float | None, given_up: GivenUp) -> None:
        super().__init__(place, concurrency, timeout, given_up)
        self._free: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    async def _take(self) -> asyncio.Semaphore:
        """Waits for a turn, which who got it releases."""
        if not self._begun:
            self._begin()
        loop = asyncio.get_running_loop()
        free = self._free.get(loop) or self._free.setdefault(loop, asyncio.Semaphore(self._most))
        began = time.monotonic() if free.locked() else None
        await free.acquire()
        # Who had no turn in all that time goes at once, so that those behind needn't wait as long again.
        if began is not None and self._timeout is not None and time.monotonic() - began >= self._timeout:
            free.release()
            raise self._full()
        return free

    async def _change(self, names: Sequence[str], change: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(change)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                self._given_up.add(names, task)
            raise

    async def _ready(self, names: Sequence[str] | None) -> None:
        before = self._given_up.before(names)
        if before:
            await asyncio.wait([asyncio.wrap_future(each) for each in before], timeout=self._timeout)

    async def get(self, name: str, span: tuple[int, int] | None = None, tag: str | None = None) -> Found | None:
        """See `Plain`."""
        options = None if span is None and tag is None else _wanted(span, tag, self._by)
        free = await self._take()
        try:
            result = await self._obstore.get_async(self._store, name, options=options)
            return _found(result, await result.bytes_async(), self._by)
        except Exception as error:
            self.place.absent(error)
            return None
        finally:
            free.release()

    async def put(self, name: str, parts: Sequence[bytes], mode: str = OVERWRITE) -> bool:
        """See `Plain`."""
        return await self._change((name,), self._put(name, parts, mode))

    async def _put(self, name: str, parts: Sequence[bytes], mode: str) -> bool:
        await self._ready((name,))
        free = await self._take()
        try:
            await self._obstore.put_async(self._store, name, **_as(mode, parts, self._by))
        except Exception as error:
            return self.place.refused(error)
        finally:
            free.release()
        return True

    async def delete(self, names: Sequence[str]) -> None:
        """See `Plain`."""
        await self._change(names, self._delete(names))

    async def _delete(self, names: Sequence[str]) -> None:
        await self._ready(names)
        free = await self._take()
        try:
            await self._obstore.delete_async(self._store, names)
        except Exception as error:
            self.place.absent(error)
        finally:
            free.release()

    async def page(self, prefix: str, after: str | None = None) -> list[Listed]:
        """See `Plain`."""
        await self._ready(None)
        free = await self._take()
        try:
            listed: list[Any] = []
            async for batch in self._obstore.list(self._store, prefix, offset=after, chunk_size=PAGE):
                listed += batch
                if self.place.ordered:
                    break
            return _listed(listed, self._by)
        except Exception as error:
            self.place.absent(error)
            return []
        finally:
            free.release()


def _wanted(span: tuple[int, int] | None, tag: str | None, by: str) -> dict[str, Any] | None:
    options: dict[str, Any] = {}
    if span is not None:
        options["range"] = span
    if tag is not None:
        options["if_match" if by == "e_tag" else "version"] = tag
    return options or None


def _as(mode: str, parts: Sequence[bytes], by: str) -> dict[str, Any]:
    size = sum(map(len, parts))
    return {
        "file": b"".join(parts) if size <= JOINED else list(parts),
        "mode": mode if mode in {CREATE, OVERWRITE} else {by: mode},
        "use_multipart": mode == OVERWRITE and size > WHOLE,
    }


def _found(result: Any, data: Any, by: str) -> Found:
    meta = result.meta
    return Found(data, meta["size"], meta[by], _milliseconds(meta["last_modified"]))


def _listed(listed: Sequence[Any], by: str) -> list[Listed]:
    return sorted(Listed(each["path"], each["size"], each[by], _milliseconds(each["last_modified"])) for each in listed)


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def _forked() -> None:
    _runtime["lost"] = _runtime["begun"]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
