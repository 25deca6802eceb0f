"""A file that keeps what is owed to a tier: it outlives the process, and all processes of the host that have the tier share it.

The file is a header of 4 KiB, which each process maps, and a log. Whoever changes it locks it (`flock`), reads what others added,
appends, and then moves `tail` in the header: until then what was appended isn't there, so a process may be killed at any point.
Others see by the one word `tail` that something was added, and read on from where they were.

    magic · tail · begun · everything · dirty · starts (two) · boot id · what the journal is about
    then records: length, checksum, (kind, number, items)

`tail` is a generation and where the log ends. Another generation begins when all is settled, or when the log is written anew
with what is still owed: it begins at that one of `starts` that is the generation's.

Who begins to settle puts another number into `begun`, after it has read what is to be done and before it does it. A key that a
process noted after that is still owed, and isn't noted again: that is what makes an outage of a busy tier cheap.

What is written reaches the disk when the system sees fit, but for the word `dirty`, which is synced before. So after a crash of
the machine it is known that something was owed and may be lost: another boot id and `dirty`. Then everything is owed. When all is
settled `dirty` stays for a while: so a tier that refuses writes, which is owed to and settled with each of them, doesn't have the
disk sync each time, and no note has to do without.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import ormsgpack

from forecache.machine import network_of
from forecache.threads import in_thread
from forecache.tiers.owed import Clearing, Notes

try:
    import fcntl
except ImportError:  # no flock here, so no journal
    fcntl = None  # type: ignore[assignment]

__all__ = ["Journal", "boot_id", "file_name", "state_directory"]

MAGIC = b"fc-owed\x01"
FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
HEADER = 4096
TAIL, BEGUN, EVERYTHING, DIRTY, STARTS, BOOT, ABOUT = 8, 16, 24, 32, 40, 56, 72
"""Where the words of the header are."""
ENDS = 40
"""Bits of `tail` that say where the log ends; above them is the generation."""
WORD = struct.Struct("<Q")
RECORD = struct.Struct("<II")
MOST_BYTES = 64 * 2**20
"""Bytes of keys that are remembered; beyond it everything is owed."""
ANEW = 2**20
"""Bytes of log from which on it is written anew, when most of it is settled."""
KEPT = 2**16
"""Bytes of log up to which the file stays as long as it is when all is settled: to cut it may have to wait for the disk, and who
has a tier that refuses writes settles after each of them."""
PATIENCE = 2.0
"""Seconds to wait for the lock: it is held for microseconds, unless its holder has no processor, or was stopped."""
AGAIN = 1.0
"""Seconds after which a journal that failed is tried again."""

_log = logging.getLogger("forecache")


class Journal:
    """What is owed, as the file has it; `notes` is what this process has read of it. Methods raise `OSError`.

    Its user sees to it that one thread at a time is inside. A child of a fork opens the file anew: a lock that both had would be
    held as long as either lives.
    """

    def __init__(self, path: str | os.PathLike[str], about: str, boot: bytes | None = None) -> None:
        """`about` says whose journal it is; `boot` is 16 bytes, another at each start of the machine."""
        self.path = Path(path)
        self.notes = Notes()
        self._about = about.encode("utf-8", "surrogatepass")[: HEADER - ABOUT]
        self._boot = boot_id() if boot is None else boot
        self._file: tuple[int, int] | None = None
        self._map: Any = None
        self._words: Any = None
        self._tail = -1
        self._size = 0
        self._fd: int | None = None
        self._inside = False
        self._flushed = self._broken = self._checked = -AGAIN
        self._tidying = False
        """Whether a thread is about to take `dirty` away."""
        self._trouble = ""
        self._lost: str | None = None

    def open(self) -> None:
        """Makes the file, or reads what is in it."""
        if fcntl is None:
            raise OSError("a journal needs flock")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        network = network_of(self.path.parent)
        if network is not None:
            raise OSError(f"{self.path.parent} is on {network}: a journal has to be on a disk of this host")
        with self._locked() as fd:
            if not self.notes and self._word(DIRTY):  # who left it there was killed just after
                self._put(fd, DIRTY, 0)

    def hidden(self) -> bool:
        """Whether there is a file that couldn't be opened: what it has isn't known."""
        return self._file is None and os.path.lexists(self.path)

    def changed(self) -> bool:
        """Whether others added something: one load."""
        return self._words is None or self._words[1] != self._tail

    def lags(self) -> bool:
        """Whether others added something that wasn't read yet."""
        return self._words is not None and self.changed()

    def sync(self) -> None:
        """Reads what others added."""
        with self._locked():
            pass

    def begun(self) -> int:
        """Another number than before, if anyone began to settle since."""
        return int(self._words[2]) if self._words is not None else 0

    def begin(self) -> None:
        """What was read until now will be settled."""
        fd = self._fd
        if fd is None:
            with self._locked() as fd:
                pass
        _write(fd, os.urandom(8), BEGUN)

    def add(self, keys: Sequence[str], until: int = 0) -> None:
        """Notes keys that are to be deleted, and stay owed `until` that time."""
        with self._locked() as fd:
            first = self._tail + 1
            self.notes.add(keys, first)
            if until:
                self.notes.hold(keys, until)
            if self.notes.over():
                self._everything(fd)
            else:
                names = [_bytes(key) for key in keys]
                self._append(fd, ("k", first, names), *([("u", until, names)] if until else []))

    def add_clearing(self, clearing: Clearing) -> None:
        """Notes what is to be cleared."""
        with self._locked() as fd:
            number = self._tail + 1
            self.notes.clearings[clearing] = number
            if self.notes.over():
                self._everything(fd)
            else:
                self._append(fd, ("c", 0, [_packed(clearing, number)]))

    def settle(self, done: Notes) -> None:
        """Strikes out what was done, unless someone has noted it again."""
        with self._locked() as fd:
            struck = self.notes.settle(done)
            if not self.notes:
                self._anew(fd, b"")
                self._put(fd, EVERYTHING, 0)
                self._clean(fd)
                return
            if struck.keys:
                self._append(fd, ("d", 0, [(_bytes(key), number) for key, number in struck.keys.items()]))
            if struck.clearings:
                self._append(fd, ("e", 0, [_packed(*each) for each in struck.clearings.items()]))

    def close(self) -> None:
        """Has what is still owed survive a crash of the machine."""
        self.sync()
        tail = self._tail
        self._fsync()
        with self._locked() as fd:
            if self._tail == tail:
                self._put(fd, DIRTY, 0)
        self._fsync()

    def forked(self) -> None:
        """For the child of a fork: the open file, and with it the lock, is the parent's."""
        self._inside = self._tidying = False
        self._shut()

    def __del__(self) -> None:
        self._shut()

    def _shut(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, locked, and what others added read."""
        if time.monotonic() < self._broken + AGAIN:
            raise OSError(self._trouble)
        if self._inside:  # the end of a forgotten flow, which came up while this thread was at it
            raise OSError("the journal is being written")
        self._inside = True
        try:
            fd = self._open()
            dirty = self._word(DIRTY)
            yield fd
            dirties = not dirty and self._word(DIRTY) != 0
            fcntl.flock(fd, fcntl.LOCK_UN)
        except BaseException as error:
            self._shut()  # and with it the lock
            if not isinstance(error, OSError):
                raise
            self._broken, self._trouble = time.monotonic(), f"{self.path}: {error.strerror or error}"
            raise OSError(self._trouble) from error
        finally:
            self._inside = False
        if dirties:
            self._flush()

    def _open(self) -> int:
        """The file that is there now, locked and read; made if there is none, and put aside if it is none of ours."""
        while True:
            fd = os.open(self.path, FLAGS, 0o666) if self._fd is None else self._fd
            opened, self._fd = self._fd is None, fd
            self._lock(fd)
            now = time.monotonic()
            if not opened and now < self._checked + AGAIN and self._word(TAIL) == self._tail:
                break
            if self._is_there(fd) and (not opened or self._attach(fd)):
                self._checked = now
                break
            if not opened:  # others who have this file look again, too
                _write(fd, os.urandom(8), TAIL)
            self._shut()
        self._catch_up(fd)
        return fd

    def _is_there(self, fd: int) -> bool:
        """Whether nobody has put the file aside, or taken it away, since it was opened."""
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self.path))  # noqa: PTH116  a descriptor is what is compared
        except FileNotFoundError:
            return False

    def _lock(self, fd: int) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError("another process holds its lock") from None
                time.sleep(0.0002)

    def _attach(self, fd: int) -> bool:
        """Maps a file that was opened. Says whether it is ours; what isn't is put aside."""
        found = os.fstat(fd)
        if self._file == (found.st_dev, found.st_ino):
            return True
        if found.st_size == 0:
            self._make(fd)
        header = os.pread(fd, HEADER, 0)
        about = ABOUT + len(self._about)
        if len(header) < HEADER or not header.startswith(MAGIC) or header[ABOUT:about] != self._about or any(header[about:]):
            os.replace(self.path, f"{self.path}.bad")  # noqa: PTH105  a descriptor is what is checked
            self._lost = "it is none, or another tier's; it is kept as .bad"
            return False
        if self.notes:
            self._lost = "it was taken away while something was owed"
        self._map = mmap.mmap(fd, HEADER, access=mmap.ACCESS_READ)
        self._words = memoryview(self._map).cast("Q")
        self._file, self._tail = (found.st_dev, found.st_ino), -1
        return True

    def _catch_up(self, fd: int) -> None:
        """Reads what others added. If some was lost, everything is owed."""
        lost = self._lost
        if self._word(DIRTY) and self._map[BOOT:ABOUT] != self._boot:
            self._tail = self._word(TAIL)
            lost = "the machine ended while something was owed"
        elif self._word(TAIL) != self._tail:
            lost = self._read_on(fd) or lost
        if lost is not None:
            _log.warning("%s: %s; the tier is cleared before it is asked again", self.path, lost)
            self._everything(fd)
            self._lost = None

    def _make(self, fd: int) -> None:
        header = bytearray(HEADER)
        header[: len(MAGIC)] = MAGIC
        header[ABOUT : ABOUT + len(self._about)] = self._about
        _write(fd, bytes(header), 0)
        os.fsync(fd)
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _read_on(self, fd: int) -> str | None:
        """Takes in what was added to the log; says what is wrong with it."""
        tail = self._word(TAIL)
        generation, end = tail >> ENDS, tail & (1 << ENDS) - 1
        begin = self._tail & (1 << ENDS) - 1
        if self._tail < 0 or generation != self._tail >> ENDS:
            begin = self._word(STARTS + 8 * (generation & 1))
            self._size = max(0, end - begin)
            self.notes.keys.clear()
            self.notes.until.clear()
            self.notes.clearings.clear()
            everything = self._word(EVERYTHING)
            if everything:
                self.notes.everything(everything)
        self._tail = tail
        log = os.pread(fd, max(0, end - begin), HEADER + begin)
        try:
            if len(log) != end - begin:
                raise ValueError("it ends early")
            for record in _parsed(log):
                _apply(self.notes, record)
        except (ValueError, TypeError, AttributeError, struct.error) as error:
            return f"its log is damaged: {error}"
        return None

    def _append(self, fd: int, *records: tuple[str, int, list[Any]]) -> None:
        if not self._word(DIRTY):
            _write(fd, self._boot, BOOT)
            self._put(fd, DIRTY, 1)
        written = b"".join(map(_sealed, records))
        generation, end = self._tail >> ENDS, self._tail & (1 << ENDS) - 1
        _write(fd, written, HEADER + end)
        self._move(fd, generation, end + len(written))
        start = self._word(STARTS + 8 * (generation & 1))
        if end + len(written) - start > max(ANEW, 4 * self._size):
            log = b"".join(map(_sealed, _records(self.notes)))
            if len(log) > MOST_BYTES:
                self._everything(fd)
            else:
                self._anew(fd, log)

    def _anew(self, fd: int, log: bytes) -> None:
        """Begins another generation, whose log is this."""
        generation, end = (self._tail >> ENDS) + 1, self._tail & (1 << ENDS) - 1
        start = self._word(STARTS + 8 * (self._tail >> ENDS & 1))
        begin = 0 if len(log) <= start or not log else end
        _write(fd, log, HEADER + begin)
        self._put(fd, STARTS + 8 * (generation & 1), begin)
        self._move(fd, generation, begin + len(log))
        self._size = len(log)
        if not begin and end > max(KEPT, len(log)):
            os.ftruncate(fd, HEADER + len(log))

    def _everything(self, fd: int) -> None:
        number = self._tail + 1
        _write(fd, self._boot, BOOT)
        self._put(fd, DIRTY, 1)
        self._put(fd, EVERYTHING, number)
        self._anew(fd, b"")
        self.notes.everything(number)

    def _move(self, fd: int, generation: int, end: int) -> None:
        tail = (generation << ENDS | end) & 2**64 - 1
        self._put(fd, TAIL, tail)
        self._tail = tail

    def _word(self, at: int) -> int:
        return int(WORD.unpack_from(self._map, at)[0])

    def _put(self, fd: int, at: int, value: int) -> None:
        _write(fd, WORD.pack(value), at)

    def _flush(self) -> None:
        """Syncs the file. Neither a loop is held up by it nor who fails again and again: what a crash of the machine can lose
        then are the first milliseconds."""
        lately, self._flushed = self._flushed, time.monotonic()
        if asyncio._get_running_loop() is not None or self._flushed <= lately + AGAIN:
            with suppress(RuntimeError):  # no thread can be started
                in_thread(self._fsync)
                return
        self._fsync()

    def _clean(self, fd: int) -> None:
        """Nothing is owed: takes `dirty` away, or has that done later, so that it isn't synced more often than once a while."""
        rest = self._flushed + AGAIN - time.monotonic()
        if rest <= 0:
            self._put(fd, DIRTY, 0)
        elif not self._tidying:
            with suppress(RuntimeError):  # no thread can be started; who settles next does it
                in_thread(partial(self._tidy, rest))
                self._tidying = True

    def _tidy(self, pause: float) -> None:
        time.sleep(pause)
        self._tidying = False
        fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)  # another lock than that of who is inside
        try:
            self._lock(fd)
            header = os.pread(fd, HEADER, 0)
            if len(header) == HEADER and header.startswith(MAGIC) and _is_settled(header):
                self._put(fd, DIRTY, 0)
        finally:
            os.close(fd)

    def _fsync(self) -> None:
        fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _is_settled(header: bytes) -> bool:
    tail, everything = (WORD.unpack_from(header, at)[0] for at in (TAIL, EVERYTHING))
    start = WORD.unpack_from(header, STARTS + 8 * (tail >> ENDS & 1))[0]
    return not everything and start == tail & (1 << ENDS) - 1


