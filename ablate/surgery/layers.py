"""Layers that surgery puts into a model. Each handles one lane's tensors; vmap or a loop makes K of them.

Hyperparameters are buffers (0-dim tensors), so that stacking lanes stacks them too. There is no
data-dependent control flow in any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.seams.draws import bits, keep_mask, stream_number, to_uniform
from ablate.surgery.binding import Binding
from ablate.surgery.escape import escape, under_vmap


class Hyper(nn.Module):
    """A module with hyperparameters as float32 buffers of no dimension."""

    def __init__(self, **values: float) -> None:
        super().__init__()
        for name, value in values.items():
            self.register_buffer(name, torch.tensor(float(value)))


class RandomLayer(Hyper):
    """A layer that draws. The engine puts the lane's key of the step into the buffer `key`.

    `stream` names the draw; two layers of one model need two names (use the place in the model).
    """

    key: Tensor

    def __init__(self, stream: str, **values: float) -> None:
        super().__init__(**values)
        self.stream = stream_number(stream)
        self.register_buffer("key", torch.zeros((), dtype=torch.int32))

    def keep(self, shape: torch.Size, p: Tensor) -> Tensor:
        """bool of `shape`, True with probability 1 − p.

        The elements of feature maps `[B, C, H, W]` are numbered with the channels innermost, as they mostly lie in
        memory: a mask in another order than what it multiplies takes several times as long.
        """
        if len(shape) != 4:
            return keep_mask(self.key, self.stream, tuple(shape), p)
        b, c, h, w = shape
        return keep_mask(self.key, self.stream, (b, h, w, c), p).movedim(-1, 1)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        return to_uniform(bits(self.key, self.stream, shape))


class Dropout(RandomLayer):
    """Inverted dropout: y = x · keep / (1 − p) in training, the identity in evaluation (1207.0580)."""

    p: Tensor

    scale: Tensor

    def __init__(self, p: float, stream: str) -> None:
        super().__init__(stream, p=p, scale=1 / (1 - p) if p < 1 else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * (self.keep(x.shape, self.p) * self.scale)


class Gate(Hyper):
    """A 0/1 buffer: whether this lane has the thing it gates."""

    on: Tensor

    def __init__(self, on: bool) -> None:
        super().__init__(on=float(on))


class StandIn(nn.Module):
    """A module in the place of one of the user's, which is its submodule `inner`.

    Attributes that it does not have are the inner module's, so that a model which looks at its layer
    (`self.fc.weight`) still finds it.
    """

    inner: str

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__(self.inner), name)


class Site(StandIn):
    """A convolution or linear layer with the places around it where tricks act.

    forward: x -> before -> layer(with its weight passed through `weight_transforms`) -> norm -> after
             [+ residual · the site's own input].

    `norm` has a place of its own, not one in the list `after`, so that it comes first whichever tricks
    the group has.
    """

    inner = "layer"

    def __init__(self, layer: nn.Module, path: str) -> None:
        super().__init__()
        self.before = nn.ModuleList()
        self.layer = layer
        self.weight_transforms = nn.ModuleList()
        self.bias_gate: Gate | None = None
        self.norm: Switch | None = None
        self.after = nn.ModuleList()
        self.residual: nn.Module | None = None
        self.path = path

    def drop_bias(self, on: bool) -> None:
        """Leave the layer's bias out in this lane if `on`; builds the gate in any case."""
        if self.bias_gate is None:
            self.bias_gate = Gate(True)
        if on:
            self.bias_gate.on.fill_(0)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for module in self.before:
            y = module(y)
        y = self._affine(y)
        if self.norm is not None:
            y = self.norm(y)
        for module in self.after:
            y = module(y)
        return y if self.residual is None else self.residual(x, y)

    def _affine(self, x: Tensor) -> Tensor:
        layer = self.layer
        if (not self.weight_transforms and self.bias_gate is None) or not isinstance(layer, AFFINE):
            plain: Tensor = layer(x)
            return plain
        weight, bias = layer.weight, layer.bias
        for transform in self.weight_transforms:
            weight = transform(weight)
        if bias is not None and self.bias_gate is not None:
            bias = bias * self.bias_gate.on
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight, bias)
        convolved: Tensor = layer._conv_forward(x, weight, bias)
        return convolved


AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.RMSNorm,
)  # fmt: skip
ACTIVATIONS = (
    nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.SELU, nn.Mish, nn.Hardswish,
    nn.ReLU6, nn.Softplus, nn.PReLU,
)  # fmt: skip
EXACT = (nn.ReLU, nn.LeakyReLU, nn.ReLU6)
"""Activations whose vectorised and scalar code round alike; of the others, the last few elements of a tensor
may round differently, and which are last depends on how many lanes there are. PReLU sums its slope's gradient."""
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class Switch(StandIn):
    """The layer of a slot: one of several branches, chosen per lane.

    `otherwise` is what stood there (the identity where nothing did) and is used by lanes that have none of
    the branches. Only the branches that some lane of the group has are built. Lanes run their branch one
    after another at this one place (see `escape`), so that a lane's numbers are those of its branch alone.

    `picked`: this lane's branch, "" for `otherwise`. Under vmap one module serves all lanes: `picks` then holds
    each lane's own Switch (None: this one for all), whose branches may so hold plain numbers that differ between lanes.
    `alone`: lanes run one after another also where there are no branches, because under vmap `otherwise`
    would round differently for different numbers of lanes.
    `channels_last`: channels are the last dimension here (tokens `[B, T, C]`); branches still see them as
    dimension 1. `otherwise` sees what it always saw.
    `shape`: of the activations that pass here, with the example's batch dimension first.
    """

    inner = "otherwise"

    def __init__(
        self,
        otherwise: nn.Module,
        *,
        alone: bool = False,
        channels_last: bool = False,
        shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.otherwise = otherwise
        self.branches = nn.ModuleDict()
        self.shape = shape
        self.alone = alone
        self.channels_last = channels_last
        self.picked = ""
        self.picks: list[Switch] | None = None
        self._plan: Plan | None = None

    def add(self, name: str, branch: nn.Module, on: bool) -> None:
        """A further branch, chosen in this lane if `on`; else its parameters are zero, so that a penalty on
        all weights is the same as in a model without it."""
        if on:
            self.picked = name
        else:
            for parameter in branch.parameters():
                nn.init.zeros_(parameter)
        self.branches[name] = branch

    @property
    def chosen(self) -> nn.Module:
        return self._branch(self.picked)

    def _branch(self, name: str) -> nn.Module:
        return self.branches[name] if name else self.otherwise

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor
        if not (self.alone or self.branches):
            y = self.otherwise(x)
        elif under_vmap(x):
            y = self._lanes(x)
        else:
            y = self._run(self.picked, x)
        return y

    def _lanes(self, x: Tensor) -> Tensor:
        """Each lane through its own branch, one after another."""
        picks = self.picks

        def lane(number: int, value: Tensor, state: Sequence[Tensor]) -> Tensor:
            return (self if picks is None else picks[number]).plan.run(value, state)

        return escape(lane, x, self.plan.tensors())

    @property
    def plan(self) -> Plan:
        if self._plan is None:
            self._plan = Plan(self)
        return self._plan

    def _run(self, name: str, x: Tensor) -> Tensor:
        chosen = self._branch(name)
        y: Tensor
        if name and self.channels_last:
            y = chosen(x.movedim(-1, 1))
            return y.movedim(1, -1)
        y = chosen(x)
        return y


class Plan:
    """Which of a Switch's tensors its own branch holds, worked out once."""

    def __init__(self, switch: Switch) -> None:
        self.switch = switch
        self.binding = Binding(switch)
        branch = f"branches.{switch.picked}." if switch.picked else "otherwise."
        self.own = [(number, own) for number, own in enumerate(self.binding.places) if own.startswith(branch)]

    def tensors(self) -> list[Tensor]:
        """The tensors that are in the switch now: under vmap, the lanes' stacked ones."""
        held = (places[0] for places in self.binding.places.values())
        return [cast(Tensor, where[name]) for where, name in held]

    def run(self, x: Tensor, tensors: Sequence[Tensor]) -> Tensor:
        """The lane's `x` through its branch, with the lane's tensors in their places."""
        before = self.binding.put({own: tensors[number] for number, own in self.own})
        try:
            return self.switch._run(self.switch.picked, x)
        finally:
            self.binding.put(before)


Picks = dict[str, list[Switch]]
"""Path of a Switch -> each lane's own."""


def picks_of(modules: Sequence[nn.Module]) -> Picks:
    """The Switches of several models of one form."""
    return {
        path: [cast(Switch, module.get_submodule(path)) for module in modules]
        for path, layer in modules[0].named_modules()
        if isinstance(layer, Switch)
    }


def set_picks(module: nn.Module, picks: Picks | None) -> None:
    """Let `module` serve lanes with these Switches under vmap; None: serve itself."""
    for layer in module.modules() if picks is None else ():
        if isinstance(layer, Switch):
            layer.picks = None
    for path, switches in (picks or {}).items():
        cast(Switch, module.get_submodule(path)).picks = switches
