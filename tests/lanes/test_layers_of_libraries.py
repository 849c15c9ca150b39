"""Layers as libraries write them: fused paths that read a layer's weights, and subclasses of torch's layers with another `forward`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.trainer import Trainer
from ablate.records.errors import NotApplicable
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.tasks.task import Task

CPU, CATALOGUE = torch.device("cpu"), registry()
Make = Callable[[], nn.Module]


def trained(
    model: Make, shape: tuple[int, ...], kernel: str | None = None, **tricks: dict[str, object]
) -> Trainer:
    """One lane of a model after an epoch on random data."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(48, *shape, generator=draw), torch.randint(3, (48,), generator=draw)
    task = Task(model, (x[:32], y[:32]), (x[32:], y[32:]), False, name="task", batch_size=16)
    recipe = Recipe.of(CATALOGUE, {"momentum": {"lr": 0.05}, **tricks})
    trainer = Trainer(TaskContext.of(task, CATALOGUE, CPU, kernel), [Run("task", recipe, 0, 1)])
    for _ in range(trainer.order.steps_per_epoch):
        trainer.step()
    return trainer


class Encoder(nn.Module):
    """torch's encoder, whose fused path in evaluation reads the weights of its norms and linear layers."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.embed, self.encoder, self.head = (
            nn.Linear(4, 16),
            nn.TransformerEncoder(layer, 2),
            nn.Linear(16, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x)).mean(1))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("trick", ["", "batch_norm", "group_norm", "weight_norm"])
def test_what_is_scored_is_the_trained_module(
    trick: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trained(Encoder, (4, 4), **({trick: {}} if trick else {}))
    scored, module = trainer.predict("validation")[0], trainer.model(0).eval()
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fused)
    try:
        with torch.no_grad():
            alone = module(trainer.context.task.validation.x)
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    torch.testing.assert_close(alone, scored, rtol=1e-4, atol=1e-5)


class NormAct(nn.BatchNorm2d):
    """Batch norm and its rectifier in one layer."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(super().forward(x))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of `[B, C, H, W]`."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Masked(nn.Linear):
    """A linear layer of which half the weights are taken out by a fixed mask."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("mask", (torch.arange(inputs * outputs).view(outputs, inputs) % 2).float())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class AlwaysDropout(nn.Dropout):
    """Dropout that stays on in evaluation (Monte Carlo dropout)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, training=True)


def maps(norm: Make) -> Make:
    return lambda: nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        norm(),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


@pytest.mark.parametrize("norm", [lambda: NormAct(6), lambda: ChannelNorm(6)])
def test_a_norm_with_a_forward_of_its_own_is_not_swapped(norm: Make) -> None:
    with pytest.raises(NotApplicable, match="out of reach"):
        trained(maps(norm), (1, 8, 8), group_norm={"groups": 2})


@pytest.mark.parametrize("kernel", ["loop", "batched"])
@pytest.mark.parametrize("tricks", [{}, {"batch_norm": {}}])
def test_masked_weights_stay_where_they_are(kernel: str, tricks: dict[str, dict[str, object]]) -> None:
    def model() -> nn.Module:
        return nn.Sequential(Masked(16, 32), nn.ReLU(), nn.Linear(32, 3))

    trainer = trained(model, (16,), kernel, **tricks)
    fresh = Trainer(trainer.context, [trainer.group.runs[0]]).model(0)
    name = next(name for name, tensor in fresh.named_parameters() if tensor.shape == (32, 16))
    moved = (trainer.model(0).get_parameter(name) - fresh.get_parameter(name)).detach().abs()
    mask = Masked(16, 32).mask
    assert float((moved * (1 - mask)).max()) == 0.0
    assert float((moved * mask).max()) > 0.0


def test_a_dropout_that_stays_on_draws_in_evaluation() -> None:
    trainer = trained(lambda: nn.Sequential(nn.Linear(16, 32), AlwaysDropout(0.5), nn.Linear(32, 3)), (16,))
    module, x = trainer.model(0).eval(), torch.randn(4, 16)
    assert not torch.equal(module(x), module(x))
