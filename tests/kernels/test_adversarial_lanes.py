"""A generator and a critic by lanes: what each lane's own pair computes, gradients of both networks included, the same bits in any group."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from kernel_lanes import assert_each_lane_is_its_own_module, assert_same_alone_and_among_others
from torch import Tensor, nn

from ablate.kernels.stacked import is_covered
from ablate.kernels.support import why_not_vmap
from ablate.surgery.adversarial_pair import AdversarialPair, ConstantCritic

LATENT = 5


class Packed(AdversarialPair):
    """A pair whose inputs are the columns of one tensor, as a task packs them."""

    def forward(self, x: Tensor) -> Tensor:
        return AdversarialPair.forward(self, x[:, :2], x[:, 2:])


def models(count: int = 4, norm: bool = False) -> list[nn.Module]:
    torch.manual_seed(1)
    pairs = []
    for number in range(count):
        generator = nn.Sequential(nn.Linear(LATENT, 16), nn.ReLU(), nn.Linear(16, 2))
        inner = [nn.LayerNorm(16)] if norm else []
        pair = Packed(generator, nn.Sequential(nn.Linear(2, 16), *inner, nn.Tanh(), nn.Linear(16, 1)))
        pair.fresh_latent.key.fill_(1000 + number)
        pairs.append(pair)
    return pairs


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("batch", [64, 7])
def test_each_lane_is_its_own_pair(batch, norm):
    x = torch.randn(4, batch, 2 + LATENT, generator=torch.Generator().manual_seed(0))
    several = models(norm=norm)
    assert is_covered(several[0])
    assert not why_not_vmap(several[0], x[0])
    assert_each_lane_is_its_own_module(several, x)
    assert_same_alone_and_among_others(partial(models, norm=norm), x)


def test_a_constant_critic_is_the_one_that_the_pair_holds_now():
    pair = models(1)[0]
    assert [name for name, _ in pair.named_parameters() if name.startswith("constant_critic")] == []
    pair.critic = nn.Linear(2, 1)
    x = torch.randn(3, 2, requires_grad=True)
    scores = pair.constant_critic(x)
    assert torch.equal(scores, pair.critic(x))
    scores.sum().backward()
    assert x.grad is not None
    assert pair.critic.weight.grad is None
    assert isinstance(pair.constant_critic, ConstantCritic)
