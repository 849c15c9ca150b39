"""Probe a model before lanes are built: which kernel runs it, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ablate.kernels.leave_vmap import as_channels_last
from ablate.kernels.lower import KERNELS, kernel_unavailable
from ablate.kernels.module_state import begin
from ablate.kernels.stacked import is_covered
from ablate.kernels.support import differing, trace_matches, unchanged
from ablate.lanes.random_draws import drawing
from ablate.lanes.seed_dependence import seed_dependent
from ablate.lanes.shared_memory import check_memory, in_memory_of_parameters, writes_shared_buffer
from ablate.lanes.shared_state import check_nothing_shared
from ablate.lanes.side_effects import side_effects, uses_global_rng
from ablate.surgery.net import Net
from ablate.tasks.user_code import repeatable

CACHED = 2**17
"""Elements that the layers of one lane output in a step (half a MiB). Above it a core's cache holds only one lane, and large groups are no
faster than small ones."""


def default_kernels(device: torch.device, *, large: bool, covered: bool) -> tuple[str, str]:
    """The kernel that is probably the fastest for a model that vmap supports, and the one to compare it with.

    On a CPU this is compiled code, if available and every layer has a rule; where one has none, which it has to vmap, it is compared with a
    plain loop. The vmap of a whole model is faster on GPUs only (`docs/kernels.md` has the measurements). `large`: one lane fills a core's
    cache, so that lanes share little.
    """
    if device.type != "cpu":
        return "vmap", "batched" if covered else "loop"
    by_layer = "batched" if kernel_unavailable("compiled", device) else "compiled"
    if not covered or (large and by_layer == "batched"):
        return "loop", by_layer
    return by_layer, "loop"


def supports_channels_last(module: nn.Module, x: Tensor) -> bool:
    """Whether a model on feature maps computes the same in channels-last format.

    A model with a `view` after a convolution cannot run; one that reads strides, or draws a mask in the order of the memory, computes
    something else; torch's group norm crashes in the backward pass if its weights require a gradient and its input does not.
    """
    if x.ndim != 4 or not x.is_floating_point():
        return False
    with _GroupNorms() as norms:
        in_training = _output(module, x.clone(), training=True)
    if norms.crash:
        return False
    try:
        with torch.no_grad():
            actual = [_output(module, as_channels_last(x.clone()), training=mode) for mode in (True, False)]
            expected = (in_training, _output(module, x.clone(), training=False))
    except RuntimeError:
        return False
    pairs = zip(actual, expected, strict=True)
    return not any(differing({"output": one}, {"output": other}) for one, other in pairs)


def _output(module: nn.Module, x: Tensor, *, training: bool) -> Tensor:
    """The module's output, with the same draws at every call."""
    with unchanged(module), repeatable():
        begin(module, training)
        output: Tensor = module(x)
        return output.detach()


class _GroupNorms(TorchFunctionMode):
    """Context: `crash` becomes true if the input of a group norm requires no gradient."""

    crash = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__name__", "") == "group_norm" and args and not args[0].requires_grad:
            self.crash = True
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class ModelProbe:
    """How to run a model, as found by probing it.

    `kernel`: one of KERNELS; `other`: the one to compare it with. `solo`: why lanes must run one at a time; empty if they need not.
    `large`: one lane fills a core's cache. `reseed`: it draws from a global generator (torch's, Python's, NumPy's), which is then seeded at every step.
    `traceable`: user-defined `forward`s can be traced, so that their layers run for all lanes at once. `writes_input`: the model changes
    its input in place, and is given a copy. `resumable`: a checkpoint holds all of its state.
    `channels_last`: on a CPU, pooling is many times faster with channels innermost.
    """

    kernel: str
    other: str
    solo: str
    large: bool
    reseed: bool
    channels_last: bool
    traceable: bool = True
    writes_input: bool = False
    resumable: bool = True

    @classmethod
    def at(
        cls,
        net: Net,
        fresh: tuple[nn.Module, nn.Module],
        x: Tensor,
        device: torch.device,
        batch_size: int,
        kernel: str | None,
    ) -> ModelProbe:
        """Probe a model prepared for surgery, `net`, and two `fresh` ones from the user's factory under different seeds; none can be used
        afterwards. `kernel` overrides the choice."""
        computed = [info for info in net.layer_infos if not issubclass(info.kind, nn.MaxPool2d)]
        large = sum(prod(info.output[1:]) for info in computed) * batch_size > CACHED
        first, second = fresh
        drawn = seed_dependent(first, second)
        shared = in_memory_of_parameters(first)
        effects = side_effects(first, x)
        check_memory(first, shared)
        check_nothing_shared(first, second, x, effects)
        reseed = uses_global_rng(net.module, x)
        solo = (
            drawn
            or effects.solo
            or writes_shared_buffer(first, x)
            or (_drawn(net.module, x) if reseed else KERNELS["vmap"].unsupported(net.module, x))
        )
        traceable = not solo and (is_covered(net.module, traced=False) or trace_matches(net.module, x))
        usual, other = "loop", "loop"
        if not solo:
            covered = traceable and is_covered(net.module)
            usual, other = default_kernels(device, large=large, covered=covered)
        kernel = usual if kernel is None or solo else kernel
        channels_last = device.type == "cpu" and supports_channels_last(net.module, x)
        return cls(
            kernel,
            usual if kernel == other else other,
            solo,
            large,
            reseed,
            channels_last,
            traceable,
            effects.writes_input,
            effects.resumable,
        )


def _drawn(module: nn.Module, x: Tensor) -> str:
    """Why lanes of a model that draws from a global generator run one at a time."""
    layer = drawing(module, x)
    return f"it draws from a global generator{f' ({layer})' if layer else ''}"
