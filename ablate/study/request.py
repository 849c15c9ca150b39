"""A study as requested on the command line or from Python: how to run it, and its file, task and tricks, found and checked."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.catalogue.own_tricks import NONE, OwnTricks, own_tricks, using_tricks
from ablate.catalogue.registry import registry
from ablate.lanes.device import one_thread
from ablate.records import study as studies
from ablate.records.errors import InputError
from ablate.records.names import check_name
from ablate.records.secrets import masked_command
from ablate.records.study import StudyFile
from ablate.tasks.check import check
from ablate.tasks.load import load
from ablate.tasks.task import Task


@dataclass(frozen=True)
class Options:
    """Where and how a study runs; none of it changes a result. `name`: of the ledger and the report; "" for the study's own.
    `tricks`: further tricks of the user, as in a study file. `resume_from`: another study whose best recipes a new search tries
    first."""

    studies: Path = Path("studies")
    reports: Path = Path("reports")
    device: str = "auto"
    lanes: int = 0
    workers: int = 0
    executor: Any = "auto"  # executors.registry.Given
    kernel: str = "auto"
    memory: float = 0.0
    profile: bool = False
    name: str = ""
    tricks: tuple[str, ...] = ()
    resume_from: str = ""
    command: str = field(default_factory=lambda: masked_command(sys.argv[1:]))


@dataclass(frozen=True)
class Opened:
    """A study as requested, before anything is written. `shared`: the task is an object that cannot be loaded by name. `tricks`: the study's
    own tricks; wrap its runs in `using_tricks`."""

    name: str
    study: StudyFile
    task: Task
    text: str
    given: str = ""
    named: str = ""
    shared: bool = False
    tricks: OwnTricks = NONE


def find(given: str, options: Options) -> Opened:
    """`given` is a study file, the name of one in the studies folder, a task's name, or `file.py:attribute`.

    The task is loaded and checked; nothing is written. Raises InputError.
    """
    file = Path(given)
    named = options.studies / f"{given}.toml"
    if given.endswith(".toml"):
        name = check_name(file.stem)
    elif "/" not in given and ".py" not in given and named.is_file():
        file, name = named, check_name(given)
    else:
        task = checked_task(given)
        study = studies.default(task.source if given.endswith((".py", ".py:")) else given)
        return Opened(check_name(task.name), study, task, study.to_toml(), given)
    study, tricks, text = read_study(file)
    task = checked_task(relative_to_study(study.task, file))
    return Opened(name, study, task, text, given, tricks=tricks)


def read_study(file: Path) -> tuple[StudyFile, OwnTricks, str]:
    """A study file, the tricks of your own that it names, and its text. Its task is not loaded. Raises InputError."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(
            f"there is no study file {file}", hint="give its path relative to the current folder"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the study file {file} cannot be read: {error}") from error
    tricks = own_tricks(studies.named_tricks(text, str(file)), file.parent)
    with using_tricks(tricks):
        return studies.parse(text, str(file), catalogue=registry()), tricks, text


def checked_task(reference: str) -> Task:
    """Context: one thread, because while workers import, two threads wait for each other longer than one computes."""
    with one_thread():
        task = load(reference)
        check(task)
    return task


def relative_to_study(reference: str, file: Path) -> str:
    """The path of a study's task file: relative to the working directory, else to the study file."""
    path, colon, attribute = reference.rpartition(":")
    if (
        colon
        and path.endswith((".py", ".csv", ".tsv", ".parquet"))
        and not Path(path).is_file()
        and (file.parent / path).is_file()
    ):
        return f"{file.parent / path}:{attribute}"
    return reference
