"""Trials with the batch of an untrained model: examples that influence one another, evaluation that is random, dropout that is too strong,
and parameters that are not trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from ablate.lanes.build import with_layers
from ablate.protocol.output_causes import softmax_over_batch
from ablate.protocol.steps import Finding
from ablate.records.words import noun, verb

SAME = 1e-4
"""Fraction of the outputs' size below which two passes give the same."""
DROWNED = 3.0
"""Noise of dropout, as a multiple of the outputs' deviation over examples, above which it is reported."""
USUAL_DROPOUT, STRONG_DROPOUT = 0.5, 0.8
"""The highest usual drop rate, and one from which dropout can drown a signal. In residual networks that learn well with a rate of 0.3,
noise adds up over the blocks to 2 to 12 times the untrained outputs' deviation; in a perceptron a rate of 0.95 makes it 6 to 9 times."""

T = TypeVar("T")
Forward = Callable[[Tensor], Tensor]


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Modes and buffers are restored; no gradient is computed."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Context: evaluation mode, no gradients, and random draws that leave the generators as they were."""
    with restored(model), torch.random.fork_rng(devices=[]):
        model.eval()
        yield


def apart(call: Callable[[], T]) -> T:
    """`call()`, whose draws leave the random generators as they were."""
    with torch.random.fork_rng(devices=[]):
        return call()


def differs(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors differ by more than `SAME` of their size anywhere."""
    size = float(one.abs().amax())
    return bool(((one - other).abs() > SAME * max(size, 1e-30)).any())


def evaluation_findings(model: nn.Module, x: Tensor, forward: Forward) -> list[Finding]:
    """`x` `[B, …]`, at least two examples. A softmax over them; else noise in evaluation mode; else examples whose outputs depend on others'."""
    with evaluating(model):
        outputs, again = forward(x), forward(x)
        if (
            not isinstance(outputs, Tensor)
            or outputs.shape[:1] != x.shape[:1]
            or not outputs.isfinite().all()
        ):
            return []
        if softmax_over_batch(outputs) and softmax_over_batch(forward(x[:-1])):
            return [
                Finding(
                    "softmax-over-batch", "warn",
                    "for each class the outputs, or their exponentials, sum to one over the examples of a batch: a softmax over dimension 0",
                    "the model's last layer", "apply it over the classes: dim=1, or return logits, without softmax",
                )
            ]  # fmt: skip
        if differs(outputs, again):
            return [
                Finding(
                    "noise-in-evaluation", "warn", "in evaluation mode the same inputs give other outputs each time", "model",
                    "switch dropout and noise off in evaluation: F.dropout(x, p, self.training)",
                )
            ]  # fmt: skip
        changed = x.clone()
        changed[0] = x[1]
        moved = forward(changed)
    if not differs(outputs[1:], moved[1:]):
        return []
    return [
        Finding(
            "examples-mixed", "warn", "the outputs of an example change when another example of its batch is replaced, in evaluation mode too",
            "model", "check reshapes and transposes of the batch axis, batch_first, and reductions or softmax over dimension 0",
        )
    ]  # fmt: skip


def dropout_findings(model: nn.Module, x: Tensor, forward: Forward) -> list[Finding]:
    """Strong dropout whose noise drowns what the outputs say about their inputs: two passes in training mode against one without dropout.

    All are in training mode: in evaluation mode an untrained batch norm normalises nothing, and the signal is another.
    """
    rate = strongest_dropout(model)
    if rate < STRONG_DROPOUT:
        return []
    with evaluating(model):
        model.train()
        one, other = forward(x), forward(x)
        for layer in dropout_layers(model):
            layer.eval()
        signal = forward(x)
    if not all(isinstance(out, Tensor) and out.ndim > 1 for out in (signal, one, other)):
        return []
    spread = float(signal.std(0, correction=0).square().mean().sqrt())
    noise = float((one - other).square().mean().sqrt()) / 2**0.5
    if not noise > DROWNED * spread > 0:
        return []
    return [
        Finding(
            "dropout-too-strong", "warn",
            f"a drop rate of {rate:g} changes the outputs {noise / spread:.2g} times as much as their inputs do", "dropout layers",
            "lower it: 0.1 to 0.5 are usual",
        )
    ]  # fmt: skip


def frozen_findings(first: nn.Module, second: nn.Module) -> list[Finding]:
    """Parameters that are not trained although they are random: they differ between two models of other seeds."""
    others = dict(second.named_parameters())
    names = [
        name
        for name, parameter in first.named_parameters()
        if not parameter.requires_grad and name in others and not torch.equal(parameter, others[name])
    ]
    if not names:
        return []
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return [
        Finding(
            "parameters-frozen", "warn", f"{len(names)} of {len(others)} parameter {noun(len(others), 'tensor')} {verb(len(names), 'are', 'is')} random and frozen", shown,
            "set requires_grad, or load trained weights for them",
        )
    ]  # fmt: skip


def dropout_layers(model: nn.Module) -> list[nn.modules.dropout._DropoutNd]:
    """The model's dropout layers, those in place of functions among them (`with_layers`, in place)."""
    with_layers(model)
    return [layer for layer in model.modules() if isinstance(layer, nn.modules.dropout._DropoutNd)]


def strongest_dropout(model: nn.Module) -> float:
    """The highest drop rate of the model's dropout layers; 0 where it has none."""
    return max((layer.p for layer in dropout_layers(model)), default=0.0)


def without_dropout(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Makes the same models with every dropout layer's rate set to zero."""

    def changed() -> nn.Module:
        model = make()
        for layer in dropout_layers(model):
            layer.p = 0.0
        return model

    return changed
