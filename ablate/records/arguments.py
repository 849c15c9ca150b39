"""Arguments of public functions and records: an unknown name is an error that suggests the closest one; a value has its annotated type."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache, wraps
from inspect import Parameter, signature
from types import UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from ablate.records.errors import unknown

P = ParamSpec("P")
R = TypeVar("R")


def parameters_of(function: Callable[..., Any]) -> list[str]:
    """The names of a function's parameters, without `self`, `cls` and variadic ones."""
    return [
        parameter.name
        for parameter in signature(function).parameters.values()
        if parameter.name not in ("self", "cls")
        and parameter.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    ]


def check_names(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise InputError, with a suggestion, for an argument that is not `known`."""
    names = list(known)
    for name in given:
        if name not in names:
            raise unknown("argument", name, names)


def check_types(record: type, values: dict[str, Any]) -> None:
    """Raise TypeError for a value that is not of the type that `record`, a dataclass, declares for the field of its name."""
    hints = _hints(record)
    for name, value in values.items():
        if not _is(value, hints[name]):
            raise TypeError(f"{name} is {str(value)[:40]!r}, not {_shown(hints[name])}")


@cache
def _hints(record: type) -> dict[str, Any]:
    return get_type_hints(record)


def _is(value: Any, hint: Any) -> bool:
    """Whether `value` is of an annotated type: a class, None, a union, a `Literal`, or a tuple of these."""
    kinds = get_args(hint)
    match get_origin(hint):
        case None:
            is_flag = isinstance(value, bool) and hint in (int, float)
            return not is_flag and isinstance(value, (int, float) if hint is float else hint)
        case origin if origin in (Union, UnionType):
            return any(_is(value, kind) for kind in kinds)
        case origin if origin is Literal:
            return value in kinds
        case _ if not isinstance(value, tuple):
            return False
        case _ if kinds[-1] is ...:
            return all(_is(one, kinds[0]) for one in value)
        case _:
            return len(value) == len(kinds) and all(map(_is, value, kinds))


def _shown(hint: Any) -> str:
    """An annotation as its source has it: `tuple[Claim, ...]`."""
    name = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    return re.sub(r"\b(\w+\.)+", "", name)


def known_arguments(more: Iterable[str] = ()) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: the function raises InputError for a keyword that is neither a parameter of its own nor one of `more`."""

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        names = [*parameters_of(function), *more]

        @wraps(function)
        def call(*args: P.args, **keywords: P.kwargs) -> R:
            check_names(keywords, names)
            return function(*args, **keywords)

        return call

    return decorated
