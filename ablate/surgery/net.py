"""A model laid open for surgery: where its layers are, in the order they run, and their shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ablate.seams.tensors import Role, Spec
from ablate.surgery.layer_types import ACTIVATIONS, AFFINE, CONVOLUTIONS, DROPOUTS, EXACT, NORMS
from ablate.surgery.layers import Dropout, Site
from ablate.surgery.readers import ReadElsewhere
from ablate.surgery.switch import Switch
from ablate.surgery.torch_layers import is_torchs

LEAVES = (*AFFINE, *ACTIVATIONS, *NORMS, *DROPOUTS, nn.Embedding, nn.Upsample)


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """A layer of the user's model. `path` as in `named_modules`; shapes with the batch dimension.

    `custom`: a convolution or linear layer with a `forward` of the user's own: tricks may act around it, not on its weights.
    """

    path: str
    kind: type[nn.Module]
    input: tuple[int, ...]
    output: tuple[int, ...]
    custom: bool = False


@dataclass
class Net:
    """A model and its places, in the order in which they run.

    `module` is changed in place by surgery; each lane has its own. `touched` counts what a trick changed:
    a trick whose count is zero was not applicable.
    """

    module: nn.Module
    places: tuple[LayerInfo, ...]
    touched: dict[str, int] = field(default_factory=dict)
    _replaced: dict[str, nn.Module] = field(default_factory=dict)

    def layer(self, path: str) -> nn.Module:
        return self.module.get_submodule(path)

    def count(self, trick: str, number: int = 1) -> None:
        self.touched[trick] = self.touched.get(trick, 0) + number

    @property
    def head(self) -> str | None:
        """Path of the last affine layer: the head, which surgery leaves alone."""
        return next((place.path for place in reversed(self.places) if issubclass(place.kind, AFFINE)), None)

    def of(self, *kinds: type[nn.Module]) -> list[LayerInfo]:
        return [place for place in self.places if issubclass(place.kind, kinds)]

    def hidden(self) -> list[LayerInfo]:
        """Affine layers, without the head."""
        return [place for place in self.of(*AFFINE) if place.path != self.head]

    def site(self, place: LayerInfo) -> Site:
        """The Site around an affine layer; made on the first call."""
        if place.path not in self._replaced:
            site = Site(self.layer(place.path), place.path)
            self.replace(place.path, site)
        found = self._replaced[place.path]
        assert isinstance(found, Site)
        return found

    def sites(self) -> Iterator[tuple[LayerInfo, Site]]:
        for place in self.hidden():
            yield place, self.site(place)

    def switch(self, place: LayerInfo) -> Switch:
        """The Switch that stands in for a norm or activation layer; made on the first call."""
        if place.path not in self._replaced:
            layer = self.layer(place.path)
            if getattr(layer, "inplace", False):
                # The input may be a view of all lanes' values, which autograd protects from being overwritten.
                layer.inplace = False  # type: ignore[assignment]
            switch = _switch(place, layer)
            switch.shared = self._is_shared(layer)
            self.replace(place.path, switch)
        found = self._replaced[place.path]
        assert isinstance(found, Switch)
        return found

    def _is_shared(self, layer: nn.Module) -> bool:
        """Whether a parameter of `layer` is another layer's too."""
        own = {id(parameter) for parameter in layer.parameters()}
        inside = set(layer.modules())
        return any(
            id(parameter) in own
            for other in self.module.modules()
            if other not in inside
            for parameter in other._parameters.values()
        )

    def replace(self, path: str, module: nn.Module) -> None:
        """Put `module` where the layer `path` stands, under every name by which the model holds that layer."""
        old = self.layer(path)
        holders = [
            (parent, name)
            for parent in self.module.modules()
            for name, child in parent._modules.items()
            if child is old
        ]
        for parent, name in holders:
            setattr(parent, name, module)
        if not path:
            self.module = module
        self._replaced[path] = module

    def norm_switches(self) -> Iterator[tuple[Switch, int, int]]:
        """(switch, channels, spatial dimensions) wherever a normalisation stands or could stand.

        Where the model has norm layers: those. Else: after each hidden affine layer, before the
        non-linearity. Branches see channels as dimension 1 of the activations, also where the model has
        them last (`switch.channels_last`: then the other dimension is tokens).
        """
        own = self.of(*NORMS)
        if own:
            found = [(self.switch(place), place) for place in own]
        else:
            found = []
            for place, site in self.sites():
                if site.norm is None:
                    site.norm = _switch(place, site.layer, otherwise=nn.Identity())
                found.append((site.norm, place))
        for switch, place in found:
            yield switch, place.output[-1 if switch.channels_last else 1], len(place.output) - 2

    def common_name(self, name: str) -> str:
        """A parameter's or buffer's name as in the user's own model, without what surgery put around it."""
        for path in self._replaced:
            outer = f"{path}." if path else ""
            for wrapper in ("layer", "otherwise"):
                inner = f"{outer}{wrapper}."
                if name.startswith(inner):
                    return outer + name.removeprefix(inner)
        return name

    def specs(self) -> dict[str, Spec]:
        """Own name -> common name, shape and role of every parameter, in order."""
        head = self.head
        found = {}
        for name, parameter in self.module.named_parameters():
            owner = self.module.get_submodule(name.rpartition(".")[0])
            role: Role = "other"
            if isinstance(owner, nn.Embedding):
                role = "embedding"
            elif isinstance(owner, NORMS) or "branches" in name.split("."):
                role = "norm"
            elif parameter.ndim >= 2:
                role = "weight"
            elif name.endswith("bias"):
                role = "bias"
            common = self.common_name(name)
            in_head = head is not None and (not head or common.startswith(f"{head}."))
            found[name] = Spec(common, tuple(parameter.shape), role, in_head)
        return found


