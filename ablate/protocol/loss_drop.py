"""Step 3: finds the rates that make the loss drop on the full training data within a hundred steps.

One lane per decade trains on the same batches as a lane with rate zero, so that drops are paired differences and
exceed the noise in less than an epoch. The exponential range test is run as well, for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ablate.lanes.trainer import Trainer
from ablate.protocol.label_causes import (
    UNMATCHED,
    confident_label_errors,
    noisy_training_labels,
    task_label_cause,
    task_relations,
    with_label_cause,
)
from ablate.protocol.prior import PriorLosses
from ablate.protocol.range_test import disagreement, exponential, suggestions, usable
from ablate.protocol.short_runs import Array, LossTrace, map_lanes, train_steps
from ablate.protocol.snapshot import Snapshot, loss_of, snapshot_findings, snapshots, with_samples
from ablate.protocol.steps import Finding, Setup, Step

DECADES = (4, 2)
"""Whole decades below and above the optimizer's default rate."""
STEPS, LAST = 100, 20
MIN_DROP, SLOW_DROP = 0.02, 0.1
"""Fractions of the untrained loss: the smallest drop that counts, and a drop that is slow."""
PRIOR_SHARE = 0.95
"""A loss above this fraction of the prior has hardly used the inputs."""
MIN_STANDARD_ERRORS = 3.0
"""A drop counts if it exceeds this many standard errors of its mean."""
TEST_DECADES = (5, 2)
"""The range test: decades below and above the optimizer's default rate."""
UNLEARNED = ("labels-unrelated", "hardly-below-the-prior", "falls-slowly", "does-not-learn")
"""Findings after which it is tried whether the labels belong to their inputs."""
SLOW = ("hardly-below-the-prior", "falls-slowly")
"""Findings that are notes where the model overfits a small sample and the labels are sound: whole runs decide."""
MAX_DISAGREEMENT = 30.0
"""Suggestions that differ by more than this factor are unreliable."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A rate, and the drop of its loss below the untrained loss in the last steps: mean and standard error."""

    rate: float
    trace: LossTrace
    untrained: float
    mean: float
    error: float

    @property
    def share(self) -> float:
        """The drop as a fraction of the untrained loss."""
        return self.mean / self.untrained

    @property
    def falls(self) -> bool:
        """Whether the loss drops by more than the noise."""
        return (
            self.share > MIN_DROP and self.mean > MIN_STANDARD_ERRORS * self.error
        )  # NaN if the lane diverged


def drop_of(rate: float, trace: LossTrace, untrained: Array) -> Drop:
    """`untrained`: the losses `[S]` of a lane with rate zero on the same batches."""
    level = float(untrained[-LAST:].mean())
    with np.errstate(invalid="ignore"):  # infinite losses: NaN
        below = (untrained - trace.losses)[-LAST:]
        return Drop(rate, trace, level, float(below.mean()), float(below.std(ddof=1) / len(below) ** 0.5))


def loss_drop(setup: Setup, *, overfitted: bool, steps: int = STEPS) -> tuple[Step, list[Drop]]:
    """The step, and what each rate's loss did in `steps` steps. `overfitted`: whether step 2 passed."""
    context, tried = setup.context, setup.baseline.decades(*DECADES)
    runs = [setup.short_run(rate) for rate in (0.0, *tried)]
    (untrained, _), *trained = map_lanes(with_samples(context), runs, lambda trainer: traced(trainer, steps))
    drops = [drop_of(rate, one, untrained.losses) for rate, (one, _) in zip(tried, trained, strict=True)]
    falling = [drop for drop in drops if drop.falls]
    best = max(falling, key=lambda drop: drop.mean) if falling else None
    rates, losses = range_test(setup, untrained.losses)
    suggested = suggestions(rates, losses)
    prior = PriorLosses.of(context.task).loss
    figures: dict[str, Any] = {
        "lr": rates.tolist(),
        "loss": losses.tolist(),
        "suggestions": suggested,
        "drops": {f"{drop.rate:g}": drop.share if drop.trace.alive else None for drop in drops},
        "rate": best.rate if best else None,
        "untrained": drops[0].untrained,
        "prior": prior,
        "training_steps": lane_steps(steps),
    }
    if context.task.criterion == "adversarial":
        return Step(3, figures, (adversarial_finding(drops),)), drops
    seen = None if best is None else trained[drops.index(best)][1]
    evaluated = None if seen is None else loss_of(context.task, seen)
    findings = judge(drops, best, prior, overfitted=overfitted, evaluated=evaluated)
    if seen is not None:
        relations = task_relations(context.task)
        reference = None if relations is None else relations.across.score
        shown = snapshot_findings(context.task, seen, prior, reference)
        findings += shown or noisy_training_labels(relations) or confident_label_errors(relations)
    if any(finding.code in UNLEARNED for finding in findings):
        cause = task_label_cause(context.task)
        if cause is not None and best is not None and cause.level == "fail":
            cause = replace(cause, level="warn")  # a rate's loss falls: the grid decides
        findings = with_label_cause(findings, cause)
        if overfitted and cause is not None and cause.code == "labels-sound":
            findings = [replace(one, level="note") if one.code in SLOW else one for one in findings]
    if (ratio := disagreement(suggested)) > 1:
        named = ", ".join(
            f"{name} {rate:.2g}" for name, rate in sorted(suggested.items(), key=lambda kv: kv[1])
        )
        advice = "the grid of step 4 decides" if ratio > MAX_DISAGREEMENT else ""
        findings.append(
            Finding(
                "range-test",
                "note",
                f"range test: {named}; they differ by a factor of {ratio:.2g}",
                "range test",
                advice,
            )
        )
    return Step(3, figures, tuple(findings)), drops


