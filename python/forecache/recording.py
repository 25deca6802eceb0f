"""Recording what a cache is asked for: a handle on what runs in Rust."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from forecache import exits
from forecache.units import Duration, Size, parse_duration, parse_size, wrong

if TYPE_CHECKING:
    from forecache._core import Recorder
    from forecache.cache import Cache

MILLION = 1_000_000
LEAST_BYTES = 2**16
PATIENCE = 10.0
"""Seconds that a process waits at its end for its recordings to be complete: a disk may hang for ever."""


@dataclass(frozen=True)
class Recorded:
    """What was recorded."""

    path: Path
    hits: int
    """Reads that found something; with `sample`, those of the recorded keys."""
    misses: int
    keys: int
    """Different keys, with those that were in the cache at the begin."""
    bytes: int
    """Of the file."""
    seconds: float
    reason: str
    """Why it ended: "stopped", "duration", "max_bytes", or "fell_behind" if the file couldn't be written fast enough."""

    @property
    def accesses(self) -> int:
        """Reads."""
        return self.hits + self.misses


class Recording:
    """A recording under way: what `Cache.record` gives. `with` and `async with` stop it at their end."""

    __slots__ = ("_recorder", "path")

    path: Path
    """Where the trace will be when the recording has ended."""

    def __init__(self, recorder: Recorder, path: Path) -> None:
        self._recorder = recorder
        self.path = path

    @property
    def active(self) -> bool:
        """Whether it still records. In the child of a fork, nothing does."""
        return self._recorder.active

    @property
    def error(self) -> str | None:
        """Why it failed, if it did."""
        return self._recorder.error

    @property
    def progress(self) -> Recorded:
        """How far it got. Bytes are those that are written; what lasts longer than a few seconds is among them."""
        hits, misses, size, seconds = self._recorder.progress
        return Recorded(self.path, hits, misses, 0, size, seconds, "")

    def stop(self) -> Recorded:
        """Ends it, if it hasn't ended by itself, and returns when its file is complete; again, the same.

        Raises `TraceError` if the trace couldn't be written: then there is no file; and `RuntimeError` in the child of a fork.
        """
        if not self._recorder.own:
            raise RuntimeError("the recording goes on in the process that began it: this is a child, which was forked later")
        self._recorder.stop()
        recorded = Recorded(self.path, *self._recorder.wait())
        _begun.discard(self._recorder)
        return recorded

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        if self._recorder.own:
            self.stop()

    async def __aenter__(self) -> Recording:
        return self

    async def __aexit__(self, *_: object) -> None:
        import asyncio

        await asyncio.to_thread(self.__exit__)

    def __repr__(self) -> str:
        return f"<Recording to {str(self.path)!r}, {'active' if self.active else 'over'}>"


_begun: set[Recorder] = set()
"""Those that may have to be ended when the process does."""


def record(
    cache: Cache,
    path: str | os.PathLike[str],
    sample: float,
    hash_keys: bool,
    secret: str | bytes | None,
    max_bytes: Size,
    duration: Duration | None,
) -> Recording:
    """See `Cache.record`."""
    if not isinstance(sample, int | float) or isinstance(sample, bool) or not 1 / MILLION <= sample <= 1:
        raise wrong("sample", sample, "a share of the keys, from 0.000001 to 1")
    if not isinstance(hash_keys, bool):
        raise wrong("hash_keys", hash_keys, "True or False")
    if secret is not None and not (isinstance(secret, str | bytes) and secret):
        raise wrong("secret", "something else", "a str or bytes that isn't empty, or None for one that nobody knows")
    most = parse_size(max_bytes, "max_bytes")
    if most < LEAST_BYTES:
        raise wrong("max_bytes", max_bytes, "at least 64KiB")
    target = Path(os.path.realpath(path))
    for ended in [recorder for recorder in _begun.copy() if not recorder.active]:
        _begun.discard(ended)
    recorder = cache._record(
        target,
        sampled=round(sample * MILLION),
        hash_keys=hash_keys,
        secret=secret.encode() if isinstance(secret, str) else secret,
        max_bytes=most,
        seconds=None if duration is None else parse_duration(duration, "duration"),
        description=_description(cache),
    )
    _begun.add(recorder)
    return Recording(recorder, target)


def _description(cache: Cache) -> str:
    stats = cache._stats()
    bounds = f"capacity={stats['capacity']} max_entries={stats['max_entries']}"
    return f"recorded {datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ} policy={stats['policy']} {bounds}"


def _end_all() -> None:
    ours = [recorder for recorder in _begun.copy() if recorder.own]
    for recorder in ours:
        recorder.stop()
    until = time.monotonic() + PATIENCE
    for recorder in ours:
        recorder.wait_at_most(max(0.0, until - time.monotonic()))


exits.register(_end_all)
