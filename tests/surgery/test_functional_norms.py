"""Norm modules that a user writes around a function: torch's layers, which tricks and kernels know."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.lanes.build import build_module
from ablate.surgery.functional_norms import make_norm_layers
from ablate.surgery.observe import observe

ROWS = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))


class Norm(nn.Module):
    """As in much code for language models: torch's layer with an optional bias."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(8))
        self.bias = nn.Parameter(torch.rand(8)) if bias else None

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.weight.shape, self.weight, self.bias, 1e-3)


class RMS(Norm):
    def __init__(self) -> None:
        super().__init__(bias=False)
        self.size = 8

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (self.size,), weight=self.weight)


class Groups(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, 2, self.weight, self.bias)


@pytest.mark.parametrize(("make", "kind"), [
    (Norm, nn.LayerNorm), (lambda: Norm(bias=False), nn.LayerNorm), (RMS, nn.RMSNorm), (Groups, nn.GroupNorm),
])  # fmt: skip
def test_they_become_torchs_layers_with_their_parameters(
    make: Callable[[], nn.Module], kind: type[nn.Module]
) -> None:
    users = nn.Sequential(nn.Linear(8, 8), make(), nn.Linear(8, 3))
    ours = copy.deepcopy(users)
    parameters = list(ours.parameters())
    make_norm_layers(ours)
    assert type(ours[1]) is kind
    assert list(ours.parameters()) == parameters
    assert users.state_dict().keys() == ours.state_dict().keys()
    results = []
    for module in (users, ours):
        module(ROWS).square().sum().backward()
        results.append([module(ROWS), *(parameter.grad for parameter in module.parameters())])
    assert all(map(torch.equal, *results))
    assert "8" in ours[1].extra_repr()
    assert torch.equal(copy.deepcopy(ours)(ROWS), users(ROWS))


class Scaled(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * F.layer_norm(x, (8,), self.weight, self.bias)


class Crossed(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (8,), self.bias, self.weight)


class Unused(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (8,), self.weight)


class Wide(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[1:], self.weight, self.bias)


class Counting(Norm):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return F.layer_norm(x, (8,), self.weight, self.bias)


class Hand(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (8,)) * self.weight + self.bias


@pytest.mark.parametrize("make", [Scaled, Crossed, Unused, Wide, Counting, Hand])
def test_what_does_something_else_is_left_alone(make: type[Norm]) -> None:
    module = make()
    make_norm_layers(module)
    assert type(module) is make


def test_tricks_find_them() -> None:
    module = build_module(lambda: nn.Sequential(nn.Linear(8, 8), Norm(), nn.Linear(8, 3)), 0, ROWS)
    observed = observe(module, ROWS)
    assert [info.kind for info in observed.layer_infos] == [nn.Linear, nn.LayerNorm, nn.Linear]
    assert observed.out_of_reach == {}
