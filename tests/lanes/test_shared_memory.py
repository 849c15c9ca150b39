"""Tensors of a model in one memory: parameters that others see are refused, buffers keep lanes apart if forward writes to them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from ablate.lanes.shared_memory import check_memory, in_memory_of_parameters, writes_shared_buffer
from ablate.records.errors import InputError


class Two(nn.Module):
    def __init__(self, change: Callable[[Two], object]) -> None:
        super().__init__()
        self.one, self.other = nn.BatchNorm1d(6), nn.BatchNorm1d(6)
        self.layer = nn.Linear(6, 6)
        change(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.one(x) + self.other(x))


def attribute(make: Callable[[Tensor], object]) -> Callable[[Two], object]:
    return lambda model: setattr(model, "own", make(model.layer.weight))


def slices(dim: int) -> Callable[[Two], None]:
    """Two parameters that are halves of one tensor: along dimension 1 they lie between each other, but nowhere together."""

    def change(model: Two) -> None:
        model.first, model.second = map(nn.Parameter, torch.randn(6, 6).chunk(2, dim))

    return change


def checked(change: Callable[[Two], object]) -> None:
    model = Two(change)
    before = in_memory_of_parameters(model)
    model(torch.randn(8, 6))
    check_memory(model, before)


SEEN = {
    "own": attribute(lambda weight: weight.detach()),
    "own in a list": attribute(lambda weight: [weight.data.t()[2:]]),
    "own as NumPy's": attribute(lambda weight: weight.detach().numpy()[::2]),
    "own of an object": attribute(lambda weight: SimpleNamespace(w=weight.data)),
    "own of a closure": attribute(lambda weight: (lambda w: lambda x: x @ w)(weight.detach())),
    "own with a gradient": attribute(lambda weight: weight.t()),
    "buffer": lambda model: model.register_buffer("own", model.layer.weight.detach()),
    "parameter": lambda model: model.register_parameter("own", nn.Parameter(model.layer.weight.data)),
}
UNSEEN = {
    "a copy": attribute(lambda weight: weight.detach().clone()),
    "the parameter": attribute(lambda weight: [weight]),
    "what a hook computes anew": lambda model: nn.utils.spectral_norm(model.layer),
    "computed": attribute(lambda weight: weight * 2),
    "slices": slices(0),
    "slices side by side": slices(1),
    "tied": lambda model: model.register_parameter("own", model.layer.weight),
    "frozen": lambda model: (model.requires_grad_(False), attribute(lambda weight: weight.data)(model)),
    "shared buffers": lambda model: setattr(model.other, "running_mean", model.one.running_mean),
}


@pytest.mark.parametrize("name", SEEN)
def test_what_would_no_longer_see_training_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"own.* lies in the memory of|lies in the memory of 'own'"):
        checked(SEEN[name])


@pytest.mark.parametrize("name", UNSEEN)
def test_other_memory_is_let_be(name: str) -> None:
    checked(UNSEEN[name])


def test_parameters_that_torch_cannot_train_are_refused() -> None:
    with pytest.raises(InputError, match="several elements of the model's 'own'"):
        checked(lambda model: setattr(model, "own", nn.Parameter(torch.ones(1).expand(6))))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda model: setattr(model.other, "running_mean", model.one.running_mean), "which is 'other.running_mean' too"),
        (lambda model: model.register_buffer("own", model.one.running_var[:3]), "too"),
        (lambda model: [layer.register_buffer("mask", mask) for mask in [torch.ones(3)] for layer in (model.one, model.other)], ""),
        (lambda model: None, ""),
    ],
)  # fmt: skip
def test_buffers_that_forward_writes_and_another_name_has_keep_lanes_apart(change, why: str) -> None:
    reason = writes_shared_buffer(Two(change).train(), torch.randn(8, 6))
    assert reason.endswith(why)
    assert bool(reason) == bool(why)
