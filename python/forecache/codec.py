"""How values become bytes and come back: the same value of the same type, or an error before anything is stored.

| codec | takes | number |
|---|---|---|
| `msgpack` (default) | MessagePack's own types, and those listed at `MessagePack` | 1 |
| `json` | None, bool, int, float, str, list, and dict with str as keys | 2 |
| `pickle` | whatever pickle takes; signed, so that only who has the secret can have written it | 3 |

A value that is `bytes` is stored as it is by all of them but `json`: number 0.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import pickle
from contextlib import suppress
from typing import Any, Final, Protocol

import ormsgpack

from forecache._core import is_plain
from forecache.errors import CodecError
from forecache.extended import extend, restore
from forecache.hiding import Shape
from forecache.units import wrong

__all__ = ["RAW", "Codec", "Json", "MessagePack", "SignedPickle", "codec"]

RAW: Final = 0
"""The number of payloads that are the value itself, which is `bytes`."""


class Codec(Protocol):
    """What turns values to bytes. `place` says where the value is stored: the same when it is read, or it isn't."""

    @property
    def number(self) -> int:
        """What it is known by in stored records, from 1 to 255; 128 and above are free for codecs of users' own."""

    def encode(self, value: Any, place: bytes, /) -> bytes:
        """The stored form. Raises `CodecError` unless `decode` gives back the same value of the same type."""

    def decode(self, payload: bytes, place: bytes, /) -> Any:
        """The value of a stored form. Raises `CodecError` if there is none."""


class MessagePack:
    """MessagePack, with extensions for the types that it would change.

    Beside None, bool, int, float, str, bytes, list and dict it keeps tuple, set, frozenset, bytearray, complex, int of any size,
    dicts with any keys, datetime (with no zone, a fixed one or a `ZoneInfo`), date, time, timedelta, Decimal, UUID, enums, named
    tuples, dataclasses, `msgspec.Struct`, and what `forecache.extended.register` was told of.

    >>> stored = MessagePack().encode({"point": (1, 2), 3: {"a", "b"}}, b"")
    >>> MessagePack().decode(stored, b"") == {"point": (1, 2), 3: {"a", "b"}}
    True
    """

    number = 1

    def encode(self, value: Any, _place: bytes, /) -> bytes:
        """See `Codec`."""
        try:
            return ormsgpack.packb(value if is_plain(value) else extend(value))
        except (TypeError, ValueError) as error:  # a lone surrogate, most likely
            raise error if isinstance(error, CodecError) else CodecError(f"the value can't be stored: {error}") from None

    def decode(self, payload: bytes, _place: bytes, /) -> Any:
        """See `Codec`."""
        try:
            return ormsgpack.unpackb(payload, ext_hook=restore)
        except (TypeError, ValueError) as error:
            raise _why(payload, error) from None


def _why(payload: bytes, error: Exception) -> CodecError:
    """What the reader of an extension raised, which the parser doesn't pass on; else what the parser did."""
    raised: list[CodecError] = []

    def hook(number: int, content: bytes) -> Any:
        try:
            return restore(number, content)
        except CodecError as why:
            raised.append(why)
            raise

    with suppress(TypeError, ValueError):
        ormsgpack.unpackb(payload, ext_hook=hook)
    return raised[0] if raised else CodecError(f"no MessagePack: {error}")


class Json:
    """JSON, for what others read too.

    >>> Json().encode({"name": "Åsa", "tags": [1, 2.5, None]}, b"").decode()
    '{"name":"Åsa","tags":[1,2.5,null]}'
    """

    number = 2

    def encode(self, value: Any, _place: bytes, /) -> bytes:
        """See `Codec`."""
        if not is_plain(value):
            allowed = "None, bool, int of 64 bits, float, str, list, and dict with str as keys"
            raise CodecError(f"a value that contains other types than JSON's can't be stored by it; allowed: {allowed}")
        try:
            return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError) as error:  # bytes, NaN, a lone surrogate
            raise CodecError(f"the value can't be stored as JSON: {error}") from None

    def decode(self, payload: bytes, _place: bytes, /) -> Any:
        """See `Codec`."""
        try:
            return json.loads(payload)
        except ValueError as error:
            raise CodecError(f"no JSON: {error}") from None


class SignedPickle:
    """Pickle under an HMAC-SHA256 (RFC 2104) over place and payload: what nobody with the secret wrote there is never loaded.

    >>> codec = SignedPickle(b"at least sixteen bytes")
    >>> codec.decode(codec.encode(range(3), b"here"), b"here")
    range(0, 3)
    """

    number = 3

    def __init__(self, secret: bytes) -> None:
        """`secret` is shared by all who read and write: 16 bytes or more, best random."""
        if not isinstance(secret, bytes) or len(secret) < 16:
            raise wrong(
                "secret", Shape(f"{len(secret)} bytes") if isinstance(secret, bytes) else type(secret), "16 random bytes or more"
            )
        self._secret = secret

    def encode(self, value: Any, place: bytes, /) -> bytes:
        """See `Codec`."""
        try:
            pickled = pickle.dumps(value, protocol=5)
        except Exception as error:  # __reduce__ is the user's code
            raise CodecError(f"{type(value).__qualname__} can't be pickled: {error}") from error
        return self._signature(pickled, place) + pickled

    def decode(self, payload: bytes, place: bytes, /) -> Any:
        """See `Codec`."""
        length = hashlib.sha256().digest_size
        signature, pickled = payload[:length], payload[length:]
        if not hmac.compare_digest(signature, self._signature(pickled, place)):
            raise CodecError("a pickled value whose signature is wrong: another secret, another key, or forged")
        try:
            return pickle.loads(pickled)  # noqa: S301 (its signature was checked)
        except Exception as error:
            raise CodecError(f"a pickled value can't be restored: {error}") from error

    def _signature(self, pickled: bytes, place: bytes) -> bytes:
        # The length keeps place and payload apart: no other pair has these bytes.
        return hmac.digest(self._secret, len(place).to_bytes(8, "little") + place + pickled, "sha256")


def codec(name: str, secret: bytes | None = None) -> Codec:
    """The codec of that name: `msgpack`, `json`, or `pickle`, which alone takes (and needs) a `secret`."""
    if name == "pickle":
        if secret is None:
            raise wrong("secret", secret, "bytes to sign with, which codec=pickle needs")
        return SignedPickle(secret)
    if secret is not None:
        raise wrong("secret", Shape("bytes"), f"none: codec={name} signs nothing")
    if name == "msgpack":
        return MessagePack()
    if name == "json":
        return Json()
    raise wrong("codec", name, "msgpack, json, pickle")
