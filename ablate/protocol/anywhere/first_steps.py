"""Steps 1 to 3 of `ablate.lr_find`: the untrained loss, one batch overfitted, and rates that make the loss drop."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from ablate.protocol.anywhere.causes import model_findings, not_optimized
from ablate.protocol.anywhere.loop import TrainingLoop
from ablate.protocol.anywhere.objective import best_constant, default_loss, evaluate_batch, split_batch
from ablate.protocol.anywhere.record import step_of
from ablate.protocol.anywhere.restoring import to_device
from ablate.protocol.baseline import round_rate
from ablate.protocol.initial_loss import ABSURD, HEAVY, HIGH, MIXED
from ablate.protocol.loss_drop import STEPS, Drop, drop_of, no_drop
from ablate.protocol.norm_checks import cancelled
from ablate.protocol.output_causes import output_findings
from ablate.protocol.plan import FEWEST_STEPS
from ablate.protocol.steps import Finding, Step, certain_first
from ablate.records.errors import InputError
from ablate.records.words import noun

BATCHES, TARGETS = 8, 5000
"""Batches whose untrained loss is measured, and targets that the constant prediction is fitted to."""
EXPLAINS = ("exploding", "loss-summed", "loss-negative", "batch-norm-of-one")
"""Causes that make the untrained loss meaningless."""
OVERFIT_STEPS = 100
OVERFITTED = 0.5
"""Fraction of the first loss below which a batch counts as overfitted."""
DECADES = (4, 2)


def initial_loss(loop: TrainingLoop, seed: int, run_steps: int) -> Step:
    """Step 1; `run_steps`: of a whole run. Raises InputError if there is no batch."""
    causes = model_findings(loop, seed, run_steps)
    if any(cause.code in EXPLAINS for cause in causes):
        return step_of(1, {}, *causes)
    loop.begin(0.0, seed)
    losses, outputs = [], []
    with torch.no_grad():
        for batch in loop.batches(seed, BATCHES):
            value, output, _ = evaluate_batch(loop.model, batch, loop.loss)
            losses.append(float(value))
            if output is not None:
                outputs.append(output.detach().float().cpu())
    if not losses:
        raise InputError("the training loader gave no batch", hint="give at least one")
    loss, start = fmean(losses), zero_loss(loop)
    figures: dict[str, Any] = {"initial_loss": loss, "expected": start}
    mixed = any(cause.code in MIXED for cause in causes)
    findings = _judge(loss, start) if not mixed or not isfinite(loss) else []
    if outputs and outputs[0].ndim == 2 and not mixed:
        findings += output_findings(torch.cat(outputs), loop_classes(loop))
    return step_of(1, figures, *certain_first([*causes, *findings]))


def _judge(loss: float, start: float | None) -> list[Finding]:
    if not isfinite(loss):
        return [
            Finding(
                "initial-loss-not-finite", "fail", "the untrained model's loss is not a finite number", "model and inputs",
                "check the data for NaN, and the forward pass for log, sqrt or a division",
            )
        ]  # fmt: skip
    if start is None or loss <= HIGH * start:
        return []
    return [
        Finding(
            "head-scale", "note" if loss <= HEAVY * start else "warn" if loss <= ABSURD * start else "fail",
            f"the untrained model's loss is {loss:.3g} where outputs of zero have {start:.3g}", "inputs or last layer",
            "scale the inputs to mean 0 and deviation 1, or make the last layer's initial weights smaller",
        )
    ]  # fmt: skip


def _targets(loop: TrainingLoop) -> tuple[Tensor, list[Tensor]] | None:
    """One example's outputs and up to `TARGETS` training targets; None if the model computes its own loss."""
    per_batch: list[Tensor] = []
    example = None
    for batch in loop.train:
        with torch.no_grad():
            if example is None:
                _, outputs, targets = evaluate_batch(loop.model, to_device(batch, loop.device), loop.loss)
                if outputs is None or targets is None:
                    return None
                example = outputs[:1]
        target = split_batch(batch)[1]
        if target is None:
            return None
        per_batch.append(to_device(target, loop.device))
        if sum(map(len, per_batch)) >= TARGETS:
            break
    return None if example is None else (example, per_batch)


def constant_of(loop: TrainingLoop) -> Tensor | None:
    """The best constant prediction of the training targets, `[1, …]`; None if the model computes its own loss."""
    sample = _targets(loop)
    return None if sample is None else best_constant(*sample, loop.loss)


