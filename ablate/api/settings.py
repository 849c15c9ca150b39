"""Keyword arguments that the functions of the API share: sections of the study file, and where and how to train."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict

from ablate.catalogue.own_tricks import is_class_path
from ablate.catalogue.registry import registry
from ablate.records import study as studies
from ablate.records import toml
from ablate.records.errors import InputError
from ablate.records.recipe import torch_name
from ablate.records.study import StudyFile
from ablate.records.study_space import check_pattern
from ablate.study.request import Options

TWICE = (("include", "space", "include"), ("optimizer", "baseline", "optimizer"))
"""Arguments that say the same as a key of a section: (argument, section, key)."""
SECTIONS = ("metric", "baseline", "space", "search", "rank", "confirm")


class StudySettings(TypedDict, total=False):
    """The rest of a study: each has the meaning of the study file's key, or of the option, of the same name.

    tricks: the user's own: paths of files, modules, or classes like `torch.optim.NAdam`.
    metric, epochs, seed: as in the study file. baseline, space, search, rank, confirm: its sections, as dictionaries:
        `space={"exclude": ["fgsm"], "dropout": {"p": {"high": 0.3}}}`.
    optimizer: the baseline's, as the option `--optimizer`: a name ("adamw") or a class of `torch.optim`.
    include, exclude: names, seams or globs of tricks, as the options `--include` and `--exclude`.
    name: of the ledger and the report. studies, out: folders of ledgers and of reports.
    device, lanes, workers, executor, kernel, memory: where and how runs are trained; executor may also be an object: a
        `concurrent.futures.Executor` of the caller, which is left open, or an ablate `Executor`. quiet: no progress.
    """

    tricks: Sequence[Any]
    metric: str
    epochs: int
    seed: int
    baseline: Mapping[str, Any]
    space: Mapping[str, Any]
    optimizer: str | type
    include: str | Sequence[str]
    exclude: str | Sequence[str]
    search: Mapping[str, Any]
    rank: Mapping[str, Any]
    confirm: Mapping[str, Any]
    name: str
    studies: str | os.PathLike[str]
    out: str | os.PathLike[str]
    device: str
    lanes: int
    workers: int
    executor: Any
    kernel: str
    memory: float
    quiet: bool


@dataclass(frozen=True)
class Overrides:
    """Settings of a study file that commands and functions can replace. None: as the file says."""

    trials: int | None = None
    seed: int | None = None
    epochs: int | None = None
    metric: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    optimizer: str = ""

    def __call__(self, study: StudyFile) -> StudyFile:
        if self.optimizer:
            study = study.with_optimizer(optimizer_name(self.optimizer), registry())
        for pattern in (*self.include, *self.exclude):
            check_pattern(pattern, registry())
        if self.include:
            study = replace(study, space=replace(study.space, include=self.include))
        if self.exclude:
            exclude = dict.fromkeys((*study.space.exclude, *self.exclude))
            study = replace(study, space=replace(study.space, exclude=tuple(exclude)))
        if self.metric is not None:
            study = replace(study, metric=self.metric)
        if self.trials is not None:
            study = replace(study, search=replace(study.search, trials=self.trials))
        if self.seed is not None:
            study = replace(study, seed=self.seed)
        return study if self.epochs is None else replace(study, epochs=self.epochs)


def optimizer_name(given: str) -> str:
    """The name of an optimizer as a trick: "adamw", or that of the class "torch.optim.AdamW"."""
    return torch_name(given) if is_class_path(given) else given


def options_from(settings: Mapping[str, Any], before: Options | None = None) -> Options:
    """The options in `settings`; those of `before`, or the defaults, for the others."""
    given = {field.name: settings[field.name] for field in fields(Options) if field.name in settings}
    if "out" in settings:
        given["reports"] = Path(settings["out"])
    if "device" in given:
        given["device"] = str(given["device"])  # a torch.device too
    if "studies" in given:
        given["studies"] = Path(given["studies"])
    given["tricks"] = trick_references(settings)
    command = shlex.join([Path(sys.argv[0]).name or "python", *sys.argv[1:]])
    return replace(before or Options(), command=command, **given)


def sections_change(
    settings: Mapping[str, Any], trials: int | None = None
) -> Callable[[StudyFile], StudyFile]:
    """A function that applies `settings` to a study file. Raises InputError as for a study file.

    A section replaces that of the study file. Sections go through the study file's parser, so that a dictionary is
    checked like a file.
    """
    given = {name: settings[name] for name in SECTIONS if name in settings}
    for name, section, key in TWICE:
        if name in settings and key in (given.get(section) or {}):
            raise InputError(f'{name}= and {section}={{"{key}": …}} are given', hint="give one of them")
    text = _as_file(given)
    edits = Overrides(
        trials,
        whole("seed", settings, 0),
        whole("epochs", settings, 1),
        include=_patterns("include", settings),
        exclude=_patterns("exclude", settings),
        optimizer=_optimizer(settings),
    )

    def change(study: StudyFile) -> StudyFile:
        parsed = studies.parse(text, "arguments", catalogue=registry())
        return edits(replace(study, **{name: getattr(parsed, name) for name in given}))

    return change


def _optimizer(settings: Mapping[str, Any]) -> str:
    given = settings.get("optimizer", "")
    if not isinstance(given, str | type):
        raise InputError(f"optimizer cannot be {given!r}", hint='write optimizer="adamw", or give a class')
    return given if isinstance(given, str) else _reference(given)


def _patterns(name: str, settings: Mapping[str, Any]) -> tuple[str, ...]:
    given = settings.get(name, ())
    patterns = tuple(given.split(",")) if isinstance(given, str) and given else given or ()
    if not isinstance(patterns, Sequence) or not all(isinstance(one, str) for one in patterns):
        raise InputError(f"{name} must be a list of names of tricks, not {given!r}")
    return tuple(one.strip() for one in patterns)


def _as_file(sections: Mapping[str, Any]) -> str:
    """The sections as the text of a study file. Raises InputError for a value that such a file cannot contain."""
    try:
        return "".join(f"{name} = {toml.value(value)}\n" for name, value in sections.items())
    except TypeError as error:
        raise InputError(
            f"{', '.join(sections)}: {error}", hint="use numbers, text, lists and dicts"
        ) from error


def trick_references(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The user's own tricks: those in `settings["tricks"]`, and optimizer classes that its sections name.

    A trick is the path of its file, the module that was imported from it, or an optimizer class. Raises InputError.
    """
    given = settings.get("tricks", ())
    listed = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    text = _as_file({name: settings[name] for name in SECTIONS if name in settings})
    optimizer = _optimizer(settings)
    classes = [optimizer] if is_class_path(optimizer) else []
    return (*map(_reference, listed), *classes, *studies.named_tricks(text, "arguments"))


def _reference(trick: Any) -> str:
    if isinstance(trick, str | os.PathLike):
        return os.fspath(trick)
    if isinstance(trick, ModuleType) and trick.__file__:
        return trick.__file__
    if isinstance(trick, type):
        return f"{trick.__module__}.{trick.__qualname__}"
    raise InputError(
        f"a trick cannot be a {type(trick).__name__}",
        hint="give the path of its file, its module, or an optimizer class",
    )


def whole(name: str, settings: Mapping[str, Any], least: int) -> int | None:
    """The integer `settings[name]`, None if missing. Raises InputError."""
    value = settings.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return value
