"""Sizes and durations as people write them."""

import math
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import TypeAlias

from forecache.errors import ConfigError
from forecache.hiding import shown

Size: TypeAlias = int | str
Duration: TypeAlias = int | float | str | timedelta

MOST = 2**63 - 1
_SIZES = {"": 1, "b": 1} | {
    f"{letter}{tail}": base**power for power, letter in enumerate("kmgtp", start=1) for tail, base in (("b", 1000), ("ib", 1024))
}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_SIZE = re.compile(rf"{_NUMBER}\s*([a-z]*)", re.ASCII)
_PART = re.compile(rf"{_NUMBER}\s*(us|ms|s|m|h|d|w)\s*", re.ASCII)
_PLAIN = re.compile(rf"{_NUMBER}(?:e[+-]?\d+)?|inf", re.ASCII)

SIZES_ALLOWED = "a whole number from {} to 2**63 - 1 or a text such as '512MB' or '1.5GiB' (B KB MB GB TB PB KiB MiB GiB TiB PiB)"
DURATIONS_ALLOWED = "seconds above 0, a timedelta or a text such as '90', '500ms' or '2h5m' (us ms s m h d w); math.inf is never"


def wrong(field: str, given: object, allowed: str) -> ConfigError:
    """The error for an option: all of them read alike, and none shows a secret."""
    got = shown(field, given)
    return ConfigError(f"{field}: got {got if len(got) <= 200 else got[:200] + '…'}; allowed: {allowed}")


def nearest(given: object, allowed: Iterable[str], shown: Iterable[str] | None = None) -> str:
    """The allowed names (of many those that are `shown`), and the one that was probably meant."""
    import difflib

    names = list(allowed)
    close = difflib.get_close_matches(str(given), names, n=1)
    return ", ".join(names if shown is None else shown) + (f" (did you mean {close[0]}?)" if close else "")


def printable(text: str) -> str:
    r"""`text` without what a terminal would take for commands: file names and cells of tables are anybody's.

    >>> printable("a\x1b[31m name, ü")
    'a\\x1b[31m name, ü'
    """
    return "".join(each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode() for each in text)


def parse_size(value: Size, field: str, least: int = 1) -> int:
    """Bytes (or units of a weigher) that `value` stands for; MB is 10**6, MiB is 2**20.

    Raises `ConfigError` that names `field` for anything else than a whole number from `least` on, or such a text.

    >>> parse_size("512MB", "capacity"), parse_size("1.5 KiB", "capacity"), parse_size(7, "capacity")
    (512000000, 1536, 7)
    """
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip().lower())
        unit = _SIZES.get(match[2]) if match else None
        if match is None or unit is None or len(match[1]) > 30:
            raise wrong(field, value, SIZES_ALLOWED.format(least))
        size = int(match[1]) * unit if match[1].isdigit() else int(float(match[1]) * unit)
    elif isinstance(value, int) and not isinstance(value, bool):
        size = int(value)
    else:
        raise wrong(field, value, SIZES_ALLOWED.format(least))
    if not least <= size <= MOST:
        raise wrong(field, value, SIZES_ALLOWED.format(least))
    return size


def size_text(size: int) -> str:
    """A size as people read it, and as `parse_size` does: exactly that number.

    >>> size_text(512_000_000), size_text(3 << 19), size_text(2_500_000_000), size_text(1023)
    ('512MB', '1.5MiB', '2.5GB', '1023')
    """
    texts = [str(size)]
    for unit, base in _SIZES.items():
        tenths, rest = divmod(10 * size, base)
        number = f"{tenths // 10}.{tenths % 10}".removesuffix(".0")
        if not rest and base > 1 and tenths >= 10 and ("." not in number or int(float(number) * base) == size):
            texts.append(number + unit.upper().replace("IB", "iB"))
    return min(texts, key=len)


def duration_text(seconds: float) -> str:
    """A duration as people read it, and as `parse_duration` does.

    >>> duration_text(7500), duration_text(0.5), duration_text(90.25), duration_text(math.inf)
    ('2h5m', '500ms', '90.25s', 'inf')
    """
    if seconds == math.inf:
        return "inf"
    text = f"{seconds * 1000:g}ms" if seconds < 1 else f"{seconds:g}s"
    if seconds == int(seconds):
        text, left = "", int(seconds)
        for unit, length in reversed(_SECONDS.items()):
            if length >= 1 and left >= length:
                text, left = f"{text}{left // int(length)}{unit}", left % int(length)
    return text if _seconds(text) == seconds else repr(float(seconds))


def parse_duration(value: Duration, field: str) -> float:
    """Seconds that `value` stands for; `math.inf` is never.

    Raises `ConfigError` that names `field` for zero, what is negative, no number, or no duration at all.

    >>> parse_duration("2h5m", "ttl"), parse_duration("500ms", "ttl"), parse_duration(60, "ttl")
    (7500.0, 0.5, 60.0)
    """
    seconds = _seconds(value)
    if seconds is None or not seconds > 0:
        raise wrong(field, value, DURATIONS_ALLOWED)
    return seconds


def _seconds(value: Duration) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        text = value.strip().lower()
        if _PLAIN.fullmatch(text):
            return float(text)
        parts = _PART.findall(text)
        return sum(float(number) * _SECONDS[unit] for number, unit in parts) if _PART.sub("", text) == "" else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    return None
