"""Step 2: can the model learn a few dozen examples by heart, at any rate?

A model that cannot has a fault, or is too small, or starts badly; a model that can without looking at its
inputs sees the targets. Lineage: "overfit a tiny subset of the data", CS231n notes, part 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ablate.lanes.trainer import Bench, Trainer
from ablate.protocol.explore import Array, Descent, by_lanes, descend, few_examples, run_of, with_examples
from ablate.protocol.overfit_causes import cause
from ablate.protocol.prior import Prior
from ablate.protocol.steps import Finding, Ground, Step
from ablate.tasks.metrics import metrics
from ablate.tasks.split import Split

EXAMPLES = 40
RATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
LOWER, HIGHER = (1e-7, 1e-6, 1e-5), (10.0, 100.0)
STEPS, PIECE = 400, 25
EXPLAINED = 0.99
"""Regression: the share of the sample's variance that counts as learned by heart."""
LEAK = 0.9
"""Without its inputs no model gets the loss below the prior; so much below is beyond rounding."""


@dataclass(frozen=True, slots=True)
class Fit:
    """One rate on the sample.

    score: training accuracy, or the share of the targets' variance explained. loss: in evaluation mode.
    unmoved: parameters that never changed. constant: the outputs are the same for all examples.
    symmetric: weight tensors whose rows all began equal, of how many.
    """

    rate: float
    descent: Descent
    score: float
    loss: float
    unmoved: tuple[str, ...]
    tensors: int
    constant: bool
    symmetric: tuple[int, int]

    @property
    def losses(self) -> Array:
        return self.descent.losses

    @property
    def alive(self) -> bool:
        return self.descent.alive


def over_fit(ground: Ground) -> Step:
    bench = few_examples(ground.bench, EXAMPLES)
    prior, goal = Prior.of(bench.task), 1.0 if bench.task.classes else EXPLAINED
    fits = fit(bench, RATES, ground.seed, goal)
    if not reached(fits, goal):
        fits = [*fits, *fit(bench, more_rates(fits), ground.seed, goal)]
    best = best_fit(fits)
    findings: list[Finding] = []
    zeroed = float("nan")
    if reached(fits, goal):
        blind = blinded(bench)
        (dark,) = fit(blind, [best.rate], ground.seed, goal)
        zeroed = dark.loss
        findings += judge_zeroed(zeroed, prior.loss) + without_gradient(best)
    else:
        findings.append(cause(fits, best, prior.loss, goal, classification=bench.task.classes is not None))
    figures: dict[str, Any] = {
        "curves": drawn(fits, best),
        "examples": len(bench.task.train),
        "rate": best.rate,
        "steps": best.descent.lived,
        "score": {f"{one.rate:g}": one.score for one in sorted(fits, key=lambda one: one.rate)},
        "loss_without_inputs": zeroed,
        "prior": prior.loss,
    }
    return Step(2, figures, tuple(findings))


