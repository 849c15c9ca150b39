"""From model outputs to one loss per lane: the criterion seam, port by port."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from ablate.lanes.group import Group
from ablate.seams.batch import Batch
from ablate.seams.settings import Settings
from ablate.tasks.evaluation import Evaluation

Weights = Mapping[str, Tensor]
Loss = Callable[[Weights, Batch], Tensor]
"""(weights, batch) -> losses `[K]`."""


def share_right(evaluation: Evaluation, outputs: Tensor, target: Tensor) -> Tensor:
    """Accuracy on the batch, `[K]`; zero if undefined, as in regression."""
    hits = evaluation.hits(outputs, target)
    return outputs.new_zeros(len(outputs)) if hits is None else hits


def lane_losses(
    outputs: Tensor, batch: Batch, weights: Mapping[str, Tensor], group: Group, evaluation: Evaluation
) -> Tensor:
    """One loss per lane `[K]`: target -> logits -> per example -> weights -> mean -> mean loss -> + penalties.

    A custom loss may return the batch mean; tricks that change per-example losses do not apply to it.
    """
    target = batch.target
    for active, change in group.ports("target"):
        target = change(target, active.settings)
    for active, change in group.ports("logits"):
        outputs = change(outputs, target, active.settings)
    losses = evaluation.example_losses(outputs, target)
    for active, change in group.ports("example_loss"):
        changed = change(outputs, target, active.settings)
        losses = changed.where(active.settings.like("on", losses), losses)
    for active, change in group.ports("example_weight"):
        losses = losses * change(target, active.settings)
    mean = losses.mean(dim=1) if losses.ndim > 1 else losses
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
