"""Squeeze and excitation against layers of torch."""

from __future__ import annotations

import torch
from model_cases import MODELS, assert_same_function, inputs, operated, random_shape, randomised, scaled_input
from torch import Generator, Tensor, nn

from ablate.catalogue.model.squeeze_excitation import SqueezeExcitation


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