def fit(bench: Bench, rates: Sequence[float], seed: int, goal: float) -> list[Fit]:
    """Train a lane for each rate on the bench's training data until one of them reaches `goal`."""
    runs = [run_of(bench, rate, 0.0, seed) for rate in rates]

    def work(trainer: Trainer) -> list[Fit]:
        names = list(trainer.weights)
        before = {name: tensor.clone() for name, tensor in trainer.weights.items()}
        pieces: list[list[Descent]] = []
        for _ in range(STEPS // PIECE):
            pieces.append(descend(trainer, PIECE))
            scores, losses, constant = scored(trainer)
            alive = trainer.alive.tolist()
            if any(score >= goal and lives for score, lives in zip(scores, alive, strict=True)) or not any(
                alive
            ):
                break
        symmetric = equal_rows(before)
        found = []
        for lane, run in enumerate(trainer.group.runs):
            descent = Descent(np.concatenate([piece[lane].losses for piece in pieces]))
            unmoved = tuple(n for n in names if torch.equal(trainer.weights[n][lane], before[n][lane]))
            rate = float(run.recipe["momentum"]["lr"])
            found.append(
                Fit(
                    rate,
                    descent,
                    scores[lane],
                    losses[lane],
                    unmoved,
                    len(names),
                    constant[lane],
                    symmetric[lane],
                )
            )
        return found

    return by_lanes(bench, runs, work)


def scored(trainer: Trainer) -> tuple[list[float], list[float], list[bool]]:
    """Score, loss and whether the outputs are constant, for each lane, in evaluation mode on the sample."""
    task, y = trainer.bench.task, trainer.bench.splits["train"].y
    outputs = trainer.predict("train")
    name = "r2" if task.classes is None else "accuracy"
    values = metrics(task.criterion, outputs, y, [name, "loss"])
    spread = (outputs - outputs[:, :1]).abs().amax((1, 2))
    size = outputs.abs().amax((1, 2))
    constant = (spread <= 1e-6 * size) | (size == 0)
    return values[name].tolist(), values["loss"].tolist(), constant.tolist()


def equal_rows(weights: dict[str, torch.Tensor]) -> list[tuple[int, int]]:
    """For each lane, how many weight tensors `[K, rows ≥ 2, …]` have rows that are all equal, and of how many."""
    many = [tensor for tensor in weights.values() if tensor.ndim >= 3 and tensor.shape[1] > 1]
    lanes = len(next(iter(weights.values())))
    return [(sum(bool((t[lane] == t[lane, :1]).all()) for t in many), len(many)) for lane in range(lanes)]


def reached(fits: Sequence[Fit], goal: float) -> bool:
    return any(one.alive and one.score >= goal for one in fits)


def best_fit(fits: Sequence[Fit]) -> Fit:
    """The living fit with the highest score, then the lowest loss; the one that lived longest if none does."""
    living = [one for one in fits if one.alive and np.isfinite(one.loss)]
    if not living:
        return max(fits, key=lambda one: (one.descent.lived, -one.rate))
    return max(living, key=lambda one: (one.score, -one.loss, -one.rate))


def more_rates(fits: Sequence[Fit]) -> tuple[float, ...]:
    """Where to look on: lower where all but the lowest failed, higher where the highest was the best."""
    living = [one for one in fits if one.alive]
    if not living:
        return LOWER
    best = min(living, key=lambda one: one.loss)
    if best.rate == RATES[0]:
        return LOWER
    return HIGHER if best.rate == RATES[-1] else tuple(best.rate * factor for factor in (0.3, 3.0))


def blinded(bench: Bench) -> Bench:
    """The sample with all inputs zero."""
    sample = bench.task.train
    return with_examples(bench, Split(torch.zeros_like(sample.x), sample.y))


def judge_zeroed(loss: float, prior: float) -> list[Finding]:
    """Without inputs the loss cannot fall below the prior, unless the targets leak."""
    if not loss < LEAK * prior:
        return []
    return [
        Finding(
            "targets-leak", "fail",
            f"with all inputs zero the loss still falls to {loss:.3g}, below the prior of {prior:.3g}",
            "model", "the model sees the targets in another way than through its inputs",
        )
    ]  # fmt: skip


def without_gradient(best: Fit) -> list[Finding]:
    if not best.unmoved:
        return []
    names = ", ".join(best.unmoved[:3]) + (", …" if len(best.unmoved) > 3 else "")
    return [
        Finding(
            "parameters-without-gradient", "warn",
            f"{len(best.unmoved)} of {best.tensors} parameter tensors never moved", names,
            "layers that forward does not use, a detach, or units that are dead from the start",
        )
    ]  # fmt: skip


def drawn(fits: Sequence[Fit], best: Fit) -> dict[str, list[float]]:
    """Loss by step for each rate, the best first; cut where it leaves the picture."""
    curves = {}
    for one in sorted(fits, key=lambda one: (one is not best, one.rate)):
        values = one.losses[: one.descent.lived]
        far = np.flatnonzero(values > 20 * max(values[0], 1e-12)) if len(values) else []
        curves[f"rate {one.rate:g}"] = (values[: far[0]] if len(far) else values).tolist()
    return curves
