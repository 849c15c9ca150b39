"""Models as people write them, with a `forward` of their own: every lane is what it is alone, whatever the kernel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.kernels.lower import KERNELS
from ablate.lanes.context import TaskContext
from ablate.lanes.trainer import Trainer
from ablate.records.errors import NotApplicable
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.tasks.task import Task

pytestmark = pytest.mark.filterwarnings(
    "ignore:There is a performance drop"
)  # torch's, of adaptive pooling under vmap
CATALOGUE = registry()
RECIPES = (
    {"momentum": {"lr": 0.02}},
    {"adam": {"lr": 0.003}, "dropout": {"p": 0.2}},
    {"momentum": {"lr": 0.02}, "batch_norm": {}, "activation": {"kind": "gelu"}},
    {"adam": {"lr": 0.002}, "group_norm": {}},
    {"momentum": {"lr": 0.01}, "label_smoothing": {}},
)


class Excite(nn.Module):
    """Squeeze and excitation: the mean of each map, two layers, a sigmoid gate a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, 4)
        self.excite = nn.Linear(4, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


class Inverted(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.expand = nn.Conv2d(channels, wide, 1, bias=False)
        self.first = nn.BatchNorm2d(wide)
        self.depth = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
        self.second = nn.BatchNorm2d(wide)
        self.gate = Excite(wide)
        self.project = nn.Conv2d(wide, channels, 1, bias=False)
        self.third = nn.BatchNorm2d(channels)
        self.act = nn.Hardswish()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.first(self.expand(x)))
        y = self.gate(self.act(self.second(self.depth(y))))
        return x + self.third(self.project(y))


class Mobile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, 2, 1)
        self.layers = nn.ModuleList([Inverted(8), Inverted(8)])
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Unet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.out = nn.Conv2d(16, 4, 3, padding=1)
        self.head = nn.Linear(256, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.down(x))
        second = F.relu(self.deep(F.max_pool2d(first, 2)))
        return self.head(torch.flatten(self.out(torch.cat((first, self.up(second)), 1)), 1))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.norm = nn.LayerNorm(16)
        self.tokens = nn.Linear(8, 8)
        self.channels = nn.Linear(16, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.squeeze(1))
        x = x + F.gelu(self.tokens(self.norm(x).transpose(1, 2))).transpose(1, 2)
        x = x + F.gelu(self.channels(self.norm(x)))
        return self.head(x.mean(dim=1))


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.squeeze(1)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1)
        return self.head(F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))[:, 0])


class Recurrent(nn.Module):
    """One layer three times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64)
        self.head = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for _ in range(3):
            x = x + torch.tanh(self.layer(x))
        return self.head(x)


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(64, 4)
        self.experts = nn.Parameter(0.1 * torch.randn(4, 64, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        x = (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-5)
        return torch.einsum("bk,bi,kio->bo", F.softmax(self.gate(x), -1), x, self.experts)


class Asserting(nn.Module):
    """Looks at its shapes, which a trace does not know; in-place activation, a gain of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.gain = nn.Parameter(torch.tensor(0.1))
        self.head = nn.Linear(128, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        x = F.avg_pool2d(x + self.gain * self.second(x), 2)
        n, c, h, w = x.size()
        assert c == 8
        return self.head(x.reshape(n, c * h * w))


KERNEL = {
    Mobile: "compiled", Mixer: "compiled", Attending: "compiled", Recurrent: "compiled", Experts: "compiled", Unet: "compiled",
    Asserting: "loop",
}  # fmt: skip


def by_kernel() -> list[Any]:
    """(model, kernel): the kernel that is chosen for the model and another one, in turn; `make validate` runs the others."""
    cases = []
    for i, (model, chosen) in enumerate(KERNEL.items()):
        others = [kernel for kernel in KERNELS if kernel != chosen]
        second = others[i % len(others)]
        cases += [
            pytest.param(model, kernel, marks=[] if kernel in (chosen, second) else [pytest.mark.slow_oracle])
            for kernel in KERNELS
        ]
    return cases


def context_of(model: type[nn.Module]) -> TaskContext:
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(301, 1, 8, 8, generator=draw), torch.randint(0, 3, (301,), generator=draw)
    task = Task(model, (x, y), name=model.__name__.lower(), batch_size=20, epochs=2)
    return TaskContext.of(task, CATALOGUE, torch.device("cpu"))


def trained(context: TaskContext, runs: list[Run]) -> Tensor:
    trainer = Trainer(context, runs)
    for _ in range(4):
        trainer.step()
    return trainer.predict("validation")


def runs_of(context: TaskContext) -> list[Run]:
    """A run of each recipe that finds something to act on in the model."""
    runs = []
    for seed, recipe in enumerate(RECIPES):
        run = Run(context.task.name, Recipe.of(CATALOGUE, recipe), seed, 2)
        try:
            Trainer(context, [run])
        except NotApplicable:
            continue
        runs.append(run)
    return runs


@pytest.mark.parametrize("model", KERNEL)
def test_the_kernel_that_is_chosen(model: type[nn.Module]):
    assert context_of(model).kernel == KERNEL[model]


@pytest.mark.parametrize(("model", "kernel"), by_kernel())
def test_a_lane_is_what_it_is_alone(model: type[nn.Module], kernel: str):
    context = context_of(model).with_kernel(kernel)
    runs = runs_of(context)
    assert len(runs) >= 2
    together = trained(context, runs)
    for lane, run in enumerate(runs):
        assert torch.equal(trained(context, [run])[0], together[lane]), run.recipe


@pytest.mark.parametrize("model", KERNEL)
def test_kernels_agree_to_rounding(model: type[nn.Module]):
    context = context_of(model)
    runs = runs_of(context)
    first, *others = (trained(context.with_kernel(kernel), runs) for kernel in KERNELS)
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-3, atol=1e-4)
