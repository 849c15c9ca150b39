"""The protocol of a kernel: whether it is available, which models it supports, how it lowers K models, and how these run.

| function | answers |
|---|---|
| `Kernel.unavailable(device)` | why the kernel cannot be used on this machine |
| `Kernel.unsupported(model, x)` | why it cannot run this model |
| `Kernel.lower(nets, names, …)` | a `Forward` of K models |
| `Forward.__call__(weights, x, keys, training)` | their outputs |

The kernels (`lower.KERNELS`) compute each lane independently of the others and agree up to rounding. Which is fastest depends on the
machine and the model: `lanes/capabilities.py` and `lanes/autotune.py` choose. `docs/kernels.md` lists each one's size and speed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ablate.surgery.net import Net

Weights = Mapping[str, Tensor]
"""Common name of a parameter -> its values in all lanes, `[K, *shape]`."""
Names = Sequence[dict[str, str]]
"""For each lane, common name of a parameter -> its name in that lane's model."""
Reseed = Callable[[int], AbstractContextManager[None]]
"""Seeds the global generators for one lane's forward pass."""


@runtime_checkable
class PerLane(Protocol):
    """Weights together with each lane's own parameters (`Forward.attach`); empty if the lanes have none."""

    @property
    def per_lane(self) -> Sequence[Weights]:
        """Each lane's parameters by common name; empty if the lanes have none of their own."""
        ...


class LaneState(Protocol):
    """The lanes of a kernel and the buffers of their models."""

    def buffers(self) -> dict[str, Tensor]:
        """The buffers of all lanes by name, lanes first."""
        ...

    def load_buffers(self, buffers: Mapping[str, Tensor]) -> None:
        """Restore what `buffers` returned."""
        ...

    def take(self, lanes: Tensor) -> None:
        """Keep the lanes at the positions `lanes` (int64), in that order."""
        ...

    def extend(self, other: Forward) -> None:
        """Append the lanes of `other`."""
        ...

    def some(self, lanes: Tensor) -> Forward:
        """The models of some lanes, for evaluation; this object does not change."""
        ...

    def branch_keys(self, lane: int) -> tuple[str, ...]:
        """A key of the branches that a lane takes; lanes with equal keys run faster as neighbours."""
        ...

    def module_of(self, lane: int) -> nn.Module:
        """A copy of the lane's module with its buffers; the parameters' values are not set."""
        ...


class ParameterViews(Protocol):
    """How the parameters of the lanes' models relate to the stacked weights."""

    def own_names(self, lane: int) -> dict[str, str]:
        """A lane's parameters: name in its model -> common name."""
        ...

    def attach(self, weights: Weights) -> list[dict[str, Tensor]]:
        """If each lane has its own module: make its parameters views of its row of `weights`, and return them by common name.
        Otherwise an empty list."""
        ...

    def collect(self, weights: Weights) -> None:
        """Copy into `weights` what models have assigned to the data of attached parameters."""
        ...

    def frozen(self) -> frozenset[str]:
        """Common names of the parameters that require a gradient in no lane."""
        ...


class Forward(LaneState, ParameterViews, Protocol):
    """K models lowered by a kernel. Weights are passed in; buffers belong to the object."""

    kernel: str

    def __call__(self, weights: Weights, x: Tensor, keys: Tensor, training: bool) -> Tensor:
        """The models' outputs `[K, B, …]` for `x` `[K, B, …]`; `keys` `[K]`: what the step's random draws derive from."""
        ...


class Kernel(Protocol):
    """One of the four kernels; see the module's table."""

    @property
    def name(self) -> str:
        """The name by which `--kernel` selects it."""
        ...

    def unavailable(self, device: torch.device) -> str:
        """Why the kernel is unavailable on this machine, in a few words; empty if it is available."""
        ...

    def unsupported(self, model: nn.Module, x: Tensor) -> str:
        """Why it cannot run several lanes of `model` on inputs like `x` `[B, …]`, in a few words; empty if it can."""
        ...

    def lower(
        self,
        nets: Sequence[Net],
        names: Names,
        *,
        channels_last: bool,
        reseed: Reseed | None,
        traceable: bool,
    ) -> Forward:
        """Lower K models of one structure. Arguments as `lower.lower`."""
        ...
