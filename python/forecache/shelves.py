"""Where a registry keeps its bytes: a directory of plain files, or a tier, under the same few verbs, one of them atomic."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from forecache import files
from forecache.errors import ConfigError
from forecache.units import wrong

__all__ = ["Directory", "Shelf", "Tiered"]

NAMESPACE = "forecache-models"
"""Keys of a registry are kept apart from those of caches on the same tier."""


class Shelf(Protocol):
    """Content by key. What can't be reached or written raises `ConfigError` or `TierUnavailable`."""

    @property
    def name(self) -> str:
        """What errors call it: without secrets."""

    def read(self, key: str, most: int) -> bytes | None:
        """The content, if there is any; at most so many bytes."""

    def exchange(self, key: str, old: bytes | None, new: bytes) -> bool:
        """Stores `new` if `old` (None: nothing) is what is there, in one step, and says whether it did."""

    def every(self) -> Iterator[str]:
        """All keys, in no order."""

    def close(self) -> None:
        """Lets go of connections."""


class Directory:
    """A directory of files. They appear whole, and changes of what is there wait for each other at a file's lock."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.name = str(root)

    def read(self, key: str, most: int) -> bytes | None:
        """See `Shelf`."""
        try:
            return files.content(self._root / key, most)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(error) from error

    def exchange(self, key: str, old: bytes | None, new: bytes) -> bool:
        """See `Shelf`."""
        path = self._root / key
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.with_name(".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # held for as long as it takes to write some kilobytes
                if self.read(key, len(old or b"") + 1) != old:
                    return False
                files.replace(path, new)
                return True
        except OSError as error:
            raise self._failed(error) from error

    def every(self) -> Iterator[str]:
        """See `Shelf`."""
        return (path.relative_to(self._root).as_posix() for path in self._root.glob("*/*") if not path.name.startswith("."))

    def close(self) -> None:
        """See `Shelf`."""

    def _failed(self, error: OSError) -> ConfigError:
        return ConfigError(f"registry: {self._root}: {error.strerror}; expected a directory that can be read and written")


class Tiered:
    """A tier that processes share, by its URL. It has to list its keys and to decide, as all but Memcached do."""

    def __init__(self, url: str) -> None:
        from forecache.config import Config
        from forecache.hiding import hidden
        from forecache.tiers.tier import wall_time

        # What the tier can't do has to be heard of.
        strict = f"{url}{'&' if '?' in url else '?'}strict=true"
        boundaries = Config.from_url(strict).tiers
        self.name = hidden(url)
        if len(boundaries) != 1:
            raise wrong("registry", self.name, "a directory, or the URL of a tier that processes share: redis://, s3://, disk://")
        self._tier = boundaries[0].make(NAMESPACE, wall_time())
        if not (self._tier.shared and getattr(self._tier, "lists", True) and getattr(self._tier, "decides", True)):
            self.close()
            raise wrong("registry", self.name, "a tier that processes share, that lists its keys and that swaps")

    def read(self, key: str, most: int) -> bytes | None:
        """See `Shelf`."""
        found = self._get(key)
        return None if found is None else found[1][:most]

    def exchange(self, key: str, old: bytes | None, new: bytes) -> bool:
        """See `Shelf`."""
        from forecache._core import Entry
        from forecache.flow import run

        found = self._get(key)
        if (None if found is None else found[1]) != old:
            return False
        return run(self._tier.swap(key, None if found is None else found[0], Entry(new)))

    def every(self) -> Iterator[str]:
        """See `Shelf`."""
        from forecache.flow import run

        cursor: int | None = 0
        seen: set[str] = set()
        while cursor is not None:
            cursor, keys = run(self._tier.scan(cursor, None))
            yield from (key for key in keys if key not in seen)
            seen.update(keys)

    def close(self) -> None:
        """See `Shelf`."""
        from forecache.flow import run

        run(self._tier.close())

    def _get(self, key: str) -> tuple[int, bytes] | None:
        """The tier's version and the content."""
        from forecache.flow import run

        entry = run(self._tier.get_many([key])).get(key)
        return None if entry is None else (entry.version, entry.payload)
