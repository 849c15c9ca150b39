"""Receptive fields, multiply-adds and parameters, against plain loops over indices."""

from __future__ import annotations

import random
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from sweep import sweep
from torch import Tensor, nn

from ablate.surgery.layer_table import layer_table
from ablate.surgery.receptive_field import receptive_fields

SIDE = 40


def reached(layer: nn.Module, size: int, outputs: int) -> list[set[int]]:
    """For each output index of a layer along one dimension, the input indices that it reads: from the layers' definitions."""
    kernel, stride, padding, dilation = (_one(getattr(layer, name, 1)) for name in ("kernel_size", "stride", "padding", "dilation"))  # fmt: skip
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d):
        reads: list[set[int]] = [set() for _ in range(outputs)]
        for i, k in product(range(size), range(kernel)):
            if 0 <= (o := i * stride - padding + k * dilation) < outputs:
                reads[o].add(i)
        return reads
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        starts = [o * stride - padding for o in range(outputs)]
        return [
            {start + k * dilation for k in range(kernel) if 0 <= start + k * dilation < size}
            for start in starts
        ]
    return [{i} for i in range(size)]


def _one(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else value[0]


def expected_field(layers: nn.Sequential, size: int, sides: list[int]) -> list[int]:
    """After each layer, the largest extent of the input that one of the 8 outputs in the middle depends on."""
    known = [{i} for i in range(size)]
    extents = []
    for layer, side in zip(layers, sides, strict=True):
        reads = reached(layer, len(known), side)
        known = [set().union(*(known[i] for i in inputs)) for inputs in reads]
        middle = [max(0, min(side - 1, side // 2 - 4 + probe)) for probe in range(8)]
        extents.append(max((max(known[o]) - min(known[o]) + 1 for o in middle if known[o]), default=0))
    return extents


def random_layers(seed: int) -> nn.Sequential:
    rng = random.Random(seed)
    layers: list[nn.Module] = []
    for _ in range(rng.randint(2, 4)):
        kernel, stride, dilation = rng.randint(1, 4), rng.randint(1, 2), rng.randint(1, 2)
        padding = rng.randint(0, kernel // 2)
        layers.append(
            rng.choice(
                [
                    lambda k=kernel, s=stride, p=padding, d=dilation: nn.Conv2d(2, 2, k, s, p, d),
                    lambda k=kernel, s=stride, p=padding, d=dilation: nn.ConvTranspose2d(2, 2, k, s, p, dilation=d),
                    lambda k=kernel, s=stride, p=padding, d=dilation: nn.MaxPool2d(k, s, p, d),
                    lambda k=kernel, s=stride, p=padding: nn.AvgPool2d(k, s, p),
                ]
            )()
        )  # fmt: skip
        layers.append(rng.choice([nn.ReLU(), nn.BatchNorm2d(2), nn.GELU(), nn.Dropout(0.5), nn.Tanh()]))
    return nn.Sequential(*layers)


@sweep("seed", range(40))
def test_receptive_fields_are_the_index_sets(seed: int) -> None:
    layers = random_layers(seed)
    x = torch.randn(1, 2, SIDE, SIDE)
    sides, y = [], x
    for layer in layers.eval():
        y = layer(y)
        sides.append(y.shape[-1])
    fields = receptive_fields(layers, x)
    expected = expected_field(layers, SIDE, sides)
    assert [fields[str(i)] for i in range(len(layers))] == [(field, field) for field in expected]


class Residual(nn.Module):
    """A branch that looks further than the shortcut, functions for layers, and a zero-initialised norm."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far, self.norm = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3, padding=3, dilation=3), nn.BatchNorm2d(2)  # fmt: skip
        self.last = nn.Identity()
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.near(x) + self.norm(self.far(x)))
        return self.last(F.max_pool2d(x, 2))


def test_branches_and_functions_count() -> None:
    fields = receptive_fields(Residual(), torch.randn(1, 2, 24, 24))
    assert fields["near"] == (1, 1)
    assert fields["far"] == (7, 7)
    assert fields["last"] == (8, 8)
    assert receptive_fields(nn.Conv1d(2, 3, 5, stride=2), torch.randn(1, 2, 30))[""] == (5,)
    assert receptive_fields(nn.Linear(3, 3), torch.randn(1, 3)) == {}


def multiplications(layer: nn.Module, x: Tensor) -> int:
    """Counted one by one: each weight times each position at which it is used."""
    y = layer(x)
    if isinstance(layer, nn.Linear):
        return sum(1 for _ in product(range(y.numel()), range(layer.in_features)))
    kernel = [range(size) for size in layer.kernel_size]  # type: ignore[union-attr, arg-type]
    inputs, outputs, groups = layer.in_channels, layer.out_channels, layer.groups  # type: ignore[union-attr]
    places = x if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d) else y
    total = 0
    for group in range(groups):  # type: ignore[arg-type]
        mine = [c for c in range(inputs) if c * groups // inputs == group]  # type: ignore[arg-type, operator]
        theirs = [c for c in range(outputs) if c * groups // outputs == group]  # type: ignore[arg-type, operator]
        total += sum(1 for _ in product(mine, theirs, range(places[0, 0].numel()), *kernel))
    return total


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, dilation=2, groups=2), (4, 9, 8)),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 5, 5)),
        (nn.Conv1d(3, 5, 4), (3, 9)),
        (nn.Linear(4, 3), (5, 4)),
    ],
)
def test_multiply_adds_are_counted_exactly(layer: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(1, *shape)
    table = layer_table(nn.Sequential(layer), x, maps=False)
    assert table.multiply_adds == table.rows[0].multiply_adds == multiplications(layer, x)
    assert table.parameters == table.rows[0].parameters == sum(p.numel() for p in layer.parameters())


def test_attention_and_products_in_forward_count() -> None:
    class Products(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            y = self.attention(x, x, x, need_weights=False)[0]
            return y @ y.transpose(1, 2)

    tokens, width = 5, 6
    table = layer_table(Products(), torch.randn(1, tokens, width), maps=False)
    attention = 4 * tokens * width * width + 2 * tokens * tokens * width
    assert table.rows[0].multiply_adds == attention
    assert table.multiply_adds == attention + tokens * tokens * width


def test_shared_parameters_are_counted_once_and_the_module_stays_as_it_was() -> None:
    shared = nn.Linear(3, 3)
    module = nn.Sequential(shared, nn.BatchNorm1d(3), shared, nn.Dropout(0.5)).train()
    before, state = {k: v.clone() for k, v in module.state_dict().items()}, torch.get_rng_state()
    table = layer_table(module, torch.randn(1, 3, generator=torch.Generator()), maps=False)
    assert table.parameters == sum(row.parameters for row in table.rows) == 12 + 6
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert all(layer.training for layer in module.modules())
    assert torch.equal(state, torch.get_rng_state())
