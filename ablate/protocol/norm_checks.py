"""Batch norms: in the wrong mode, of one example, with a momentum that keeps other statistics than those of training; and parameters that
they make ineffective."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ablate.protocol.batch_checks import apart, differs, evaluating, restored
from ablate.protocol.steps import Finding
from ablate.records.words import noun

MOST_MOMENTUM, INITIAL_SHARE = 0.9, 0.2
"""A batch norm's momentum above the first keeps the last batch's statistics alone; more than the second of the initial ones must not be left
after a whole run."""


def norm_findings(model: nn.Module, forward: Callable[[], object], steps: int) -> list[Finding]:
    """Batch norms that run in evaluation mode while the model trains, and momenta that keep no average or the initial one.

    `forward()` runs the model in training mode. `steps`: of a whole run.
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
        with restored(model):
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
    tracking = [(name, layer) for name, layer in norms if layer.track_running_stats]
    momenta = {name: layer.momentum for name, layer in tracking if layer.momentum is not None}
    return momentum_findings(momenta, {name for name, layer in tracking if layer.num_batches_tracked}, steps)


def momentum_findings(momenta: Mapping[str, float], trained: Collection[str], steps: int) -> list[Finding]:
    """Momenta that keep the statistics of the last batch alone, or, after `steps` steps, more than a little of the initial ones, of which a
    share of (1 − momentum)^steps is left; those of `trained` norms are sound."""
    last = {name: momentum for name, momentum in momenta.items() if momentum > MOST_MOMENTUM}
    initial = {
        name: momentum
        for name, momentum in momenta.items()
        if name not in trained and (1 - momentum) ** steps > INITIAL_SHARE
    }
    odd = last or initial
    if not odd:
        return []
    momentum = next(iter(odd.values()))
    whose = "the last batch alone" if last else "the initialisation"
    kept = f"evaluation uses the statistics of {whose}"
    if momentum and not last:
        kept = f"after a run of {steps} {noun(steps, 'step')} {(1 - momentum) ** steps:.0%} of its statistics are those of the initialisation"
    return [
        Finding(
            "batch-norm-momentum", "warn", f"its momentum is {momentum:g}: {kept}",
            ", ".join(odd), "use 0.1 (torch's momentum is the weight of the new batch)",
        )
    ]  # fmt: skip


def cancelled(model: nn.Module, names: Iterable[str], forward: Callable[[], object]) -> set[str]:
    """The parameters among `names` that a batch norm takes out again in training, such as the bias of the layer before it.

    A constant that is added to one changes the outputs of `forward()` in evaluation mode, and not in training mode.
    """
    parameters = dict(model.named_parameters())
    return {name for name in names if name in parameters and _is_cancelled(model, parameters[name], forward)}


def _is_cancelled(model: nn.Module, parameter: Tensor, forward: Callable[[], object]) -> bool:
    before = parameter.detach().clone()

    def outputs(*, training: bool) -> Tensor | None:
        model.train(training)
        torch.manual_seed(0)  # dropout drops the same
        given = forward()
        return given if isinstance(given, Tensor) else None

    def moved(*, training: bool) -> bool:
        one = outputs(training=training)
        parameter.add_(1)
        other = outputs(training=training)
        parameter.copy_(before)
        return one is not None and other is not None and differs(one, other)

    with evaluating(model):
        return moved(training=False) and not moved(training=True)
