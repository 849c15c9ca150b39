"""Adversarial inputs within a box: steps along the sign of the loss's gradient (Kurakin et al. 2016, Madry et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ablate.seams.batch import Batch

Loss = Callable[[Mapping[str, Tensor], Batch], Tensor]
"""(weights, batch) -> the loss of each lane `[K]`."""


def stepped(x: Tensor, centre: Tensor, gradient: Tensor, radius: Tensor, step: Tensor) -> Tensor:
    """A step of `step` along the gradient's sign, projected to the box of half side `radius` about `centre`."""
    moved = x + step * gradient.sign()
    return centre + (moved - centre).clamp(-radius, radius)


def climbed(
    loss: Loss,
    weights: Mapping[str, Tensor],
    batch: Batch,
    point: Tensor,
    radius: Tensor,
    step: Tensor,
    times: int,
) -> Tensor:
    """`point` after `steps` steps within the box about the batch's inputs; all `[K, B, …]`. A forward and a backward pass each."""
    for _ in range(times):
        leaf = point.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(weights, batch.replaced(x=leaf)).sum(), leaf)
        point = stepped(leaf.detach(), batch.x, gradient, radius, step)
    return point.detach()
