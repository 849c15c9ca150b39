"""A study's own tricks: files by path, and optimizer classes by dotted path. `registry()` includes them within `using_tricks`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from ablate.catalogue import literal
from ablate.catalogue.optimizer_record import optimizer_record
from ablate.catalogue.registry import Registry, RegistryEntry, shipped, using
from ablate.records.errors import InputError
from ablate.records.trick import Trick


@dataclass(frozen=True, slots=True)
class TrickFile:
    """A trick's file as it was when the study began. The hash makes sure that every process runs the same code."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class OwnTricks:
    """The tricks named by `--tricks` and the study file. Small and picklable: it is sent with every job."""

    files: tuple[TrickFile, ...] = ()
    optimizers: tuple[str, ...] = ()

    def facts(self) -> list[dict[str, str]]:
        """For the ledger: the origin of each trick and the source of the files, so that a report can be made without them."""
        files = [
            {"path": file.path, "sha256": file.sha256, "source": _read(file.path).decode("utf-8", "replace")}
            for file in self.files
        ]
        return [*files, *({"optimizer": path} for path in self.optimizers)]


@dataclass(frozen=True, slots=True)
class OptimizerEntry(RegistryEntry):
    """An optimizer class as a trick; `module` is the class's dotted path."""

    def load(self) -> ModuleType:
        return _module_of(self.module)

    @property
    def description(self) -> str:
        """The docstring of the generated module."""
        return _module_of(self.module).__doc__ or ""


NONE = OwnTricks()


@contextmanager
def using_tricks(tricks: OwnTricks) -> Iterator[None]:
    """Context: `registry()` includes `tricks`."""
    if tricks == NONE:
        yield
        return
    with using(catalogue_with(tricks)):
        yield


def is_class_path(reference: str) -> bool:
    """Whether `reference` looks like `package.Class`, and not like a file."""
    parts = reference.split(".")
    return len(parts) > 1 and parts[-1] != "py" and all(part.isidentifier() for part in parts)


def own_tricks(references: Iterable[str], folder: Path = Path()) -> OwnTricks:
    """The tricks that `references` name: paths of trick files, relative to the working directory or else to `folder`; folders of such
    files; dotted paths of optimizer classes. Raises InputError."""
    files: dict[str, TrickFile] = {}
    optimizers: dict[str, None] = {}
    for reference in references:
        if is_class_path(reference) and not Path(reference).exists():
            optimizers[reference] = None
            continue
        given = Path(reference)
        path = given if given.exists() or not (folder / given).exists() else folder / given
        members = sorted(path.glob("[a-z]*.py")) if path.is_dir() else [path]
        if not members:
            raise InputError(
                f"the folder {path} has no trick files", hint="write one with: ablate new trick NAME"
            )
        for member in members:
            resolved = str(member.resolve())
            files[resolved] = TrickFile(resolved, hashlib.sha256(_read(resolved)).hexdigest())
    tricks = OwnTricks(tuple(files.values()), tuple(optimizers))
    if tricks != NONE:
        catalogue_with(tricks)
    return tricks


def recorded(facts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Name -> record of a ledger's own tricks, from the sources and the dotted paths that it stores. Runs nothing and imports
    nothing: a name in a stored file is only a name. Raises InputError."""
    tricks = {}
    for fact in facts:
        if "optimizer" in fact:
            trick = optimizer_record(fact["optimizer"])
        else:
            trick = literal.parse(fact["source"], Path(fact["path"]))
        tricks[trick.name] = trick
    return tricks


@lru_cache(maxsize=16)
def catalogue_with(tricks: OwnTricks) -> Registry:
    """The catalogue with `tricks`. Raises InputError if a file has changed, or two tricks have the same name."""
    entries = []
    for file in tricks.files:
        if hashlib.sha256(_read(file.path)).hexdigest() != file.sha256:
            raise InputError(f"{file.path} changed while the study ran", hint="run the command again")
        entries.append(RegistryEntry(literal.read(Path(file.path)), Path(file.path), "", file.sha256))
    entries += [OptimizerEntry(_record_of(path), Path(path), path) for path in tricks.optimizers]
    return shipped().with_entries(entries)


def _record_of(path: str) -> Trick:
    from ablate.catalogue.torch_optimizer import trick_of  # imports torch

    return trick_of(path)


def _module_of(path: str) -> ModuleType:
    from ablate.catalogue.torch_optimizer import module_of

    return module_of(path)


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"the trick file {path} cannot be read ({error.strerror})",
            hint="give the path of a file with TRICK = Trick(...), a folder of such files, or the dotted path of an optimizer class",
        ) from error
