"""Scales and verdicts at initialisation, and the document of `ablate inspect`."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import nn

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.inspection import inspection
from ablate.lanes.signal_scales import Scale, problems_of, signal_scales
from ablate.tasks.task import Task


def context_of(make: Callable[[], nn.Module]) -> TaskContext:
    x, y = torch.randn(90, 12, generator=torch.Generator().manual_seed(1)), torch.arange(90) % 3
    task = Task(make, (x[:60], y[:60]), (x[60:], y[60:]), False, name="scales", epochs=1, batch_size=30)
    return TaskContext.of(task, registry(), torch.device("cpu"))


def deep(scale: float, activation: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Eight hidden layers whose weights are `scale` times those of a stable network."""

    def make() -> nn.Module:
        layers: list[nn.Module] = []
        for width in [12] + [32] * 7:
            layer = nn.Linear(width, 32)
            nn.init.normal_(layer.weight, std=scale * (2 / width) ** 0.5)
            layers += [layer, activation()]
        return nn.Sequential(*layers, nn.Linear(32, 3))

    return make


def test_scales_are_those_of_a_plain_backward_pass() -> None:
    context = context_of(deep(1.0, nn.ReLU))
    found = signal_scales(context)
    assert found.examples == 30
    assert found.verdict == "healthy"
    scales = list(found.scales.values())
    assert [scale.path for scale in scales] == [str(i) for i in range(17)]
    first = scales[0]
    assert first.activation == pytest.approx(2**0.5, rel=0.2), "var of W x is 2 for unit inputs"
    assert all(scale.gradient > 0 for scale in scales)
    assert all((scale.dead is not None) == (i % 2 == 1) for i, scale in enumerate(scales))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (deep(0.2, nn.ReLU), "vanishing gradients"),
        (deep(4.0, nn.ReLU), "exploding gradients"),
        (deep(1.0, nn.Sigmoid), "vanishing gradients"),
        (lambda: nn.Sequential(Shifted(12, 8), nn.ReLU(), nn.Linear(8, 3)), "dead units: 100% at '1'"),
    ],
)
def test_planted_faults_are_named(make: Callable[[], nn.Module], what: str) -> None:
    assert what in signal_scales(context_of(make)).verdict


class Shifted(nn.Linear):
    """A layer whose outputs all are far below zero."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        nn.init.constant_(self.bias, -100.0)


def test_numbers_that_are_not_finite_come_first() -> None:
    scales = [Scale("a", True, 1.0, 1.0), Scale("b", True, float("inf"), 1.0)]
    assert problems_of(scales) == ["not finite: 'b'"]


def test_the_document_is_json_with_layers_contents_and_tricks() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(12, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.1), nn.Linear(8, 3))

    found = json.loads(json.dumps(inspection(context_of(make))))
    assert found["parameters"] == 12 * 8 + 8 + 16 + 8 * 3 + 3
    assert found["multiply_adds"] == 12 * 8 + 8 * 3
    assert [layer["kind"] for layer in found["layers"]] == ["Linear", "LayerNorm", "GELU", "Dropout", "Linear"]  # fmt: skip
    assert found["held"]["text"] == "1 LayerNorm, 1 Dropout, 1 GELU"
    assert found["tricks"]["remove_norm"]["text"] == "1 of 1"
    assert found["tricks"]["layer_norm"]["why_not"] == "the model has 1 LayerNorm already"
    assert found["tricks"]["sgd"]["why_not"] == ""
    assert found["tricks"]["amp"]["why_not"] == ""
