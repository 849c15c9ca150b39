"""What a forward pass of an untrained model shows, layer by layer: signals that vanish, explode or are cut off by dead units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ablate.protocol.steps import Finding, Level
from ablate.records.words import noun

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
VANISHED = 1e-4
"""Deviation over examples, as a fraction of the layer's root mean square, below which a layer hardly knows its inputs."""
EXPLODED = 1e3
"""Growth of the deviation from the first layer on that no initialisation for this depth has."""
DEAD = 0.8
"""Share of a layer's inputs that are zero for every example."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A layer's outputs on a batch: deviation over examples and root mean square, both averaged over units.

    A layer that runs more than once counts where its deviation is largest; `begin` is that of its first run that has any.
    `dead`: share of its inputs that are zero for every example; 0 where it is not a linear layer or a convolution, and for
    the first one. `weighted`: it is a linear layer or a convolution.
    """

    name: str
    begin: float
    deviation: float
    size: float
    dead: float
    weighted: bool


def signals(model: nn.Module, forward: Callable[[], Any]) -> list[Signal]:
    """The layers in the order in which they run in `forward()`, which calls `model` on a batch. Modes are left as they are."""
    by_name: dict[str, Signal] = {}
    handles = []

    def note(name: str, layer: nn.Module) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            values = output[0] if isinstance(output, tuple) and output else output
            if not isinstance(values, Tensor) or not values.is_floating_point() or values.ndim < 2:
                return
            outputs = values.detach().double()
            first = not any(signal.weighted for signal in by_name.values())
            weighted = isinstance(layer, WEIGHTED)
            dead = dead_share(layer, inputs[0]) if weighted and not first and inputs else 0.0
            deviation = float(outputs.std(0, correction=0).square().mean().sqrt())
            before = by_name.get(name)
            begin = (before.begin if before else 0.0) or deviation
            signal = Signal(name, begin, deviation, float(outputs.square().mean().sqrt()), dead, weighted)
            if before is None or not signal.deviation <= before.deviation:
                by_name[name] = signal

        return hook

    for name, layer in model.named_modules():
        if not any(True for _ in layer.children()) or isinstance(layer, nn.RNNBase):
            handles.append(layer.register_forward_hook(note(name, layer)))
    try:
        with torch.no_grad():
            forward()
    finally:
        for handle in handles:
            handle.remove()
    return list(by_name.values())


def dead_share(layer: nn.Module, inputs: Any) -> float:
    """Share of the units that feed `layer` which are zero for all examples (and at all places)."""
    if not isinstance(inputs, Tensor) or inputs.ndim < 2:
        return 0.0
    unit = inputs.ndim - 1 if isinstance(layer, nn.Linear) else 1
    over = [axis for axis in range(inputs.ndim) if axis != unit]
    return float((inputs.detach().abs().amax(over) == 0).double().mean())


def signal_findings(layers: Sequence[Signal]) -> list[Finding]:
    """At most one finding: the first layer that explodes, is fed by dead units, or hardly varies with its inputs."""
    weighted = [layer for layer in layers if layer.weighted]
    if len(weighted) < 2:
        return []
    for signal in weighted[1:]:
        if signal.dead >= DEAD:
            level: Level = "fail" if signal.dead == 1 else "warn"
            return [
                Finding(
                    "dead-units", level, f"{signal.dead:.0%} of the units that feed this layer are zero for every example",
                    signal.name, "check the biases and the initialisation before it, or use a leaky activation",
                )
            ]  # fmt: skip
    start = next((layer.begin for layer in layers if layer.begin > 0), None)
    if start is None:
        return []
    exploded = [layer for layer in layers[:-1] if not layer.deviation < EXPLODED * start]
    if exploded:
        growth = exploded[-1].deviation / start
        return [
            Finding(
                "exploding", "fail",
                f"the signal grows: its deviation is {growth:.2g} times that of the first layer", exploded[0].name,
                "use He's or Glorot's initialisation, normalisation layers, or an orthogonal recurrence",
            )
        ]  # fmt: skip
    faint = [layer for layer in weighted[:-1] if layer.deviation < VANISHED * layer.size]
    if faint:
        return [
            Finding(
                "vanishing", "warn",
                f"the signal vanishes: this layer's outputs vary by {faint[0].deviation / faint[0].size:.1g} of their size "
                "over examples, and gradients shrink in the same way",
                faint[0].name, "use rectified units with He's initialisation, normalisation layers or skip connections",
            )
        ]  # fmt: skip
    return []


def symmetric_layers(layers: Sequence[Signal], model: nn.Module) -> list[Finding]:
    """Layers before the last whose units all have the same weights: they stay the same in training."""
    names = [layer.name for layer in layers if layer.weighted][:-1]
    equal = [name for name in names if _equal_rows(model.get_submodule(name).weight)]
    if not equal:
        return []
    return [
        Finding(
            "symmetric-initialisation", "fail", f"in {len(equal)} of {len(names)} {noun(len(names), 'layer')} all units have the same weights, so that they learn the same",
            ", ".join(equal[:3]), "use a random initialisation (He, Glorot); zeros are for biases only",
        )
    ]  # fmt: skip


def _equal_rows(weight: object) -> bool:
    if not isinstance(weight, Tensor) or len(weight) < 2:
        return False
    rows = weight.detach().flatten(1)
    return bool((rows == rows[:1]).all())


def equal_head(layers: Sequence[Signal], model: nn.Module) -> list[Finding]:
    """The rows of the last layer's weights are all equal, and not zero: the outputs are identical."""
    names = [layer.name for layer in layers if layer.weighted]
    if not names:
        return []
    weight = model.get_submodule(names[-1]).weight
    if not isinstance(weight, Tensor) or not _equal_rows(weight) or not bool(weight.detach().any()):
        return []
    return [
        Finding(
            "symmetric-initialisation", "warn", "all rows of the last layer's weights are equal, so that the layers below learn nothing at first",
            names[-1], "use a random initialisation, or zeros, for the last layer",
        )
    ]  # fmt: skip
