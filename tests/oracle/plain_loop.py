"""A plain torch loop: the user's module, torch.optim, batches of the training data. What ablate's training is held against.

It shares with ablate only what a comparison must: the seed under which the model is made, the order of examples, and the numbers
that dropout draws, which are hung onto the user's own `nn.Dropout`s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.lanes.build import build_module
from ablate.lanes.order import Order
from ablate.records.run import Run
from ablate.seams.draws import keep_mask, least_kept, seed_keys, step_keys, stream_keys, stream_number
from ablate.tasks.task import Task
from ablate.tasks.user_code import repeatable

CPU = torch.device("cpu")
MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


class CountedDropout:
    """`forward` of an `nn.Dropout`, or of one of whole channels, with masks from the step's key: another one for each call of a forward pass."""

    def __init__(self, layer: nn.Module, path: str) -> None:
        self.whole = type(layer) is not nn.Dropout
        self.layer, self.stream = layer, stream_number(f"model/{path}")
        self.key, self.calls = torch.zeros((), dtype=torch.int32), 0

    def begin(self, step_key: Tensor) -> None:
        self.key, self.calls = stream_keys(step_key, self.stream), 0

    @property
    def p(self) -> float:
        return self.layer.p  # type: ignore[return-value]

    def __call__(self, x: Tensor) -> Tensor:
        p = self.p
        if not self.layer.training:
            return x
        key = stream_keys(self.key, stream_number(f"call {self.calls}")) if self.calls else self.key
        self.calls += 1
        least, inside = torch.tensor(least_kept(p), dtype=torch.int16), x.ndim == 4
        scale = torch.tensor(1 / (1 - p) if p < 1 else 0.0)
        if self.whole:
            return x * (keep_mask(key, least, tuple(x.shape[:2])) * scale).view(
                *x.shape[:2], *[1] * (x.ndim - 2)
            )
        shape = x.movedim(1, -1).shape if inside else x.shape
        mask = keep_mask(key, least, tuple(shape))
        return x * ((mask.movedim(-1, 1) if inside else mask) * scale)


class CountedWeights(CountedDropout):
    """`forward` of an `nn.MultiheadAttention` by torch's own code, but for two functions within it, which get masks as above."""

    def __init__(self, layer: nn.MultiheadAttention, path: str) -> None:
        super().__init__(layer, path)
        self.whole = False
        self.torchs = layer.forward

    @property
    def p(self) -> float:
        return self.layer.dropout  # type: ignore[attr-defined, no-any-return]

    def attended(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float, causal: bool
    ) -> Tensor:
        scores = q @ k.mT / q.shape[-1] ** 0.5
        weights = (scores if mask is None else scores + mask).softmax(-1)
        return self.dropped(weights.flatten(0, 1), p).view_as(weights) @ v

    def dropped(self, weights: Tensor, p: float) -> Tensor:
        return super().__call__(weights)

    def __call__(self, *args, **named):
        if not self.layer.training:
            return self.torchs(*args, **named)
        with (
            mock.patch.object(F, "scaled_dot_product_attention", self.attended),
            mock.patch.object(F, "dropout", self.dropped),
        ):
            return self.torchs(*args, **named)


@dataclass
class Record:
    """Losses of every step, and after each epoch the outputs on the validation data; the model at the end."""

    model: nn.Module
    losses: list[float] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)


def trained(
    task: Task,
    run: Run,
    make: MakeOptimizer,
    *,
    counted: Sequence[str],
    draws: bool,
    channels_last: bool = False,
    contiguous: bool = False,
) -> Record:
    """Train `run.epochs` epochs. `counted`: the paths of dropout layers that draw by counter. `draws`: the model takes
    numbers from torch's generator, which is seeded at every step. `channels_last`: images are handed over in that memory
    format. `contiguous`: every parameter lies in memory in the order of its dimensions, as the engine keeps it. A matrix product of
    a transposed one rounds differently on some processors."""
    model = build_module(task.model, run.seed, task.train.x[:2])
    if contiguous:
        for parameter in model.parameters():
            parameter.data = parameter.data.contiguous()
    dropouts = []
    for path in counted:
        layer = model.get_submodule(path)
        assert type(layer) in (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
        dropouts.append(CountedDropout(layer, path))
        layer.forward = dropouts[-1]  # type: ignore[method-assign]
    if not draws:
        for path, layer in model.named_modules():
            if isinstance(layer, nn.MultiheadAttention) and layer.dropout > 0:
                dropouts.append(CountedWeights(layer, path))
                layer.forward = dropouts[-1]  # type: ignore[method-assign]
    optimizer = make(list(model.parameters()))
    order, seeds = Order(len(task.train), task.batch_size), seed_keys([run.seed], CPU)
    record = Record(model)

    def forward(x: Tensor, key: Tensor) -> Tensor:
        for dropout in dropouts:
            dropout.begin(key)
        x = x.clone(memory_format=torch.channels_last) if channels_last else x.clone()
        if not draws:
            return model(x)
        with repeatable(int(key) & 0x7FFFFFFF):
            return model(x)

    for epoch in range(run.epochs):
        order.shuffle(seeds, torch.tensor([epoch]))
        model.train()
        for within in range(order.steps_per_epoch):
            index = order.at(within)[0]
            step = torch.tensor([epoch * order.steps_per_epoch + within])
            optimizer.zero_grad()
            target = F.one_hot(task.train.y[index], task.classes or 0).float()
            key = step_keys(seeds, step)[0]
            logits = forward(task.train.x[index], key)
            loss = -(target * torch.log_softmax(logits, dim=-1)).sum(-1).mean()
            for dropout in dropouts:  # what the backward pass computes again, it draws again
                dropout.begin(key)
            loss.backward()
            optimizer.step()
            record.losses.append(loss.item())
        model.eval()
        with torch.no_grad():
            record.outputs.append(forward(task.validation.x, seeds[0]))
    return record


class PlainSgd(torch.optim.Optimizer):
    """w ← w − lr g, rounded after the product: `torch.optim.SGD` rounds once."""

    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.copy_(parameter - torch.tensor(group["lr"]) * parameter.grad)
