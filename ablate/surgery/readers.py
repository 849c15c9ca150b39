"""Layers whose weights are read by other code: `F.linear(x, self.fc.weight)`, torch's attention layers.

A replacement of such a layer, or a norm behind it, would never be called, so surgery leaves these layers alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from ablate.surgery.layer_calls import LayerCallMode

COMPUTING = frozenset(
    {
        "linear", "bilinear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "einsum", "layer_norm", "batch_norm",
        "group_norm", "instance_norm", "rms_norm", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
        "conv_transpose3d", "multi_head_attention_forward", "_native_multi_head_attention", "_transformer_encoder_layer_fwd",
    }
)  # fmt: skip
"""Functions that do a layer's work with weights passed as arguments."""


class ReadElsewhere(LayerCallMode):
    """Records, during a forward pass of `module`, the layers whose parameters are passed to a function in `COMPUTING` while
    neither that layer nor one that shares the parameter is being called. `paths`: their paths."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.paths: set[str] = set()
        self._owners: dict[int, list[tuple[str, nn.Module]]] = {}
        for path, layer in module.named_modules():
            for parameter in layer._parameters.values():
                if parameter is not None:
                    self._owners.setdefault(id(parameter), []).append((path, layer))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__name__", "") in COMPUTING:
            for tensor in tensors_of([args, kwargs or {}]):
                owners = self._owners.get(id(tensor), ())
                if not any(layer is running for _, layer in owners for running in self.running[-1:]):
                    self.paths.update(path for path, _ in owners)
        return func(*args, **(kwargs or {}))


def tensors_of(value: Any) -> Iterator[Tensor]:
    """The tensors in `value`: one, or a container of any depth."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple | set | deque):
        for one in value.values() if isinstance(value, dict) else value:
            yield from tensors_of(one)
