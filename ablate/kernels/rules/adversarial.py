"""`FreshLatent` and `ConstantCritic`: a generator and a critic of all lanes at once."""

from __future__ import annotations

from torch import Tensor

from ablate.kernels.functional_math import by_vector_blocks
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.registry import register_stacked
from ablate.kernels.stacked import stacked
from ablate.seams.draws import lane_bits, to_uniform
from ablate.surgery.adversarial_pair import ConstantCritic, FreshLatent, normal


@register_stacked(FreshLatent)
def fresh_latent(layer: FreshLatent, latent: Tensor) -> Tensor:
    """Stacked rule of latent vectors `[K, B, L]`."""
    if not layer.training:
        return latent
    draws = to_uniform(lane_bits(layer.draw_key(), (2, *latent.shape[1:])))
    return by_vector_blocks(normal, *draws.unbind(1))


@register_stacked(ConstantCritic)
def constant_critic(layer: ConstantCritic, x: Tensor) -> Tensor:
    """Stacked rule of the critic with constant weights."""
    binding = binding_of(layer.critic)
    constants = {slot: tensor.detach() for slot, tensor in binding.tensors().items() if tensor.requires_grad}
    with binding.bound(constants):
        return stacked(layer.critic, x)
