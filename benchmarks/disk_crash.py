#!/usr/bin/env python3
"""Directories of the disk tier after crashes of the machine and damage: `python benchmarks/disk_crash.py`, or `make campaign`.

*Crashes.* The files are mapped, so no call tells what is written; therefore after each operation all files are compared with
what they were, page by page. A crash leaves, of the names and lengths of files, those at some moment since the last flush, and of
each page (at times, of each sector) any content that it has had since. From that a directory is rebuilt, opened and read: every
key holds a value that was stored under it, not older than the last flush, or nothing.
*Copies.* The same of a directory copied file by file while a process writes it.
*Flips.* A bit of a file is turned over: a key holds its value, or nothing, and that was counted.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import shutil
import tempfile
from pathlib import Path

from disk_kill import KEYS, ROOMY, hear, writer
from disk_parts import LARGE, History, Work, allocated, draws_of, files, now, open_disk, read_all, value
from forecache._core import Entry
from walks import must

PAGE, SECTOR = 4096, 512
CACHESTAT = 451
CAPACITY = 9_000_000
SHAPES = ((40, 60_000), (1500, 60))
"""Keys and the length of the largest values: some of all lengths, and many small ones, for which the index has to grow."""


class Log:
    """What the files of a directory have held since the last flush."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.trees: list[dict[str, tuple[int, int]]] = []
        """Inode and length of each name, one table a moment."""
        self.pages: dict[tuple[int, int], list[bytes]] = {}
        """The contents of each inode's pages, one after the other; before the first they are zeros."""
        self.contents: dict[int, bytes] = {}

    def note(self) -> None:
        """Compares all files with what they were."""
        tree = {}
        for path in files(self.directory):
            inode, content = path.stat().st_ino, path.read_bytes()
            tree[str(path.relative_to(self.directory))] = inode, len(content)
            before = self.contents.get(inode, b"")
            if content != before:
                self._compare(inode, before, content)
                self.contents[inode] = content
        self.trees.append(tree)

    def _compare(self, inode: int, before: bytes, content: bytes) -> None:
        for at in range(0, len(content), PAGE):
            page = content[at : at + PAGE]
            if page != before[at : at + PAGE]:
                self.pages.setdefault((inode, at // PAGE), [bytes(PAGE)]).append(page.ljust(PAGE, b"\0"))

    def synced(self) -> None:
        """All that was noted is safe."""
        self.trees = self.trees[-1:]
        self.pages = {place: contents[-1:] for place, contents in self.pages.items()}

    def rebuild(self, target: Path, draws: random.Random) -> None:
        """A directory as a crash may have left it."""
        newest, torn = draws.choice([0, 0.1, 0.5, 0.9, 1]), draws.choice([0, 0.2])
        for name, (inode, length) in draws.choice(self.trees).items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for at in range(0, length, PAGE):
                    contents = self.pages.get((inode, at // PAGE))
                    if contents is not None:
                        file.seek(at)
                        file.write(self._page(contents, draws, newest, torn))
                file.truncate(length)

    @staticmethod
    def _page(contents: list[bytes], draws: random.Random, newest: float, torn: float) -> bytes:
        if len(contents) == 1 or draws.random() < newest:
            return contents[-1]
        if draws.random() < torn:
            return b"".join(draws.choice(contents)[at : at + SECTOR] for at in range(0, PAGE, SECTOR))
        return draws.choice(contents)


def dirty_bytes(path: Path) -> int:
    """Bytes of a file that only the page cache has."""
    span, counts = (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)()
    with path.open("rb") as file:
        if ctypes.CDLL(None, use_errno=True).syscall(CACHESTAT, file.fileno(), span, counts, 0) != 0:
            raise OSError(ctypes.get_errno(), "cachestat failed; it is there from Linux 6.5 on")
    return int(counts[1] + counts[2]) * PAGE


def check(directory: Path, history: History, keys: list[str]) -> int:
    """Opens a directory after a crash, reads all keys twice, writes, and returns how many there were."""
    disk = open_disk(directory, CAPACITY)
    numbers = read_all(disk, keys)
    history.check_crash(numbers)
    after = History()
    after.observe(keys, numbers)
    work = Work(disk, after, "after", keys=len(keys), most=1000, start=1 << 40)
    for _ in range(10):
        work.step()
    after.check_kill(read_all(disk, keys), full=False)
    disk.close()
    must(allocated(directory) <= CAPACITY, f"{allocated(directory)} bytes allocated of {CAPACITY}")
    return len(numbers)


def crashes(count: int, seed: int = 1) -> dict[str, int]:
    """Rebuilds so many directories from a tenth as many histories."""
    draws, found, rebuilt = draws_of(seed), 0, 0
    while rebuilt < count:
        keys, most = SHAPES[rebuilt // 10 % len(SHAPES)]
        with tempfile.TemporaryDirectory() as folder:
            live = Path(folder) / "live"
            history, log = History(), Log(live)
            work = Work(open_disk(live, CAPACITY), history, f"{seed} {rebuilt}", keys=keys, most=most)
            log.note()
            for _ in range(10):
                for _ in range(draws.randint(1, 40)):
                    what = work.step()
                    log.note()
                    if what == "flush":
                        log.synced()
                target = Path(folder) / "crashed"
                log.rebuild(target, draws)
                found += check(target, history, work.keys)
                shutil.rmtree(target)
                rebuilt += 1
            work.disk.close()
    return {"crashes": rebuilt, "values found": found}


def copies(count: int, seed: int = 1) -> dict[str, int]:
    """Copies a directory so often while it is written."""
    draws, found = draws_of(seed), 0
    keys = [f"key:{number}" for number in range(KEYS)]
    for turn in range(count):
        with tempfile.TemporaryDirectory() as folder:
            history, live, copy = History(), Path(folder) / "live", Path(folder) / "copy"
            process = writer(live, *ROOMY, f"{seed} {turn}", 1)
            for _ in range(draws.randint(100, 800)):
                hear(history, process.stdout.readline())
            copy.mkdir()
            for path in files(live):
                target = copy / path.relative_to(live)
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    shutil.copyfile(path, target)
                except FileNotFoundError:  # it went meanwhile
                    target.unlink(missing_ok=True)
            process.kill()
            # What was flushed after the copy began need not be in it.
            for line in process.stdout:
                hear(history, line.replace("flush", "nothing"))
            process.wait()
            process.stdout.close()
            disk = open_disk(copy, ROOMY[0])
            numbers = read_all(disk, keys)
            history.check_crash(numbers)
            disk.close()
            found += len(numbers)
    return {"copies": count, "values found": found}


def flips(count: int, seed: int = 1) -> dict[str, int]:
    """Turns over so many bits, each in a fresh copy of one directory."""
    draws, missing = draws_of(seed), 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:  # noqa: S108
        whole, flipped = Path(folder) / "whole", Path(folder) / "flipped"
        work = Work(open_disk(whole, CAPACITY), History(), str(seed), keys=200, most=3000)
        for _ in range(1000):
            work.step()
        large = work.keys[0]
        work.disk.set_many({large: Entry(value(large, 1, LARGE))}, now(), wait=True)
        work.disk.flush()
        held = read_all(work.disk, work.keys)
        work.disk.close()
        # Half of the flips hit any byte, half a byte that isn't 0: much of the files is reserved and empty.
        paths = [path for path in files(whole) if path.stat().st_size > 0]
        sizes = [path.stat().st_size for path in paths]
        for turn in range(count):
            shutil.copytree(whole, flipped)
            path = draws.choices(paths, sizes)[0] if turn % 2 else draws.choice(paths)
            content = bytearray(path.read_bytes())
            at = draws.randrange(len(content))
            while turn % 4 >= 2 and content[at] == 0 and any(content):
                at = draws.randrange(len(content))
            content[at] ^= 1 << draws.randrange(8)
            (flipped / path.relative_to(whole)).write_bytes(content)
            where = f"bit in byte {at} of {path.name}"
            disk = open_disk(flipped, CAPACITY)
            numbers = read_all(disk, work.keys)
            wrong = {key: number for key, number in numbers.items() if held.get(key) != number}
            must(not wrong, f"{where}: {wrong}")
            if len(numbers) < len(held):
                missing += 1
                must(disk.stats()["corrupt"] > 0, f"{where}: {len(held) - len(numbers)} keys lost and none counted")
            disk.close()
            shutil.rmtree(flipped)
    return {"flips": count, "flips that lost keys": missing, "keys": len(held)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--crashes", type=int, default=2000)
    parser.add_argument("--copies", type=int, default=100)
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(crashes(options.crashes, options.seed))
    print(copies(options.copies, options.seed))
    print(flips(options.flips, options.seed))


if __name__ == "__main__":
    main()
