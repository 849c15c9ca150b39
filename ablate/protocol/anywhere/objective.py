"""The objective: from a batch of the user's loader to a loss, and the best loss without inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.records.errors import InputError

LossFunction = Callable[[Tensor, Tensor], Tensor]
TARGETS = ("labels", "label", "target", "targets", "y")
"""Keys under which a batch that is a mapping has its targets."""
STEPS = 50


def split_batch(batch: Any) -> tuple[Any, Tensor | None]:
    """(inputs, targets) of a batch: the last part of a tuple, or the first of `TARGETS` in a mapping."""
    if isinstance(batch, dict):
        key = next((name for name in TARGETS if name in batch), None)
        return batch, None if key is None else batch[key]
    if isinstance(batch, list | tuple) and len(batch) >= 2 and isinstance(batch[-1], Tensor):
        return list(batch[:-1]), batch[-1]
    raise InputError(
        f"a batch is a {type(batch).__name__}, not inputs and targets",
        hint="let the loader give (x, y), or a dict with 'labels'",
    )


def default_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy for integer targets, squared error for numbers."""
    if targets.is_floating_point():
        return F.mse_loss(outputs, targets.reshape(outputs.shape))
    return F.cross_entropy(outputs, targets)


def evaluate_batch(
    model: nn.Module, batch: Any, loss: LossFunction | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(loss, outputs, targets) of a batch; outputs and targets are None if the model computes its own loss.

    A mapping is passed to the model as keywords. Without `loss`, a model that returns a `loss` (as those of
    transformers do) uses that; otherwise `default_loss`.
    """
    inputs, targets = split_batch(batch)
    returned = model(**inputs) if isinstance(inputs, dict) else model(*inputs)
    model_loss = returned.get("loss") if isinstance(returned, dict) else getattr(returned, "loss", None)
    if loss is None and isinstance(model_loss, Tensor):
        return model_loss, None, None
    outputs = returned
    if not isinstance(outputs, Tensor):
        outputs = returned.get("logits") if isinstance(returned, dict) else getattr(returned, "logits", None)
    if not isinstance(outputs, Tensor) or targets is None:
        raise InputError(
            f"the model returned a {type(returned).__name__} without a loss or logits",
            hint="return a tensor, or something with .logits or .loss",
        )
    return (loss or default_loss)(outputs, targets), outputs, targets


def example_losses(outputs: Tensor, targets: Tensor, loss: LossFunction | None) -> Tensor:
    """The loss of each example, `[N]`."""
    function = loss or default_loss
    with torch.no_grad():
        return torch.stack([function(outputs[i : i + 1], targets[i : i + 1]) for i in range(len(targets))])


def best_constant(outputs: Tensor, targets: Sequence[Tensor], loss: LossFunction | None) -> Tensor:
    """The output, shaped like one example of `outputs`, that minimises the loss on all `targets` without any input.

    By L-BFGS from zero, so that it serves any differentiable loss: class frequencies for cross-entropy, the mean for
    squared error, the median for absolute error.
    """
    everything = torch.cat(list(targets))
    function = loss or default_loss
    constant = torch.zeros_like(outputs[:1], requires_grad=True)
    optimizer = torch.optim.LBFGS([constant], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = function(constant.expand(len(everything), *constant.shape[1:]), everything)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return constant.detach()
