"""The kernels by name, and lowering K models by one of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ablate.kernels.loop import LoopKernel
from ablate.kernels.protocol import Forward, Kernel, Names, Reseed
from ablate.kernels.stacked_lanes import StackedKernel
from ablate.surgery.net import Net

_ALL: tuple[Kernel, ...] = (
    StackedKernel("compiled"),
    StackedKernel("batched"),
    StackedKernel("vmap"),
    LoopKernel(),
)
KERNELS = {kernel.name: kernel for kernel in _ALL}


def kernel_unavailable(name: str, device: torch.device) -> str:
    """Why a kernel is unavailable on this machine, in a few words; empty if it is available, and for other names."""
    return KERNELS[name].unavailable(device) if name in KERNELS else ""


def available_kernels(device: torch.device) -> tuple[str, ...]:
    """The names of the kernels that can run on `device`."""
    return tuple(name for name in KERNELS if not kernel_unavailable(name, device))


def lower(
    kernel: str,
    nets: Sequence[Net],
    names: Names,
    *,
    channels_last: bool,
    reseed: Reseed | None = None,
    traceable: bool = True,
) -> Forward:
    """The forward pass of `nets` by a kernel.

    `names`: for each lane, common name of a parameter -> its name in the lane's model. `channels_last`: the memory format of feature maps. `reseed`:
    seeds the global generators around each lane's pass, for models that draw from them (the loop kernel only). `traceable`: whether a user-defined
    `forward` may run as traced; otherwise it is vmapped. Raises ValueError for a model that the kernel cannot run.
    """
    return KERNELS[kernel].lower(nets, names, channels_last=channels_last, reseed=reseed, traceable=traceable)
