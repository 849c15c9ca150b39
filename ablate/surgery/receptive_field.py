"""Receptive fields of a model's feature maps: the extent of the inputs that one output depends on.

Measured, not derived from a table of layer types, so that branches, skips and functions in `forward` are handled exactly:
the gradient of an output pixel is nonzero exactly where the input matters, if no value switches a path off. So a copy of the
model runs with positive weights and inputs, with activations and dropout as the identity and with max pooling as average
pooling, which has the same windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ablate.surgery.dataflow import FUNCTIONS

PROBES = 8
"""Neighbouring output pixels that are tried, on a diagonal: with strides behind a transposed convolution they differ."""
IDENTITY = frozenset(
    {name for name, slot in FUNCTIONS.items() if slot != "norm"}
    | {"batch_norm", "tanh", "sigmoid", "hardtanh", "prelu", "logsigmoid"}
)
POOLS: Mapping[str, Callable[..., Tensor]] = {
    "max_pool1d": F.avg_pool1d, "max_pool2d": F.avg_pool2d, "max_pool3d": F.avg_pool3d,
    "adaptive_max_pool1d": F.adaptive_avg_pool1d, "adaptive_max_pool2d": F.adaptive_avg_pool2d,
    "adaptive_max_pool3d": F.adaptive_avg_pool3d,
}  # fmt: skip


class _Linear(TorchFunctionMode):
    """Context: activations and dropout are the identity, and max pooling is a sum over the same windows."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "").removesuffix("_with_indices")
        kwargs = kwargs or {}
        if name.removesuffix("_") in IDENTITY:
            return args[0] if args else kwargs["input"]
        if name in POOLS:
            return _pooled(name, *args, **kwargs)
        return func(*args, **kwargs)


def receptive_fields(module: nn.Module, example: Tensor) -> dict[str, tuple[int, ...]]:
    """Path of each module that outputs feature maps -> the extent of its receptive field in every spatial dimension.

    `example`: inputs `[B, C, L]`, `[B, C, H, W]` or `[B, C, D, H, W]` of floats, in which fields are measured; or vectors `[B, F]`, of which a
    generator makes its first feature maps, in which those of the later ones are. Others give an empty mapping. Fields end at the border, and
    the largest of `PROBES` neighbouring pixels in the middle is reported.
    """
    if example.ndim not in (2, 3, 4, 5) or not example.is_floating_point():
        return {}
    copy = _positive(deepcopy(module))
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(PROBES, *example.shape[1:], generator=draw, dtype=torch.float64) + 0.5
    x.requires_grad_()
    outputs: dict[str, Tensor] = {}
    origin = [x] if example.ndim > 2 else []

    def note(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or len(output) != len(x) or not output.requires_grad:
                return
            if not origin and output.ndim in (4, 5):
                origin.append(output)
            if origin and output.ndim == origin[0].ndim:
                outputs.setdefault(path, output)

        return hook

    handles = [layer.register_forward_hook(note(path)) for path, layer in copy.named_modules()]
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), _Linear():
            copy(x)
    finally:
        for handle in handles:
            handle.remove()
    return {path: _extent(output, origin[0]) for path, output in outputs.items()}


def _extent(output: Tensor, x: Tensor) -> tuple[int, ...]:
    sides = output.shape[2:]
    total = output.new_zeros(())
    for probe in range(PROBES):
        pixel = output[probe]
        for side in sides:
            index = max(0, min(side - 1, side // 2 - PROBES // 2 + probe))
            pixel = pixel.select(1, index)
        total = total + pixel.sum()
    (gradient,) = torch.autograd.grad(total, x, retain_graph=True, allow_unused=True)
    if gradient is None:
        return tuple(0 for _ in sides)
    reached = (gradient != 0).any(dim=1)
    return tuple(max(_length(one, dim) for one in reached) for dim in range(reached.ndim - 1))


def _length(reached: Tensor, dim: int) -> int:
    """Distance from the first to the last nonzero index along `dim`."""
    others = [other for other in range(reached.ndim) if other != dim]
    indices = (reached.any(dim=others) if others else reached).nonzero()
    return int(indices[-1] - indices[0]) + 1 if len(indices) else 0


def _positive(module: nn.Module) -> nn.Module:
    """The module in float64 and evaluation mode, with weights under which values neither vanish nor grow from layer to layer.

    Parameters that a layer names in `at_rest` are zero: they move what it looks at.
    """
    draw = torch.Generator().manual_seed(0)
    module.double().eval()
    at_rest = {
        id(getattr(layer, name)) for layer in module.modules() for name in getattr(layer, "at_rest", ())
    }
    with torch.no_grad():
        for parameter in module.parameters():
            if id(parameter) in at_rest:
                parameter.zero_()
                continue
            fan = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.copy_((torch.rand(parameter.shape, generator=draw, dtype=torch.float64) + 0.5) / fan)
    return module


def _pooled(name: str, x: Tensor, size: Any, *args: Any, **kwargs: Any) -> Any:
    """Average pooling over the windows of the max pooling `name`, dilated ones as sums of shifted samples."""
    if name.startswith("adaptive"):
        return POOLS[name](x, size)
    names = ("stride", "padding", "dilation", "ceil_mode")
    arguments = {**dict(zip(names, args, strict=False)), **kwargs}
    stride, padding, dilation = (
        arguments.get("stride"),
        arguments.get("padding", 0),
        arguments.get("dilation", 1),
    )
    spread = (dilation,) if isinstance(dilation, int) else tuple(dilation)
    if set(spread) == {1}:
        return POOLS[name](x, size, stride or size, padding, bool(arguments.get("ceil_mode", False)))
    dims = x.ndim - 2
    sizes = (size,) * dims if isinstance(size, int) else tuple(size)
    weight = x.new_ones(x.shape[1], 1, *sizes)
    convolve = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    return convolve(x, weight, None, stride or size, padding, dilation, x.shape[1])