def _write(fd: int, data: bytes, at: int) -> None:
    if os.pwrite(fd, data, at) != len(data):
        raise OSError("no room left for the journal")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _packed(clearing: Clearing, number: int) -> tuple[list[bytes], bytes | None, int]:
    tags, owner = clearing
    return [_bytes(tag) for tag in tags], None if owner is None else _bytes(owner), number


def _unpacked(item: Any) -> tuple[Clearing, int]:
    tags, owner, number = item
    return (tuple(map(_text, tags)), None if owner is None else _text(owner)), number


def _records(notes: Notes) -> Iterable[tuple[str, int, list[Any]]]:
    """All notes. Keys that were noted together have numbers that follow each other."""
    batch: list[bytes] = []
    first = 0
    for key, number in notes.keys.items():
        if number != first + len(batch):
            if batch:
                yield "k", first, batch
            batch, first = [], number
        batch.append(_bytes(key))
    if batch:
        yield "k", first, batch
    for key, until in notes.until.items():
        yield "u", until, [_bytes(key)]
    if notes.clearings:
        yield "c", 0, [_packed(*each) for each in notes.clearings.items()]


def _sealed(record: tuple[str, int, list[Any]]) -> bytes:
    body = ormsgpack.packb(record)
    return RECORD.pack(len(body), zlib.crc32(body)) + body


