"""Trials with the batch of an untrained model: examples that influence one another, evaluation that is random, batch norms whose
statistics do not fit, and parameters that are not trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ablate.protocol.steps import Finding
from ablate.records.words import noun, verb

SAME = 1e-4
"""Fraction of the outputs' size below which two passes give the same."""
USUAL_MOMENTUM = (1e-4, 0.9)
"""Momenta of batch norms outside this range keep the initial statistics, or those of the last batch."""
DROWNED = 3.0
"""Noise of dropout, as a multiple of the outputs' deviation over examples, above which it is reported."""
STRONG_DROPOUT = 0.8
"""A drop rate above which it is tried whether the model learns better without dropout."""

T = TypeVar("T")
Forward = Callable[[Tensor], Tensor]


@contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
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
    with _restored(model), torch.random.fork_rng(devices=[]):
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
    """`x` `[B, …]`, at least two examples. Noise in evaluation mode; else examples whose outputs depend on others'."""
    with evaluating(model):
        outputs, again = forward(x), forward(x)
        if (
            not isinstance(outputs, Tensor)
            or outputs.shape[:1] != x.shape[:1]
            or not outputs.isfinite().all()
        ):
            return []
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
    """Dropout whose noise drowns what the outputs say about their inputs: two passes in training mode against one in evaluation mode."""
    rate = strongest_dropout(model)
    if rate == 0:
        return []
    with evaluating(model):
        signal = forward(x)
        model.train()
        one, other = forward(x), forward(x)
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


def norm_findings(model: nn.Module, forward: Callable[[], object]) -> list[Finding]:
    """Batch norms that run in evaluation mode while the model trains, and momenta that keep no average.

    `forward()` runs the model in training mode.
    """
    still: list[str] = []
    handles = []

    def note(name: str, layer: _BatchNorm) -> Callable[[nn.Module, object, object], None]:
        def hook(_: nn.Module, inputs: object, output: object) -> None:
            if not layer.training and layer.track_running_stats and not int(layer.num_batches_tracked or 0):
                still.append(name)

        return hook

    norms = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, _BatchNorm)]
    if not norms:
        return []
    for name, layer in norms:
        handles.append(layer.register_forward_hook(note(name, layer)))
    try:
        with _restored(model):
            model.train()
            apart(forward)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        return [
            Finding(
                "batch-norm-of-one", "fail", "a batch norm is given batches of one example, of which there is no deviation",
                norms[0][0], "use larger batches, or group or layer norm",
            )
        ]  # fmt: skip
    finally:
        for handle in handles:
            handle.remove()
    if still:
        return [
            Finding(
                "batch-norm-frozen", "warn", "in training it runs in evaluation mode, with the statistics of its initialisation: it normalises nothing",
                ", ".join(dict.fromkeys(still)), "leave it in training mode, or load statistics for it",
            )
        ]  # fmt: skip
    low, high = USUAL_MOMENTUM
    odd = [name for name, layer in norms if layer.momentum is not None and not low <= layer.momentum <= high]
    if not odd:
        return []
    momentum = dict(norms)[odd[0]].momentum
    kept = "the last batch alone" if momentum else "the initialisation"
    return [
        Finding(
            "batch-norm-momentum", "warn", f"its momentum is {momentum:g}: evaluation uses the statistics of {kept}",
            ", ".join(odd), "use 0.1 (torch's momentum is the weight of the new batch)",
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


def strongest_dropout(model: nn.Module) -> float:
    """The highest drop rate of the model's dropout layers; 0 where it has none."""
    rates = [layer.p for layer in model.modules() if isinstance(layer, nn.modules.dropout._DropoutNd)]
    return max(rates, default=0.0)


def without_dropout(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Makes the same models with every dropout layer's rate set to zero."""

    def changed() -> nn.Module:
        model = make()
        for layer in model.modules():
            if isinstance(layer, nn.modules.dropout._DropoutNd):
                layer.p = 0.0
        return model

    return changed
