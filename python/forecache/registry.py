"""A registry of models for the policy `learned`: each under a name, in versions that their content gives, one of which is in use.

A model is what `forecache train` writes, or any prior: statistics, at most `LARGEST` bytes, and no code. A version is the begin
of the content's SHA-256, so pushing the same twice changes nothing, and what comes back is held against it: a damaged model is
refused. `used.json` beside the versions of a name is the list of those that were in use, the last of which is.

```
REGISTRY/vm/3f9a….fcm      the model
REGISTRY/vm/3f9a….json     when it was pushed and trained, and by whom
REGISTRY/vm/used.json      [{"version": "3f9a…", "at": "2026-11-21T20:15:00+00:00", "by": "ada@host"}]
```
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias

from forecache import files
from forecache._core import Prior
from forecache.errors import ConfigError, UnknownModel
from forecache.shelves import Directory, Shelf, Tiered
from forecache.sources import REGISTRY
from forecache.units import wrong

__all__ = ["LARGEST", "REGISTRY", "Model", "Registry", "beside", "default", "is_path", "note", "resolve"]

Where: TypeAlias = str | os.PathLike[str]
Uses: TypeAlias = list[dict[str, str]]
"""What a name meant, the latest last: `version`, `at` and `by`."""

LARGEST = 1 << 20
"""Bytes that are read of a model, or of what is told of it, at most."""
ATTEMPTS = 100
"""How often a change is tried that others come before, or that the place doesn't take."""
KEPT = 100
"""How many of those that were in use a name remembers."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_VERSION = re.compile(r"[0-9a-f]{16}")
_NAMES = "a name of a-z, 0-9, '.', '_' and '-' that begins with a letter or digit, such as vm-images"
_SUFFIXES = (".fcm", ".fcp")


@dataclass(frozen=True, slots=True)
class Model:
    """A version of a model, as a registry lists it."""

    name: str
    version: str
    in_use: bool
    pushed: str
    """When, as ISO 8601 in UTC; empty if that isn't known any more."""
    by: str
    """Who pushed it: `user@host`."""
    trained: Mapping[str, Any]
    """What `forecache train` said of it: `at`, `by`, `traces`, `cut_before`, `cut_after` …; empty if nothing."""

    @property
    def spec(self) -> str:
        """What `Cache(shadow=…)` and the commands take: `name@version`."""
        return f"{self.name}@{self.version}"


