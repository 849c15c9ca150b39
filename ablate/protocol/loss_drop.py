"""Step 3: which rates make the loss drop on the full training data within a hundred steps?

One lane per decade trains on the same batches as a lane with rate zero, so that drops are paired differences and
exceed the noise in less than an epoch. The exponential range test is run as well, over several seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ablate.protocol.prior import Prior
from ablate.protocol.range_test import disagreement, exponential, suggestions, usable
from ablate.protocol.short_runs import Array, LossTrace, map_lanes, run_of, train_steps
from ablate.protocol.steps import Finding, Setup, Step

RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
DECAY = 1e-5
STEPS, LAST = 100, 20
MIN_DROP, SLOW_DROP = 0.02, 0.1
"""Fractions of the untrained loss: the smallest drop that counts, and a drop that is slow."""
PRIOR_SHARE = 0.95
"""A loss above this fraction of the prior has hardly used the inputs."""
MIN_STANDARD_ERRORS = 3.0
"""A drop counts if it exceeds this many standard errors of its mean."""
SEEDS, TEST_STEPS, TEST_RATES = 2, 150, (1e-6, 10.0)
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
        return self.mean / self.untrained

    @property
    def falls(self) -> bool:
        return (
            self.share > MIN_DROP and self.mean > MIN_STANDARD_ERRORS * self.error
        )  # NaN if the lane diverged


def drop_of(rate: float, trace: LossTrace, untrained: Array) -> Drop:
    """`untrained`: the losses `[S]` of a lane with rate zero on the same batches."""
    below = (untrained - trace.losses)[-LAST:]
    level = float(untrained[-LAST:].mean())
    return Drop(rate, trace, level, float(below.mean()), float(below.std(ddof=1) / len(below) ** 0.5))


def loss_drop(setup: Setup, *, overfitted: bool) -> tuple[Step, float | None]:
    """The step, and the rate whose loss fell most (None if none fell)."""
    context = setup.context
    runs = [run_of(context, rate, DECAY, setup.seed) for rate in (0.0, *RATES)]
    untrained, *trained = map_lanes(context, runs, lambda trainer: train_steps(trainer, STEPS))
    drops = [drop_of(rate, one, untrained.losses) for rate, one in zip(RATES, trained, strict=True)]
    falling = [drop for drop in drops if drop.falls]
    best = max(falling, key=lambda drop: drop.mean) if falling else None
    rates, losses = range_test(setup)
    suggested = suggestions(rates, losses)
    prior = Prior.of(context.task).loss
    figures: dict[str, Any] = {
        "lr": rates.tolist(),
        "loss": losses.tolist(),
        "suggestions": suggested,
        "drops": {f"{drop.rate:g}": drop.share if drop.trace.alive else None for drop in drops},
        "rate": best.rate if best else None,
        "untrained": drops[0].untrained,
        "prior": prior,
    }
    findings = judge(drops, best, prior, overfitted=overfitted)
    if (ratio := disagreement(suggested)) > 1:
        shown = ", ".join(
            f"{name} {rate:.2g}" for name, rate in sorted(suggested.items(), key=lambda kv: kv[1])
        )
        advice = "the grids of steps 4 and 5 decide" if ratio > MAX_DISAGREEMENT else ""
        findings.append(
            Finding(
                "range-test",
                "note",
                f"range test: {shown}; they differ by a factor of {ratio:.2g}",
                "range test",
                advice,
            )
        )
    return Step(3, figures, tuple(findings)), best.rate if best else None


def range_test(setup: Setup) -> tuple[Array, Array]:
    """Rates and losses (median over seeds) of the usable part of the test.

    Each loss is relative to that of the untrained model on the same batch: while the rate is too
    low to matter, the difference between batches exceeds the effect of training.
    """
    rates = exponential(*TEST_RATES, TEST_STEPS)
    seeds = [setup.seed + i for i in range(SEEDS)]
    runs = [run_of(setup.context, rate, 0.0, seed) for rate in (1.0, 0.0) for seed in seeds]
    multiplied = torch.tensor(rates, dtype=torch.float32, device=setup.context.device)
    rows = [
        one.losses
        for one in map_lanes(setup.context, runs, lambda lanes: train_steps(lanes, TEST_STEPS, multiplied))
    ]
    untrained = np.stack(rows[SEEDS:])
    losses = np.stack(rows[:SEEDS]) / untrained * untrained.mean()
    end = min(usable(row) for row in losses)
    return rates[:end], np.median(losses[:, :end], axis=0)


def judge(drops: list[Drop], best: Drop | None, prior: float, *, overfitted: bool) -> list[Finding]:
    if best is None:
        return [_no_drop(drops, overfitted)]
    findings = []
    end = best.untrained - best.mean
    if end > PRIOR_SHARE * prior:
        findings.append(
            Finding(
                "hardly-below-the-prior", "warn",
                f"the loss reaches {end:.3g}, hardly below the prior of {prior:.3g}: the inputs have not helped much",
                f"rate {best.rate:g}, {STEPS} steps",
                "if more training does not help, check that labels and inputs match",
            )
        )  # fmt: skip
    elif best.share < SLOW_DROP:
        findings.append(
            Finding(
                "falls-slowly", "warn", f"the loss falls by {best.share:.1%} in {STEPS} steps",
                f"rate {best.rate:g}", "check the initialisation, the scale of the inputs, and that labels and inputs match",
            )
        )  # fmt: skip
    if best.rate in (RATES[0], RATES[-1]):
        findings.append(
            Finding(
                "unusual-rate", "warn", f"the best rate, {best.rate:g}, is at the edge of the tried range", "rates",
                "the scale of inputs, targets or outputs is unusual",
            )
        )  # fmt: skip
    return findings


def _no_drop(drops: list[Drop], overfitted: bool) -> Finding:
    if not any(drop.trace.alive for drop in drops):
        return Finding(
            "diverges-at-every-rate", "fail", f"every rate from {RATES[0]:g} to {RATES[-1]:g} diverges", "all data",
            "check for extreme values in the data, normalise inputs and targets, or clip gradients",
        )  # fmt: skip
    largest = max((drop.share for drop in drops if drop.trace.alive), default=0.0)
    message = f"no rate makes the loss drop in {STEPS} steps (best: {largest:+.1%})"
    if overfitted:
        return Finding(
            "labels-unrelated", "fail", f"{message}, though the model can overfit a small sample", "labels",
            "inputs and labels do not seem to match: shuffled or shifted rows, or random labels",
        )  # fmt: skip
    return Finding("does-not-learn", "fail", message, "all data", "fix the findings of step 2 first")