def open_net(
    module: nn.Module,
    example: Tensor,
    places: tuple[LayerInfo, ...] | None = None,
    *,
    together: bool = True,
) -> Net:
    """Lay a model open. `example` `[B, …]` is run through it once to see the order and the shapes.

    `places` of an equal model may be handed in to spare that. Dropout layers become counter-based ones. `together`: it will
    be run with other lanes on stacked tensors, so that layers that would round differently beside them go into a Switch.
    """
    net = Net(module, trace(module, example) if places is None else places)
    for place in net.of(nn.Dropout):
        layer = net.layer(place.path)
        assert isinstance(layer, nn.Dropout)
        net.replace(place.path, Dropout(layer.p, f"model/{place.path}"))
    for place in net.of(*NORMS, *ACTIVATIONS) if together else ():
        if not issubclass(place.kind, EXACT):
            net.switch(place)
    return net


def _switch(place: LayerInfo, layer: nn.Module, *, otherwise: nn.Module | None = None) -> Switch:
    """A Switch in the place of `layer`, or of `otherwise` behind it.

    Channels are the last of more than two dimensions where tokens go through a linear layer or its norm.
    """
    channels_last = len(place.output) > 2 and (
        len(layer.normalized_shape) == 1
        if isinstance(layer, nn.LayerNorm | nn.RMSNorm)
        else isinstance(layer, nn.Linear)
    )
    return Switch(otherwise or layer, channels_last=channels_last, shape=place.output)


def without_switches(module: nn.Module) -> nn.Module:
    """`module` without the Switches that were put there for other lanes' sake: the layers that they hold, in their places."""
    for parent in list(module.modules()):
        for name, child in parent._modules.items():
            if isinstance(child, Switch) and not child.branches:
                parent._modules[name] = child.otherwise
    return module.otherwise if isinstance(module, Switch) and not module.branches else module


def trace(module: nn.Module, example: Tensor) -> tuple[LayerInfo, ...]:
    """The layers in the order in which they first run. Leaves the module's buffers and the RNG untouched.

    Without layers that are the user's own (but for what tricks may be put around), and without those whose weight
    something else reads (`readers.ReadElsewhere`): what stood in their places would be passed by.
    """
    places: list[LayerInfo] = []
    seen: set[str] = set()
    handles = []

    def note(path: str, *, custom: bool) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if path in seen or not (isinstance(output, Tensor) and inputs and isinstance(inputs[0], Tensor)):
                return
            shapes = tuple(inputs[0].shape), tuple(output.shape)
            if not custom or _is_usual(layer, *shapes):
                seen.add(path)
                places.append(LayerInfo(path, type(layer), *shapes, custom))

        return hook

    for path, layer in module.named_modules():
        custom = not is_torchs(layer, LEAVES)
        if not custom or isinstance(layer, AFFINE):
            handles.append(layer.register_forward_hook(note(path, custom=custom)))
    modes = [(layer, layer.training) for layer in module.modules()]
    try:
        module.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]), ReadElsewhere(module) as elsewhere:
            module(example)
    finally:
        for layer, mode in modes:
            layer.training = mode
        for handle in handles:
            handle.remove()
    return tuple(place for place in places if place.path not in elsewhere.paths)


def left_alone(module: nn.Module, places: tuple[LayerInfo, ...]) -> tuple[str, ...]:
    """Paths of convolutions, linear layers, norms and activations that are none of `places` (of `trace`), or the user's own."""
    usual = {id(module.get_submodule(place.path)) for place in places if not place.custom}
    kinds = (*AFFINE, *NORMS, *ACTIVATIONS)
    return tuple(
        p for p, layer in module.named_modules() if isinstance(layer, kinds) and id(layer) not in usual
    )


def _is_usual(layer: nn.Module, given: tuple[int, ...], output: tuple[int, ...]) -> bool:
    """Whether a layer of the user's own puts out its channels where torch's layer of that kind does."""
    if isinstance(layer, nn.Linear):
        return output == (*given[:-1], layer.out_features)
    return len(output) == len(given) and output[1] == getattr(layer, "out_channels", None)


def provides(net: Net) -> frozenset[str]:
    """What of `records.trick.REQUIREMENTS` the model itself has."""
    found = set()
    hidden = net.hidden()
    if any(issubclass(place.kind, CONVOLUTIONS) for place in net.places):
        found.add("convolution")
    if hidden or net.of(*NORMS):
        found.add("normalisable")
    if net.of(*ACTIVATIONS):
        found.add("activation")
    if net.of(nn.Embedding):
        found.add("embedding")
    if any(place.input == place.output for place in hidden):
        found.add("shape-preserving block")
    if any(len(place.output) == 4 for place in hidden):
        found.add("spatial model")
    return frozenset(found)
