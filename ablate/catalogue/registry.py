"""Find every trick: the files of this folder, plug-ins' entry points (`ablate.tricks`), files by path.

Records are read without running the files (`literal.py`); a trick's code is imported when it is used.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType, ModuleType

from ablate.catalogue import literal
from ablate.records.errors import InputError, unknown
from ablate.records.trick import SEAMS, Trick, Value

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """A trick's record and the location of its code. `sha256`: of a user's trick file, so that an edited one is loaded again."""

    trick: Trick
    path: Path
    module: str
    sha256: str = ""

    def load(self) -> ModuleType:
        """The trick's module (imports torch)."""
        return _load(self.module, self.path, self.sha256)

    @property
    def description(self) -> str:
        """The docstring of the trick's file."""
        return literal.description(self.path)


class UnknownTrick(InputError, KeyError):
    """A recipe's trick that the catalogue lacks: one of the user's own, or of a plug-in, that was there before."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # a KeyError's own quotes it


class Registry(Mapping[str, Trick]):
    """Name -> record, with the code behind each name. Duplicate names are an error."""

    def __init__(self, entries: Iterable[RegistryEntry]) -> None:
        self._entries: dict[str, RegistryEntry] = {}
        for entry in entries:
            name = entry.trick.name
            if name in self._entries:
                raise InputError(
                    f"two tricks are called '{name}': {self._entries[name].path} and {entry.path}"
                )
            self._entries[name] = entry
        slots = {entry.trick.slot for entry in self._entries.values()}
        for name in self._entries:
            if name in slots:
                raise InputError(f"the trick '{name}' has the name of a slot")

    def __getitem__(self, name: str) -> Trick:
        return self.entry(name).trick

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, name: str) -> RegistryEntry:
        """The entry of `name`. Raises UnknownTrick, a KeyError."""
        if name not in self._entries:
            raise UnknownTrick(
                f"the trick '{name}' of a recipe is not among the study's tricks",
                hint="name its file or class again with --tricks",
            )
        return self._entries[name]

    def find(self, name: str) -> RegistryEntry:
        """The entry of `name`; raises InputError with a suggestion if there is none."""
        if name not in self._entries:
            raise unknown("trick", name, self._entries)
        return self._entries[name]

    def code(self, name: str) -> ModuleType:
        """The trick's module (imports torch). Raises UnknownTrick."""
        return self.entry(name).load()

    def of_seam(self, seam: str) -> list[Trick]:
        """The tricks of `seam`, in catalogue order."""
        return [trick for trick in self.values() if trick.seam == seam]

    def slots(self) -> Mapping[str, tuple[str, ...]]:
        """Slot -> the names of its tricks, in catalogue order."""
        slots: dict[str, tuple[str, ...]] = {}
        for trick in self.values():
            if trick.slot:
                slots[trick.slot] = (*slots.get(trick.slot, ()), trick.name)
        return MappingProxyType(slots)

    def without_values(self, values: Mapping[str, Mapping[str, Sequence[Value]]]) -> Registry:
        """This registry without `values` (trick -> parameter -> values to leave out; `Trick.without_values`)."""
        return Registry(
            replace(entry, trick=entry.trick.without_values(values.get(name, {})))
            for name, entry in self._entries.items()
        )

    def plus(self, files: Iterable[Path]) -> Registry:
        """This registry and the tricks in `files` (paths)."""
        entries = [RegistryEntry(literal.read(path), path.resolve(), "") for path in files]
        return self.with_entries(entries)

    def with_entries(self, entries: Iterable[RegistryEntry]) -> Registry:
        """This registry and further entries. Raises InputError if two have the same name."""
        return Registry([*self._entries.values(), *entries])


_current: ContextVar[Registry | None] = ContextVar("registry", default=None)


def registry() -> Registry:
    """The built-in tricks, those of installed plug-ins and, within `using`, a study's own."""
    return _current.get() or shipped()


@contextmanager
def using(catalogue: Registry) -> Iterator[None]:
    """Context: `registry()` returns `catalogue`."""
    token = _current.set(catalogue)
    try:
        yield
    finally:
        _current.reset(token)


@cache
def shipped() -> Registry:
    """The built-in tricks and those of installed plug-ins."""
    entries = []
    for seam in SEAMS:
        for path in sorted((HERE / seam).glob("[a-z]*.py")):
            entries.append(RegistryEntry(literal.read(path), path, f"{__package__}.{seam}.{path.stem}"))
    for point in entry_points(group="ablate.tricks"):
        spec = importlib.util.find_spec(point.module)
        if spec is None or spec.origin is None:
            raise InputError(f"the plug-in '{point.name}' names a module that does not exist: {point.module}")
        path = Path(spec.origin)
        entries.append(RegistryEntry(literal.read(path), path, point.module))
    return Registry(entries)


@cache
def _load(module: str, path: Path, sha256: str) -> ModuleType:
    if module:
        return importlib.import_module(module)
    spec = importlib.util.spec_from_file_location(f"ablate_own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded
