"""Norm layers: activations are standardised over some of their dimensions, then scaled and shifted.

    y = γ_c (x − μ) / √(σ² + ε) + β_c,    μ, σ²: over a group of channels, their positions and perhaps the examples

`forward` is torch's own function, on one lane's `[B, C, …]`. Attributes declare what is standardised together, which is
all that a kernel needs to run lanes with different norms together.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.records.errors import InputError


class Norm(nn.Module):
    """Base of the norm layers: `[B, C, …]` -> the same shape.

    `over_examples`: statistics are taken over the examples too, not for each by itself, and evaluation uses running ones. `per_position`: for
    each position by itself. `centred`: μ is the mean of what σ² is of, or of each channel, or 0. `unbiased`: the running variance is that of
    the examples' source. `shifted`: whether there is a β. `settings`: the hyperparameters as plain numbers (reading a buffer would wait for the device), among them
    "channels_per_group" where neighbouring channels are standardised together; float64 buffers of the same names hold them too,
    so that lanes can be stacked.
    """

    over_examples: ClassVar[bool] = False
    centred: ClassVar[Literal["group", "channel", "not"]] = "group"
    unbiased: ClassVar[bool] = True
    shifted: ClassVar[bool] = True
    per_position = False
    weight: Tensor
    bias: Tensor
    eps: Tensor

    def __init__(self, channels: int, **settings: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        if self.shifted:
            self.bias = nn.Parameter(torch.zeros(channels))
        self.settings = settings
        for name, value in settings.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64), persistent=False)

    @property
    def group_size(self) -> int:
        """How many neighbouring channels are standardised together."""
        return int(self.settings.get("channels_per_group", 1))

    def check(self, x: Tensor) -> None:
        """Raises InputError where one lane's `x` `[B, C, …]` cannot be standardised."""


class BatchNorm(Norm):
    """Each channel over examples and positions; in evaluation by running statistics, which training updates.

    Raises InputError in training if a channel has a single value, which would always map to β.
    """

    over_examples = True
    running_mean: Tensor
    running_var: Tensor
    momentum: Tensor

    def __init__(self, channels: int, momentum: float, eps: float) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def check(self, x: Tensor) -> None:
        if self.training and x.numel() == x.shape[1]:
            raise InputError(
                "batch_norm cannot train on one value per channel",
                hint="use batch_size 2 or more, or layer_norm",
            )

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, **self.settings
        )


class GroupNorm(Norm):
    """Each of `groups` groups of neighbouring channels, within an example."""

    def __init__(self, channels: int, groups: int, eps: float) -> None:
        super().__init__(channels, eps=eps, channels_per_group=channels // groups)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4 and self.groups > 1 and x.device.type == "cpu":
            x = x.contiguous()  # with the channels innermost in memory torch takes up to four times as long
        return F.group_norm(x, self.groups, self.weight, self.bias, self.settings["eps"])


class LayerNorm(Norm):
    """All channels and positions of an example; with `tokens`, the channels of each position by itself."""

    def __init__(self, channels: int, eps: float, *, tokens: bool = False) -> None:
        super().__init__(channels, eps=eps, channels_per_group=channels)
        self.per_position = tokens

    def forward(self, x: Tensor) -> Tensor:
        eps = self.settings["eps"]
        if self.per_position or x.ndim == 2:
            last = x.movedim(1, -1)
            return F.layer_norm(last, last.shape[-1:], self.weight, self.bias, eps).movedim(-1, 1)
        return F.group_norm(
            _with_gradient(x, self.weight), 1, self.weight, self.bias, eps
        )  # one group: the whole example


def _with_gradient(x: Tensor, weight: Tensor) -> Tensor:
    """`x`, unchanged, as a tensor whose gradient is computed too: with the channels innermost, torch's group norm crashes in
    the backward pass where only that of its weights is wanted."""
    if x.ndim < 4 or x.requires_grad or not weight.requires_grad or not torch.is_grad_enabled():
        return x
    never = torch.zeros((), dtype=torch.bool, device=x.device)
    return torch.where(never, weight[0], x)


class InstanceNorm(Norm):
    """Each channel over the positions of an example; `[B, C, …]` with more than one position."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.settings["eps"])


class ExtendedBatchNorm(Norm):
    """Each channel less its mean, divided by one deviation of all channels, over examples and positions; in evaluation by running statistics,
    which training updates."""

    over_examples = True
    centred = "channel"
    unbiased = False
    running_mean: Tensor
    running_var: Tensor
    momentum: Tensor

    def __init__(self, channels: int, momentum: float, eps: float) -> None:
        super().__init__(channels, eps=eps, momentum=momentum, channels_per_group=channels)
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        channel = (-1, *[1] * (x.ndim - 2))
        mean, variance = self.running_mean, self.running_var
        if self.training:
            mean = x.mean((0, *range(2, x.ndim)))
            variance = (x - mean.reshape(channel)).square().mean()
            with torch.no_grad():
                momentum = self.settings["momentum"]
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)
        normal = (x - mean.reshape(channel)) * (variance + self.settings["eps"]).rsqrt()
        return normal * self.weight.reshape(channel) + self.bias.reshape(channel)


class RootMeanSquareNorm(Norm):
    """All channels and positions of an example, without a mean or a shift; with `tokens`, the channels of each position by itself."""

    centred = "not"
    shifted = False

    def __init__(self, channels: int, eps: float, *, tokens: bool = False) -> None:
        super().__init__(channels, eps=eps, channels_per_group=channels)
        self.per_position = tokens

    def forward(self, x: Tensor) -> Tensor:
        dims = (1,) if self.per_position else tuple(range(1, x.ndim))
        scale = (x.square().mean(dims, keepdim=True) + self.settings["eps"]).rsqrt()
        return x * scale * self.weight.reshape(-1, *[1] * (x.ndim - 2))