class Registry:
    """Models in a directory, or in a tier by its URL: `disk:///…`, `redis://…`, `s3://…`. All verbs are safe from several
    processes at once. They raise `ConfigError` for a name, a version or a model that isn't there or isn't right, and
    `TierUnavailable` for a tier that doesn't answer.

    >>> import tempfile
    >>> from forecache._core import Prior
    >>> registry = Registry(tempfile.mkdtemp())
    >>> first, second = registry.push(Prior.none().write(), "vm"), registry.push(Prior.shipped().write(), "vm")
    >>> [model.in_use for model in registry.list("vm")].count(True), registry.use(second) == second
    (1, True)
    >>> registry.get("vm") == Prior.shipped().write(), registry.rollback("vm") == first
    (True, True)
    """

    def __init__(self, where: Where | None = None) -> None:
        """`where` is a directory or a URL; None: what `FORECACHE_REGISTRY` says, else the user's own."""
        place = default() if where is None else where
        if not isinstance(place, str | os.PathLike) or not os.fspath(place):
            raise wrong("registry", place, "a directory, or a tier's URL such as redis://cache:6379")
        self.where = os.fspath(place)
        self._shelf: Shelf = Tiered(self.where) if "://" in self.where else Directory(Path(self.where))

    @property
    def name(self) -> str:
        """Where it is, without secrets."""
        return self._shelf.name

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of connections."""
        self._shelf.close()

    def push(self, model: bytes | Where, name: str, about: Mapping[str, Any] | None = None) -> str:
        """Stores a model, a file's path or its content, and returns `name@version`. A name's first version is in use at once.

        `about` is what is told of its training, small and fit for JSON; for a path, unless given, what lies beside the file.
        """
        _check_name(name)
        if isinstance(model, bytes):
            content = model
        else:
            content = _file(model)
            about = _told_beside(Path(model), content) if about is None else about
        Prior.read(content)
        version = version_of(content)
        told = {"pushed": _now(), "by": _who(), "trained": dict(about or {})}
        text = json.dumps(told, indent=2).encode()
        if len(text) > LARGEST:
            raise wrong("about", f"{len(text)} bytes", f"at most {LARGEST} bytes as JSON")
        key = f"{name}/{version}.fcm"
        there = self._put(key, content)
        if there != content:  # it was damaged
            self._shelf.exchange(key, there, content)
            if self._shelf.read(key, LARGEST) != content:
                raise ConfigError(f"registry: {key} in {self.name} is damaged and can't be replaced; delete it and push again")
        self._put(f"{name}/{version}.json", text)
        self._put(_used(name), _history([_use(version)]))
        return f"{name}@{version}"

    def get(self, spec: str) -> bytes:
        """The model `name@version`, or of `name` the one in use."""
        name, version = self._version(spec)
        content = self._shelf.read(f"{name}/{version}.fcm", LARGEST)
        if content is None:
            known = ", ".join(model.spec for model in self.list(name)) or "nothing of that name is there: push it first"
            raise _unknown(spec, known)
        if version_of(content) != version:
            raise ConfigError(f"model: {name}@{version} is damaged: its content isn't what its version says; push it again")
        return content

    def list(self, name: str | None = None) -> list[Model]:
        """All versions, or those of a name, by name and the time of their push."""
        if name is not None:
            _check_name(name)
        found = []
        for key in self._shelf.every():
            of, _, file = key.partition("/")
            version, _, suffix = file.partition(".")
            if suffix == "fcm" and _VERSION.fullmatch(version) and _NAME.fullmatch(of) and name in (None, of):
                found.append((of, version))
        in_use = {of: self._uses(of)[-1:] for of in {of for of, _ in found}}
        models = []
        for of, version in found:
            told = _parsed(self._shelf.read(f"{of}/{version}.json", LARGEST)) or {}
            trained = told.get("trained")
            used = [use["version"] for use in in_use[of]] == [version]
            facts = (str(told.get("pushed", "")), str(told.get("by", "")), trained if isinstance(trained, dict) else {})
            models.append(Model(of, version, used, *facts))
        return sorted(models, key=lambda model: (model.name, model.pushed, model.version))

    def use(self, spec: str) -> str:
        """Has the name mean this version from now on, and returns `name@version`."""
        name, version = self._version(spec)
        if "@" not in spec:
            raise wrong("model", spec, "name@version, as `forecache model list` shows them")
        Prior.read(self.get(spec))
        self._change(name, lambda uses: uses if uses and uses[-1]["version"] == version else [*uses, _use(version)])
        return f"{name}@{version}"

    def rollback(self, name: str) -> str:
        """Has the name mean again what it meant before, and returns `name@version`."""
        _check_name(name)

        def back(uses: Uses) -> Uses:
            if len(uses) < 2:
                raise wrong("model", name, "a name that has meant another version before" if uses else "a name that was pushed")
            self.get(f"{name}@{uses[-2]['version']}")
            return uses[:-1]

        return f"{name}@{self._change(name, back)[-1]['version']}"

    def history(self, name: str) -> Uses:
        """What the name has meant, the latest last: `version`, `at` and `by`."""
        _check_name(name)
        return self._uses(name)

    def _put(self, key: str, content: bytes) -> bytes:
        """Stores content unless there is some, and gives what is there then."""
        if self._shelf.exchange(key, None, content):
            return content
        there = self._shelf.read(key, LARGEST)
        if there is None:
            raise ConfigError(f"registry: {self.name} didn't take {key}; expected a place with room for it")
        return there

    def _change(self, name: str, change: Callable[[Uses], Uses]) -> Uses:
        for _ in range(ATTEMPTS):
            before = self._shelf.read(_used(name), LARGEST)
            uses = change(_parsed_uses(name, before))
            if self._shelf.exchange(_used(name), before, _history(uses[-KEPT:])):
                return uses
        raise ConfigError(f"registry: {self.name} didn't take {_used(name)}; expected a place with room for it")

    def _uses(self, name: str) -> Uses:
        return _parsed_uses(name, self._shelf.read(_used(name), LARGEST))

    def _version(self, spec: str) -> tuple[str, str]:
        name, at, version = spec.partition("@") if isinstance(spec, str) else (spec, "", "")
        _check_name(name)
        if at and not _VERSION.fullmatch(version):
            raise _unknown(spec, "name@version, the version being 16 digits of 0-9a-f")
        if at:
            return name, version
        uses = self._uses(name)
        if not uses:
            raise _unknown(spec, f"a name that is in {self._shelf.name}, a path, or name@version")
        return name, uses[-1]["version"]


def resolve(spec: Where, registry: Registry | Where | None = None) -> bytes:
    """The content of a model: of a file, if `spec` has a path separator or the suffix of one (.fcm, .fcp) or is there; else of a
    registry's `name` or `name@version`. Raises `ConfigError` for what can't be read; whether it is a model `Prior.read` says."""
    if not isinstance(spec, str) or is_path(spec):
        return _file(spec)
    if isinstance(registry, Registry):
        return registry.get(spec)
    with Registry(registry) as opened:
        return opened.get(spec)


def default() -> str:
    """Where the registry is unless it is said: `FORECACHE_REGISTRY`, else `forecache/models` among the user's data."""
    given = os.environ.get(REGISTRY)
    if given:
        return given
    data = os.environ.get("XDG_DATA_HOME", "")
    base = data if os.path.isabs(data) else os.path.expanduser("~/.local/share")  # noqa: PTH111, PTH117  no error without one
    if base.startswith("~"):
        raise ConfigError(f"registry: there is no home to keep models in; expected {REGISTRY}, a directory or a tier's URL")
    return str(Path(base, "forecache", "models"))


