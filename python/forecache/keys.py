"""Keys out of the arguments of a call: by a template such as `"user:{id}"`, or of module, name and all arguments."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import inspect
import pathlib
import re
import string
import uuid
import zoneinfo
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from forecache.units import nearest, wrong

_POSITIONAL_ONLY = inspect.Parameter.POSITIONAL_ONLY
_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD
_KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
_EMPTY = inspect.Parameter.empty
_MISSING = object()


class Binder:
    """Makes out the value of each parameter of a call. Calls of plain functions don't pay for `inspect`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters
        self.names = tuple(parameters)
        kinds = [each.kind for each in parameters.values()]
        plain = all(kind in (_POSITIONAL_ONLY, _EITHER, _KEYWORD_ONLY) for kind in kinds)
        self._defaults = tuple(each.default for each in parameters.values())
        positional = sum(kind in (_POSITIONAL_ONLY, _EITHER) for kind in kinds)
        self._collects = next((name for name, each in parameters.items() if each.kind is each.VAR_KEYWORD), None)
        needed = [at for at, default in enumerate(self._defaults) if default is _EMPTY]
        # How many positional arguments a call may have without keywords, and with them.
        self._alone = range(needed[-1] + 1 if needed else 0, positional + 1) if plain else range(0)
        self._beside = positional + 1 if plain and _POSITIONAL_ONLY not in kinds else 0

    def __call__(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, ...]:
        """The values, in the order of `names`. `TypeError` for a call that the function would refuse."""
        given = len(arguments)
        if not keywords:
            if given in self._alone:
                return arguments + self._defaults[given:]
        elif given < self._beside:
            values, left = list(arguments), len(keywords)
            for at in range(given, len(self.names)):
                value = keywords.get(self.names[at], _MISSING)
                if value is _MISSING:
                    value = self._defaults[at]
                else:
                    left -= 1
                values.append(value)
                if value is _EMPTY:
                    break
            else:
                if not left:
                    return tuple(values)
        bound = self._signature.bind(*arguments, **keywords)
        bound.apply_defaults()
        return tuple([_Keywords(value) if name == self._collects else value for name, value in bound.arguments.items()])


class _Keywords(dict[str, Any]):
    """What a call gave by names that the function collects in `**keywords`."""


class Template:
    """A text with fields named as the function's parameters: `"user:{id}"`, `"{self.region}:{page:04}"`.

    >>> Template("key", "{b}:{a.real:03}", ("a", "b"))((7, "x"))
    'x:007'
    """

    def __init__(self, field: str, text: str, names: tuple[str, ...]) -> None:
        if not isinstance(text, str):
            raise wrong(field, text, "a template such as 'user:{id}'")
        try:
            self._format = _numbered(text, names).format
        except ValueError as error:
            raise wrong(field, text, f"a template such as 'user:{{id}}' ({error})") from None
        except LookupError as error:
            near = nearest(error.args[0], names)
            raise wrong(field, text, f"fields that are parameters of the function: {near or 'it has none'}") from None

    def __call__(self, values: tuple[Any, ...]) -> str:
        """Fill it in."""
        return self._format(*values)


def _numbered(text: str, names: tuple[str, ...]) -> str:
    """The template with numbers for names, which is faster to fill in; `LookupError` for a name that is none of `names`."""
    made = []
    for literal, field, spec, conversion in string.Formatter().parse(text):
        made.append(literal.replace("{", "{{").replace("}", "}}"))
        if field is not None:
            name = re.split(r"[.[]", field, maxsplit=1)[0]
            if name not in names:
                raise LookupError(name)
            inner = f":{_numbered(spec, names)}" if spec else ""
            made.append(f"{{{names.index(name)}{field[len(name) :]}{'!' + conversion if conversion else ''}{inner}}}")
    return "".join(made)


def key_maker(
    key: str | Callable[..., str] | None, name: str, binder: Binder
) -> Callable[[tuple[Any, ...], dict[str, Any]], str]:
    """The function that makes the key of a call."""
    if key is None:
        names = binder.names

        def of_all(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> str:
            values = zip(names, binder(arguments, keywords))  # noqa: B905  of one length, and often called
            return f"{name}({','.join([repr(v) if type(v) in _LITERAL else canonical(n, v) for n, v in values])})"

        return of_all
    if callable(key):
        return lambda arguments, keywords: key(*arguments, **keywords)
    template = Template("key", key, binder.names)
    return lambda arguments, keywords: template._format(*binder(arguments, keywords))


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


def canonical(parameter: str, value: Any) -> str:
    """A text that equal values share and others don't; `TypeError` for a value that can change or that has none.

    >>> canonical("x", (1, "a", None)), canonical("x", 1.0), canonical("x", frozenset({2, 1}))
    ("(1,'a',None)", '1.0', 'frozenset(1,2)')
    """
    kind = type(value)
    if kind in _LITERAL:
        return repr(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, enum.Enum):
        # By value: a combination of flags has no name of its own.
        return f"{name}({canonical(parameter, value.value)})"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, tuple) and not getattr(value, "__dict__", None):
        return f"{'' if kind is tuple else name}({','.join(canonical(parameter, each) for each in value)})"
    if isinstance(value, _Keywords):
        return f"({','.join([f'{each!r}={canonical(each, value[each])}' for each in sorted(value)])})"
    if isinstance(value, frozenset):
        return f"frozenset({','.join(sorted(canonical(parameter, each) for each in value))})"
    if kind in (datetime.datetime, datetime.time):
        zone = canonical(parameter, value.tzinfo)
        return f"{name}({value.isoformat()},{zone},{value.fold})"
    if "__dataclass_params__" in vars(kind) and kind.__dataclass_params__.frozen:
        return f"{name}({','.join(canonical(parameter, getattr(value, each.name)) for each in fields(value))})"
    remedy = f"give the function a key, such as key='name:{{{parameter}.id}}'"
    raise TypeError(f"{parameter}: a {kind.__qualname__} has no text that stands for its value; {remedy}")
