"""Names of objects: where in a store the value of a key lies, and what lies beside it.

```text
{prefix}/{namespace}/v/{key}                          the value
{prefix}/{namespace}/u/{key}                          when it was last used, if it has a time to idle
{prefix}/{namespace}/t/{tag}/{key}.{version}          says that this version of the value carries the tag
{prefix}/{namespace}/o/{owner}/{key}.{version}        the same of its owner
{prefix}/{namespace}/lease                            who sweeps
```

What stands for `{key}` is the key itself as far as every store and file system tells its letters apart, and `=` with two hex
digits for each other byte: `user:7` is `user=3a7`. What would be too long for a file name ends in a hash; the key's text is in
the object.
"""

from __future__ import annotations

import hashlib
import re

__all__ = ["Names", "text_of", "written"]

LONGEST = 200
"""Characters of a part of a name: a directory allows 255, and a version or the suffix of a file in the making comes on top."""
KEPT = 120
"""Characters of a key that stay readable when it is hashed."""
EMPTY = "="
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_.")
_WRITTEN = {byte: f"={byte:02x}" for byte in range(256) if byte not in _PLAIN}
_ESCAPE = re.compile(b"=([0-9a-f]{2})")


def written(text: str) -> str:
    r"""How a key, tag, owner or namespace is written in a name. Raises `UnicodeEncodeError` for what isn't text.

    >>> written("user:7"), written("A"), written(".."), written("")
    ('user=3a7', '=41', '=2e.', '=')
    >>> len(written("é" * 30_000))
    162
    """
    raw = text.encode()
    if len(raw) <= LONGEST:
        name = raw.decode("latin-1").translate(_WRITTEN)
        if name.startswith("."):  # a part "." or ".." leads elsewhere
            name = "=2e" + name[1:]
        if len(name) <= LONGEST:
            return name or EMPTY
    begin = raw[:KEPT].decode("latin-1").translate(_WRITTEN)[:KEPT].lstrip(".")
    return f"{begin}=~{hashlib.blake2b(raw, digest_size=20).hexdigest()}"


def text_of(name: str) -> str | None:
    r"""The text that was `written`; None if its name doesn't tell.

    >>> text_of(written("Käse/\0")) == "Käse/\0", text_of(written("x" * 300))
    (True, None)
    """
    if "=~" in name:
        return None
    try:
        return _ESCAPE.sub(_byte, b"" if name == EMPTY else name.encode()).decode()
    except UnicodeDecodeError:
        return None


def _byte(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 16)])


class Names:
    """Names of one namespace. `prefix` ends in a slash, or is empty."""

    def __init__(self, prefix: str, namespace: str) -> None:
        self.root = f"{prefix}{written(namespace)}/"
        self.values = f"{self.root}v/"
        self.uses = f"{self.root}u/"
        self.lease = f"{self.root}lease"

    def value(self, key: str) -> str:
        """Where the value of a key is."""
        return self.values + written(key)

    def use(self, value: str) -> str:
        """Where it is said when a value was used."""
        return self.uses + value.removeprefix(self.values)

    def probe(self, token: str) -> str:
        """A name for finding out what the store can."""
        return f"{self.root}probe/{token}"

    def tagged(self, tag: str) -> str:
        """What all marks of a tag begin with."""
        return f"{self.root}t/{written(tag)}/"

    def owned(self, owner: str) -> str:
        """What all marks of an owner begin with."""
        return f"{self.root}o/{written(owner)}/"

    def marks(self) -> tuple[str, str]:
        """What all marks begin with."""
        return f"{self.root}t/", f"{self.root}o/"

    @staticmethod
    def mark(place: str, value: str, version: int) -> str:
        """The mark of a value's version at a place of `tagged` or `owned`."""
        return f"{place}{value.rpartition('/')[2]}.{version:016x}"

    def marked(self, mark: str) -> tuple[str, int] | None:
        """The value that a mark is of, and its version; None for what is no mark."""
        name, dot, version = mark.rpartition("/")[2].rpartition(".")
        return (self.values + name, int(version, 16)) if dot and re.fullmatch("[0-9a-f]{16}", version) else None
