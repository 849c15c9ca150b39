"""Several modules of one form, run as lanes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.surgery.binding import binding_of
from ablate.surgery.layout import innermost
from ablate.surgery.stacked import stacked


def run(several: list[nn.Module], x: Tensor, seed: int) -> list[Tensor]:
    """The output on stacked tensors, and the gradients of a random function of it in x and all parameters."""
    module = several[0]
    state = {
        own: torch.stack([binding_of(one).held()[own].detach() for one in several])
        for own in binding_of(module).places
    }
    weights = [state[own].requires_grad_() for own, _ in module.named_parameters()]
    x = (innermost(x) if x.ndim == 5 else x).detach().requires_grad_()
    before = binding_of(module).put(state)
    try:
        y = stacked(module, x)
    finally:
        binding_of(module).put(before)
    slope = torch.randn(y.shape[1:], generator=torch.Generator().manual_seed(seed))
    gradients = torch.autograd.grad((y * slope).sum(), [x, *weights], allow_unused=True)
    return [y, *(gradient for gradient in gradients if gradient is not None)]
