"""Open a study: from the user's input to a session with a ledger, a task on its device and workers."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ablate.catalogue.own_tricks import NONE, OwnTricks, own_tricks, using_tricks
from ablate.catalogue.registry import registry
from ablate.executors.registry import AUTO, INLINE, factory_of
from ablate.executors.shared_task import SharedTask
from ablate.lanes.context import TaskContext
from ablate.lanes.device import one_thread
from ablate.lanes.self_check import self_checked
from ablate.ledger.store import Ledger
from ablate.records import study as studies
from ablate.records.errors import InputError
from ablate.records.names import check_name
from ablate.records.study import StudyFile
from ablate.records.study_rank import ConfirmSection, RankSection
from ablate.study.environment import device_of, environment
from ablate.study.growth import change_epochs, may_grow, start_from
from ablate.study.kernel import choose, left_alone_note, slower_because
from ablate.study.progress import Progress, Silent
from ablate.study.session import Session
from ablate.study.study_diff import difference, what_to_type
from ablate.tasks.check import check
from ablate.tasks.describe import describe
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
    executor: str = "auto"
    kernel: str = "auto"
    memory: float = 0.0
    profile: bool = False
    name: str = ""
    tricks: tuple[str, ...] = ()
    resume_from: str = ""
    command: str = field(default_factory=lambda: shlex.join(["ablate", *sys.argv[1:]]))


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
        return Opened(
            check_name(task.name), studies.default(given), task, studies.default(given).to_toml(), given
        )
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(
            f"there is no study file {file}", hint="give its path from the folder you are in"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the study file {file} cannot be read: {error}") from error
    tricks = own_tricks(studies.named_tricks(text, str(file)), file.parent)
    with using_tricks(tricks):
        study = studies.parse(text, str(file), catalogue=registry())
    task = checked_task(beside(study.task, file))
    return Opened(name, study, task, text, given, tricks=tricks)


def checked_task(reference: str) -> Task:
    """Context: one thread, because while workers import, two threads wait for each other longer than one computes."""
    with one_thread():
        task = load(reference)
        check(task)
    return task


def beside(reference: str, file: Path) -> str:
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


@contextmanager
def session_of(
    opened: Opened, options: Options, progress: Progress | None = None, looked_at: TaskContext | None = None
) -> Iterator[Session]:
    """Context of an open session: ledger locked, facts recorded, workers started. Leaving it ends the workers.

    `looked_at`: the context of `opened`, if there already is one.
    """
    progress = progress or Silent()
    device = device_of(options.device)
    options, shared = shared_task(opened, options, device, progress)
    make_executor = factory_of(options.executor)
    torch.set_num_threads(1)
    task = with_choices(opened)
    context = looked_at or TaskContext.of(task, registry(), device)
    if context.solo:
        progress.say(f"the model cannot be vmapped ({context.solo}): lanes run one at a time (K = 1)")
    if context.left_alone:
        progress.say(left_alone_note(context.left_alone))
    path = options.studies / f"{opened.name}.db"
    for line in change_epochs(path, opened.study.epochs or task.epochs, essentials(opened.study)):
        progress.say(line)
    workers = worker_count(options, device)
    begun = kernel_begun(path)
    context, choice = choose(
        context, opened.study.baseline_recipe(registry(), 0.05), kernel=options.kernel, lanes=options.lanes,
        memory=options.memory, workers=workers, begun=begun,
    )  # fmt: skip
    if begun is None:
        context, why = self_checked(context)
        choice = replace(choice, kernel=context.kernel)
        if why:
            progress.say(why)
    if reason := slower_because(context):
        progress.say(f"layers are not compiled, and train slower: {reason}")
    make_folder(options.studies)
    with Ledger.open(path, write=True) as ledger:
        note_facts(ledger, opened, task, device, options, progress)
        ledger.put("kernel", choice.to_json())
        if options.resume_from:
            start_from(ledger, options.resume_from, options.studies)
        executor = make_executor(workers, progress.trained)
        session = Session(
            opened.name,
            opened.study,
            context,
            ledger,
            executor,
            workers,
            choice.lanes,
            progress,
            options.profile,
            shared=shared,
            tricks=opened.tricks,
        )
        started = time.perf_counter()
        clean = False
        try:
            yield session
            clean = True
        finally:
            if clean:
                executor.shutdown()
            else:
                executor.cancel()
        progress.say(f"session of {time.perf_counter() - started:.0f} s")


def shared_task(
    opened: Opened, options: Options, device: torch.device, progress: Progress
) -> tuple[Options, SharedTask | None]:
    """The task by value if workers cannot load it. One that cannot be pickled is trained in this process, with a
    remark; raises InputError if another executor was requested."""
    if not opened.shared:
        return options, None
    if worker_count(options, device) == 1 and options.executor in (AUTO, INLINE):
        return options, SharedTask.of(opened.task, pickled=False)
    try:
        return options, SharedTask.of(opened.task, pickled=True)
    except InputError as error:
        if options.executor != AUTO:
            raise
        progress.say(f"{error.message}; all runs train in this process")
        return replace(options, executor=INLINE), SharedTask.of(opened.task, pickled=False)


def kernel_begun(path: Path) -> dict[str, Any] | None:
    """The choice of kernel with which the study began, if there is a ledger."""
    if not path.is_file():
        return None
    with Ledger.open(path, write=False) as ledger:
        choice: dict[str, Any] | None = ledger.fact("kernel")
        return choice


def with_choices(opened: Opened) -> Task:
    """The task with the metric and the budget of the study file."""
    task, study = opened.task, opened.study
    return task.but(metric=study.metric or task.metric, epochs=study.epochs or task.epochs)


def make_folder(folder: Path) -> None:
    """Create the folder. Raises InputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be made ({error.strerror})",
            hint="name another with --studies or --out",
        ) from error
    if not os.access(folder, os.W_OK):
        raise InputError(
            f"the folder {folder} cannot be written", hint="name another with --studies or --out"
        )


