"""What this process may use of the machine: cores, memory and disks."""

import os
from pathlib import Path

_MEMORY_INFO = Path("/proc/meminfo")
_MOUNTS = Path("/proc/self/mountinfo")
_NETWORKS = ("nfs", "cifs", "smb", "9p", "ceph", "afs", "coda", "lustre", "glusterfs", "beegfs", "fuse.ssh", "fuse.gluster")
_LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int | None:
    """Bytes that can be had without swapping, by the kernel's estimate and the limit of the control group (of containers); None
    where neither is known."""
    known = [_told("MemAvailable")] + [_left(limit, used) for limit, used in _LIMITS]
    return min((bytes_ for bytes_ in known if bytes_ is not None), default=None)


def memory() -> int | None:
    """Bytes that this process may have at most: the machine's, or what the control group allows; None where neither is known."""
    known = [_told("MemTotal")] + [_number(limit) for limit, _ in _LIMITS]
    return min((bytes_ for bytes_ in known if bytes_ is not None), default=None)


def room(directory: str) -> int | None:
    """Bytes that files in a directory, which needn't be there yet, could have in all: its file system's free ones and what they
    have by now; None if that can't be told."""
    there = Path(directory)
    try:
        used = sum(file.stat().st_blocks * 512 for file in there.iterdir() if file.is_file()) if there.is_dir() else 0
        while not there.exists():
            there = there.parent
        free = os.statvfs(there)
    except (OSError, ValueError):
        return None
    return used + free.f_bavail * free.f_frsize


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


def _told(name: str) -> int | None:
    try:
        lines = _MEMORY_INFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such group, or "max"
        return None


def _left(limit: Path, used: Path) -> int | None:
    most, now = _number(limit), _number(used)
    return None if most is None or now is None else max(0, most - now)
