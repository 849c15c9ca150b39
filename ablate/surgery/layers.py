"""Layers that surgery puts into a model: plain modules, written for one lane's tensors.

Hyperparameters are buffers (0-dim tensors), so that stacking lanes stacks them too; `forward` has no control flow that
depends on values. They know nothing of lanes: `ablate.kernels` has lowering rules for some
layer types and runs the others under vmap.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.seams.draws import bits, call_key, keep_mask, least_kept, stream_number, to_uniform
from ablate.surgery.layer_proxy import LayerProxy
from ablate.surgery.layer_types import AFFINE
from ablate.surgery.switch import Switch
from ablate.surgery.torch_layers import is_torchs


class Hyper(nn.Module):
    """A module with hyperparameters as float32 buffers of no dimension."""

    def __init__(self, **values: float) -> None:
        super().__init__()
        for name, value in values.items():
            self.register_buffer(name, torch.tensor(float(value)))


class RandomLayer(Hyper):
    """A layer that draws random numbers. The engine puts the lane's key of the step, hashed with the layer's stream, into the buffer `key`.

    `stream` names the draw; two layers of one model need two names (use the path in the model).
    """

    key: Tensor

    def __init__(self, stream: str, **values: float) -> None:
        super().__init__(**values)
        self.stream = stream_number(stream)
        self.register_buffer("key", torch.zeros((), dtype=torch.int32))

    def draw_key(self) -> Tensor:
        """The key of this draw. A layer that is called several times in a forward pass draws fresh numbers each time."""
        return call_key(self.key, self.stream)

    def keep(self, shape: torch.Size, least: Tensor) -> Tensor:
        """1 where a draw is `least` (int16) or more, else 0: float32 of `shape`.

        The elements of feature maps `[B, C, H, W]` are numbered with the channels innermost, as they mostly lie in
        memory: a mask in another order than what it multiplies takes several times as long.
        """
        if len(shape) != 4:
            return keep_mask(self.draw_key(), least, tuple(shape))
        b, c, h, w = shape
        return keep_mask(self.draw_key(), least, (b, h, w, c)).movedim(-1, 1)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Uniform draws on [0, 1)."""
        return to_uniform(bits(self.draw_key(), shape))


class Dropout(RandomLayer):
    """y = x · keep · scale in training, y = x · eval_scale in evaluation. Any shape; keeps it.

    `inverted` (1207.0580): scaled by 1 / (1 − p) in training and by 1 in evaluation; else by 1 and by 1 − p.
    """

    least: Tensor
    scale: Tensor
    eval_scale: Tensor

    def __init__(self, p: float, stream: str, *, inverted: bool = True) -> None:
        super().__init__(stream, scale=1.0, eval_scale=1.0)
        self.register_buffer("least", torch.zeros((), dtype=torch.int16))
        self.inverted, self.inplace = inverted, False
        self.p = p

    @property
    def p(self) -> float:
        """The probability of a zero. A model may set it while it trains, as that of `nn.Dropout`."""
        return self._p

    @p.setter
    def p(self, p: float) -> None:
        self._p = p
        with torch.no_grad():
            self.least.fill_(least_kept(p))
            if self.inverted:
                self.scale.fill_(1 / (1 - p) if p < 1 else 0.0)
            else:
                self.eval_scale.fill_(1 - p)

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.keep(x.shape, self.least) * self.scale if self.training else self.eval_scale)


class ChannelDropout(Dropout):
    """`Dropout` of whole channels: `[B, C, …]` -> the same shape, one draw for each example and channel."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = keep_mask(self.draw_key(), self.least, tuple(x.shape[:2])) * self.scale
        return x * kept.reshape(*x.shape[:2], *[1] * (x.ndim - 2))


class DropBranch(RandomLayer):
    """Zeros whole examples with probability p in training and scales the others by 1 / (1 − p). `[B, …]` -> the same shape."""

    least: Tensor
    scale: Tensor

    def __init__(self, stream: str, p: float) -> None:
        super().__init__(stream, scale=1 / (1 - p))
        self.register_buffer("least", torch.tensor(least_kept(p), dtype=torch.int16))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = keep_mask(self.draw_key(), self.least, (len(x),)) * self.scale
        return x * kept.reshape(-1, *[1] * (x.ndim - 1))


class Gate(Hyper):
    """A 0/1 buffer: whether this lane has what is gated."""

    on: Tensor

    def __init__(self, on: bool) -> None:
        super().__init__(on=float(on))


class Residual(Gate):
    """(x, F(x)) -> F(x) + x where the gate is open, else F(x). `[B, …]`, `[B, …]` -> `[B, …]`."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.where(self.on > 0, y + x, y)  # no y + 0 · x: that turns −0 into 0, and 0 · inf into nan


class KeptSum(Gate):
    """(F(x) + x, F(x)) -> the sum where the gate is open, else F(x). `[B, …]`, `[B, …]` -> `[B, …]`.

    Follows an addition in the user's code: the sum keeps its bits and its memory format.
    """

    def forward(self, total: Tensor, branch: Tensor) -> Tensor:
        return torch.where(self.on > 0, total, branch)


class Site(LayerProxy):
    """A convolution or linear layer with attachment points for tricks around it.

    forward: x -> before -> layer(with its weight passed through `weight_transforms`) -> norm -> after
             [+ residual · the site's own input].

    `norm` is an attribute of its own, not an entry of `after`, so that it comes first whichever tricks the group has.
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
        """Leave the layer's bias out in this lane if `on`; builds the gate in any case. Not of a layer of the user's own."""
        if not is_torchs(self.layer, AFFINE):
            return
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

    def _affine(self, x: Tensor) -> Tensor:
        layer = self.layer
        if not (self.weight_transforms or self.bias_gate) or not isinstance(layer, AFFINE):
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
