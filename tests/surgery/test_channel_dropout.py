"""torch's dropout of whole channels, drawn by counter: what it computes, and that lanes share a step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ablate.catalogue.registry import registry
from ablate.kernels.lower import KERNELS
from ablate.lanes.context import TaskContext
from ablate.lanes.self_check import by_kernel, first_difference, plain, self_checked
from ablate.surgery.layers import ChannelDropout
from ablate.surgery.net import open_net
from ablate.tasks.task import Task
from tests.sweep import sweep

CPU = torch.device("cpu")


class Residual(nn.Module):
    """A block with batch norm and `nn.Dropout2d`, as people write it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout2d(0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.drop(self.norm(self.conv(x))))


def model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), Residual(6), Residual(6), nn.AvgPool2d(6), nn.Flatten(), nn.Dropout(0.2), nn.Linear(6, 3)
    )  # fmt: skip


@pytest.fixture(scope="module")
def context() -> TaskContext:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(120, 1, 6, 6, generator=draw)
    task = Task(model=model, train=(x, torch.arange(120) % 3), epochs=2, batch_size=16, kind="image")
    return TaskContext.of(task, registry(), CPU)


@sweep("seed", range(100))
def test_each_channel_is_kept_whole_or_zero(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    dims, p = 1 + seed % 3, (0.1, 0.3, 0.5, 0.9, 0.0)[seed % 5]
    x = torch.randn(7, 5, *torch.randint(1, 5, (dims,), generator=draw).tolist(), generator=draw) + 3.0
    layer = ChannelDropout(p, f"layer {seed}")
    layer.key.fill_(seed)
    x.requires_grad_()
    y = layer(x)
    factor = (y / x).flatten(2).double()
    assert torch.allclose(factor, factor[..., :1].expand_as(factor))
    kept = factor[..., 0] > 0
    assert torch.allclose(factor[..., 0], kept.double() / (1 - p))
    y.sum().backward()
    assert torch.allclose(x.grad.flatten(2).double(), factor)
    assert torch.equal(layer.eval()(x), x)


def test_channels_are_dropped_with_their_probability_and_anew_with_each_key() -> None:
    x = torch.ones(200, 50, 2)
    layers = [ChannelDropout(0.3, "layer") for _ in range(2)]
    layers[1].key.fill_(1)
    first, second = (layer(x)[..., 0] > 0 for layer in layers)
    n = first.numel()
    assert abs(float(first.double().mean()) - 0.7) < 4 * (0.3 * 0.7 / n) ** 0.5
    assert abs(float((first == second).double().mean()) - 0.58) < 4 * (0.58 * 0.42 / n) ** 0.5


def test_a_network_with_channel_dropout_has_lanes(context: TaskContext) -> None:
    assert not context.solo
    assert not self_checked(context)[1]


@pytest.mark.parametrize("kernel", ["loop", "vmap", "batched", "compiled"])
def test_every_kernel_trains_it_as_a_plain_loop_does(context: TaskContext, kernel: str) -> None:
    assert kernel in KERNELS
    seeds = [0, 1]
    for seed, results in zip(seeds, by_kernel(context.with_kernel(kernel), seeds), strict=True):
        expected = plain(context, seed)
        assert not first_difference(results, expected)


@pytest.mark.parametrize(("layer", "shape"), [(nn.Dropout1d(0.2), (2, 8)), (nn.Dropout2d(0.2), (2, 3, 4)), (nn.AlphaDropout(0.2), (2, 8))])  # fmt: skip
def test_what_torch_draws_in_another_way_stays_torchs(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """`[B, C]` is one example of B channels to `nn.Dropout1d`."""
    with pytest.warns(UserWarning, match="dropout2d") if isinstance(layer, nn.Dropout2d) else torch.no_grad():
        net = open_net(nn.Sequential(layer, nn.Flatten()), torch.randn(*shape))
    assert type(net.module[0]) is type(layer)
