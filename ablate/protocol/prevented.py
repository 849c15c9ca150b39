"""Trials without a part of the setup: do weight decay, a trick or dropout prevent a small sample from being overfitted?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ablate.protocol.baseline import Baseline
from ablate.protocol.batch_checks import STRONG_DROPOUT, strongest_dropout, without_dropout
from ablate.protocol.fit import fit
from ablate.protocol.steps import Finding, Setup

DECADES = (3, 1)
"""Whole decades that are tried below and above the optimizer's default rate."""


def prevented(sample: Setup, goal: float, steps: int) -> Finding | None:
    """The finding of the first trial in which a rate reaches `goal` within `steps`; None if none does.

    `sample`: the setup on the small sample that was not overfitted.
    """
    for finding, changed in trials(sample):
        fits = fit(changed, changed.baseline.decades(*DECADES), goal, steps=steps)
        if any(one.alive and one.score >= goal for one in fits):
            return finding
    return None


def trials(sample: Setup) -> Iterator[tuple[Finding, Setup]]:
    """What is left out, one part at a time: the finding if that helps, and the setup without it."""
    baseline, context = sample.baseline, sample.context
    optimizer = baseline.optimizer.name
    rate = float(baseline.optimizer.parameter("lr").default)
    if baseline.decay > 0:
        yield _decay(baseline), replace(sample, baseline=Baseline(baseline.at(rate, 0.0), baseline.catalogue))
    for name in baseline.briefly(rate):
        if name not in (optimizer, "weight_decay"):
            without = Baseline(baseline.recipe.without(name), baseline.catalogue)
            yield _trick(baseline, name), replace(sample, baseline=without)
    if (share := strongest_dropout(context.task.model())) >= STRONG_DROPOUT:
        plain = context.task.but(model=without_dropout(context.task.model))
        yield _dropout(share), sample.on(replace(context, task=plain))


def _decay(baseline: Baseline) -> Finding:
    return Finding(
        "decay-too-strong", "fail", f"with a weight decay of {baseline.decay:g} no rate overfits a small sample, without it one does",
        "weight decay", "make it smaller: 1e-4 to 1e-2 are usual",
    )  # fmt: skip


def _trick(baseline: Baseline, name: str) -> Finding:
    settings = ", ".join(f"{key} {value}" for key, value in baseline.recipe[name].items())
    return Finding(
        "trick-prevents-learning", "fail", f"with {name} ({settings}) no rate overfits a small sample, without it one does",
        name, "check its settings, or leave it out",
    )  # fmt: skip


def _dropout(share: float) -> Finding:
    return Finding(
        "dropout-too-strong", "fail", f"with a drop rate of {share:g} no rate overfits a small sample, without dropout one does",
        "dropout layers", "lower it: 0.1 to 0.5 are usual",
    )  # fmt: skip
