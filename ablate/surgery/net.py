"""A model prepared for surgery: its layers in execution order, with paths and shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn

from ablate.records.trick import Value
from ablate.seams.tensors import Role, Spec
from ablate.surgery.adversarial_pair import pair_of
from ablate.surgery.attention_dropout import attention_dropouts, counted
from ablate.surgery.functional_activations import replace_calls
from ablate.surgery.layer_types import ACTIVATIONS, AFFINE, CHANNEL_DROPOUTS, EXACT, NORMS
from ablate.surgery.layers import ChannelDropout, DropBranch, Dropout, Site
from ablate.surgery.observe import LayerInfo, Observed, observe
from ablate.surgery.residual_gates import by_block, gated, with_drops
from ablate.surgery.switch import Switch
from ablate.surgery.untouched import ALREADY, OUT_OF_REACH


@dataclass
class Net:
    """A model and its layers, in execution order.

    `module` is changed in place by surgery; each lane has its own. `touched` counts what a trick changed:
    a trick whose count is zero was not applicable. `left` counts what a trick could have changed and did not:
    trick -> (what, why) -> how many. `redundant`: trick -> parameter -> values that leave this model as it is.
    """

    module: nn.Module
    observed: Observed
    touched: dict[str, int] = field(default_factory=dict)
    left: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)
    redundant: dict[str, dict[str, list[Value]]] = field(default_factory=dict)
    _replaced: dict[str, nn.Module] = field(default_factory=dict)
    _function_switches: list[tuple[str, Switch]] | None = None

    @property
    def layer_infos(self) -> tuple[LayerInfo, ...]:
        """The layers that tricks can change, in execution order."""
        return self.observed.layer_infos

    def layer(self, path: str) -> nn.Module:
        """The layer at `path`."""
        return self.module.get_submodule(path)

    def count(self, trick: str, number: int = 1) -> None:
        """Count a layer that the trick changed."""
        self.touched[trick] = self.touched.get(trick, 0) + number

    def leave(self, trick: str, what: str, why: str, number: int = 1) -> None:
        """Record what the trick leaves unchanged; `why` completes "the model has 3 GELU …"."""
        if number:
            self.left.setdefault(trick, Counter())[what, why] += number

    def leave_out_of_reach(self, trick: str, slot: str) -> int:
        """Record the norms, activations or dropouts that no trick can change; returns their number."""
        counts = self.observed.out_of_reach_of(slot)
        for (what, why), number in counts.items():
            self.leave(trick, what, why, number)
        return sum(counts.values())

    def leaves_unchanged(self, trick: str, parameter: str, value: Value) -> None:
        """Record a setting of the trick that the model already has."""
        self.redundant.setdefault(trick, {}).setdefault(parameter, []).append(value)

    @property
    def heads(self) -> frozenset[str]:
        """Paths of the affine layers that make the outputs, which surgery leaves alone; of an adversarial pair, the generator's last too."""
        ends = set(self.observed.heads)
        if pair_of(self.module) is not None:
            generator = [info.path for info in self.of(*AFFINE) if info.path.split(".")[0] == "generator"]
            ends.update(generator[-1:])
        return frozenset(ends)

    def of(self, *kinds: type[nn.Module]) -> list[LayerInfo]:
        """The layers of the types `kinds`."""
        return [info for info in self.layer_infos if issubclass(info.kind, kinds)]

    def hidden(self) -> list[LayerInfo]:
        """Affine layers, without the heads."""
        heads = self.heads
        return [info for info in self.of(*AFFINE) if info.path not in heads]

    def site(self, info: LayerInfo) -> Site:
        """The Site around an affine layer; created at the first call."""
        if info.path not in self._replaced:
            site = Site(self.layer(info.path), info.path)
            self.replace(info.path, site)
        replacement = self._replaced[info.path]
        assert isinstance(replacement, Site)
        return replacement

    def sites(self) -> Iterator[tuple[LayerInfo, Site]]:
        """(info, Site) of every affine layer but the heads."""
        for info in self.hidden():
            yield info, self.site(info)

    def switch(self, info: LayerInfo) -> Switch:
        """The Switch that replaces a norm or activation layer; created at the first call."""
        if info.path not in self._replaced:
            layer = self.layer(info.path)
            if getattr(layer, "inplace", False):
                # The input may be a view of all lanes' values, which autograd protects from being overwritten.
                layer.inplace = False  # type: ignore[assignment]
            switch = _switch(info, layer)
            switch.shared = self._is_shared(layer)
            self.replace(info.path, switch)
        replacement = self._replaced[info.path]
        assert isinstance(replacement, Switch)
        return replacement

    def function_switches(self, trick: str) -> list[Switch]:
        """A Switch in place of each activation function that the model's own code calls between its layers; created at the first call.

        Records for `trick` those that are out of reach.
        """
        if self._function_switches is None:
            self._function_switches = replace_calls(self.module, self.observed, self.heads)
        reached = Counter(what for what, _ in self._function_switches)
        for (what, why), number in self.observed.out_of_reach_of("activation").items():
            self.leave(trick, what, why, max(0, number - reached[what]))
        return [switch for _, switch in self._function_switches]

    def _is_shared(self, layer: nn.Module) -> bool:
        """Whether `layer` shares a parameter with another layer."""
        parameters = {id(parameter) for parameter in layer.parameters()}
        inside = set(layer.modules())
        return any(
            id(parameter) in parameters
            for other in self.module.modules()
            if other not in inside
            for parameter in other._parameters.values()
        )

    def replace(self, path: str, module: nn.Module) -> None:
        """Replace the layer at `path` by `module`, under every name by which the model holds that layer."""
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

    def norm_switches(
        self, trick: str = "", same: tuple[type[nn.Module], ...] = ()
    ) -> Iterator[tuple[Switch, int, int]]:
        """(switch, channels, spatial dimensions) for every position with a norm layer, or where one could be inserted.

        If the model has norm layers: those, except layers of the types `same`, which `trick` would insert anyway.
        Otherwise: after each hidden affine layer, before the non-linearity; none if the model normalises out of reach. Branches
        see channels as dimension 1 of the activations, also where the model has them last (`switch.channels_last`: then
        the other dimension is tokens).
        """
        switches: list[tuple[Switch, LayerInfo]] = []
        foreign = self.leave_out_of_reach(trick, "norm")
        norms = self.of(*NORMS)
        for info in norms:
            if issubclass(info.kind, same):
                self.leave(trick, info.kind.__name__, ALREADY)
            else:
                switches.append((self.switch(info), info))
        if not norms and not foreign:
            for info, site in self.sites():
                if site.norm is None:
                    site.norm = _switch(info, site.layer, otherwise=nn.Identity())
                switches.append((site.norm, info))
        for switch, info in switches:
            yield switch, info.output[-1 if switch.channels_last else 1], len(info.output) - 2

    def attention_dropouts(self) -> list[nn.MultiheadAttention]:
        """torch's attention layers that drop attention weights; their p is a plain attribute."""
        return attention_dropouts(self.module)

    def gate_residuals(self, trick: str, *, on: bool) -> None:
        """Put gates on all residual additions of the model, open where `on`. Counts them, and those out of reach."""
        for path, additions in by_block(self.observed.additions).items():
            block = self.layer(path)
            number = gated(block, additions, on=on)
            if number:
                self.count(trick, number)
            self._leave_additions(trick, block, len(additions) - number)

    def drop_branches(self, trick: str, p: float) -> int:
        """Drop the branches of the model's residual additions in training, the i-th of n with probability p · i / n. Counts them, and
        those out of reach; returns the number of those that are dropped."""
        every, dropped = self.observed.additions, 0
        for path, additions in by_block(every).items():
            block = self.layer(path)
            drops = [
                DropBranch(f"{trick}/{path}/{one.index}", p * (every.index(one) + 1) / len(every))
                for one in additions
            ]
            number = with_drops(block, additions, drops)
            if number:
                self.count(trick, number)
            self._leave_additions(trick, block, len(additions) - number)
            dropped += number
        return dropped

    def _leave_additions(self, trick: str, block: nn.Module, number: int) -> None:
        self.leave(trick, f"residual addition in {type(block).__name__}", OUT_OF_REACH, number)

    def common_name(self, name: str) -> str:
        """The name of a parameter or buffer in the user's model, without the prefixes that surgery added."""
        for path in self._replaced:
            outer = f"{path}." if path else ""
            for wrapper in ("layer", "otherwise"):
                inner = f"{outer}{wrapper}."
                if name.startswith(inner):
                    return outer + name.removeprefix(inner)
        return name

    def specs(self) -> dict[str, Spec]:
        """Own name -> common name, shape and role of every parameter, in order."""
        heads = self.heads
        specs = {}
        for name, parameter in self.module.named_parameters():
            owner = self.module.get_submodule(name.rpartition(".")[0])
            role: Role = "other"
            if isinstance(owner, nn.Embedding):
                role = "embedding"
            elif isinstance(owner, NORMS) or (
                "branches" in name.split(".") and not isinstance(owner, AFFINE)
            ):
                role = "norm"
            elif parameter.ndim >= 2:
                role = "weight"
            elif name.endswith("bias"):
                role = "bias"
            common = self.common_name(name)
            in_head = any(not head or common.startswith(f"{head}.") for head in heads)
            specs[name] = Spec(common, tuple(parameter.shape), role, in_head)
        return specs


