"""Step 1: checks that the loss of an untrained model is as expected, and finds the cause if not.

Uninformative outputs have a loss of ln C (classification) or the mean square of the targets (regression); a head
initialised to the class frequencies has their entropy. A higher loss means confident wrong outputs.
The cause is determined by experiment: the same models are evaluated on standardised inputs.
Lineage: "sanity check the initial loss", CS231n notes of Stanford University, part 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ablate.lanes.trainer import Trainer
from ablate.protocol.model_check import model_findings
from ablate.protocol.output_causes import output_findings, squashed_numbers
from ablate.protocol.prior import PriorLosses
from ablate.protocol.scales import input_findings, input_scale, standardised, target_findings
from ablate.protocol.short_runs import map_lanes, with_examples
from ablate.protocol.steps import Finding, Level, Setup, Step, certain_first
from ablate.tasks.split import Split, shuffled
from ablate.tasks.task import Task

SEEDS = 5
EXAMPLES = 512
HIGH, HIGH_SQUARES = 1.25, 1.6
"""An initial loss above this multiple of the expected one is reported; squared errors are those of outputs of any scale."""
HEAVY = 2.0
"""A head that starts this far above is a note: the sums of a sound residual network have several times a layer's variance."""
ABSURD = 3.0
"""Above this multiple the first epochs are spent on unlearning the initial outputs."""
EXPLAIN_LOSS = ("softmax-over-batch", "exploding", "loss-summed", "loss-negative", "target-not-standardised")
"""Findings after which no other cause of a high loss is looked for."""
MIXED = ("softmax-over-batch", "examples-mixed")
"""Findings after which the outputs are not those of one example, and no fault of the last layer is read off them."""
LOW = 0.9


@dataclass(frozen=True, slots=True)
class Start:
    """An untrained lane: its loss, and its outputs `[N, C or D]` with their standard deviation."""

    loss: float
    deviation: float
    outputs: Tensor


def initial_loss(setup: Setup) -> Step:
    """Step 1."""
    task = setup.context.task
    sample = task.train.sample(shuffled(len(task.train))[:EXAMPLES])
    causes = model_findings(setup)
    if any(one.code == "batch-norm-of-one" for one in causes):
        return Step(1, {}, tuple(causes))
    prior = PriorLosses.of(task, sample)
    starts = measure(setup, sample)
    loss, deviation = medians(starts)
    scaled = None
    if not loss <= high_of(task.classes) * prior.start and sample.x.is_floating_point():
        scaled = medians(measure(setup, standardised(sample)))[0]
    targets = target_findings(task)
    mixed = any(one.code in MIXED for one in causes)
    readable = task.criterion in ("classification", "regression") and not mixed
    findings = [
        *causes,
        # The expected initial value of a custom loss is unknown.
        *(
            judge(loss, deviation, prior, scaled, task.classes)
            if (task.criterion != "custom" or loss != loss) and not causes_high_loss([*causes, *targets])
            else ()
        ),
        *(low_loss_findings(starts, prior) if task.criterion != "custom" else ()),
        *input_findings(sample.in_memory),
        *targets,
        *(from_outputs(starts, task) if readable else ()),
    ]
    figures: dict[str, Any] = {"initial_loss": loss, "expected": prior.start}
    if prior.loss < 0.99 * prior.start:
        figures["prior"] = prior.loss
    figures["ratio"] = loss / prior.start
    figures["by_seed"] = {str(setup.seed + i): start.loss for i, start in enumerate(starts)}
    figures["outputs"] = {"deviation": deviation}
    figures["inputs"] = input_scale(sample.in_memory)
    return Step(1, figures, tuple(certain_first(findings)))


