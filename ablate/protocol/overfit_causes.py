"""The likely cause of a failure to overfit a small sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ablate.protocol.fit import SampleFit
from ablate.protocol.short_runs import Array
from ablate.protocol.snapshot import MODES_DIFFER, differs_in_evaluation
from ablate.protocol.steps import Finding
from ablate.records.words import noun

BEATEN = 0.97
"""A loss below this fraction of the prior uses the inputs."""
FALLING = 0.1
"""Fraction by which the loss must fall in the last quarter of the steps to count as still falling."""
NEARLY = 0.95
LAST = 10
"""Last steps whose mean is the loss in training mode."""


def likely_cause(
    fits: Sequence[SampleFit], best: SampleFit, prior: float, goal: float, *, score: str
) -> Finding:
    """The likely cause, checked from the most to the least specific sign. `prior` is the sample's prior loss."""
    shares = {"r2": f"{best.score:.0%} of the variance and ", "loss": ""}
    achieved = shares.get(score, f"training {score.replace('_', ' ')} {best.score:.0%} and ")
    reached = f"the best rate, {best.rate:g}, reaches {achieved}a loss of {best.loss:.3g} (prior {prior:.3g})"
    if not any(one.alive for one in fits):
        return _not_finite(fits)
    equal, tensors = best.symmetric
    below = learns(best, prior)
    if equal and (2 * equal >= tensors or not below):
        return Finding(
            "symmetric-initialisation", "fail",
            f"in {equal} of {tensors} weight {noun(tensors, 'tensor')} all rows are equal at initialisation, so that all units of a layer learn the same; {reached}",
            "initialisation", "use a random initialisation (He, Glorot); zeros are for biases only",
        )  # fmt: skip
    training = float(np.mean(best.losses[-LAST:]))
    if score != "loss" and differs_in_evaluation(best.loss, training, prior):
        return Finding(
            "evaluation-differs", "warn" if below else "fail",
            f"the loss of the sample is {training:.3g} in training mode and {best.loss:.3g} in evaluation mode; {reached}",
            "layers that differ between modes", MODES_DIFFER,
        )  # fmt: skip
    if not below:
        return _nothing(fits, best, reached)
    if score == "loss" or best.score >= NEARLY * goal:
        return Finding(
            "slow-to-overfit", "warn", f"the sample is almost overfitted: {reached}", "a small sample",
            "more steps may suffice, or regularisation in the model (dropout) prevents it",
        )  # fmt: skip
    if still_falling(best.losses):
        return Finding(
            "slow-to-overfit", "warn", f"the loss falls, but slowly: {reached}", "a small sample",
            "check the initialisation and the scale of the inputs; normalisation layers speed it up",
        )  # fmt: skip
    return Finding(
        "model-too-small", "fail", f"the loss falls below the prior and then stagnates: {reached}", "model",
        "add units or layers, or remove a bottleneck or a saturating activation",
    )  # fmt: skip


def learns(best: SampleFit, prior: float) -> bool:
    """Whether the loss is below what a model reaches without its inputs."""
    return best.alive and best.loss < prior - (1 - BEATEN) * abs(prior)


def _not_finite(fits: Sequence[SampleFit]) -> Finding:
    if all(one.trace.finite_steps == 0 for one in fits):
        return Finding(
            "gradient-not-finite", "fail", "the first gradient is not finite, at any rate", "model",
            "check for sqrt, log, a norm or a division at zero, where derivatives are infinite",
        )  # fmt: skip
    lowest = min(fits, key=lambda one: one.rate)
    return Finding(
        "diverges-at-every-rate", "fail",
        f"every rate diverges; {lowest.rate:g} after {lowest.trace.finite_steps} {noun(lowest.trace.finite_steps, 'step')}", "initialisation",
        "make the initial weights smaller, normalise the inputs and the targets, or clip gradients",
    )  # fmt: skip


def _nothing(fits: Sequence[SampleFit], best: SampleFit, reached: str) -> Finding:
    """The finding if the loss never falls below the prior."""
    if all(one.constant for one in fits if one.alive):
        return Finding(
            "ignores-inputs", "fail", f"the outputs are the same for all inputs: {reached}", "model",
            "the inputs do not reach the last layer: multiplied by zero, overwritten, or all units dead",
        )  # fmt: skip
    if 2 * len(best.unmoved) >= best.tensors:
        return Finding(
            "no-gradient", "fail",
            f"{len(best.unmoved)} of {best.tensors} parameter {noun(best.tensors, 'tensor')} never changed; {reached}",
            ", ".join(best.unmoved[:3]), "check for a detach, an argmax, or units that are dead at initialisation",
        )  # fmt: skip
    return Finding(
        "does-not-learn", "fail", f"no rate gets the loss below the prior: {reached}", "model",
        "check the initialisation and the forward pass, or try a wider model",
    )  # fmt: skip


def still_falling(losses: Array) -> bool:
    """Whether the loss fell by at least `FALLING` in the last quarter of the steps."""
    quarter = max(1, len(losses) // 4)
    if len(losses) < 2 * quarter:
        return False
    third, fourth = np.mean(losses[-2 * quarter : -quarter]), np.mean(losses[-quarter:])
    return bool(fourth < (1 - FALLING) * third)
