"""Keys out of the arguments of a call: by a template such as `"user:{id}"`, or of module, name and all arguments."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import inspect
import pathlib
import string
import uuid
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias

from forecache.sources import nearest
from forecache.units import wrong

Arguments: TypeAlias = "tuple[tuple[Any, ...], dict[str, Any]]"
_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Binder:
    """Makes out what a call's arguments are called. Calls with plain positional arguments take a short cut."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.signature = inspect.signature(function)
        parameters = self.signature.parameters
        self.names = tuple(parameters)
        self.defaults = {name: each.default for name, each in parameters.items() if each.default is not each.empty}
        self._positional = tuple(name for name, each in parameters.items() if each.kind in _NAMED)
        needed = [name for name in self._positional if name not in self.defaults]
        simple = all(each.kind in _NAMED or each.default is not each.empty for each in parameters.values())
        self._fewest, self._most = (len(needed), len(self._positional)) if simple else (0, -1)
        self._all = len(self.names) if simple else -1

    def __call__(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> dict[str, Any]:
        """Every parameter's value, in order. `TypeError` for a call that the function would refuse."""
        if not keywords:
            given = len(arguments)
            if given == self._all:
                return dict(zip(self.names, arguments))  # noqa: B905  lengths are equal
            if self._fewest <= given <= self._most:
                values = dict(zip(self._positional, arguments))  # noqa: B905  the rest has defaults
                return {name: values[name] if name in values else self.defaults[name] for name in self.names}
        bound = self.signature.bind(*arguments, **keywords)
        bound.apply_defaults()
        return bound.arguments


class Template:
    """A text with fields named as the function's parameters: `"user:{id}"`, `"{self.region}:{page:04}"`."""

    def __init__(self, field: str, text: str, names: tuple[str, ...]) -> None:
        if not isinstance(text, str):
            raise wrong(field, text, "a template such as 'user:{id}'")
        try:
            used = list(_fields(text))
        except ValueError as error:
            raise wrong(field, text, f"a template such as 'user:{{id}}' ({error})") from None
        for name in used:
            if name not in names:
                raise wrong(field, text, f"fields that are parameters of the function: {nearest(name, names) or 'it has none'}")
        self.plain = text.format() if not used else None
        self.format = text.format_map

    def __call__(self, values: Mapping[str, Any]) -> str:
        """Fill it in."""
        return self.format(values) if self.plain is None else self.plain


def _fields(text: str) -> Iterator[str]:
    for _, name, spec, _ in string.Formatter().parse(text):
        if name is not None:
            yield name.split(".")[0].split("[")[0]
            yield from _fields(spec or "")


def key_maker(
    key: str | Callable[..., str] | None, name: str, binder: Binder
) -> Callable[[tuple[Any, ...], dict[str, Any]], str]:
    """The function that makes the key of a call."""
    if key is None:

        def of_all(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> str:
            values = binder(arguments, keywords)
            return f"{name}({','.join([canonical(each, value) for each, value in values.items()])})"

        return of_all
    if callable(key):
        return lambda arguments, keywords: key(*arguments, **keywords)
    template = Template("key", key, binder.names)
    return lambda arguments, keywords: template(binder(arguments, keywords))


_LITERAL = frozenset({str, int, float, complex, bool, bytes, type(None), type(...), range})
_LITERAL |= {
    decimal.Decimal,
    fractions.Fraction,
    uuid.UUID,
    datetime.date,
    datetime.timedelta,
    datetime.timezone,
    zoneinfo.ZoneInfo,
}
_LITERAL |= {pathlib.PurePosixPath, pathlib.PureWindowsPath, type(pathlib.Path())}


def canonical(parameter: str, value: Any) -> str:  # noqa: PLR0911  one for each kind
    """A text that equal values share and others don't; `TypeError` for a value that can change or that has none.

    >>> canonical("x", (1, "a", None)), canonical("x", 1.0), canonical("x", frozenset({2, 1}))
    ("(1,'a',None)", '1.0', 'frozenset(1,2)')
    """
    kind = type(value)
    if kind in _LITERAL:
        return repr(value)
    if isinstance(value, enum.Enum):
        return f"{kind.__qualname__}.{value.name}"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, tuple):
        return f"{'' if kind is tuple else kind.__qualname__}({','.join(canonical(parameter, each) for each in value)})"
    if isinstance(value, frozenset):
        return f"frozenset({','.join(sorted(canonical(parameter, each) for each in value))})"
    if kind in (datetime.datetime, datetime.time):
        return f"{kind.__name__}({value.isoformat()},{canonical(parameter, value.tzinfo)},{value.fold})"
    if is_dataclass(value) and kind.__dataclass_params__.frozen:
        return f"{kind.__qualname__}({','.join(canonical(parameter, getattr(value, each.name)) for each in fields(value))})"
    remedy = f"give the function a key, such as key='name:{{{parameter}.id}}'"
    raise TypeError(f"{parameter}: a {kind.__qualname__} has no text that stands for its value; {remedy}")