def zero_loss(loop: TrainingLoop) -> float | None:
    """The loss of outputs of zero; None if the model computes its own loss."""
    sample = _targets(loop)
    if sample is None:
        return None
    example, targets = sample
    everything = torch.cat(targets)
    outputs = torch.zeros_like(example).expand(len(everything), *example.shape[1:])
    return float((loop.loss or default_loss)(outputs, everything))


def loop_classes(loop: TrainingLoop) -> int | None:
    """Number of outputs, if the targets are integers; None for regression."""
    sample = _targets(loop)
    if sample is None or sample[1][0].is_floating_point():
        return None
    return int(sample[0].shape[1])


def overfit_batch(loop: TrainingLoop, rate: float, seed: int) -> Step:
    """Step 2: `OVERFIT_STEPS` steps on the first batch at the best rate of step 3, and at a third and three times of it."""
    loop.begin(0.0, seed)
    batch = next(loop.batches(seed, 1))
    before = {name: p.detach().clone() for name, p in loop.model.named_parameters() if p.requires_grad}
    traces, unmoved = {}, set(before)
    for factor in (1.0, 0.3, 3.0):
        trace = loop.trace(rate * factor, OVERFIT_STEPS, seed, batch)
        traces[round_rate(rate * factor)] = trace
        unmoved &= {n for n, p in loop.model.named_parameters() if n in before and torch.equal(p, before[n])}
        if trace.alive and trace.losses[-1] < OVERFITTED * trace.losses[0]:
            break
    best = min((t for t in traces.values() if t.alive), key=lambda t: t.losses[-1], default=None)
    figures = {"curves": {f"rate {r:g}": t.losses[: t.finite_steps].tolist() for r, t in traces.items()}}
    ends = None if best is None else (float(best.losses[0]), float(best.losses[-1]))
    missing = not_optimized(loop, seed)
    if unmoved and not missing:
        loop.begin(0.0, seed)
        unmoved -= cancelled(loop.model, unmoved, lambda: evaluate_batch(loop.model, batch, loop.loss)[1])
    still = None if missing else _still(unmoved, len(before))
    return step_of(2, figures, *missing, still, _overfitted(ends))


def _overfitted(ends: tuple[float, float] | None) -> Finding | None:
    if ends is None:
        return Finding(
            "diverges-at-every-rate", "fail", "training on a single batch diverges", "model",
            "check for a division, log or sqrt at zero, normalise the inputs, or clip gradients",
        )  # fmt: skip
    first, last = ends
    if last < OVERFITTED * first:
        return None
    return Finding(
        "slow-to-overfit", "warn", f"{OVERFIT_STEPS} steps on one batch take the loss from {first:.3g} to {last:.3g} only",
        "a single batch", "check that all layers train; strong regularisation (dropout) also prevents it",
    )  # fmt: skip


def _still(unmoved: set[str], tensors: int) -> Finding | None:
    if not unmoved:
        return None
    names = ", ".join(sorted(unmoved)[:3]) + (", …" if len(unmoved) > 3 else "")
    return Finding(
        "parameters-without-gradient", "warn", f"{len(unmoved)} of {tensors} parameter {noun(tensors, 'tensor')} never changed", names,
        "check for layers that forward does not use, a detach, or units that are dead at initialisation",
    )  # fmt: skip


def loss_drop(loop: TrainingLoop, center: float, seed: int, run_steps: int) -> tuple[Step, list[Drop], int]:
    """Step 3, what each rate's loss did, and the number of training steps that it took.

    Each rate trains a quarter of a whole run's `run_steps`, `STEPS` at most.
    """
    steps = min(STEPS, max(FEWEST_STEPS, run_steps // 4))
    rates = [round_rate(center * 10.0**i) for i in range(-DECADES[0], DECADES[1] + 1)]
    untrained = loop.trace(0.0, steps, seed)
    traces = [loop.trace(rate, steps, seed) for rate in rates]
    drops = [drop_of(rate, trace, untrained.losses) for rate, trace in zip(rates, traces, strict=True)]
    falling = [drop for drop in drops if drop.falls]
    best = max(falling, key=lambda drop: drop.mean, default=None)
    figures = {
        "drops": {f"{drop.rate:g}": drop.share if drop.trace.alive else None for drop in drops},
        "rate": None if best is None else best.rate,
    }
    finding = None if falling else no_drop(drops, overfitted=False)
    if finding is not None and any(drop.trace.alive for drop in drops):
        finding = replace(finding, level="warn")  # a pre-trained model may be near its best already
    return step_of(3, figures, finding), drops, sum(trace.finite_steps for trace in traces)
