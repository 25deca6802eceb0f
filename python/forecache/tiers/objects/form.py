"""The form of an object: a head that tells all but the value, so that a few kilobytes of it are enough, and the record.

```text
4 bytes magic · u16 length of the key · u32 length of the facts · key · facts · record
```

Facts are a record too, checked and bound to namespace and key; its payload is `_FACTS`. The record ends the object, and an
uncompressed payload ends the record but for the 8 bytes of its check, so that parts of it can be read without the rest. A grave
is a head without a record: there is nothing under this key.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from forecache._core import Entry, Packing
from forecache.errors import CodecError
from forecache.tiers.remote import Records
from forecache.tiers.tier import versioned

__all__ = ["PEEK", "Head", "grave", "head_of", "length_of", "pack"]

MAGIC = b"fco\x01"
PEEK = 4096
"""Bytes with which nearly every head is read in one request."""
CHECK = 8
"""Bytes of a record behind its payload."""
ALGORITHM = 6
"""Where a record says how it is compressed; 0: it isn't."""
GRAVE, PACKED, PLAIN = range(3)
_LENGTHS = struct.Struct("<4sHI")
_FACTS = struct.Struct("<QQQQB")
_UNPACKED = Packing("none")


class Head(NamedTuple):
    """What an object says before its value."""

    key: str
    entry: Entry
    """All but the payload."""
    stored: int
    """When it was stored, by the clock of the cache: milliseconds since 1970."""
    sent: int
    """When it was sent, by the clock of the store: milliseconds since 1970."""
    within: int
    """Milliseconds after which a store that hadn't it by then was no longer waited for."""
    length: int
    """Bytes of the payload."""
    kind: int
    start: int
    """Bytes of the head."""


def pack(records: Records, key: str, entry: Entry, version: int, times: tuple[int, int, int]) -> bytes:
    """The object of an entry; `times` are `stored`, `sent` and `within`. Raises `CodecError` for what is too long."""
    entry = versioned(entry, version)
    record = records.seal(key, entry)
    kind = PACKED if record[ALGORITHM] else PLAIN
    return _head(records.namespace, key, entry, (*times, len(entry.payload), kind)) + record


def grave(namespace: str, key: str, version: int, times: tuple[int, int, int]) -> bytes:
    """The object that says that nothing is under a key."""
    return _head(namespace, key, Entry(b"", version=version), (*times, 0, GRAVE))


def _head(namespace: str, key: str, entry: Entry, facts: tuple[int, int, int, int, int]) -> bytes:
    text = key.encode()
    sealed = versioned(entry, entry.version, _FACTS.pack(*facts)).seal(namespace, key, _UNPACKED)
    return b"".join((_LENGTHS.pack(MAGIC, len(text), len(sealed)), text, sealed))


def length_of(begin: bytes) -> int:
    """Bytes of the head of an object that begins so; 0 if it isn't one of ours."""
    if len(begin) < _LENGTHS.size or not begin.startswith(MAGIC):
        return 0
    _, text, facts = _LENGTHS.unpack_from(begin)
    return _LENGTHS.size + int(text) + int(facts)


def head_of(namespace: str, begin: bytes) -> Head | None:
    """The head of an object that begins so; None if it is damaged, cut off, or not one of ours."""
    start = length_of(begin)
    if not start or len(begin) < start:
        return None
    _, text, _ = _LENGTHS.unpack_from(begin)
    try:
        key = begin[_LENGTHS.size : _LENGTHS.size + text].decode()
        entry = Entry.open(namespace, key, begin[_LENGTHS.size + text : start])
        stored, sent, within, length, kind = _FACTS.unpack(entry.payload)
    except (CodecError, UnicodeDecodeError, struct.error):
        return None
    return Head(key, versioned(entry, entry.version, b""), stored, sent, within, length, kind, start)
