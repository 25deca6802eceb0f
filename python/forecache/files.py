"""Small files: read with a bound, and replaced whole. A pipe is never waited for, a device never replaced."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress

__all__ = ["content", "replace"]


def content(path: str | os.PathLike[str], most: int) -> bytes:
    """What is in the file, at most so many bytes. Raises `OSError` if it can't be read, or is no regular file."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(_regular(handle, path), "rb") as file:
        return file.read(most)


def _regular(handle: int, path: str | os.PathLike[str]) -> int:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
    return handle


def replace(path: str | os.PathLike[str], content: bytes) -> None:
    """Has the file hold this, whole or not at all, also after a crash; if it is a link, what that leads to. Raises `OSError`."""
    path = os.path.realpath(path)
    if os.path.lexists(path) and not os.path.isfile(path):  # noqa: PTH113  pathlib isn't imported for this
        raise OSError(errno.EINVAL, "it is no regular file", path)
    directory, name = os.path.split(path)
    beside = os.path.join(directory, f".{name}.{secrets.token_hex(8)}")  # noqa: PTH118
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb") as file:  # noqa: PTH123
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)  # noqa: PTH105
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)  # noqa: PTH108
        raise
    handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
