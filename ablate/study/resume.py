"""Open the session of a requested study: its ledger, facts, task on its device, and workers. Running it again resumes it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ablate.catalogue.own_tricks import NONE
from ablate.catalogue.registry import registry
from ablate.executors.gpus import gpus_for
from ablate.executors.processes import Processes
from ablate.executors.registry import AUTO, INLINE, PROCESSES, factory_of, is_cluster
from ablate.executors.shared_task import SharedTask
from ablate.lanes.context import TaskContext
from ablate.lanes.self_check import self_checked
from ablate.ledger.foreign_tables import foreign_tables
from ablate.ledger.store import Ledger
from ablate.records.errors import InputError
from ablate.records.study import StudyFile
from ablate.records.study_rank import CONFIRM_SEEDS, ConfirmSection, RankSection
from ablate.study.edited import keep_apart, trick_code
from ablate.study.environment import device_of, environment
from ablate.study.growth import start_from
from ablate.study.kernel import choose, left_alone_note, slower_because
from ablate.study.progress import Progress, Silent
from ablate.study.request import Opened, Options
from ablate.study.session import Session
from ablate.study.study_diff import UNDO, difference, may_grow, suggested_command
from ablate.tasks.describe import describe
from ablate.tasks.task import Task

NOTES = 12


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
    if options.executor in (AUTO, PROCESSES) and (gpus := gpus_for(device)):
        make_executor = partial(Processes, gpus=gpus)
    torch.set_num_threads(1)
    task = with_choices(opened)
    context = looked_at or TaskContext.of(task, registry(), device)
    for note in notes_of_table(task):
        progress.say(note)
    if context.solo:
        progress.say(f"the model cannot be vmapped ({context.solo}): lanes run one at a time (K = 1)")
    if context.left_alone:
        progress.say(left_alone_note(context.left_alone))
    path = options.studies / f"{opened.name}.db"
    for line in keep_apart(path, task, essentials(opened.study), trick_code(registry())):
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
    with Ledger.open(path, write=True, waiting=progress.say) as ledger:
        if line := foreign_tables(path):
            progress.say(line)
        note_facts(ledger, opened, task, device, options, progress)
        ledger.put("kernel", choice.to_json())
        if options.resume_from:
            start_from(ledger, options.resume_from, options.studies)
        executor = make_executor(
            options.workers if is_cluster(options.executor) else workers, progress.trained
        )
        session = Session(
            opened.name,
            opened.study,
            context,
            ledger,
            executor,
            executor.workers,
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
    """The task by value if workers cannot load it, or are on other machines. One that cannot be pickled is trained in this process, with a
    remark; raises InputError if another executor was requested."""
    if not opened.shared and not is_cluster(options.executor):
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


def notes_of_table(task: Task) -> list[str]:
    """What became of the columns of a table, at most `NOTES` lines; empty for other tasks."""
    if task.encode is None:
        return []
    more = len(task.notes) - NOTES
    rest = (
        [f"and {more} more notes on the table: ablate tasks {task.source or task.name}"] if more > 0 else []
    )
    return [*task.notes[:NOTES], *rest]


def facts_so_far(path: Path) -> dict[str, Any]:
    """The facts of the study's ledger at `path`, before it is opened for writing; empty if there is none."""
    return Ledger.facts_of(path) if os.path.lexists(path) else {}


def kernel_begun(path: Path) -> dict[str, Any] | None:
    """The choice of kernel with which the study began, if there is a ledger."""
    if not path.is_file():
        return None
    choice: dict[str, Any] | None = Ledger.facts_of(path).get("kernel")
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
    """The number of workers: one per GPU; on a CPU one per core, with one thread each. Raises InputError for an unknown executor."""
    factory_of(options.executor)
    if options.executor == INLINE:
        return 1
    if device.type != "cpu":
        return len(gpus_for(device)) if options.executor in (AUTO, PROCESSES) and gpus_for(device) else 1
    return options.workers or os.cpu_count() or 1


def note_facts(
    ledger: Ledger, opened: Opened, task: Task, device: torch.device, options: Options, progress: Progress
) -> None:
    """Record what is studied. Raises InputError for a ledger of another study; remarks if the task's file changed."""
    essential = essentials(opened.study)
    before, recorded, about = ledger.fact("study"), ledger.fact("task"), describe(task)
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
        **({"ranked_by": before["ranked_by"]} if before and "ranked_by" in before else {}),
        "created": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
    missing = [key for key in ("epochs", "essential", "created") if before and before.get(key) is None]
    if missing:
        raise InputError(
            f"{ledger.path} does not say which study it is of: its {missing[0]} is missing",
            hint="begin again under another --name",
        )
    grows = not before or may_grow(before["essential"], essential)
    if grows and recorded and recorded.get("data_sha256") != about.get("data_sha256"):
        raise InputError(
            f"the data of '{task.name}' changed since {ledger.path} was begun",
            hint=UNDO,
        )
    if before:
        if not grows or int(before["epochs"]) != fact["epochs"]:
            raise InputError(
                f"{ledger.path} was made from another study: {difference(before['essential'], essential)}",
                hint=suggested_command(before["essential"], essential),
            )
        fact["created"] = before["created"]
    if recorded and recorded.get("source_sha256") != about.get("source_sha256"):
        progress.say(
            f"{task.source} has changed since the study was begun, but nothing that trains; finished runs are kept"
        )
    ledger.put("study", fact)
    ledger.put("task", about)
    ledger.put("environment", environment(device))
    ledger.put("trick_code", {**ledger.fact("trick_code", {}), **trick_code(registry())})
    if opened.tricks != NONE:
        ledger.put("tricks", opened.tricks.facts())


def essentials(study: StudyFile) -> str:
    """The settings that must not change under a ledger, as TOML: all but the number of trials and the settings of ranking and
    confirmation (a ranking is declared in the ledger and starts again if it differs)."""
    search = replace(study.search, trials=1)
    return replace(study, search=search, rank=RankSection(), confirm=ConfirmSection(CONFIRM_SEEDS)).to_toml()
