"""Step 2: checks that the model can overfit a few dozen examples, at any rate.

A model that cannot has a bug, is too small or is badly initialised; a model that can without its
inputs sees the targets. Lineage: "overfit a tiny subset of the data", CS231n notes, part 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np

from ablate.lanes.context import TaskContext
from ablate.protocol.baseline import round_rate
from ablate.protocol.fit import CHUNK, STEPS, SampleFit, fit
from ablate.protocol.model_check import one_model
from ablate.protocol.norm_checks import cancelled
from ablate.protocol.overfit_causes import learns, likely_cause
from ablate.protocol.overfit_trials import prevented
from ablate.protocol.prior import PriorLosses
from ablate.protocol.short_runs import few_examples, map_lanes, with_examples
from ablate.protocol.steps import Finding, Setup, Step
from ablate.records.words import noun
from ablate.tasks.gan_task import critic_alone, is_generator

EXAMPLES = 40
DECADES = (3, 1)
"""Whole decades that are tried below and above the optimizer's default rate."""
LOWER, HIGHER = 3, 2
"""Further decades, where the lowest or the highest of them is best."""
EXPLAINED = 0.99
"""Regression: the explained fraction of the sample's variance that counts as overfitted."""
CUSTOM = 0.1
"""A custom loss that falls by this share of the prior on a small sample counts as fitted."""
LEAK = 0.9
"""Without inputs no model gets the loss below the prior; below this fraction of it is more than rounding."""
PLOT_LIMIT = 20.0
"""Curves are plotted up to this multiple of the first loss."""


def overfit_sample(setup: Setup, steps: int = STEPS) -> Step:
    """Step 2; each rate trains `steps` steps at most."""
    context = few_examples(setup.context, EXAMPLES)
    prior = PriorLosses.of(context.task).loss
    score = context.task.evaluation.code.SCORE
    goal = goal_of(score, prior)
    adversarial = context.task.criterion == "adversarial"
    sample = setup.on(replace(context, task=critic_alone(context.task)) if adversarial else context)
    fits = fit(sample, setup.baseline.decades(*DECADES), goal, steps=steps)
    if not reaches(fits, goal):
        fits = [*fits, *fit(sample, more_rates(fits), goal, steps=steps)]
    fits = [of_critic(one) for one in fits] if adversarial else fits
    best = best_fit(fits)
    figures: dict[str, Any] = {
        "curves": plotted_curves(fits, best),
        "examples": len(context.task.train),
        "rate": best.rate,
        "steps": best.trace.finite_steps,
        "score": {f"{one.rate:g}": one.score for one in sorted(fits, key=lambda one: one.rate)},
        "prior": prior,
        "training_steps": sum(len(one.losses) for one in fits),
    }
    causes: list[Finding] = []
    if not reaches(fits, goal):
        prevents = prevented(sample, goal, len(best.losses), learns=learns(best, prior))
        causes = [prevents or likely_cause(fits, best, prior, goal, score=score)]
        if causes[0].level != "note":
            return Step(2, figures, tuple(causes))
    if adversarial:  # no run without inputs: real points are what is to be learned
        (both,) = fit(setup.on(context), [best.rate], inf, steps=CHUNK)
        figures["training_steps"] += len(both.losses)
        return Step(2, figures, (*causes, *without_gradient(both, setup.on(context))))
    blind = uninformative_inputs(context)
    (no_input,) = fit(setup.on(blind), [best.rate], goal, steps=best.trace.finite_steps)
    blind_prior = PriorLosses.of(blind.task).loss  # another one where the loss itself takes inputs
    figures["loss_without_inputs"] = no_input.loss
    figures["training_steps"] += len(no_input.losses)
    return Step(2, figures, (*causes, *leak(no_input.loss, blind_prior), *without_gradient(best, sample)))


def of_critic(of_both: SampleFit) -> SampleFit:
    """A fit without the generator's parameters, which had no gradient to move by."""
    of_generator = [name for name in of_both.unmoved if is_generator(name)]
    unmoved = tuple(name for name in of_both.unmoved if name not in of_generator)
    return replace(of_both, unmoved=unmoved, tensors=of_both.tensors - len(of_generator))


