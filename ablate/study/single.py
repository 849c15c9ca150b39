"""A single run, for `ablate train`: a checkpoint after each epoch, and at the end the scored weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ablate.catalogue.registry import registry
from ablate.lanes import checkpoint
from ablate.lanes.context import TaskContext
from ablate.lanes.self_check import self_checked
from ablate.lanes.trace import EpochReport
from ablate.lanes.training import Training
from ablate.lanes.weights import check_savable, save
from ablate.records.errors import AblateError, InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from ablate.tasks.task import Task


@dataclass(frozen=True)
class Single:
    """The result of a run, the path of its weights, and the epoch from which it was resumed."""

    run: Run
    result: Result
    weights: Path
    resumed: int


def train_single(
    task: Task,
    recipe: Recipe,
    *,
    seed: int,
    epochs: int | None,
    device: torch.device,
    folder: Path,
    report: Callable[[EpochReport], None],
    say: Callable[[str], None] = lambda line: None,
) -> Single:
    """Train one run; resume from its checkpoint if there is one. `report` is called after each epoch, `say` with a line about how
    the run is trained.

    The scored weights are written by `lanes.weights.save`. Raises InputError (recipe, folder, a
    checkpoint of other data or another model), AblateError if the recipe does not apply or the run does not complete.
    """
    run = Run(task.name, recipe, seed, epochs or task.epochs)
    check_savable(task, run)
    context = TaskContext.of(task, registry(), device)
    checkpoint_file = folder / f"train-{run.identity}.pt"
    splits = ("validation",)

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be made ({error.strerror})", hint="name another with --out"
        ) from error
    resumed = 0
    context, why = self_checked(context)  # a resumed run keeps its kernel
    if checkpoint_file.is_file():
        training = checkpoint.load(checkpoint_file, context)
        training.watch = report
        resumed = len(training.traces[run.identity].curves.get("train/loss", ()))
    else:
        if why:
            say(why)
        if not context.probe.resumable:
            say(
                f"an interrupted run starts again: a checkpoint does not hold all of the model's state ({context.solo})"
            )
        training = Training(context, [run], splits, report, keep_weights=True)
    while not training.done:
        training.epoch()
        if not training.done and context.probe.resumable:
            checkpoint.save(checkpoint_file, training)
    result = training.results[run.identity]
    if result.outcome is not Outcome.COMPLETE:
        checkpoint_file.unlink(missing_ok=True)
        raise AblateError(f"the run ended {result.outcome}: {result.note}", hint="lower the learning rate")
    trace = training.traces[run.identity]
    file = folder / f"{task.name}-{recipe.hash}-seed{seed}.safetensors"
    save(file, task, run, trace.weights, {"epoch": trace.best, "metrics": dict(result.metrics)})
    checkpoint_file.unlink(
        missing_ok=True
    )  # last: where the weights cannot be written, the same command tries again
    return Single(run, result, file, resumed)
