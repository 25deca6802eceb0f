"""What is never shown: passwords and keys, in errors, representations and tables."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["HIDDEN", "Shape", "hidden", "hides", "shown"]

HIDDEN = "***"
SECRETS = ("secret", "password", "access_key", "secret_key")
"""Options that hold one."""
_ALIKE = (*SECRETS, "pass", "passwd", "pwd", "token", "credentials")
_QUERY = re.compile(rf"([?&;](?:{'|'.join(_ALIKE)})=)[^&;'\"\s]*", re.IGNORECASE)
_USER = re.compile(r":(?!//).*@", re.DOTALL)  # up to the last @: a password may have all signs, and hiding more is safe


class Shape(str):
    """What an error says in the place of a secret, such as its length."""

    __slots__ = ()


def hides(field: str) -> bool:
    """Whether an option of this name, or one that was probably meant, holds a secret.

    >>> hides("redis.password"), hides("FORECACHE_REDIS_PASWORD"), hides("disk.path"), hides("FORECACHE_OBJECT_SECRET_KEY")
    (True, True, False, True)
    """
    import difflib

    words = re.findall(r"[a-z]+", field.lower())
    names = {*words, "_".join(words[-2:])}
    return any(difflib.get_close_matches(name, _ALIKE, n=1, cutoff=0.75) for name in names)


def hidden(text: str) -> str:
    """`text` with the passwords of the URLs in it, and what their queries have of secrets, starred.

    >>> hidden("redis://app:hunter2@cache:6379/0?password=hunter3&db=1")
    'redis://app:***@cache:6379/0?password=***&db=1'
    """
    return _USER.sub(f":{HIDDEN}@", _QUERY.sub(rf"\1{HIDDEN}", text))


def shown(field: str, value: Any) -> str:
    """How an error shows what was given for `field`."""
    if isinstance(value, str | bytes) and not isinstance(value, Shape) and hides(field):
        return HIDDEN
    return hidden(repr(hidden(value) if isinstance(value, str) else value))