def measure(setup: Setup, sample: Split) -> list[Start]:
    """Untrained models of `SEEDS` seeds on a sample, in training mode, in batches."""
    runs = [setup.short_run(0.0, setup.seed + i) for i in range(SEEDS)]
    size = setup.context.task.batch_size

    @torch.no_grad()
    def evaluate(trainer: Trainer) -> list[Start]:
        weights, keys = dict(trainer.weights.items()), trainer.seeds
        train = trainer.context.splits["train"]
        outputs = torch.cat(
            [
                trainer.outputs(weights, x.expand(trainer.lanes, *x.shape), keys, training=True)
                for x in train.blocks(size)
            ],
            dim=1,
        )
        evaluation = setup.context.task.evaluation
        y = train.judged
        loss = evaluation.metrics(evaluation.collect(outputs, y), y, ["loss"])["loss"]
        spread = outputs.cpu().double().flatten(1).std(1, correction=0)
        return [Start(*lane) for lane in zip(loss.tolist(), spread.tolist(), outputs.cpu(), strict=True)]

    return map_lanes(with_examples(setup.context, sample), runs, evaluate)


def causes_high_loss(causes: Sequence[Finding]) -> bool:
    """Whether one of these faults explains a loss that is too high, so that no other cause is looked for."""
    return any(one.code in EXPLAIN_LOSS for one in causes)


def medians(starts: list[Start]) -> tuple[float, float]:
    """Medians over seeds of loss and deviation; NaN if the loss of any seed is not finite."""
    losses = [start.loss for start in starts]
    if any(loss != loss for loss in losses):
        return float("nan"), float("nan")
    return median(losses), median(start.deviation for start in starts)


def high_of(classes: int | None) -> float:
    """The multiple of the expected loss that is reported; `classes`: None for regression."""
    return HIGH if classes else HIGH_SQUARES


def judge(
    loss: float, deviation: float, prior: PriorLosses, scaled: float | None, classes: int | None
) -> list[Finding]:
    """Whether `loss` is too high, and the likely cause; `scaled` is the loss on standardised inputs."""
    high = high_of(classes)
    if loss <= high * prior.start:
        return []
    level: Level = "warn" if loss <= ABSURD * prior.start else "fail"
    head: Level = "note" if loss <= HEAVY * prior.start else level
    expected = (
        f"ln {classes} = {prior.start:.3g}" if classes else f"{prior.start:.3g}, that of {prior.start_of},"
    )
    observed = f"the untrained model's loss is {loss:.3g} where {expected} is expected"
    cured = scaled is not None and (
        (scaled <= high * prior.start and scaled - prior.start < (loss - prior.start) / 2)
        or scaled - prior.start < (loss - prior.start) / 10
    )
    if cured or (loss != loss and scaled is not None and scaled == scaled):
        return [
            Finding(
                "inputs-not-normalised", level, f"{observed}; with standardised inputs it is {scaled:.3g}",
                "inputs", "scale the inputs to mean 0 and deviation 1 by the training data",
            )
        ]  # fmt: skip
    if loss != loss:
        return [
            Finding(
                "initial-loss-not-finite", "fail", "the untrained model's loss is not a finite number",
                "model", "check for log, sqrt, a division or an overflow in the forward pass",
            )
        ]  # fmt: skip
    return [
        Finding(
            "head-scale", head, f"{observed}; the outputs' deviation is {deviation:.3g}", "the model's last layer",
            "make the last layer's initial weights smaller (or zero), or normalise before it",
        )
    ]  # fmt: skip


def low_loss_findings(starts: list[Start], prior: PriorLosses) -> list[Finding]:
    """A finding if every untrained loss is below what a model can reach without its inputs."""
    if not all(start.loss < LOW * prior.loss for start in starts):
        return []
    return [
        Finding(
            "initial-loss-low", "warn",
            f"the untrained model's loss is at most {max(start.loss for start in starts):.3g}, lower than any "
            f"model can reach without its inputs ({prior.loss:.3g})",
            "model and inputs", "expected for pre-trained weights; otherwise the inputs leak the targets",
        )
    ]  # fmt: skip


def from_outputs(starts: list[Start], task: Task) -> list[Finding]:
    """The findings on the outputs of all untrained models together: one rectified unit may be zero for all examples, or for none."""
    if starts[0].outputs.ndim != 2:
        return []
    outputs = torch.cat([start.outputs for start in starts])
    findings = output_findings(outputs, task.classes)
    return findings or ([] if task.classes is not None else squashed_numbers(outputs, task.train.y))