def worker_count(options: Options, device: torch.device) -> int:
    """The number of workers: one on a GPU; on a CPU one per core, with one thread each. Raises InputError for an unknown executor."""
    factory_of(options.executor)
    if options.executor == INLINE or device.type != "cpu":
        return 1
    return options.workers or os.cpu_count() or 1


def note_facts(
    ledger: Ledger, opened: Opened, task: Task, device: torch.device, options: Options, progress: Progress
) -> None:
    """Record what is studied. Raises InputError for a ledger of another study; remarks if the task's file changed."""
    essential = essentials(opened.study)
    fact: dict[str, Any] = {
        "name": opened.name,
        "given": opened.given,
        "named": opened.named,
        "task": opened.study.task,
        "metric": task.metric,
        "direction": task.direction,
        "epochs": opened.study.epochs or task.epochs,
        "seed": opened.study.seed,
        "file": opened.text,
        "sha256": hashlib.sha256(opened.text.encode()).hexdigest(),
        "essential": essential,
        "command": options.command,
        "created": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
    before = ledger.fact("study")
    if before:
        epochs = {int(before["epochs"]), int(fact["epochs"])}
        if len(epochs) > 1 or not may_grow(before["essential"], essential):
            raise InputError(
                f"{ledger.path} was made from another study: {difference(before['essential'], essential)}",
                hint=what_to_type(before["essential"], essential),
            )
        fact["created"] = before["created"]
    about = describe(task)
    known = ledger.fact("task")
    if known and known.get("data_sha256") != about.get("data_sha256"):
        raise InputError(
            f"the data of '{task.name}' changed since {ledger.path} was begun",
            hint="say the same again, name another folder with --studies, or remove the ledger",
        )
    if known and known.get("source_sha256") != about.get("source_sha256"):
        progress.say(f"{task.source} has changed since the study was begun; finished runs are kept")
    ledger.put("study", fact)
    ledger.put("task", about)
    ledger.put("environment", environment(device))
    if opened.tricks != NONE:
        ledger.put("tricks", opened.tricks.facts())


def essentials(study: StudyFile) -> str:
    """The settings that must not change under a ledger, as TOML: all but the number of trials and the settings of ranking and
    confirmation (a ranking is declared in the ledger and starts again if it differs)."""
    search = replace(study.search, trials=1)
    return replace(study, search=search, rank=RankSection(), confirm=ConfirmSection()).to_toml()
