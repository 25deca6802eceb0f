"""A local directory as a store. obstore can't replace a file on a condition there, so who changes one holds a lock on another."""

from __future__ import annotations

import fcntl
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from forecache.errors import TierUnavailable
from forecache.flow import Call
from forecache.tiers.objects.places import Place
from forecache.tiers.objects.ports import CREATE, OVERWRITE, Found, GivenUp, Listed, Plain

__all__ = ["Directory", "Threaded"]

LOCKS = 64
"""Files to lock: changes of two names seldom wait for each other."""
FOLDER = ".locks"
PAUSE = 0.001
"""Seconds between two looks at a lock that another has."""


class Directory(Plain):
    """`Plain` with locks that all processes of the host heed; the kernel releases those of who dies."""

    def __init__(self, place: Place, concurrency: int, timeout: float | None, given_up: GivenUp) -> None:
        super().__init__(place, concurrency, timeout, given_up)
        self._locks = Path(place.where.bucket, FOLDER)

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        stripe = self._locks / f"{zlib.crc32(name.encode()) % LOCKS:02d}"
        try:
            try:
                held = os.open(stripe, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:
                self._locks.mkdir(parents=True, exist_ok=True)
                held = os.open(stripe, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise TierUnavailable(f"{self._locks}: {error.strerror}") from None
        try:
            self._lock(held)
            yield
        finally:
            os.close(held)

    def _lock(self, held: int) -> None:
        began = time.monotonic()
        while True:
            try:
                return fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._timeout is not None and time.monotonic() - began >= self._timeout:
                    raise TierUnavailable(f"{self._locks}: locked for {self._timeout:g} s") from None
            except OSError as error:
                raise TierUnavailable(f"{self._locks}: can't be locked: {error.strerror}") from None
            time.sleep(PAUSE)

    def put(self, name: str, parts: Sequence[bytes], mode: str = OVERWRITE) -> bool:
        """See `Plain`."""
        with self._alone(name):
            if mode in {CREATE, OVERWRITE}:
                return super().put(name, parts, mode)
            there = self.get(name, (0, 1))
            return there is not None and there.tag == mode and super().put(name, parts)

    def delete(self, names: Sequence[str]) -> None:
        """See `Plain`."""
        for name in names:
            with self._alone(name):
                super().delete([name])


class Threaded:
    """A directory's calls in threads, for tasks. One that is cancelled ends all the same, and is waited for: what it does must
    not come after what is done next."""

    def __init__(self, plain: Directory) -> None:
        self.place = plain.place
        self._plain = plain

    async def get(self, name: str, span: tuple[int, int] | None = None, tag: str | None = None) -> Found | None:
        """See `Plain`."""
        found: Found | None = await Call(self._plain.get, (name, span, tag)).arun()
        return found

    async def put(self, name: str, parts: Sequence[bytes], mode: str = OVERWRITE) -> bool:
        """See `Plain`."""
        return bool(await Call(self._plain.put, (name, parts, mode)).arun())

    async def delete(self, names: Sequence[str]) -> None:
        """See `Plain`."""
        await Call(self._plain.delete, (names,)).arun()

    async def page(self, prefix: str, after: str | None = None) -> list[Listed]:
        """See `Plain`."""
        listed: list[Listed] = await Call(self._plain.page, (prefix, after)).arun()
        return listed
