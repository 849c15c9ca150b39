"""From model outputs to one loss a lane: the criterion seam, port by port."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor

from ablate.lanes.group import Group
from ablate.seams.batch import Batch
from ablate.seams.settings import Settings

Weights = Mapping[str, Tensor]
Loss = Callable[[Weights, Batch], Tensor]
"""(weights, batch) -> losses `[K]`."""


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """−Σ_c t_c log softmax(z)_c: `[K, B, C]`, `[K, B, C]` -> `[K, B]`."""
    return -(target * F.log_softmax(logits, dim=-1)).sum(dim=-1)


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over outputs of (z − t)²: `[K, B, D]`, `[K, B, D]` -> `[K, B]`."""
    return (prediction - target).square().mean(dim=-1)


def share_right(outputs: Tensor, target: Tensor, *, classification: bool) -> Tensor:
    """Share of the batch `[K]` whose largest output is the target's class; zero for regression."""
    if not classification:
        return outputs.new_zeros(len(outputs))
    hit = outputs.argmax(dim=-1) == target.argmax(dim=-1)
    return hit.sum(dim=1) / hit.shape[1]


def lane_losses(
    outputs: Tensor, batch: Batch, weights: Mapping[str, Tensor], group: Group, *, classification: bool
) -> Tensor:
    """One loss a lane `[K]`: target -> logits -> per example -> weights -> mean -> mean loss -> + penalties."""
    target = batch.target
    for active, change in group.ports("target"):
        target = change(target, active.settings)
    for active, change in group.ports("logits"):
        outputs = change(outputs, target, active.settings)
    base = cross_entropy if classification else squared_error
    losses = base(outputs, target)
    for active, change in group.ports("example_loss"):
        own = change(outputs, target, active.settings)
        losses = own.where(active.settings.like("on", losses), losses)
    for active, change in group.ports("example_weight"):
        losses = losses * change(target, active.settings)
    mean = losses.mean(dim=1)
    for active, change in group.ports("mean_loss"):
        mean = change(mean, active.settings)
    for active, penalty in group.ports("penalty"):
        mean = mean + penalty(weights, active.settings)
    return mean


def nested(wrap: Callable[..., Tensor], inner: Loss, settings: Settings) -> Loss:
    """The objective trick `wrap` around the loss (or the objective) `inner`."""

    def objective(weights: Weights, batch: Batch) -> Tensor:
        return wrap(inner, weights, batch, settings)

    return objective
