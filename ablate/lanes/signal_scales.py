"""Activations and gradients of a fresh model on one batch, layer by layer, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from ablate.lanes.context import TaskContext
from ablate.lanes.trainer import Trainer
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.surgery.layer_table import rows_of
from ablate.surgery.layer_types import ACTIVATIONS, AFFINE

VANISHING, EXPLODING = 1e-3, 1e3
"""Limits of a ratio of the first and the last weighted layer: of the norms of their outputs' gradients (He et al. 2015, 1502.01852, section 2.2: what
keeps its scale from layer to layer is the sum over a layer's outputs; single elements have less, the more of them a map has), and of the root mean
squares of their outputs."""
DEAD_SHARE = 0.5
"""Share of an activation's units; fewer dead ones are usual at a ReLU's initialisation with few examples."""
RATE = 1e-6
"""The learning rate of the one step; the weights are discarded."""


@dataclass
class Scale:
    """Statistics of a layer's output in training: root mean square of the values and of the loss's gradient with respect to them (0 where
    there is none), the Euclidean norm of that gradient, and the share of units (channels) that are zero for all examples and positions; None for other layers
    than activations."""

    path: str
    weighted: bool
    activation: float = 0.0
    gradient: float = 0.0
    dead: float | None = None
    gradient_norm: float = 0.0


@dataclass(frozen=True)
class LayerScales:
    """`verdict`: "healthy", or what is wrong in one line each (`problems`)."""

    scales: Mapping[str, Scale] = field(default_factory=dict)
    problems: Sequence[str] = ()
    examples: int = 0

    @property
    def verdict(self) -> str:
        """ "healthy", or the problems in one line."""
        return "; ".join(self.problems) or "healthy"


def signal_scales(context: TaskContext, seed: int = 0) -> LayerScales:
    """One forward and backward pass of the task's loss on its first batch, by the loop kernel with stochastic gradient descent."""
    recipe = Recipe.of(context.catalogue, {"sgd": {"lr": RATE}})
    loop = context.with_kernel("loop")
    trainer = Trainer(loop, [Run(context.task.name, recipe, seed, context.task.epochs)])
    module = trainer.forward.modules[0]  # type: ignore[attr-defined]
    scales: dict[str, Scale] = {}
    handles = [layer.register_forward_hook(_noting(path, scales)) for path, layer in rows_of(module).items()]
    try:
        trainer.step()
    finally:
        for handle in handles:
            handle.remove()
    return LayerScales(scales, problems_of(list(scales.values())), trainer.order.batch_size)


def problems_of(scales: Sequence[Scale]) -> list[str]:
    """What is wrong, in one line each; empty where nothing is."""
    bad = [scale.path for scale in scales if not (isfinite(scale.activation) and isfinite(scale.gradient))]
    if bad:
        return [f"not finite: '{bad[0]}'" + (f" and {len(bad) - 1} more" if len(bad) > 1 else "")]
    problems = []
    weighted = [scale for scale in scales if scale.weighted and scale.gradient > 0]
    if len(weighted) > 1:
        first, last = weighted[0], weighted[-1]
        ratio = first.gradient_norm / last.gradient_norm
        if ratio < VANISHING:
            problems.append(f"vanishing gradients: {ratio:.1g} of the last layer's at '{first.path}'")
        elif ratio > EXPLODING:
            problems.append(f"exploding gradients: {ratio:.1g} times the last layer's at '{first.path}'")
        ratio = last.activation / first.activation if first.activation > 0 else 1.0
        if ratio < VANISHING:
            problems.append(f"vanishing activations: {ratio:.1g} of the first layer's at '{last.path}'")
        elif ratio > EXPLODING:
            problems.append(f"exploding activations: {ratio:.1g} times the first layer's at '{last.path}'")
    dead = [scale for scale in scales if scale.dead is not None and scale.dead >= DEAD_SHARE]
    if dead:
        worst = max(dead, key=lambda scale: scale.dead or 0.0)
        problems.append(f"dead units: {worst.dead:.0%} at '{worst.path}'")
    silent = [scale.path for scale in scales if scale.weighted and scale.gradient == 0]
    if silent and len(silent) < len(scales):
        problems.append(f"no gradient: '{silent[0]}'" + (f" and {len(silent) - 1} more" if len(silent) > 1 else ""))  # fmt: skip
    return problems


def _noting(path: str, scales: dict[str, Scale]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
        y = output[0] if isinstance(output, tuple) else output
        if path in scales or not isinstance(y, Tensor) or not y.is_floating_point():
            return
        scale = Scale(path, isinstance(layer, AFFINE), _rms(y))
        if isinstance(layer, ACTIVATIONS) and y.ndim > 1:
            dims = [0] if y.ndim == 2 else [0, *range(2, y.ndim)]
            scale.dead = float((y.detach() == 0).all(dim=dims).double().mean())
        scales[path] = scale
        if y.requires_grad:
            y.register_hook(lambda gradient: _note_gradient(scale, gradient))  # type: ignore[no-untyped-call]

    return hook


def _note_gradient(scale: Scale, gradient: Tensor) -> None:
    scale.gradient = _rms(gradient)
    scale.gradient_norm = scale.gradient * gradient.numel() ** 0.5


def _rms(x: Tensor) -> float:
    with torch.no_grad():
        return float(x.double().square().mean().sqrt())