def goal_of(score: str, prior: float) -> float:
    """The score that counts as overfitted. The lowest value of a custom loss (its negative) is unknown: well below the prior."""
    if score == "loss":
        return -(prior - CUSTOM * abs(prior))
    return EXPLAINED if score == "r2" else 1.0


def reaches(fits: Sequence[SampleFit], goal: float) -> bool:
    """Whether some fit has reached the score `goal`."""
    return any(one.alive and one.score >= goal for one in fits)


def best_fit(fits: Sequence[SampleFit]) -> SampleFit:
    """The fit with the highest score, then the lowest loss, among those that stayed finite; else the longest finite one."""
    finite = [one for one in fits if one.alive and np.isfinite(one.loss)]
    if not finite:
        return max(fits, key=lambda one: (one.trace.finite_steps, -one.rate))
    return max(finite, key=lambda one: (one.score, -one.loss, -one.rate))


def more_rates(fits: Sequence[SampleFit]) -> tuple[float, ...]:
    """Rates to try next: lower if the lowest was best or none stayed finite, higher if the highest was, else close to the best."""
    rates = [one.rate for one in fits]
    lower = tuple(round_rate(min(rates) / 10**i) for i in range(LOWER, 0, -1))
    finite = [one for one in fits if one.alive and np.isfinite(one.loss)]
    best = min(finite, key=lambda one: one.loss, default=None)
    if best is None or best.rate == min(rates):
        return lower
    if best.rate == max(rates):
        return tuple(round_rate(best.rate * 10**i) for i in range(1, HIGHER + 1))
    return round_rate(best.rate * 0.3), round_rate(best.rate * 3.0)


def uninformative_inputs(context: TaskContext) -> TaskContext:
    """The context in which every example has the input of the first: one that the model accepts, as zeros need not be
    (token ids that are all padding leave attention nothing to attend to)."""
    sample = context.task.train
    return with_examples(context, replace(sample, x=sample.in_memory[:1].expand_as(sample.in_memory).clone()))


def leak(loss: float, prior: float) -> list[Finding]:
    """A finding if the loss without inputs is below the prior, which means that the targets leak."""
    if prior <= 0 or not loss < LEAK * prior:
        return []
    return [
        Finding(
            "targets-leak", "fail",
            f"with the same input for all examples the loss still falls to {loss:.3g}, below the prior of {prior:.3g}",
            "model", "the model has access to the targets other than through its inputs",
        )
    ]  # fmt: skip


def without_gradient(best: SampleFit, sample: Setup) -> list[Finding]:
    """A finding if parameters never changed, but for those that a batch norm makes ineffective, which is usual and harmless."""
    unmoved = list(best.unmoved)
    if unmoved:
        x = sample.context.task.train.in_memory.to(sample.context.device)
        (model,) = map_lanes(sample.context, [sample.short_run(0.0)], one_model)
        unmoved = [name for name in unmoved if name not in cancelled(model, unmoved, lambda: model(x))]
    if not unmoved:
        return []
    names = ", ".join(unmoved[:3]) + (", …" if len(unmoved) > 3 else "")
    return [
        Finding(
            "parameters-without-gradient", "warn",
            f"{len(unmoved)} of {best.tensors} parameter {noun(best.tensors, 'tensor')} never changed", names,
            "check for layers that forward does not use, a detach, or units that are dead at initialisation",
        )
    ]  # fmt: skip


def plotted_curves(fits: Sequence[SampleFit], best: SampleFit) -> dict[str, list[float]]:
    """Loss by step for each rate, the best first, cut where it exceeds `PLOT_LIMIT`."""
    curves = {}
    for one in sorted(fits, key=lambda one: (one is not best, one.rate)):
        values = one.losses[: one.trace.finite_steps]
        above_limit = values > PLOT_LIMIT * max([values[0], 1e-12]) if len(values) else values > 0
        curves[f"rate {one.rate:g}"] = values[
            : int(above_limit.argmax()) if above_limit.any() else None
        ].tolist()
    return curves