def version_of(content: bytes) -> str:
    """What a model of this content is called."""
    return hashlib.sha256(content).hexdigest()[:16]


def note(content: bytes, *, trained: Mapping[str, Any]) -> dict[str, Any]:
    """What lies beside a model's file: which it is, and what is told of its training."""
    return {"version": version_of(content), "trained": {"at": _now(), "by": _who(), **trained}}


def beside(path: Path) -> Path:
    """Where that lies."""
    return path.with_name(f"{path.name}.json")


def _told_beside(path: Path, content: bytes) -> Mapping[str, Any]:
    """Nothing if it is of another model."""
    try:
        told = _parsed(files.content(beside(path), LARGEST)) or {}
    except OSError:
        return {}
    trained = told.get("trained")
    return trained if told.get("version") == version_of(content) and isinstance(trained, dict) else {}


def is_path(spec: str) -> bool:
    """Whether it names a file, there or not, rather than a model of a registry."""
    return any(sep in spec for sep in (os.sep, os.altsep) if sep) or spec.endswith(_SUFFIXES) or Path(spec).is_file()


def _file(path: Where) -> bytes:
    try:
        content = files.content(path, LARGEST + 1)
    except (OSError, ValueError, TypeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise wrong("model", path, f"a file that can be read ({why}), or name@version of a registry") from None
    if len(content) > LARGEST:
        raise wrong("model", os.fspath(path), f"a file that `forecache train` wrote, of at most {LARGEST} bytes")
    return content


def _unknown(spec: object, allowed: str) -> UnknownModel:
    return UnknownModel(str(wrong("model", spec, allowed)))


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _unknown(name, _NAMES)


def _used(name: str) -> str:
    return f"{name}/used.json"


def _use(version: str) -> dict[str, str]:
    return {"version": version, "at": _now(), "by": _who()}


def _history(uses: Uses) -> bytes:
    return json.dumps(uses, indent=2).encode()


def _parsed(content: bytes | None) -> dict[str, Any] | None:
    try:
        told = json.loads(content or b"null")
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _parsed_uses(name: str, content: bytes | None) -> Uses:
    try:
        uses = json.loads(content or b"[]")
        if all(_VERSION.fullmatch(use["version"]) for use in uses):
            return [dict(use) for use in uses]
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise ConfigError(f"model: {_used(name)} of the registry is damaged; delete it, and say with `use` what {name} means")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _who() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError, ImportError):  # a user without a name
        return socket.gethostname()
