"""What one forward pass of a model shows: its layers in order, residual additions, and norms and activations outside modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ablate.surgery.dataflow import LAYERS, Addition, Dataflow
from ablate.surgery.layer_types import ACTIVATIONS, AFFINE, DROPOUTS, NORMS, slot_of
from ablate.surgery.readers import ReadElsewhere
from ablate.surgery.torch_layers import is_torchs
from ablate.surgery.untouched import OUT_OF_REACH

LEAVES = (*AFFINE, *ACTIVATIONS, *NORMS, *DROPOUTS, nn.Embedding, nn.Upsample, nn.MaxPool2d)


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """A layer of the user's model. `path` as in `named_modules`; shapes with the batch dimension.

    `custom`: a convolution or linear layer with a user-defined `forward`: tricks may act around it, not on its weights.
    `in_residual`: it runs in a residual branch.
    """

    path: str
    kind: type[nn.Module]
    input: tuple[int, ...]
    output: tuple[int, ...]
    custom: bool = False
    in_residual: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """`layer_infos`: the layers that tricks can change, in order of first execution. `additions`: residual ones.

    `out_of_reach`: (slot, what) -> how many norms, activations and dropouts run that no trick can change: calls such as
    `F.relu`, hand-written norm modules, subclasses with their own `forward`. `ends`: paths of the affine and activation
    layers whose results no layer with weights reads, as of the heads of a model with several outputs. `removed`: paths of
    layers that were left out afterwards (`without`).
    """

    layer_infos: tuple[LayerInfo, ...]
    additions: tuple[Addition, ...]
    out_of_reach: dict[tuple[str, str], int]
    ends: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()

    @property
    def heads(self) -> tuple[str, ...]:
        """Paths of the affine layers that make the outputs; of the last one that runs if the outputs do not tell."""
        affine = [info.path for info in self.layer_infos if issubclass(info.kind, AFFINE)]
        return tuple(path for path in affine if path in self.ends) or tuple(affine[-1:])

    def out_of_reach_of(self, slot: str) -> dict[tuple[str, str], int]:
        """The norms, activations or dropouts that no trick can change: (what, why) -> how many."""
        return {
            (what, OUT_OF_REACH): number for (kind, what), number in self.out_of_reach.items() if kind == slot
        }

    def without(self, paths: Collection[str]) -> Observed:
        """The same without the layers at `paths`, which are then out of reach."""
        removed = [info for info in self.layer_infos if info.path in paths]
        missed = Counter((slot_of(info.kind), info.kind.__name__) for info in removed)
        return replace(
            self,
            layer_infos=tuple(info for info in self.layer_infos if info.path not in paths),
            out_of_reach=dict(Counter(self.out_of_reach) + missed),
            removed=self.removed | frozenset(paths),
        )


def observe(module: nn.Module, example: Tensor) -> Observed:
    """Run `example` `[B, …]` through the module once. Leaves its buffers, its modes and the generators untouched.

    Left out are layers with user-defined code (except those that tricks may be put around), layers that are called without a
    batch, and layers whose weights other code reads (`readers.ReadElsewhere`): their replacements would never be called.
    """
    infos: dict[str, LayerInfo] = {}
    by_example: set[str] = set()  # layers that torch.func calls for one example at a time
    handles = []

    def note(path: str, *, custom: bool) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(output, Tensor) and output.ndim < 2 and isinstance(layer, (*AFFINE, *NORMS)):
                by_example.add(path)
            if path in infos or not (isinstance(output, Tensor) and inputs and isinstance(inputs[0], Tensor)):
                return
            shapes = tuple(inputs[0].shape), tuple(output.shape)
            if not custom or _is_usual(layer, *shapes):
                infos[path] = LayerInfo(path, type(layer), *shapes, custom)

        return hook

    for path, layer in module.named_modules():
        custom = not is_torchs(layer, LEAVES)
        if not custom or isinstance(layer, AFFINE):
            handles.append(layer.register_forward_hook(note(path, custom=custom)))
    modes = [(layer, layer.training) for layer in module.modules()]
    try:
        module.eval()
        with (
            torch.no_grad(),
            torch.random.fork_rng(devices=[]),
            ReadElsewhere(module) as elsewhere,
            Dataflow(module) as flow,
        ):
            outputs = module(example)
            ends = flow.ends(outputs)
    finally:
        for layer, mode in modes:
            layer.training = mode
        for handle in handles:
            handle.remove()
    inside = flow.in_residual()
    reached_layers = [info for info in infos.values() if info.path not in elsewhere.paths | by_example]
    reached = {info.path for info in reached_layers}
    missed = Counter(
        (slot_of(type(layer)), type(layer).__name__)
        for path, layer in flow.ran.items()
        if isinstance(layer, LAYERS) and path not in reached
    )
    return Observed(
        tuple(
            LayerInfo(p.path, p.kind, p.input, p.output, p.custom, in_residual=p.path in inside)
            for p in reached_layers
        ),
        flow.additions(),
        dict(flow.functional() + missed),
        ends,
    )


def left_alone(module: nn.Module, layer_infos: tuple[LayerInfo, ...]) -> tuple[str, ...]:
    """Paths of convolutions, linear layers, norms and activations that are not in `layer_infos`, or have user-defined code."""
    usual = {id(module.get_submodule(info.path)) for info in layer_infos if not info.custom}
    kinds = (*AFFINE, *NORMS, *ACTIVATIONS)
    return tuple(
        p for p, layer in module.named_modules() if isinstance(layer, kinds) and id(layer) not in usual
    )


def _is_usual(layer: nn.Module, given: tuple[int, ...], output: tuple[int, ...]) -> bool:
    """Whether a user-defined layer has its output channels in the same dimension as torch's layer of that kind."""
    if isinstance(layer, nn.Linear):
        return output == (*given[:-1], layer.out_features)
    return len(output) == len(given) and output[1] == getattr(layer, "out_channels", None)
