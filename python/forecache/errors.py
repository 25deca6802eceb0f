"""All errors of the package.

```
ForecacheError
 ├── ConfigError     (ValueError)    an option is wrong: names it, what was given and what is allowed
 ├── TraceError      (ValueError)    a trace is corrupt or cut short: names the byte or line
 ├── ImmutableError  (ValueError)    other content for an entry that was stored with `immutable=True`
 ├── CodecError      (ValueError)    a value can't be stored below memory, or a stored one can't be read
 ├── TierUnavailable (ConnectionError) a tier below memory can't answer: names it and why
 │    └── TierReadOnly                 it answers reads, and takes no changes
 ├── CacheClosed     (RuntimeError)  the cache was closed before
 └── ReentrantLoad   (RuntimeError)  a loader waits, directly or through others, for the key that it loads;
                                     or an atomic verb, by a value's own method, for the key that it changes
```

A key that isn't a `str` and a loader of the wrong colour are a plain `TypeError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


class ForecacheError(Exception):
    """The base of them all."""


class ConfigError(ForecacheError, ValueError):
    """An option is wrong; the message says which, what was given and what is allowed."""


class UnknownModel(ConfigError):
    """Nothing of that name, or of that version, is in the registry."""


class TraceError(ForecacheError, ValueError):
    """A trace can't be read; the message says where."""


class ImmutableError(ForecacheError, ValueError):
    """Other content was given for an entry that was stored with `immutable=True`."""


class CodecError(ForecacheError, ValueError):
    """A value has no stored form, or a stored form no value; the message names the type and what to register."""


class TierUnavailable(ForecacheError, ConnectionError):
    """A tier below memory can't answer; the message says which and why."""

    lost = False
    """Whether the connection was refused or broke off: asked again, the tier may answer."""
    unsent = False
    """Whether nothing was sent, so that nothing can have been done."""


class TierReadOnly(TierUnavailable):
    """A tier answers reads and takes no changes now; the message says why. What it has under a key that was to be changed, this
    process doesn't get."""

    holds: Collection[str] | None = None
    """Those of the keys of the change under which it holds something; None if it can't tell."""


class CacheClosed(ForecacheError, RuntimeError):
    """The cache was closed before."""


class ReentrantLoad(ForecacheError, RuntimeError):
    """A loader waits for the very key that it loads, or an atomic verb for the key that it changes: going on would never end."""
