"""A tier of one's own: entries in an SQLite file. Run it to check that it keeps what `Tier` promises."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from forecache import CodecError, TierUnavailable
from forecache._core import Entry, Packing
from forecache.flow import Call, Flow
from forecache.testing import check_tier
from forecache.tiers.tier import Now, Stored, TierStats, lives, versioned, wall_time

T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, record BLOB, used INTEGER, version INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS versions (latest INTEGER); INSERT INTO versions SELECT 0 WHERE NOT EXISTS (SELECT * FROM versions);
"""


class SqliteTier:
    """Each verb is one transaction, and one `Call`: files take their time, so the async face hands it to a thread."""

    name = "sqlite"
    shared = True

    def __init__(self, path: str | Path, namespace: str = "", now: Now | None = None) -> None:
        """`now` gives milliseconds since 1970."""
        self.path = path
        self.namespace = namespace
        self.now = now or wall_time()
        self.packing = Packing("zstd")
        self.hits = self.misses = 0
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=30
        )
        self._database.executescript(f"PRAGMA journal_mode = WAL; BEGIN IMMEDIATE; {SCHEMA} COMMIT;")

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> Flow[T]:
        return (yield Call(self._transact, (work,)))  # type: ignore[no-any-return]

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            database = self._database
            if database is None:
                raise TierUnavailable("sqlite: closed")
            database.execute("BEGIN IMMEDIATE")
            try:
                return work(database)
            finally:
                database.execute("COMMIT")

    def _find(self, database: sqlite3.Connection, key: bytes) -> Entry | None:
        row = database.execute("SELECT record, used, version FROM entries WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        record, used, version = row
        try:
            entry = Entry.open(self.namespace, key.decode(), record)
        except CodecError:  # damaged
            return None
        return versioned(entry, version) if lives(entry, used, self.now()) else None

    def _put(self, database: sqlite3.Connection, key: str, entry: Entry) -> None:
        (version,) = database.execute("UPDATE versions SET latest = latest + 1 RETURNING latest").fetchone()
        record = entry.seal(self.namespace, key, self.packing)
        database.execute("REPLACE INTO entries VALUES (?, ?, ?, ?)", (key.encode(), record, self.now(), version))

    def get_many(self, keys: Sequence[str]) -> Flow[dict[str, Entry]]:
        """See `Tier`, as for all verbs."""

        def work(database: sqlite3.Connection) -> dict[str, Entry]:
            found = {key: entry for key in keys if (entry := self._find(database, key.encode())) is not None}
            idle = [(self.now(), key.encode()) for key, entry in found.items() if entry.time_to_idle is not None]
            database.executemany("UPDATE entries SET used = ? WHERE key = ?", idle)
            self.hits += len(found)
            self.misses += len(keys) - len(found)
            return found

        return self._do(work)

    def set_many(self, entries: Mapping[str, Entry], *, absent: bool = False) -> Flow[Stored]:
        """See `Tier`."""

        def work(database: sqlite3.Connection) -> Stored:
            for key, entry in entries.items():
                if not (absent and self._find(database, key.encode())):
                    self._put(database, key, entry)
            return Stored()

        return self._do(work)

    def delete_many(self, keys: Sequence[str]) -> Flow[set[str]]:
        """See `Tier`."""

        def work(database: sqlite3.Connection) -> set[str]:
            there = {key for key in keys if self._find(database, key.encode())}
            database.executemany("DELETE FROM entries WHERE key = ?", [(key.encode(),) for key in keys])
            return there

        return self._do(work)

    def swap(self, key: str, version: int | None, entry: Entry | None) -> Flow[bool]:
        """See `Tier`."""

        def work(database: sqlite3.Connection) -> bool:
            there = self._find(database, key.encode())
            if (there.version if there else None) != version:
                return False
            if entry is None:
                database.execute("DELETE FROM entries WHERE key = ?", (key.encode(),))
            else:
                self._put(database, key, entry)
            return True

        return self._do(work)

    def scan(self, cursor: int, pattern: str | None) -> Flow[tuple[int | None, list[str]]]:
        """See `Tier`. The cursor is a version: what is written meanwhile gets a later one."""

        def work(database: sqlite3.Connection) -> tuple[int | None, list[str]]:
            glob = "*" if pattern is None else pattern.replace("[", "[[]")
            query = "SELECT version, key, CAST(key AS TEXT) GLOB ? FROM entries WHERE version > ? ORDER BY version LIMIT 100"
            rows = database.execute(query, (glob, cursor)).fetchall()
            keys = [key.decode() for _, key, matches in rows if (matches or pattern is None) and self._find(database, key)]
            return rows[-1][0] if rows else None, keys

        return self._do(work)

    def clear(self, *, tags: Sequence[str] = (), owner: str | None = None) -> Flow[int | None]:
        """See `Tier`."""

        def work(database: sqlite3.Connection) -> int:
            every = not tags and owner is None
            keys = [key for (key,) in database.execute("SELECT key FROM entries").fetchall()]
            found = [(key, entry) for key in keys if (entry := self._find(database, key)) is not None]
            named = [
                (key,) for key, entry in found if every or entry.owner == (owner or None) or not set(tags).isdisjoint(entry.tags)
            ]
            database.executemany("DELETE FROM entries WHERE key = ?", named)
            return len(named)

        return self._do(work)

    def flush(self) -> Flow[None]:
        """See `Tier`. A commit is all that SQLite needs."""
        return self._do(lambda _database: None)

    def close(self) -> Flow[None]:
        """See `Tier`."""
        yield from ()
        with self._lock:
            database, self._database = self._database, None
            if database is not None:
                database.close()

    def stats(self) -> TierStats:
        """See `Tier`."""
        return TierStats(self.name, hits=self.hits, misses=self.misses)


def check() -> None:
    """Raises `AssertionError` if it breaks a promise."""
    with tempfile.TemporaryDirectory() as directory:
        made = iter(range(1_000_000))
        check_tier(
            lambda now: SqliteTier(Path(directory) / f"{next(made)}.sqlite", now=now),
            again=lambda tier, now: SqliteTier(tier.path, now=now),  # type: ignore[attr-defined]
            shared=True,
        )


if __name__ == "__main__":
    check()
    print("SqliteTier keeps what a tier promises")
