"""Faults of the training set-up: loss, optimizer, decay, batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.faults import models
from bench.faults.case import Case, Module
from bench.faults.data import digits, made, numbers, perceptron

SUMMED = ("loss-summed",)


def summed(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="sum")


def summed_squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum()


def module(seed: int, **changes: object) -> Module:
    x, y, new, new_y = digits(seed)
    return Module({
        "model": perceptron(64, 10), "train_loader": (x, y), "validation_loader": (new, new_y), "epochs": 1,
        "rates": [1e-3, 1e-2], "optimizer": torch.optim.AdamW, **changes,
    })  # fmt: skip


def some(kept: Callable[[list[nn.Parameter]], list[nn.Parameter]]) -> Callable[..., torch.optim.Optimizer]:
    """An optimizer that is handed some of the parameters."""

    def make(parameters: Iterable[nn.Parameter], lr: float = 1e-3) -> torch.optim.Optimizer:
        return torch.optim.AdamW(kept(list(parameters)), lr=lr)

    return make


def detached() -> nn.Module:
    return models.Cut(lambda hidden: hidden.detach().relu())


TRAINING_FAULTS = (
    Case("loss summed", lambda seed: made(digits(seed), criterion="classification", loss=summed), SUMMED, (1,)),
    Case("loss summed, regression", lambda seed: made(numbers(seed), criterion="regression", loss=summed_squares), SUMMED, (1,)),
    Case("module: loss summed", lambda seed: module(seed, loss=summed), SUMMED, (1,)),
    Case("loss negated", lambda seed: made(digits(seed), criterion="classification", loss=lambda o, t: -F.cross_entropy(o, t)), ("loss-negative",), (1,)),
    Case("weight decay 1", lambda seed: made(digits(seed)), ("decay-too-strong",), (2,), baseline={"momentum": {}, "weight_decay": {"decay": 1.0}}),
    Case("adamw, weight decay 1,000", lambda seed: made(digits(seed)), ("decay-too-strong",), (2,), baseline={"adamw": {"decay": 1000.0}}),
    Case("gradients clipped at 1e-6", lambda seed: made(digits(seed)), ("trick-prevents-learning",), (2, 3), baseline={"momentum": {}, "clip_norm": {"max_norm": 1e-6}}),
    Case("module: a layer missing from the optimizer", lambda seed: module(seed, optimizer=some(lambda p: p[2:])), ("parameters-not-in-optimizer",), (2,)),
    Case("module: the head alone in the optimizer", lambda seed: module(seed, optimizer=some(lambda p: p[-2:])), ("parameters-not-in-optimizer",), (2,)),
    Case("module: a layer detached", lambda seed: module(seed, model=detached()), ("parameters-without-gradient",), (2,)),
    Case("module: softmax before cross-entropy", lambda seed: module(seed, model=perceptron(64, 10, nn.Softmax(1))), ("outputs-are-probabilities",), (1,)),
    Case("module: labels shuffled", lambda seed: _shuffled(seed), ("labels-unrelated",), (3, 5)),
    Case("module: all weights zero", lambda seed: module(seed, model=models.altered(models.filled(0.0))()), ("symmetric-initialisation",), (1, 2)),
    Case("module: 20 sigmoid layers", lambda seed: module(seed, model=models.deep(20, nn.Sigmoid)()), ("vanishing",), (1,)),
    Case("module: examples mixed", lambda seed: module(seed, model=models.Reshaped()), ("examples-mixed",), (1,)),
    Case("module: dropout in evaluation too", lambda seed: module(seed, model=models.Noisy(0.5)), ("noise-in-evaluation",), (1,)),
    Case("a rate usable only in a narrow band", lambda seed: made(digits(seed), models.deep(10, nn.Tanh, 2.0), epochs=3), ("narrow-band",), (4, 5)),
)  # fmt: skip


def _shuffled(seed: int) -> Module:
    x, y, new, new_y = digits(seed)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    return module(
        seed, epochs=4, train_loader=(x, y[order]), validation_loader=(new, new_y[torch.randperm(len(new_y))])
    )
