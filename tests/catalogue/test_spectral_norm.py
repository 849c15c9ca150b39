"""Spectral normalisation against `torch.nn.utils.parametrizations.spectral_norm`, step by step.

torch begins a power iteration with u ← W v, the paper with v ← Wᵀu: the paper's on W is torch's on Wᵀ.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from model_cases import MODELS, inputs, operated
from sweep import sweep
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ablate.catalogue.model.spectral_norm import model
from ablate.surgery.adversarial_pair import AdversarialPair
from ablate.surgery.net import Net, open_net
from ablate.surgery.spectral_norm import SpectralNorm


def both(seed: int) -> tuple[SpectralNorm, nn.Linear, torch.Tensor]:
    """Mine and torch's of the transposed weight with the same singular vectors, float64; the weight."""
    generator = torch.Generator().manual_seed(seed)
    shape = torch.randint(2, 9, (2,), generator=generator).tolist()
    weight = torch.randn(*shape, generator=generator, dtype=torch.float64) * (1 + seed % 7)
    mine = SpectralNorm(True, weight.float(), torch.Generator().manual_seed(seed)).double()
    layer = nn.Linear(shape[0], shape[1], bias=False, dtype=torch.float64)
    layer.weight.data.copy_(weight.t())
    spectral_norm(layer)
    torchs = layer.parametrizations.weight[0]  # type: ignore[union-attr, index]
    for vector, other in ((mine.u, torchs._v), (mine.v, torchs._u)):
        start = torch.randn(vector.shape, generator=generator, dtype=torch.float64)
        for buffer in (vector, other):
            buffer.copy_(start / start.norm())
    return mine, layer, weight


@sweep("seed", range(100))
def test_weights_gradients_and_vectors_are_torchs(seed: int) -> None:
    mine, layer, weight = both(seed)
    slope = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    original = layer.parametrizations.weight.original  # type: ignore[union-attr]
    for training in (True, True, False):
        mine.train(training)
        layer.train(training)
        leaf = weight.clone().requires_grad_()
        normed = mine(leaf)
        expected = layer.weight.t()
        torch.testing.assert_close(normed, expected, rtol=1e-10, atol=1e-12)
        (gradient,) = torch.autograd.grad((normed * slope).sum(), leaf)
        (other,) = torch.autograd.grad((expected * slope).sum(), original)
        torch.testing.assert_close(gradient, other.t(), rtol=1e-9, atol=1e-11)


def test_it_begins_near_the_largest_singular_value_of_a_kernel_as_a_matrix() -> None:
    weight = torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    norm = SpectralNorm(True, weight, torch.Generator().manual_seed(1)).eval()
    largest = torch.linalg.svdvals(norm(weight).detach().flatten(1))[0]
    assert largest.item() == pytest.approx(1, abs=0.02)


def test_switched_off_it_is_the_model() -> None:
    torch.manual_seed(0)
    plain, x = MODELS["cnn"][0](), inputs("cnn", 4)
    assert torch.equal(operated("spectral_norm", "cnn", on=False).module(x), plain(x))
    assert operated("spectral_norm", "cnn").touched["spectral_norm"] == 3


class Doubled(nn.Linear):
    """A layer with a `forward` of the user's own, which knows what its weights mean."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class OfRows(AdversarialPair):
    """An adversarial pair whose example is one tensor: two columns of data, three of the latent vector."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(x[:, :2], x[:, 2:])


def acted_on(net: Net) -> list[str]:
    model(net, SimpleNamespace(on=True, generator=torch.Generator().manual_seed(0)))
    return [info.path for info, site in net.sites() if len(site.weight_transforms)]


def test_layers_of_the_users_own_are_left() -> None:
    module = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), Doubled(5, 5), nn.ReLU(), nn.Linear(5, 2))
    net = open_net(module, torch.zeros(2, 4))
    assert [info.path for info in net.hidden()] == ["0", "2"]
    assert acted_on(net) == ["0"]


def test_in_an_adversarial_pair_it_bounds_the_critic_only() -> None:
    generator = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    critic = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    assert acted_on(open_net(OfRows(generator, critic), torch.randn(2, 5))) == ["critic.0", "critic.2"]
