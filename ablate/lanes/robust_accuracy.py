"""Robust accuracy: the share of validation examples that stay correct under an attack by projected gradient descent.

    x₀ = x,   x_{t+1} = x + clip(x_t − x + (ε / 4) · σ · sign ∇_x J(x_t), ±ε · σ),   t < 5,   ε = 0.1

Shapes: x is `[K, N, …]`, J the plain cross-entropy in evaluation mode; σ is the standard deviation of the training
inputs, of each column of a table, of all numbers otherwise: one scale for every run. No test-time views are used. A
first-order attack gives an upper bound of the accuracy under stronger attacks.
Lineage: Madry et al. 2017 (1706.06083, section 2.1), from the example itself in the place of a random start, so that the attack is the same in any group of lanes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ablate.lanes.context import TaskContext
from ablate.lanes.data import chunk_sizes
from ablate.lanes.running_statistics import statistics_of
from ablate.lanes.trainer import Trainer
from ablate.records.claim_metrics import ROBUST_ACCURACY
from ablate.records.recipe import Recipe
from ablate.records.trick import Trick
from ablate.tasks.metrics import metrics
from ablate.tasks.streamed import sample_of

ROBUST = "robust"
"""The split name by which a job requests robust accuracy."""
EPS, STEP, STEPS = 0.1, 0.25, 5
"""Size of the box in σ, of a step as a share of it, and number of steps."""
MOST = 1024
"""Examples (lanes times rows) of one pass, which keeps its activations for the gradient."""


def asked(context: TaskContext, recipes: Iterable[Recipe]) -> tuple[str, ...]:
    """`("robust",)` if a trick of one of the recipes claims it and the task supports it, else `()`."""
    if context.task.criterion != "classification" or not context.task.train.x.is_floating_point():
        return ()
    claiming = {name for name, trick in context.catalogue.items() if _claims(trick)}
    return (ROBUST,) if any(name in claiming for recipe in recipes for name in recipe) else ()


def _claims(trick: Trick) -> bool:
    return any(claim.metric == ROBUST_ACCURACY for claim in trick.claims)


def deviation(x: Tensor) -> Tensor:
    """σ of inputs `[N, …]`: `[1, F]` per column of a table, else over all numbers, `[1, …, 1]`."""
    if x.ndim == 2:
        return x.std(dim=0, keepdim=True, correction=0)
    return x.std(correction=0).reshape([1] * x.ndim)


def outputs(trainer: Trainer, lanes: Tensor, split: str = "validation", eps: float = EPS) -> Tensor:
    """Outputs `[k, N, C]` of the lanes `lanes` (int64) on the split's inputs, each perturbed against its lane."""
    device = trainer.context.device
    sigma = deviation(sample_of(trainer.context.splits["train"].x)).to(device)
    scored = trainer.scored_weights().take(lanes)
    weights = dict(scored.items())
    forward, keys = trainer.forward.some(lanes), trainer.seeds[lanes]
    rows = max(1, MOST // len(lanes))
    parts = []
    y = trainer.context.task.evaluation.plain(trainer.data.targets(split, lanes))
    labels = torch.split(y.expand(len(lanes), -1), chunk_sizes(y.shape[-1], rows), dim=1)
    with statistics_of(trainer, scored, lanes, forward):
        for x, target in zip(trainer.data.chunks(split, lanes, rows), labels, strict=True):
            moved = x
            for _ in range(STEPS):
                at = moved.detach().clone().requires_grad_()
                with torch.enable_grad():
                    logits = trainer.outputs(weights, at, keys, training=False, forward=forward)
                    loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")
                    (gradient,) = torch.autograd.grad(loss, at)
                most = eps * sigma
                change = at.detach() - x + STEP * most * gradient.sign()
                moved = x + torch.minimum(torch.maximum(change, -most), most)
            with torch.no_grad():
                parts.append(trainer.outputs(weights, moved, keys, training=False, forward=forward))
    return torch.cat(parts, dim=1)


def values(output: Tensor, y: Tensor) -> Mapping[str, float]:
    """The metric of one lane's `outputs` `[N, C]`, by its full name; NaN if they are not finite."""
    accuracy = metrics("classification", output[None], y, {"accuracy"})["accuracy"]
    return {f"validation/{ROBUST_ACCURACY}": accuracy.item()}
