"""A table of a TOML file, read key by key: what is wrong is named with its file, its line and a guess."""

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
        return cls(*toml.read(text, source), source)

    @property
    def name(self) -> str:
        return f"[{'.'.join(str(part) for part in self.path)}]" if self.path else "the file"

    def fail(self, message: str, *keys: str | int, hint: str = "") -> InputError:
        """The error for what stands at `keys` below this table: file, line, message, hint."""
        path = (*self.path, *keys)
        while path and path not in self.lines:
            path = path[:-1]
        where = f"{toml.printable(self.source)}, line {self.lines[path]}" if path else self.source
        return InputError(f"{where}: {toml.printable(message)}", hint=toml.printable(hint))

    @contextmanager
    def at(self, *keys: str | int):  # type: ignore[no-untyped-def]
        """Give the line of `keys` to an InputError that is raised inside."""
        try:
            yield
        except InputError as error:
            raise self.fail(error.message, *keys, hint=error.hint) from error

    def check_keys(self, keys: Iterable[str]) -> None:
        """Refuse a key that is none of `keys`."""
        known = list(keys)
        for key in self.data:
            if key not in known:
                with self.at(key):
                    raise unknown(f"key in {self.name}", key, known)

    def table(self, key: str) -> Table:
        """The table at `key`; an empty one where there is none."""
        inner = self.data.get(key, {})
        if not isinstance(inner, Mapping):
            raise self.fail(f"{key} must be a table, not {inner!r}", key, hint=f"write [{key}]")
        return Table(inner, self.lines, self.source, (*self.path, key))

    def text(self, key: str, default: str) -> str:
        found = self.data.get(key, default)
        if not isinstance(found, str) or (key in self.data and not found.strip()):
            raise self.fail(f"{key} must be text, not {found!r}", key, hint=f'write {key} = "…"')
        return found

    def choice(self, key: str, default: str, choices: Iterable[str]) -> str:
        found = self.text(key, default)
        if found not in (known := list(choices)):
            with self.at(key):
                raise unknown(key, found, known)
        return found

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        found = self.data.get(key, default)
        if isinstance(found, bool) or not isinstance(found, int):
            raise self.fail(f"{key} must be a whole number, not {found!r}", key)
        if not low <= found <= high:
            raise self.fail(f"{key} must be from {low} to {high}, not {found}", key)
        return found

    def number(self, key: str) -> float | None:
        """A finite number, or None where there is none."""
        found = self.data.get(key)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float) or not isfinite(found):
            raise self.fail(f"{key} must be a finite number, not {found!r}", key)
        return float(found)

    def strings(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """A list of texts."""
        found = self.data.get(key, default)
        if not isinstance(found, list | tuple):
            raise self.fail(f"{key} must be a list, not {found!r}", key, hint=f'write {key} = ["…"]')
        for i, item in enumerate(found):
            if not isinstance(item, str):
                raise self.fail(f"{key} must hold text, not {item!r}", key, i)
        return tuple(found)
