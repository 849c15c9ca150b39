"""RMS normalisation against `nn.RMSNorm`, in float64."""

from __future__ import annotations

import torch
from model_cases import MODELS, assert_same_function, inputs, operated, random_shape, randomised, scaled_input
from torch import Tensor, nn

from ablate.surgery.norms import RootMeanSquareNorm


class Reference(nn.Module):
    """`nn.RMSNorm` over all but the batch, its gain shared by the positions."""

    def __init__(self, shape: tuple[int, ...], eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape[1]))
        self.inner = nn.RMSNorm(shape[1:], eps=eps, elementwise_affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * self.weight[(slice(None), *[None] * (x.ndim - 2))]


def test_equal_to_torch() -> None:
    for case in range(100):
        shape, eps = random_shape(case, case % 4), 10.0 ** -(1 + case % 6)
        mine, reference = RootMeanSquareNorm(shape[1], eps), Reference(shape, eps)
        assert_same_function(
            randomised(mine, case), randomised(reference, case), scaled_input(shape, case), case
        )


def test_tokens_are_normalised_one_by_one() -> None:
    for case in range(20):
        shape = random_shape(case, 1)
        mine = randomised(RootMeanSquareNorm(shape[1], 1e-3, tokens=True), case)
        reference = randomised(nn.RMSNorm(shape[1], eps=1e-3), case)
        x = scaled_input(shape, case)
        torch.testing.assert_close(mine(x).movedim(1, -1), reference(x.movedim(1, -1)))


def test_every_hidden_layer_is_normalised_and_off_is_the_model() -> None:
    for name, count in (("cnn", 3), ("mlp", 3), ("own_norm", 2)):
        net = operated("rms_norm", name)
        assert net.touched["rms_norm"] == count
        torch.manual_seed(0)
        plain, x = MODELS[name][0](), inputs(name, 6)
        assert torch.equal(operated("rms_norm", name, on=False).module(x), plain(x))
        assert not torch.allclose(net.module(x), plain(x))