def traced(trainer: Trainer, steps: int) -> list[tuple[LossTrace, Snapshot]]:
    """Losses of `steps` steps of every lane, and the lanes' outputs afterwards."""
    return list(zip(train_steps(trainer, steps), snapshots(trainer), strict=True))


def lane_steps(steps: int = STEPS) -> int:
    """Training steps of step 3 over all lanes, of which each has `steps`: a rate a decade, an untrained one, and the range test."""
    return steps * (sum(DECADES) + 3)


def range_test(setup: Setup, untrained: Array) -> tuple[Array, Array]:
    """Rates and losses of the usable part of the test, which has as many steps as `untrained` `[S]`.

    Each loss is relative to that of the untrained model on the same batch: while the rate is too
    low to matter, the difference between batches exceeds the effect of training.
    """
    ends = setup.baseline.decades(*TEST_DECADES)
    rates = exponential(ends[0], ends[-1], len(untrained))
    multiplied = torch.tensor(rates, dtype=torch.float32, device=setup.context.device)
    (trained,) = map_lanes(
        setup.context, [setup.short_run(1.0)], lambda lanes: train_steps(lanes, len(untrained), multiplied)
    )
    losses = trained.losses / untrained * untrained.mean()
    end = usable(losses)
    return rates[:end], losses[:end]


def judge(
    drops: list[Drop], best: Drop | None, prior: float, *, overfitted: bool, evaluated: float | None = None
) -> list[Finding]:
    """The findings of the step. `best`: the rate with the largest drop; `prior`: the loss without inputs; `evaluated`: the best rate's loss
    in evaluation mode, if it is known: dropout raises that in training mode."""
    if best is None:
        return [no_drop(drops, overfitted)]
    findings = []
    end = best.untrained - best.mean
    if evaluated is not None and evaluated < end:
        end = evaluated
    share = (best.untrained - end) / best.untrained
    if end > PRIOR_SHARE * prior:
        findings.append(
            Finding(
                "hardly-below-the-prior", "warn",
                f"the loss reaches {end:.3g}, hardly below the prior of {prior:.3g}: the inputs have not helped much",
                f"rate {best.rate:g}, {len(best.trace.losses)} steps",
                "if more training does not help, check that labels and inputs match",
            )
        )  # fmt: skip
    elif share < SLOW_DROP:
        findings.append(
            Finding(
                "falls-slowly", "warn", f"the loss falls by {share:.1%} in {len(best.trace.losses)} steps",
                f"rate {best.rate:g}", "check the initialisation, the scale of the inputs, and that labels and inputs match",
            )
        )  # fmt: skip
    if best.rate in (drops[0].rate, drops[-1].rate) and len(drops) > 2:
        findings.append(
            Finding(
                "unusual-rate", "note", f"the best rate, {best.rate:g}, is at the edge of the tried range", "rates",
                "the scale of inputs, targets or outputs is unusual",
            )
        )  # fmt: skip
    return findings


def adversarial_finding(drops: list[Drop]) -> Finding:
    """The finding for two networks that train against each other."""
    if not any(drop.trace.alive for drop in drops):
        return no_drop(drops, overfitted=False)
    return Finding(
        "losses-of-a-game", "note",
        "generator and critic train against each other, and their losses need not fall: only rates that diverge are ruled out",
        "all data", "the grid of step 4 decides by the metric",
    )  # fmt: skip


def no_drop(drops: list[Drop], overfitted: bool) -> Finding:
    """The finding where no rate's loss falls. `overfitted`: whether step 2 passed."""
    if not any(drop.trace.alive for drop in drops):
        return Finding(
            "diverges-at-every-rate", "fail", f"every rate from {drops[0].rate:g} to {drops[-1].rate:g} diverges", "all data",
            "check for extreme values in the data, normalise inputs and targets, or clip gradients",
        )  # fmt: skip
    largest = max((drop.share for drop in drops if drop.trace.alive), default=0.0)
    message = f"no rate makes the loss drop in {len(drops[0].trace.losses)} steps (best: {largest:+.1%})"
    if overfitted:
        return Finding(
            "labels-unrelated", "fail", f"{message}, though the model can overfit a small sample", "labels",
            UNMATCHED,
        )  # fmt: skip
    return Finding("does-not-learn", "fail", message, "all data", "fix the findings of step 2 first")
