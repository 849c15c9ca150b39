"""Layers that surgery puts into a model. `forward` handles one lane's tensors; vmap or a loop makes K of them. `stacked`, where
there is one, handles those of K lanes at once, with the same numbers.

Hyperparameters are buffers (0-dim tensors), so that stacking lanes stacks them too. There is no
data-dependent control flow in any of them.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.kernels.batched_matmul import affine
from ablate.kernels.compiled_ops import KEEP_ALL, DropoutOp
from ablate.kernels.fused import LayerOp, LayerOps
from ablate.kernels.layer_ops import Run, is_plain_convolution, linear_op
from ablate.kernels.stacked import convolved, is_lane_by_lane, layer_ops_of, stacked, vmapped
from ablate.seams.draws import bits, keep_mask, keep_masks, least_kept, stream_number, to_uniform
from ablate.surgery.layer_proxy import LayerProxy
from ablate.surgery.layer_types import AFFINE
from ablate.surgery.switch import Switch


class Hyper(nn.Module):
    """A module with hyperparameters as float32 buffers of no dimension."""

    def __init__(self, **values: float) -> None:
        super().__init__()
        for name, value in values.items():
            self.register_buffer(name, torch.tensor(float(value)))


class RandomLayer(Hyper):
    """A layer that draws. The engine puts the lane's key of the step, hashed with the layer's stream, into the buffer `key`.

    `stream` names the draw; two layers of one model need two names (use the place in the model).
    """

    key: Tensor

    def __init__(self, stream: str, **values: float) -> None:
        super().__init__(**values)
        self.stream = stream_number(stream)
        self.register_buffer("key", torch.zeros((), dtype=torch.int32))

    def keep(self, shape: torch.Size, least: Tensor) -> Tensor:
        """1 where a draw is `least` (int16) or more, else 0: float32 of `shape`.

        The elements of feature maps `[B, C, H, W]` are numbered with the channels innermost, as they mostly lie in
        memory: a mask in another order than what it multiplies takes several times as long.
        """
        if len(shape) != 4:
            return keep_mask(self.key, least, tuple(shape))
        b, c, h, w = shape
        return keep_mask(self.key, least, (b, h, w, c)).movedim(-1, 1)

    def keep_stacked(self, shape: torch.Size, least: Tensor) -> Tensor:
        """The same for K lanes: of `shape` `[K, …]`; `least` `[K]`."""
        if len(shape) != 5:
            return keep_masks(self.key, least, tuple(shape[1:]))
        b, c, h, w = shape[1:]
        return keep_masks(self.key, least, (b, h, w, c)).movedim(-1, 2)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        return to_uniform(bits(self.key, shape))


class Dropout(RandomLayer):
    """Inverted dropout: y = x · keep / (1 − p) in training, the identity in evaluation (1207.0580)."""

    least: Tensor
    scale: Tensor

    def __init__(self, p: float, stream: str) -> None:
        super().__init__(stream, scale=1 / (1 - p) if p < 1 else 0.0)
        self.register_buffer("least", torch.tensor(least_kept(p), dtype=torch.int16))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * (self.keep(x.shape, self.least) * self.scale)

    def stacked(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * self.keep_stacked(x.shape, self.least).mul_(by_lane(self.scale, x))

    def layer_ops(self, run: Run) -> list[LayerOp]:
        return self.dropped(run, self.least, self.scale) if self.training else []

    def dropped(self, run: Run, least: Tensor, scale: Tensor) -> list[LayerOp]:
        """Compiled: x · (draw ≥ least) · scale, `[K]` each, left out in lanes in which that is x."""
        active = ((least > KEEP_ALL) | (scale != 1)).tolist()
        if not any(active):
            return []
        return [LayerOp(run, DropoutOp(active), held=lambda: (self.key, least, scale))]


def by_lane(value: Tensor, x: Tensor) -> Tensor:
    """`[K]` shaped so that it broadcasts against `x` `[K, …]`."""
    return value.reshape(-1, *[1] * (x.ndim - 1))


class Gate(Hyper):
    """A 0/1 buffer: whether this lane has the thing it gates."""

    on: Tensor

    def __init__(self, on: bool) -> None:
        super().__init__(on=float(on))


class Site(LayerProxy):
    """A convolution or linear layer with the places around it where tricks act.

    forward: x -> before -> layer(with its weight passed through `weight_transforms`) -> norm -> after
             [+ residual · the site's own input].

    `norm` has a place of its own, not one in the list `after`, so that it comes first whichever tricks
    the group has.
    """

    inner = "layer"

    def __init__(self, layer: nn.Module, path: str) -> None:
        super().__init__()
        self.before = nn.ModuleList()
        self.layer = layer
        self.weight_transforms = nn.ModuleList()
        self.bias_gate: Gate | None = None
        self.norm: Switch | None = None
        self.after = nn.ModuleList()
        self.residual: nn.Module | None = None
        self.path = path

    def drop_bias(self, on: bool) -> None:
        """Leave the layer's bias out in this lane if `on`; builds the gate in any case."""
        if self.bias_gate is None:
            self.bias_gate = Gate(True)
        if on:
            self.bias_gate.on.fill_(0)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for module in self.before:
            y = module(y)
        y = self._affine(y)
        if self.norm is not None:
            y = self.norm(y)
        for module in self.after:
            y = module(y)
        return y if self.residual is None else self.residual(x, y)

    def stacked(self, x: Tensor) -> Tensor:
        if not (type(self.layer) is nn.Linear or is_lane_by_lane(self.layer, x)):
            return vmapped(self, x)
        y = x
        for module in self.before:
            y = stacked(module, y)
        y = self._affine_stacked(y)
        if self.norm is not None:
            y = stacked(self.norm, y)
        for module in self.after:
            y = stacked(module, y)
        return y if self.residual is None else stacked(self.residual, x, y)

    def layer_ops(self, run: Run) -> list[LayerOp]:
        layer = cast(nn.Linear | nn.Conv2d, self.layer)
        if not (type(layer) is nn.Linear or is_plain_convolution(layer)):
            return [LayerOp(run)]
        gate = None if self.bias_gate is None or layer.bias is None else self.bias_gate.on
        without = () if gate is None else (lane for lane, on in enumerate(gate.tolist()) if not on)
        own = linear_op(layer, self._affine_stacked, self._tensors, frozenset(without))
        behind = [*([] if self.norm is None else [self.norm]), *self.after]
        before, after = ([piece for module in modules for piece in layer_ops_of(module)] for modules in (self.before, behind))  # fmt: skip
        found = [*before, own, *after]
        residual = self.residual
        if residual is None:
            return found
        inner = LayerOps(found)
        return [LayerOp(lambda x: stacked(residual, x, inner(x)))]

    def _tensors(self) -> list[Tensor]:
        """The lanes' weights as they are used, and their biases, if there are any."""
        layer = cast(nn.Linear | nn.Conv2d, self.layer)
        weight, bias = layer.weight, layer.bias
        for transform in self.weight_transforms:
            weight = stacked(transform, weight)
        return [weight] if bias is None else [weight, bias]

    def _affine_stacked(self, x: Tensor) -> Tensor:
        layer = self.layer
        weight, *biases = self._tensors()
        bias = biases[0] if biases else None
        if bias is not None and self.bias_gate is not None:
            bias = bias * by_lane(self.bias_gate.on, bias)
        return convolved(layer, x, weight, bias) if isinstance(layer, nn.Conv2d) else affine(x, weight, bias)

    def _affine(self, x: Tensor) -> Tensor:
        layer = self.layer
        if (not self.weight_transforms and self.bias_gate is None) or not isinstance(layer, AFFINE):
            plain: Tensor = layer(x)
            return plain
        weight, bias = layer.weight, layer.bias
        for transform in self.weight_transforms:
            weight = transform(weight)
        if bias is not None and self.bias_gate is not None:
            bias = bias * self.bias_gate.on
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight, bias)
        convolved: Tensor = layer._conv_forward(x, weight, bias)
        return convolved
