"""The form of a plain document (from JSON): a value that may come from anybody is compared with it before it is used.

A form is a type (`float` also takes whole numbers, `int` no truth value and 64 bits at most, `object` anything), a list of one form
(each item), a dictionary of forms by key (`"name?"` may be missing or, of a table, empty; further keys are left alone), `Each(form)`
(each value of a mapping), `Like(pattern)` (a text), or `Either(forms)`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Each:
    """A mapping with any keys, whose values have one form."""

    form: Any


@dataclass(frozen=True, slots=True)
class Either:
    """One of several forms."""

    forms: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """A text that the regular expression matches as a whole."""

    pattern: str


def maybe(form: Any) -> Either:
    """`form` or null."""
    return Either((type(None), form))


SCALAR = Either((str, float, bool, type(None)))
RECIPE = Each(Each(SCALAR))
LARGEST = 2**63 - 1
NAMES: dict[Any, str] = {
    str: "text", float: "a number", int: "a whole number", bool: "true or false", type(None): "null", dict: "a table", list: "a list",
}  # fmt: skip


def mismatch(value: Any, form: Any, where: str = "it") -> str:
    """Where `value` differs from `form` and how, "its steps[2] is a str, not a list"; "" where it does not."""
    match form:
        case Either(forms=forms):
            found = [mismatch(value, one, where) for one in forms]
            return "" if "" in found else found[-1]
        case Each(form=inner):
            if not isinstance(value, dict):
                return _differs(value, where, "a table")
            return next(
                filter(None, (mismatch(v, inner, f"{where}.{str(k)[:40]}") for k, v in value.items())), ""
            )
        case Like(pattern=pattern):
            fits = isinstance(value, str) and re.fullmatch(pattern, value) is not None
            return "" if fits else f"{where} is {str(value)[:40]!r}"
        case list():
            if not isinstance(value, list):
                return _differs(value, where, "a list")
            if isinstance(form[0], type) and set(map(type, value)) <= {
                form[0]
            }:  # curves: hundreds of thousands of numbers
                return ""
            return next(
                filter(None, (mismatch(v, form[0], f"{where}[{n}]") for n, v in enumerate(value))), ""
            )
        case dict():
            return _of_keys(value, form, where)
        case _:
            allowed = (int, float) if form is float else form
            same = isinstance(value, allowed) and (form in (bool, object) or not isinstance(value, bool))
            if same and type(value) is int and form is not object and abs(value) > LARGEST:
                return f"{where} has more than 64 bits"
            return "" if same else _differs(value, where, NAMES[form])


def _of_keys(value: Any, form: dict[str, Any], where: str) -> str:
    if not isinstance(value, dict):
        return _differs(value, where, "a table")
    for key, inner in form.items():
        name = key.removesuffix("?")
        found = value.get(name)
        if name != key and (name not in value or (found == {} and isinstance(inner, dict))):
            continue
        if name not in value:
            return f"{where}.{name} is missing"
        if what := mismatch(found, inner, f"{where}.{name}"):
            return what
    return ""


def _differs(value: Any, where: str, wanted: str) -> str:
    return f"{where} is {NAMES.get(type(value), 'something else')}, not {wanted}"
