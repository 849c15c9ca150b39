"""The cost of a trick, measured outside of lanes: solo, interleaved with the baseline.

Lanes share time, so their timings do not measure one trick. Here the baseline and the baseline with the
trick take steps in turn, one lane each, so that drifts of the machine's speed affect both alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch

from ablate.lanes.context import TaskContext
from ablate.lanes.device import one_thread, wait
from ablate.lanes.memory import kept_bytes
from ablate.lanes.trainer import Trainer
from ablate.records.errors import Conflict, NotApplicable
from ablate.records.recipe import Recipe
from ablate.study.session import Session

STEPS, WARM = 12, 3
"""Repetitions, and how many before them do not count."""


def costs(session: Session, baseline: Recipe, tricks: list[str]) -> list[dict[str, Any]]:
    """For each of `tricks`: ms per step, and time, memory and inference relative to the baseline. Stored as the fact "costs"."""
    context = TaskContext.of(session.context.task, session.context.catalogue, session.context.device, "loop")
    measured_before = {row["trick"]: row for row in session.ledger.fact("costs", [])}
    rows = []
    with one_thread():
        for name in tricks:
            row = measured_before.get(name) or measured(session, context, baseline, name)
            if row is not None:
                rows.append(row)
    session.ledger.put("costs", rows)
    return rows


def measured(session: Session, context: TaskContext, baseline: Recipe, name: str) -> dict[str, Any] | None:
    """One trick's row; None if it cannot be added to the baseline."""
    catalogue = context.catalogue
    try:
        recipe = baseline.with_trick(catalogue, name, catalogue[name].defaults)
        pair = [Trainer(context, [session.run(r, 0)]) for r in (baseline, recipe)]
    except (Conflict, NotApplicable):
        return None
    base, with_trick = (median(seconds) for seconds in interleaved_seconds(pair))
    inference = [median(seconds) for seconds in interleaved(pair, predicted)]
    memory_of_base, memory = (step_bytes(trainer) for trainer in pair)
    return {
        "trick": name,
        "ms_per_step": 1e3 * with_trick * len(pair[1].order.at(0)[0]),
        "time_ratio": with_trick / base,
        "memory_ratio": memory / memory_of_base if memory and memory_of_base else None,
        "inference_ratio": inference[1] / inference[0],
        "n": STEPS,
    }


def compared_costs(
    session: Session, without: Recipe, with_trick: Recipe, metric: str
) -> tuple[list[float], list[float]]:
    """The cost `metric` of two recipes: "time", seconds an example of each of `STEPS` steps; "memory", the bytes that a step holds, twice, since
    they do not vary."""
    context = TaskContext.of(session.context.task, session.context.catalogue, session.context.device, "loop")
    with one_thread():
        pair = [Trainer(context, [session.run(recipe, 0)]) for recipe in (without, with_trick)]
        baseline_costs, trick_costs = interleaved_seconds(pair)
        if metric == "memory":
            baseline_costs, trick_costs = ([float(step_bytes(trainer) or "nan")] * 2 for trainer in pair)
    return baseline_costs, trick_costs


def interleaved_seconds(pair: Sequence[Trainer]) -> tuple[list[float], list[float]]:
    """Seconds an example of `STEPS` training steps of each of a pair."""
    return interleaved(pair, trained)


def interleaved(pair: Sequence[Trainer], work: Callable[[Trainer], int]) -> tuple[list[float], list[float]]:
    """Seconds an example of `work` for each of a pair of trainers, which take turns `STEPS` times after `WARM` that do not count.

    work: does it, and says for how many examples.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for repetition in range(WARM + STEPS):
        for trainer, seconds in zip(pair, times, strict=True):
            started = time.perf_counter()
            examples = work(trainer)
            wait(trainer.context.device)
            if repetition >= WARM:
                seconds.append((time.perf_counter() - started) / examples)
    return times


def trained(trainer: Trainer) -> int:
    """One training step; the number of examples."""
    trainer.step()
    return trainer.order.batch_size


def predicted(trainer: Trainer) -> int:
    """Inference as it is scored: with test-time views, ensembles and averaged weights, whose running statistics are known by then."""
    return trainer.predict("validation", whole=True, chunks=1).shape[1]


def step_bytes(trainer: Trainer) -> int | None:
    """Bytes that a step needs: tensors saved for the backward pass, weights, gradients, optimizer and other state.

    On a GPU: the allocator's peak. None if it cannot be determined (`kept_bytes`).
    """
    device = trainer.context.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        trainer.step()
        wait(device)
        return torch.cuda.max_memory_allocated(device)
    kept = kept_bytes(trainer.step)
    states = [t for part in trainer.optimizers.parts for t in part.state.values()]
    states += [t for extra in trainer.extra.values() for t in extra.values()]
    bytes_of_step = 2 * trainer.weights.flat.nbytes + sum(state.nbytes for state in states)
    return None if kept is None else kept + bytes_of_step
