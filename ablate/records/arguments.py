"""Keyword arguments of public functions: an unknown one is an error that suggests the closest name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import Parameter, signature
from typing import Any, ParamSpec, TypeVar

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
