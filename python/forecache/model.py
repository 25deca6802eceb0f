"""What a cache has learned, as users see it: `cache.model`, the file that it begins with, and how that went.

A model is a file of fixed size that holds statistics, and no code: reading one can do no more than fail. A cache that is made
with a file that is damaged, or of another version, begins with what ships, and says so; so a bad file never keeps a
service from starting.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from forecache import files
from forecache._core import Prior
from forecache.errors import CacheClosed, ConfigError, UnknownModel
from forecache.events import ModelFailed
from forecache.flow import Call, Flow, arun
from forecache.units import wrong

if TYPE_CHECKING:
    from forecache.cache import Cache
    from forecache.config import Config

__all__ = ["SHIPPED", "AsyncModel", "Kept", "Model", "find", "read"]

SHIPPED = "shipped"
"""Where a model comes from that no file gave."""
_log = logging.getLogger("forecache")


class Kept:
    """What is known of a cache's model beside the model: where it came from, and whether it could be saved."""

    def __init__(self, config: Config) -> None:
        """Reads the model that the configuration names. Raises `ConfigError` if there is none and none will be made."""
        self.path, self.saving = config.model, config.save_interval is not None
        self.is_file = self.path is not None and (self.saving or _is_path(self.path))
        """Whether it is a file that was named, and no model of a registry."""
        if self.path is not None and self.is_file:
            self.path = os.path.abspath(self.path)  # noqa: PTH100  the same wherever the program goes; pathlib isn't imported for it
        self.origin, self.reason = SHIPPED, None  # type: str, str | None
        self.begun: Prior | None = None
        self.refused = False
        """Whether what the file holds is no model that can be read."""
        self.saved = 0
        self.seen = 0
        """Conclusions that had been drawn when it was saved or loaded last."""
        if self.path is not None:
            self._begin(self.path)

    def _begin(self, path: str) -> None:
        try:
            self.begun, self.origin = read(path) if self.is_file else find(path), path
        except FileNotFoundError:
            if not self.saving:
                raise wrong("model", path, "a file that exists; with save_interval=… it will be made") from None
        except UnknownModel:
            raise
        except (ConfigError, OSError) as error:
            self.reason, self.refused = str(error), self.is_file and isinstance(error, ConfigError)
            _log.warning("the cache begins with the model that ships: %s", self.reason)

    def write(self, path: str, model: Prior) -> None:
        """Has the file hold this model. What it was begun with, and refused, may be another's: it is kept as `.bad`."""
        content = model.write()
        if path == self.path and self.refused:
            there = os.path.realpath(path)
            with suppress(FileNotFoundError):
                os.replace(there, f"{there}.bad")  # noqa: PTH105
            self.refused = False
        files.replace(path, content)
        self.saved, self.reason = self.saved + 1, None


class Model:
    """What a cache has learned: `cache.model`. Under a policy that learns no model all methods raise `ConfigError`.

    What is saved is one table for the whole cache: owners with a priority or a budget of their own, which are kept apart
    while it runs, give it as much as was seen of them.

    >>> import tempfile
    >>> from forecache import Cache
    >>> path = tempfile.mkdtemp() + "/app.fcm"
    >>> with Cache(policy="learned") as cache:
    ...     cache.model.save(path)
    >>> Cache(policy="learned", model=path).stats().model.origin == path
    True
    """

    __slots__ = ("_cache",)

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    @property
    def _kept(self) -> Kept:
        kept = self._cache._kept
        if kept is None:
            raise wrong("policy", self._cache.config.policy, "learned, for a cache with a model")
        return kept

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Writes what was learned so far to `path`, or to the file that the cache was made with.

        What is there is replaced in one step; if it is a link, what that leads to. Raises `ConfigError` if no file is named,
        `OSError` if it can't be written, `CacheClosed` after `close`.
        """
        kept = self._kept
        named, seen = _named(path, kept), _updates(self._cache)
        if path is None and not kept.is_file:
            raise wrong("path", None, f"a path for a file, since the model was {named!r} of a registry")
        kept.write(named, self._cache._learned())
        if path is None:
            kept.seen = seen

    def load(self, path: str | os.PathLike[str] | None = None) -> None:
        """Goes by the model at `path`, or the one that the cache was made with, from now on, and forgets what was learned. It may
        be `name` or `name@version` of a registry (`forecache.registry`), too.

        Entries stay. Raises `ConfigError` for what is no model, is damaged or of another version, `OSError` if it can't be read;
        nothing has changed then.
        """
        named = _named(path, self._kept)
        self._begin(find(named), named)

    def reset(self) -> None:
        """Goes by the model that ships with the package from now on, and forgets what was learned. Entries stay."""
        self._begin(Prior.shipped(), SHIPPED)

    def _begin(self, model: Prior, origin: str) -> None:
        kept = self._kept
        self._cache._begin_with(model)
        kept.origin, kept.reason, kept.seen = origin, None, _updates(self._cache)

    def __repr__(self) -> str:
        return f"<model of {self._cache!r}>"


class AsyncModel:
    """`cache.model` of the async face: the methods of `Model`, awaitable; files are read and written in a thread."""

    __slots__ = ("_model",)

    def __init__(self, cache: Cache) -> None:
        self._model = Model(cache)

    async def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """See `Model.save`."""
        await arun(called(self._model.save, path))

    async def load(self, path: str | os.PathLike[str] | None = None) -> None:
        """See `Model.load`."""
        await arun(called(self._model.load, path))

    async def reset(self) -> None:
        """See `Model.reset`."""
        self._model.reset()

    def __repr__(self) -> str:
        return f"<async face of {self._model!r}>"


def called(function: Callable[..., Any], *arguments: Any) -> Flow[Any]:
    """A call that may take its time."""
    return (yield Call(function, arguments))


def keep(cache: Cache) -> None:
    """Saves what a cache has learned since it was saved last, if anything, and tells what goes wrong instead of raising it."""
    kept = cache._kept
    if kept is None or kept.path is None:
        return
    try:
        if _updates(cache) > kept.seen:
            Model(cache).save()
    except CacheClosed:
        return
    except Exception as error:  # a service goes on, whatever it was
        kept.reason = str(error) or repr(error)
        _log.warning("what the cache has learned wasn't saved: %s", kept.reason)
        cache._hub.tell(ModelFailed(kept.path, kept.reason))


def forked(cache: Cache) -> None:
    """For the child of a fork: what was learned before is the parent's to save, which may know more when the child ends."""
    with suppress(CacheClosed):
        if cache._kept is not None:
            cache._kept.seen = _updates(cache)


def find(spec: str) -> Prior:
    """The model of a file, or of a registry: see `read` and `registry.resolve`."""
    from forecache import registry

    return read(spec) if _is_path(spec) else Prior.read(registry.resolve(spec))


def read(path: str) -> Prior:
    """The model at `path`. Raises `ConfigError` that says what is wrong with the file, and `OSError` if it can't be read."""
    return Prior.read(files.content(path, Prior.LENGTH + 1), f"model: the file {path!r}")


def _is_path(spec: str) -> bool:
    from forecache import registry

    return registry.is_path(spec)


def _updates(cache: Cache) -> int:
    return int(cache._stats()["model"]["updates"])


def _named(path: str | os.PathLike[str] | None, kept: Kept) -> str:
    if path is None:
        if kept.path is None:
            raise wrong("path", None, "a path for a file, since the cache was made without model=…")
        return kept.path
    named = os.fspath(path)
    if not isinstance(named, str) or not named or "\0" in named:
        raise wrong("path", path, "a path for a file")
    return named
