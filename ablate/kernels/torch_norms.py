"""torch's own norm layers in the form of those of surgery (`surgery.norms`), so that compiled code runs the norms that a model came with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ablate.kernels.cache import cached
from ablate.surgery.norms import Norm

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
TORCH_NORMS = (*BATCH_NORMS, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True)
class TorchNorm:
    """One of torch's norm layers, read as a `Norm`. `per_position`: each position's channels, which are last, by themselves."""

    layer: nn.Module
    settings: Mapping[str, float]
    over_examples: bool
    per_position: bool
    group_size: int
    centred: ClassVar[Literal["group"]] = "group"
    unbiased: ClassVar[bool] = True

    def __deepcopy__(self, memo: dict[int, object]) -> TorchNorm:
        """The norm of the copied layer, if the layer is copied with it."""
        again = memo.get(id(self.layer))
        return self if not isinstance(again, nn.Module) else TorchNorm(again, self.settings, self.over_examples, self.per_position, self.group_size)  # fmt: skip

    @property
    def training(self) -> bool:
        """Whether the layer is in training mode."""
        return self.layer.training

    @property
    def channels(self) -> int:
        """Number of channels, the last dimension of the weight."""
        weight: Tensor = self.layer.weight  # type: ignore[assignment]
        return weight.shape[-1]

    def supports(self, shape: tuple[int, ...]) -> bool:
        """Whether it standardises such activations `[B, …]` of one lane; what it refuses or does by another rule, torch says."""
        if self.per_position:
            return shape[-1] == self.channels
        too_few = self.training and self.over_examples and prod(shape) == shape[1]
        return len(shape) in (2, 4) and shape[1] == self.channels and not too_few


AnyNorm = Norm | TorchNorm


def torch_norm(layer: nn.Module) -> TorchNorm | None:
    """None where `layer` is no norm of torch's, has no weight or bias, or is set to what compiled code does not do."""
    return cached(layer, "torch_norm", _torch_norm) if type(layer) in TORCH_NORMS else None


def _torch_norm(layer: nn.Module) -> TorchNorm | None:
    if layer._parameters.get("weight") is None or layer._parameters.get("bias") is None:
        return None
    if isinstance(layer, BATCH_NORMS):
        if layer.momentum is None or layer.running_mean is None or layer.num_batches_tracked is None:
            return None
        if not layer.track_running_stats:  # set afterwards: the buffers are there, and stay as they are
            return None
        return TorchNorm(layer, {"eps": layer.eps, "momentum": layer.momentum}, True, False, 1)
    if isinstance(layer, nn.LayerNorm):
        if len(layer.normalized_shape) != 1:
            return None
        return TorchNorm(layer, {"eps": layer.eps}, False, True, layer.normalized_shape[0])
    assert isinstance(layer, nn.GroupNorm)
    return TorchNorm(layer, {"eps": layer.eps}, False, False, layer.num_channels // layer.num_groups)


def as_norm(layer: nn.Module) -> AnyNorm | None:
    """`layer` as a norm that compiled code runs; None where it is none."""
    return layer if isinstance(layer, Norm) else torch_norm(layer)


def count_batch(layer: nn.Module, amount: Tensor | int, rows: slice | None = None) -> None:
    """Let lanes (`rows` of all) of a batch norm of torch's count a batch, as it does in training."""
    seen = layer.num_batches_tracked
    assert isinstance(seen, Tensor)
    (seen if rows is None else seen[rows]).add_(amount)


def constants_of(norm: TorchNorm) -> dict[str, Tensor]:
    """The settings as `Norm` holds them in buffers: scalars, float64."""
    values = dict(norm.settings)
    if not norm.over_examples:
        values["channels_per_group"] = norm.group_size
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
