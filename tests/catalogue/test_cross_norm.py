"""CrossNorm against loops over examples and channels in NumPy; its draws."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from model_cases import assert_lanes_equal_alone, operated, scaled_input
from sweep import sweep
from torch import nn

from ablate.catalogue.model.cross_norm import CrossNorm, exchanged, model
from ablate.surgery.net import open_net


def by_hand(x: np.ndarray, other: np.ndarray) -> np.ndarray:
    y = np.empty_like(x)
    for a, b in enumerate(other):
        for c in range(x.shape[1]):
            mine, theirs = x[a, c], x[b, c]
            sigma_a, sigma_b = (np.sqrt(values.var(ddof=1) + 1e-5) for values in (mine, theirs))
            y[a, c] = sigma_b * (mine - mine.mean()) / sigma_a + theirs.mean()
    return y


@sweep("seed", range(100))
def test_statistics_are_exchanged(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = (int(random.integers(2, 6)), int(random.integers(1, 5)), int(random.integers(2, 12)))
    x, other = scaled_input(shape, seed), random.permutation(shape[0])
    torch.testing.assert_close(
        exchanged(x, torch.from_numpy(other)), torch.from_numpy(by_hand(x.numpy(), other))
    )
    if seed < 10:
        small = x.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda value: exchanged(value, torch.from_numpy(other)), small)


def test_a_share_p_of_the_examples_takes_part_and_none_in_evaluation() -> None:
    x = torch.randn(4000, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    for p in (0.0, 0.3, 1.0):
        layer = CrossNorm(p, "a place")
        changed = (layer(x) != x).flatten(1).any(dim=1).float().mean().item()
        assert changed == pytest.approx(p, abs=0.03)
    assert layer.eval()(x) is x


def test_the_exchange_is_a_permutation_of_the_batch() -> None:
    x = torch.randn(50, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    means = CrossNorm(1.0, "a place")(x).mean(dim=(1, 2, 3))
    torch.testing.assert_close(means.sort().values, x.mean(dim=(1, 2, 3)).sort().values)
    assert not torch.allclose(means, x.mean(dim=(1, 2, 3)))


def test_it_stands_after_each_convolution_whose_maps_have_more_than_one_place() -> None:
    assert operated("cross_norm", "cnn").touched["cross_norm"] == 2
    for height, width, expected in ((3, 3, 0), (3, 4, 1), (4, 3, 1)):
        module = nn.Sequential(nn.Conv2d(1, 4, (3, 3)), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
        net = open_net(module, torch.zeros(2, 1, height, width))
        model(net, SimpleNamespace(on=True, p=0.5))
        assert net.touched.get("cross_norm", 0) == expected
    module = nn.Sequential(
        nn.Unflatten(1, (4, 2)), nn.Linear(2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)
    )
    net = open_net(module, torch.zeros(2, 8))
    model(net, SimpleNamespace(on=True, p=0.5))
    assert not net.touched.get("cross_norm", 0), "no convolution"


@pytest.mark.parametrize("kernel", ["batched", "vmap"])
def test_a_lanes_draws_do_not_depend_on_the_lanes_before_it(kernel: str) -> None:
    assert_lanes_equal_alone(
        "cnn",
        [{"cross_norm": {"p": 0.2}}, {}, {"cross_norm": {"p": 0.9}}, {"cross_norm": {"p": 0.5}}],
        kernel,
    )
