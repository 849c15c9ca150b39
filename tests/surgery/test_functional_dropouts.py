"""Dropout functions in a user's `forward`: layers in their place that draw and compute the same."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.lanes.build import build_module
from ablate.protocol.batch_checks import strongest_dropout, without_dropout
from ablate.surgery.functional_activations import hidden_functions
from ablate.surgery.functional_dropouts import with_dropout_layers
from ablate.surgery.observe import observe

ROWS = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, p: float = 0.3) -> None:
        super().__init__()
        self.first, self.second, self.head, self.p = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3), p

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.drop(self.first(x)))
        h = F.alpha_dropout(torch.tanh(self.second(h)), p=0.2, training=self.training)
        return self.head(F.dropout(h, training=self.training, inplace=True))


class Channels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Conv2d(2, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(
            F.dropout2d(self.layer(x.reshape(-1, 2, 4, 4)), 0.4, training=self.training).mean((2, 3))
        )


class Outer(nn.Module):
    """The function is called in an inner block."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = Net(), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x))


@pytest.mark.parametrize(("make", "rows", "p"), [
    (Net, ROWS, [0.3, 0.2, 0.5]), (Channels, torch.randn(5, 32), [0.4]), (Outer, ROWS, [0.3, 0.2, 0.5]),
])  # fmt: skip
def test_layers_draw_and_compute_what_the_functions_do(
    make: type[nn.Module], rows: Tensor, p: list[float]
) -> None:
    users = make()
    ours = copy.deepcopy(users)
    with_dropout_layers(ours)
    for training in (True, False):
        results = []
        for module in (users.train(training), ours.train(training)):
            torch.manual_seed(1)
            module.zero_grad()
            module(rows).square().sum().backward()
            results.append([module(rows), *(parameter.grad for parameter in module.parameters())])
        assert all(map(torch.equal, *results))
    dropped = [layer.p for layer in ours.modules() if isinstance(layer, nn.modules.dropout._DropoutNd)]
    assert dropped == p
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in users.named_parameters()]
    with_dropout_layers(ours)  # which finds no more
    assert sum(isinstance(layer, nn.modules.dropout._DropoutNd) for layer in ours.modules()) == len(p)


class Monte(Net):
    """Drops in evaluation too."""

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.first(x)))


class Two(Net):
    """Does something else in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x) if self.training else self.second(x)
        return self.head(F.dropout(h, 0.1, self.training))


class Overwritten(Net):
    """The value that is written over is read again."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.head(F.dropout(h, 0.1, self.training, True) + h)


class Decaying(Net):
    """Its p changes with every call."""

    def forward(self, x: Tensor) -> Tensor:
        self.p *= 0.9
        return self.head(F.dropout(self.first(x), self.p, self.training))


class Inverse(Net):
    """Drops in evaluation alone."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout(self.first(x), 0.1, not self.training))


class Wrong(Net):
    """F.dropout refuses this p where it is called; so must it still."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout(self.first(x), 1.5, self.training))


@pytest.mark.parametrize("make", [Monte, Two, Overwritten, Decaying, Inverse, Wrong])
def test_what_no_layer_does_is_left_alone(make: type[Net]) -> None:
    module = make()
    with_dropout_layers(module)
    assert type(module) is make
    assert set(module._modules) == {"first", "second", "head"}
    assert module.p == 0.3


def test_models_are_built_with_the_layers_which_tricks_reach_and_functions_beside_them_too() -> None:
    module = build_module(Net, 0, ROWS)
    observed = observe(module, ROWS)
    kinds = [info.kind.__name__ for info in observed.layer_infos]
    assert (kinds.count("Dropout"), kinds.count("AlphaDropout")) == (2, 1)
    assert observed.out_of_reach_of("dropout") == {}
    assert hidden_functions(module, observed, observed.heads) == {"F.relu in Net": 1}


def test_lr_find_trains_without_them_where_it_over_fits() -> None:
    assert strongest_dropout(Net()) == 0.5
    assert strongest_dropout(without_dropout(Net)()) == 0.0