def open_net(
    module: nn.Module,
    example: Tensor,
    observed: Observed | None = None,
    *,
    together: bool = True,
) -> Net:
    """Prepare a model for surgery. `example` `[B, …]` is run through it once to record the order and the shapes.

    `observed`: of an equal model, which saves this pass. Dropout, of attention too, becomes counter-based. `together`: the model
    will run with other lanes on stacked tensors, so layers whose rounding would depend on other lanes go into a Switch.
    """
    net = Net(module, observe(module, example) if observed is None else observed)
    for info in net.of(nn.Dropout, *CHANNEL_DROPOUTS):
        counted_kind = counted_dropout(info)
        if counted_kind is not None:
            net.replace(info.path, counted_kind(net.layer(info.path).p, f"model/{info.path}"))  # type: ignore[arg-type]
    counted(net.module, net.observed.removed)
    for info in net.of(*NORMS, *ACTIVATIONS) if together else ():
        if not issubclass(info.kind, EXACT):
            net.switch(info)
    return net


def counted_dropout(info: LayerInfo) -> type[Dropout] | None:
    """The layer that draws by counter in place of one of torch's dropouts; None for one that keeps drawing from torch's generator."""
    if issubclass(info.kind, nn.Dropout):
        return Dropout
    batched = CHANNEL_DROPOUTS.get(info.kind) == len(info.input)
    return ChannelDropout if batched else None


def _switch(info: LayerInfo, layer: nn.Module, *, otherwise: nn.Module | None = None) -> Switch:
    """A Switch that replaces `layer`, or inserts `otherwise` behind it.

    Channels are the last of more than two dimensions where tokens go through a linear layer or its norm.
    """
    channels_last = len(info.output) > 2 and (
        len(layer.normalized_shape) == 1
        if isinstance(layer, nn.LayerNorm | nn.RMSNorm)
        else isinstance(layer, nn.Linear)
    )
    return Switch(otherwise or layer, channels_last=channels_last, shape=info.output)


def without_switches(module: nn.Module) -> nn.Module:
    """`module` with each Switch that only other lanes need replaced by the layer that it holds."""
    for parent in list(module.modules()):
        for name, child in parent._modules.items():
            if isinstance(child, Switch) and not child.branches:
                parent._modules[name] = child.otherwise
    return module.otherwise if isinstance(module, Switch) and not module.branches else module
