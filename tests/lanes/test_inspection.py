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
from ablate.records.errors import InputError
from ablate.tasks.models import convnet
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
    signal = signal_scales(context)
    assert signal.examples == 30
    assert signal.verdict == "healthy"
    scales = list(signal.scales.values())
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


def of_images(make: Callable[[], nn.Module]) -> TaskContext:
    """36 images of 64 × 64."""
    x, y = torch.randn(36, 3, 64, 64, generator=torch.Generator().manual_seed(1)), torch.arange(36) % 2
    task = Task(make, (x, y), (x, y), False, name="images", epochs=1, batch_size=36)
    return TaskContext.of(task, registry(), torch.device("cpu"))


def pyramid(activation: Callable[[], nn.Module], gain: float) -> Callable[[], nn.Module]:
    """Nine convolutions in three stages, each half the size of the one before, initialised as by He et al. times `gain`."""

    def make() -> nn.Module:
        layers: list[nn.Module] = []
        for before, width in ((3, 8), (8, 16), (16, 32)):
            for inputs in (before, width, width):
                convolution = nn.Conv2d(inputs, width, 3, padding=1)
                nn.init.normal_(convolution.weight, std=gain * (2 / (inputs * 9)) ** 0.5)
                layers += [convolution, activation()]
            layers.append(nn.MaxPool2d(2))
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2))

    return make


@pytest.mark.parametrize(
    ("make", "verdict"),
    [
        (lambda: convnet((3, 64, 64), (16, 32, 32), 2, 2), "healthy"),
        (pyramid(nn.ReLU, 1.0), "healthy"),
        (pyramid(nn.Sigmoid, 1.0), "vanishing gradients"),
        (pyramid(nn.ReLU, 6.0), "exploding gradients"),
    ],
)
def test_the_size_of_a_map_is_no_vanishing_gradient(make: Callable[[], nn.Module], verdict: str) -> None:
    assert signal_scales(of_images(make)).verdict.startswith(verdict)


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

    document = json.loads(json.dumps(inspection(context_of(make))))
    assert document["parameters"] == 12 * 8 + 8 + 16 + 8 * 3 + 3
    assert document["multiply_adds"] == 12 * 8 + 8 * 3
    assert [layer["kind"] for layer in document["layers"]] == ["Linear", "LayerNorm", "GELU", "Dropout", "Linear"]  # fmt: skip
    assert document["held"]["text"] == "1 LayerNorm, 1 Dropout, 1 GELU"
    assert document["tricks"]["remove_norm"]["text"] == "1 of 1"
    assert document["tricks"]["layer_norm"]["why_not"] == "the model has 1 LayerNorm already"
    assert document["tricks"]["sgd"]["why_not"] == ""
    assert document["tricks"]["amp"]["why_not"] == ""


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(4 * 144, 3),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("trick", "path", "kind", "output", "field", "parameters"),
    [
        ("depthwise_separable", "3.layer", "DepthwiseSeparable", [4, 12, 12], [4, 4], 4 * 9 + 4 * 4 + 4),
        (
            "deformable_conv",
            "3.layer",
            "DeformableConv",
            [4, 12, 12],
            [4, 4],
            4 * 4 * 9 + 4 + 18 * 4 * 9 + 18,
        ),
        ("transposed_conv", "2", "Upsampling", [4, 12, 12], [4, 4], 4 * 4 * 16 + 4),
        ("self_attention", "3.after.0", "SelfAttention", [4, 12, 12], [6, 6], None),
        ("acnet", "3", "Conv2d + AsymmetricKernels", [4, 12, 12], [4, 4], 4 * 4 * 9 + 4 + 2 * 4 * 4 * 3),
    ],
)
def test_layers_of_tricks_have_a_row(
    trick: str, path: str, kind: str, output: list[int], field: list[int], parameters: int | None
) -> None:
    """Fields on a map of 6 by 6 that is doubled: three columns of the doubled map are two of the given one, and the first kernel sees one more on each side."""
    x, y = torch.randn(12, 1, 6, 6, generator=torch.Generator().manual_seed(1)), torch.arange(12) % 3
    task = Task(convolutions, (x, y), (x, y), False, name="maps", kind="image", epochs=1, batch_size=6)
    document = inspection(TaskContext.of(task, registry(), torch.device("cpu")), [trick])
    row = next(layer for layer in document["layers"] if layer["path"] == path)
    assert (row["kind"], list(row["output"]), list(row["receptive_field"])) == (kind, output, field)
    assert parameters is None or row["parameters"] == parameters
    assert document["with"] == [trick]


def test_only_tricks_of_the_model_are_shown() -> None:
    context = context_of(lambda: nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)))
    with pytest.raises(InputError, match="'cosine' does not change the model"):
        inspection(context, ["cosine"])
    with pytest.raises(InputError, match="unknown trick 'acnett'"):
        inspection(context, ["acnett"])
    with pytest.raises(InputError, match="'acnet' does not apply"):
        inspection(context, ["acnet"])
