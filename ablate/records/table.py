"""Typed access to a table of a TOML file; errors name the file and the line and suggest a correction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ablate.records import toml
from ablate.records.errors import InputError, unknown


@dataclass(frozen=True)
class Table:
    """A table at `path` of the file `source`. Every method raises InputError with the line of its key."""

    data: Mapping[str, Any]
    lines: toml.Lines
    source: str
    path: toml.Path = ()

    @classmethod
    def read(cls, text: str, source: str) -> Table:
        """Parse the TOML text of the file `source`. Raises InputError."""
        return cls(*toml.read(text, source), source)

    @property
    def name(self) -> str:
        """The table's name in messages."""
        return f"[{'.'.join(str(part) for part in self.path)}]" if self.path else "the file"

    def fail(self, message: str, *keys: str | int, hint: str = "") -> InputError:
        """The error for the value at `keys` below this table: file, line, message, hint."""
        path = (*self.path, *keys)
        while path and path not in self.lines:
            path = path[:-1]
        where = f"{toml.printable(self.source)}, line {self.lines[path]}" if path else self.source
        return InputError(f"{where}: {toml.printable(message)}", hint=toml.printable(hint))

    @contextmanager
    def at(self, *keys: str | int):  # type: ignore[no-untyped-def]
        """Context manager: add the file and the line of `keys` to an InputError raised inside."""
        try:
            yield
        except InputError as error:
            raise self.fail(error.message, *keys, hint=error.hint) from error

    def check_keys(self, keys: Iterable[str]) -> None:
        """Raise InputError for a key that is not one of `keys`."""
        allowed = list(keys)
        for key in self.data:
            if key not in allowed:
                with self.at(key):
                    raise unknown(f"key in {self.name}", key, allowed)

    def table(self, key: str) -> Table:
        """The table at `key`; an empty one if the key is missing."""
        inner = self.data.get(key, {})
        if not isinstance(inner, Mapping):
            raise self.fail(f"{key} must be a table, not {inner!r}", key, hint=f"write [{key}]")
        return Table(inner, self.lines, self.source, (*self.path, key))

    def text(self, key: str, default: str) -> str:
        """A string."""
        value = self.data.get(key, default)
        if not isinstance(value, str) or (key in self.data and not value.strip()):
            raise self.fail(f"{key} must be text, not {value!r}", key, hint=f'write {key} = "…"')
        return value

    def choice(self, key: str, default: str, choices: Iterable[str]) -> str:
        """A string that is one of `choices`."""
        value = self.text(key, default)
        if value not in (allowed := list(choices)):
            with self.at(key):
                raise unknown(key, value, allowed)
        return value

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """An integer from `low` to `high`."""
        value = self.data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(f"{key} must be a whole number, not {value!r}", key)
        if not low <= value <= high:
            raise self.fail(f"{key} must be from {low} to {high}, not {value}", key)
        return value

    def number(self, key: str) -> float | None:
        """A finite number, or None if the key is missing."""
        value = self.data.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise self.fail(f"{key} must be a finite number, not {value!r}", key)
        return float(value)

    def strings(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """A list of strings."""
        value = self.data.get(key, default)
        if not isinstance(value, list | tuple):
            raise self.fail(f"{key} must be a list, not {value!r}", key, hint=f'write {key} = ["…"]')
        for i, item in enumerate(value):
            if not isinstance(item, str):
                raise self.fail(f"{key} must contain text, not {item!r}", key, i)
        return tuple(value)
