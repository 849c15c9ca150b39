"""Squeeze and excitation against layers of torch."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from model_cases import MODELS, assert_same_function, inputs, operated, random_shape, randomised, scaled_input
from torch import Generator, Tensor, nn

from ablate.catalogue.model.squeeze_excitation import SqueezeExcitation, model
from ablate.surgery.net import open_net


class Reference(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        scale = torch.sigmoid(self.second(torch.relu(self.first(squeezed))))
        return x * scale[:, :, None, None]


def test_equal_to_layers_of_torch() -> None:
    for case in range(100):
        shape = random_shape(case, 2)
        hidden = max(1, shape[1] // 2)
        mine = SqueezeExcitation(shape[1], hidden, Generator().manual_seed(case))
        reference = Reference(shape[1], hidden)
        x = scaled_input(shape, case)
        assert_same_function(randomised(mine, case), randomised(reference, case), x, case)


def test_every_channel_is_halved_at_first_and_off_is_the_model() -> None:
    x = torch.randn(3, 8, 4, 4)
    torch.testing.assert_close(SqueezeExcitation(8, 2, Generator().manual_seed(0))(x), x / 2)
    torch.manual_seed(0)
    plain, x = MODELS["cnn"][0](), inputs("cnn", 4)
    assert torch.equal(operated("squeeze_excitation", "cnn", on=False).module(x), plain(x))
    assert operated("squeeze_excitation", "cnn").touched["squeeze_excitation"] == 2


def test_the_first_layer_is_drawn_as_torch_draws_linear_layers() -> None:
    weight = SqueezeExcitation(64, 64, Generator().manual_seed(0)).squeeze  # uniform on ±1 / √64
    assert weight.abs().max().item() == pytest.approx(1 / 8, rel=0.01)
    assert weight.std().item() == pytest.approx(1 / 8 / 3**0.5, rel=0.03)
    assert abs(weight.mean().item()) < 0.005


@pytest.mark.parametrize(("reduction", "hidden"), [(2, 4), (3, 2), (8, 1), (16, 1)])
def test_eight_channels_are_squeezed_by_the_reduction(reduction: int, hidden: int) -> None:
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4 * 2, 2))
    net = open_net(module, torch.zeros(2, 1, 6, 4))
    model(net, SimpleNamespace(on=True, reduction=reduction, generator=Generator().manual_seed(0)))
    (branch,) = (m for m in net.module.modules() if isinstance(m, SqueezeExcitation))
    assert branch.squeeze.shape == (hidden, 8)
    assert branch.excite.shape == (8, hidden)
