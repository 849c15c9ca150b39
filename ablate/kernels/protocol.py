"""What a kernel makes of K models: an object that runs their forward pass and holds their buffers.

The four kernels (`KERNELS`) compute each lane by itself and agree to rounding. Which is fastest depends on the machine and
the model; `lanes/capabilities.py` and `lanes/autotune.py` choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ablate.kernels.compiled import unavailable_reason

Weights = Mapping[str, Tensor]
KERNELS = ("compiled", "batched", "vmap", "loop")


@runtime_checkable
class PerLane(Protocol):
    """Weights that also hold each lane's own parameters (`Forward.attach`); empty where the lanes have none."""

    @property
    def per_lane(self) -> Sequence[Weights]: ...


class Forward(Protocol):
    """K models. `weights` are `[K, *shape]` by common name; buffers belong to the object."""

    kernel: str

    def __call__(self, weights: Weights, x: Tensor, keys: Tensor, training: bool) -> Tensor: ...
    def buffers(self) -> dict[str, Tensor]: ...
    def load_buffers(self, buffers: Mapping[str, Tensor]) -> None: ...
    def take(self, lanes: Tensor) -> None: ...
    def extend(self, other: Forward) -> None: ...
    def some(self, lanes: Tensor) -> Forward:
        """The models of some lanes, for evaluation: this object and its lanes stay as they are."""
        ...

    def branch_keys(self, lane: int) -> tuple[str, ...]:
        """The branches that a lane goes through, as far as it pays that lanes with equal keys are neighbours."""
        ...

    def own_names(self, lane: int) -> dict[str, str]:
        """A lane's parameters: own name -> common name."""
        ...

    def attach(self, weights: Weights) -> list[dict[str, Tensor]]:
        """Where each lane is a module of its own: make its parameters views of its row of `weights`; returns them by common
        name. Else nothing."""
        ...

    def collect(self, weights: Weights) -> None:
        """Copy into `weights` the data that models have given to parameters which were attached to them."""
        ...

    def frozen(self) -> frozenset[str]:
        """Common names of the parameters that do not require a gradient in any lane."""
        ...

    def module_of(self, lane: int) -> nn.Module:
        """A copy of the lane's module with its buffers; the parameters' values are not set."""
        ...


def kernel_unavailable(name: str, device: torch.device) -> str:
    """Why a kernel is unavailable on this machine, in a few words; empty where it is available."""
    if name != "compiled":
        return ""
    return "it is for CPUs" if device.type != "cpu" else unavailable_reason()


def available_kernels(device: torch.device) -> tuple[str, ...]:
    return tuple(name for name in KERNELS if not kernel_unavailable(name, device))
