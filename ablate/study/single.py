"""One run by itself: `ablate train`. A checkpoint an epoch, the weights at the end."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ablate.catalogue.registry import registry
from ablate.lanes import checkpoint
from ablate.lanes.context import TaskContext
from ablate.lanes.training import Report, Training
from ablate.records.errors import AblateError, InputError
from ablate.records.files import write_bytes
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from ablate.tasks.task import Task


@dataclass(frozen=True)
class Single:
    """What came of a run, and where its weights are (none where it did not complete)."""

    run: Run
    result: Result
    weights: Path | None
    resumed: int


def train_single(
    task: Task,
    recipe: Recipe,
    *,
    seed: int,
    epochs: int | None,
    device: torch.device,
    folder: Path,
    told: Callable[[Report], None],
) -> Single:
    """Train one run; go on from its checkpoint if there is one. The weights are a state dict of the model.

    Raises InputError (recipe, folder), AblateError where the recipe does not apply to the model.
    """
    context = TaskContext.of(task, registry(), device)
    run = Run(task.name, recipe, seed, epochs or task.epochs)
    place = folder / f"train-{run.identity}.pt"
    splits = ("validation",)

    def watch(report: Report) -> None:
        told(report)

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be made ({error.strerror})", hint="name another with --out"
        ) from error
    resumed = 0
    if place.is_file():
        training = checkpoint.load(place, context)
        training.watch = watch
        resumed = len(training.traces[run.identity].curves.get("train/loss", ()))
    else:
        training = Training(context, [run], splits, watch)
    while not training.done:
        training.epoch()
        if not training.done:
            checkpoint.save(place, training)
    result = training.results[run.identity]
    place.unlink(missing_ok=True)
    if result.outcome is not Outcome.COMPLETE:
        raise AblateError(f"the run ended {result.outcome}: {result.note}", hint="lower the learning rate")
    assert training.last_model is not None
    buffer = io.BytesIO()
    torch.save(training.last_model.state_dict(), buffer)
    weights = folder / f"{task.name}-{recipe.hash}-seed{seed}.pt"
    write_bytes(weights, buffer.getvalue())
    return Single(run, result, weights, resumed)
