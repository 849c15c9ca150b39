"""The layers of a model as a table: output sizes, receptive fields, parameters, multiply-adds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ablate.surgery.adversarial_pair import NETWORKS, pair_of
from ablate.surgery.layers import Site
from ablate.surgery.receptive_field import receptive_fields
from ablate.surgery.switch import Switch

ROOT = "Global"
"""The name that torch's FLOP counter gives to the whole model."""


@dataclass(frozen=True, slots=True)
class LayerRow:
    """A layer without children, or a torch module that computes without its children, in order of first execution.

    `output`: its shape without the batch dimension. `parameters`: of this layer; shared ones are counted once, where they run first.
    `multiply_adds`: of one example, over all calls, without biases and elementwise operations. `receptive_field`: empty if undefined.
    """

    path: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    receptive_field: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerTable:
    """`multiply_adds`: of the whole forward pass of one example, including operations outside any row (matrix products in a `forward`)."""

    rows: tuple[LayerRow, ...]
    parameters: int
    multiply_adds: int


def layer_table(module: nn.Module, example: Tensor, *, maps: bool) -> LayerTable:
    """Run one example `[1, …]` through the module in evaluation mode, which leaves buffers and modes as they were.

    `maps`: whether the input has spatial dimensions behind its channels, so that there are receptive fields. Those of a generator are in its first feature maps.
    """
    rows = rows_of(module)
    shapes: dict[str, tuple[int, ...]] = {}

    def note(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            first = output if isinstance(output, Tensor) else _first(output)
            shapes.setdefault(path, () if first is None else tuple(first.shape[1:]))

        return hook

    handles = [layer.register_forward_hook(note(path)) for path, layer in rows.items()]
    networks: dict[str, Tensor] = {}  # the inputs of a pair's networks

    def note_input(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            networks.setdefault(name, inputs[0].detach())

        return hook

    pair = pair_of(module)
    if pair is not None:
        handles += [getattr(pair, name).register_forward_pre_hook(note_input(name)) for name in NETWORKS]
    counter = FlopCounterMode(display=False)
    try:
        with evaluating(module), counter:
            module(example)
    finally:
        for handle in handles:
            handle.remove()
    operations = counter.get_flop_counts()
    fields = receptive_fields(module, example) if maps else {}
    for name, given in networks.items():
        found = receptive_fields(module.get_submodule(name), given)
        fields |= {f"{name}.{path}": extent for path, extent in found.items() if path}
    counted: set[int] = set()
    name = type(module).__name__
    table = [
        LayerRow(
            path,
            kind_of(rows[path]),
            shape,
            _new_parameters(in_place(rows[path]), counted),
            _halved(operations.get(f"{name}.{path}" if path else name, {})),
            fields.get(path, ()),
        )
        for path, shape in shapes.items()
    ]
    every = sum(parameter.numel() for parameter in module.parameters())
    return LayerTable(tuple(table), every, _halved(operations.get(ROOT, {})))


def rows_of(module: nn.Module) -> dict[str, nn.Module]:
    """The modules that are a row of the table, by path."""
    rows: dict[str, nn.Module] = {}
    for path, layer in module.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in rows if outer)
        if not inside and (
            not list(layer.children())
            or isinstance(layer, nn.MultiheadAttention | Switch)
            or (isinstance(layer, Site) and len(layer.weight_transforms) > 0)
            or _computed(layer)
        ):
            rows[path] = layer
    return rows


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Context: evaluation mode, no gradients, no fused attention; restores the states of the random generators."""
    modes = [(layer, layer.training) for layer in module.modules()]
    fused = torch.backends.mha.get_fastpath_enabled()
    module.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # attention by matrix products, which torch's counter supports on every device
        with torch.no_grad(), torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for layer, mode in modes:
            layer.training = mode


def in_place(layer: nn.Module) -> nn.Module:
    """The module that computes in the place of `layer`: the branch of a `Switch`."""
    return layer.chosen if isinstance(layer, Switch) else layer


def kind_of(layer: nn.Module) -> str:
    """The type's name; of a layer whose weights a trick computes both names: "Conv2d + AsymmetricKernels"."""
    parts = [layer.layer, *layer.weight_transforms] if isinstance(layer, Site) else [in_place(layer)]
    return " + ".join(type(part).__name__ for part in parts)


def _computed(layer: nn.Module) -> bool:
    """A layer whose children are the parametrizations of its own weights."""
    return list(layer._modules) == ["parametrizations"]


def _new_parameters(layer: nn.Module, counted: set[int]) -> int:
    parameters = [parameter for parameter in layer.parameters() if id(parameter) not in counted]
    counted.update(id(parameter) for parameter in parameters)
    return sum(parameter.numel() for parameter in parameters)


def _halved(operations: Mapping[Any, int]) -> int:
    """torch counts a multiply-add as two operations."""
    return sum(operations.values()) // 2


def _first(value: Any) -> Tensor | None:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return next((item for item in items if isinstance(item, Tensor)), None)
