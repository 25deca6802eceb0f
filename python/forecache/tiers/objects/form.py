"""The form of an object: a head that tells all but the value, so that a few kilobytes of it are enough, and the record.

```text
4 bytes magic · u16 length of the key · u32 length of the facts · u64 stored · u64 sent · u64 within · u64 length of the payload
· u8 kind · u32 CRC-32 of all before · key · facts · record
```

Facts are a record without a payload, bound to namespace and key as all records are. The record ends the object, and an
uncompressed payload ends the record but for the 8 bytes of its check, so that parts of it can be read without the rest. A grave
is a head without a record: there is nothing under this key.
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from zlib import crc32

from forecache._core import Begin, Entry, Packing
from forecache.errors import CodecError
from forecache.tiers.remote import Records
from forecache.tiers.tier import versioned

__all__ = ["PEEK", "Head", "grave", "head_of", "pack"]

MAGIC = b"fco\x01"
PEEK = 4096
"""Bytes with which nearly every head is read in one request."""
CHECK = 8
"""Bytes of a record behind its payload."""
ALGORITHM = 6
"""Where a record says how it is compressed; 0: it isn't."""
GRAVE, PACKED, PLAIN = range(3)
_BEGIN = struct.Struct("<4sHIQQQQBI")
_CHECKED = _BEGIN.size - 4
_UNPACKED = Packing("none")


class Head(NamedTuple):
    """What an object says before its value."""

    begin: Begin
    key: str
    entry: Entry
    """Its payload is empty, unless all of the object was read."""


def pack(records: Records, key: str, entry: Entry, version: int, times: tuple[int, int, int]) -> list[bytes]:
    """The object of an entry, in parts; `times` are `stored`, `sent`, `within`. Raises `CodecError` for what is too long."""
    entry = versioned(entry, version)
    record = records.seal_pieces(key, entry)
    kind = PACKED if record[0][ALGORITHM] else PLAIN
    return [_head(records.namespace, key, entry, (*times, len(entry.payload), kind)), *record]


def grave(namespace: str, key: str, version: int, times: tuple[int, int, int]) -> list[bytes]:
    """The object that says that nothing is under a key."""
    return [_head(namespace, key, Entry(b"", version=version), (*times, 0, GRAVE))]


def _head(namespace: str, key: str, entry: Entry, facts: tuple[int, int, int, int, int]) -> bytes:
    text = key.encode()
    sealed = versioned(entry, entry.version, b"").seal(namespace, key, _UNPACKED)
    begin = _BEGIN.pack(MAGIC, len(text), len(sealed), *facts, 0)[:_CHECKED]
    return b"".join((begin, crc32(begin).to_bytes(4, "little"), text, sealed))


def head_of(namespace: str, data: bytes) -> Head | None:
    """The head of the object that begins so; None if it is damaged, cut off, or not one of ours."""
    begin = Begin.of(data)
    if begin is None or len(data) < begin.start:
        return None
    facts = begin.start - begin.facts
    try:
        key = data[_BEGIN.size : facts].decode()
        return Head(begin, key, Entry.open(namespace, key, data[facts : begin.start]))
    except (CodecError, UnicodeDecodeError):
        return None
