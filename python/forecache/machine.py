"""What this process may use of the machine: cores, memory and disks."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

_MEMORY_INFO = Path("/proc/meminfo")
_MOUNTS = Path("/proc/self/mountinfo")
_NETWORKS = ("nfs", "cifs", "smb", "9p", "ceph", "afs", "coda", "lustre", "glusterfs", "beegfs", "fuse.ssh", "fuse.gluster")
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")
_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""A control group's limit, what is used of it, and what of that the kernel gives back when it is needed: versions 2 and 1."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def pool() -> Iterator[ThreadPoolExecutor]:
    """As many threads as cores. Who leaves because of an error waits for what has begun, and the rest isn't begun."""
    threads = ThreadPoolExecutor(cores())
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)


def free_memory() -> int | None:
    """Bytes that can be had without swapping, by the kernel's estimate and the limit of the control group (of containers); None
    where neither is known."""
    known = [_told(_MEMORY_INFO, "MemAvailable:")] + [_left(group, *files) for group in _groups() for files in _FILES]
    return min((bytes_ for bytes_ in known if bytes_ is not None), default=None)


def memory() -> int | None:
    """Bytes that this process may have at most: the machine's, or what the control group allows; None where neither is known."""
    known = [_told(_MEMORY_INFO, "MemTotal:")] + [_number(group / limit) for group in _groups() for limit, _, _ in _FILES]
    return min((bytes_ for bytes_ in known if bytes_ is not None), default=None)


def room(directory: str) -> int | None:
    """Bytes that files in a directory, which needn't be there yet, could have in all: its file system's free ones and what they
    have by now; None if that can't be told."""
    there = Path(directory)
    try:
        used = sum(file.stat().st_blocks * 512 for file in there.iterdir() if file.is_file()) if there.is_dir() else 0
        while not there.exists():
            there = there.parent
        return used + shutil.disk_usage(there).free
    except (OSError, ValueError):
        return None


def network_of(directory: str | os.PathLike[str]) -> str | None:
    """The kind of a file system over a network that a directory is on; None if it is this host's, or that can't be told."""
    try:
        device = os.stat(directory).st_dev  # noqa: PTH116  the directory may be a text
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    named = f"{os.major(device)}:{os.minor(device)}"
    kinds = [mount.rpartition(" - ")[2].split(" ")[0] for mount in mounts if mount.split(" ")[2:3] == [named]]
    return next((kind for kind in kinds if kind.startswith(_NETWORKS)), None)


def _groups() -> list[Path]:
    """Directories of the control groups that this process is in, from its own to the outermost: each may have a limit."""
    try:
        lines = _OWN_GROUP.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    places = {_GROUPS, _GROUPS / "memory"}  # in a container its own group is often mounted as the outermost
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            outermost = _GROUPS / controllers
            own = outermost / path.strip("/")
            places.update(place for place in (own, *own.parents) if place.is_relative_to(outermost))
    return sorted(places, reverse=True)


def _told(file: Path, name: str) -> int | None:
    """The number after a name in a file of the kernel's; bytes, also where it says kB."""
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    words = next((line.split() for line in lines if line.startswith(f"{name} ")), None)
    return None if words is None else int(words[1]) * (1024 if words[2:] == ["kB"] else 1)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such group, or "max"
        return None


def _left(group: Path, limit: str, used: str, idle: str) -> int | None:
    most, now = _number(group / limit), _number(group / used)
    return None if most is None or now is None else max(0, most - now + (_told(group / "memory.stat", idle) or 0))