def _parsed(log: bytes) -> Iterator[Any]:
    at = 0
    while at < len(log):
        length, checksum = RECORD.unpack_from(log, at)
        body = log[at + RECORD.size : at + RECORD.size + length]
        if len(body) != length or zlib.crc32(body) != checksum:
            raise ValueError(f"byte {HEADER + at}")
        at += RECORD.size + length
        yield ormsgpack.unpackb(body)


def _apply(notes: Notes, record: Any) -> None:
    kind, number, items = record
    if kind == "k":
        notes.add(map(_text, items), number)
    elif kind == "u":
        notes.hold(map(_text, items), number)
    elif kind == "c":
        notes.clearings.update(map(_unpacked, items))
    elif kind == "d":
        notes.settle(Notes(keys={_text(key): settled for key, settled in items}))
    elif kind == "e":
        notes.settle(Notes(clearings=dict(map(_unpacked, items))))
    else:
        raise ValueError(f"a record of kind {kind!r}")


def boot_id() -> bytes:
    """16 bytes that are others after each start of the machine; the same for ever where none are to be had."""
    try:
        return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)


def file_name(kind: str, about: str) -> str:
    """The name of the journal about a tier's data."""
    from hashlib import blake2b

    return f"{kind}-{blake2b(about.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}.journal"


def state_directory() -> Path | None:
    """Where a user's programs keep what isn't for the user; made if it can be, for this user alone. None without a home."""
    given = os.environ.get("XDG_STATE_HOME", "")
    base = given if os.path.isabs(given) else os.path.expanduser("~/.local/state")  # noqa: PTH111, PTH117  no error without one
    if base.startswith("~"):
        return None
    state = Path(base, "forecache")
    with suppress(OSError):  # the journal will say why
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    return state
