"""Build the lanes' models: call the user's factory under each lane's seed, then apply the surgery of its tricks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from ablate.catalogue.registry import Registry
from ablate.records.errors import InputError, NotApplicable
from ablate.records.run import Run
from ablate.records.trick import Value
from ablate.seams.draws import stream_number
from ablate.seams.tensors import LaneTensors, Layout, Spec
from ablate.surgery.encoder_layers import with_activation_layers
from ablate.surgery.functional_dropouts import with_dropout_layers
from ablate.surgery.functional_norms import make_norm_layers
from ablate.surgery.net import Net, open_net
from ablate.surgery.observe import Observed
from ablate.surgery.untouched import advised
from ablate.tasks.lazy import materialised
from ablate.tasks.user_code import repeatable


def seeded(seed: int, purpose: str) -> int:
    """A seed for the global generators: a pure function of the run's seed and the purpose."""
    return stream_number(f"{purpose} {seed}") & 0x7FFFFFFF


def build_module(factory: Callable[[], nn.Module], seed: int, example: Tensor) -> nn.Module:
    """The user's model, made under the lane's seed; restores the global generators.

    `example` `[B, …]` determines the sizes of lazy layers (`materialised`).
    Raises InputError for lazy layers that do not run, parameters that are not float32, scripted modules,
    and models whose `parameters()` omits some.
    """
    with repeatable(seeded(seed, "init")):
        module = materialised(factory(), example)
    if any(isinstance(layer, torch.jit.ScriptModule) for layer in module.modules()):
        raise InputError(
            "the model is compiled by torch.jit", hint="give the nn.Module that it was made from"
        )
    offered = {id(parameter) for parameter in module.parameters()}
    for name, parameter in module.named_parameters():
        if parameter.dtype != torch.float32:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise InputError(f"the model's '{name}' is {kind}", hint="ablate trains parameters of float32")
        if id(parameter) not in offered:
            raise InputError(
                f"the model's parameters() leaves out '{name}'", hint="freeze it with requires_grad_(False)"
            )
    with_layers(module)
    return module


def with_layers(module: nn.Module) -> None:
    """Let `module` call layers where torch's code or the user's calls functions that tricks act on, in place."""
    with_activation_layers(module)
    with_dropout_layers(module)
    make_norm_layers(module)


def build_net(
    factory: Callable[[], nn.Module],
    run: Run,
    catalogue: Registry,
    example: Tensor,
    names: Iterable[str],
    observed: Observed | None = None,
    *,
    together: bool = True,
    strict: bool = True,
) -> Net:
    """One lane's model with the model-seam tricks `names` applied (those the run lacks: switched off). `together`: `open_net`.

    If `strict`, raises NotApplicable if a trick of the run finds nothing to act on (the model's own setting is not nothing).
    """
    net = open_net(build_module(factory, run.seed, example), example, observed, together=together)
    tricks = [catalogue[name] for name in names]
    for trick in sorted(tricks, key=lambda trick: (trick.slot == "init", trick.name)):
        code = catalogue.code(trick.name)
        adapter = getattr(code, "model", None)
        if adapter is None:
            continue
        on = trick.name in run.recipe
        values = run.recipe[trick.name] if on else (trick.neutral or trick.defaults)
        generator = torch.Generator().manual_seed(seeded(run.seed, f"surgery {trick.name}"))
        adapter(net, SimpleNamespace(on=on, generator=generator, **values))
        if strict and on and not (net.touched.get(trick.name) or _has_already(net, trick.name, values)):
            raise NotApplicable(f"'{trick.name}' does not apply: {nothing_to_act_on(net, trick.name)}")
    if net.touched:
        without_fused_path(net.module)
    return net


def without_fused_path(module: nn.Module) -> None:
    """Disable the fused evaluation pass of torch's encoder layers in `module`, wherever it is used: this pass reads the weights of their
    sublayers, and so bypasses whatever replaced these."""
    for layer in module.modules():
        if isinstance(layer, nn.TransformerEncoderLayer):
            layer.activation_relu_or_gelu = (
                0  # torch's own flag: an activation that the fused pass does not know
            )


def _has_already(net: Net, trick: str, values: Mapping[str, Value]) -> bool:
    """Whether the model has one of these settings of its own: the trick's effect then is none, and is measured as such."""
    unchanged = net.redundant.get(trick, {})
    return any(values[name] in unchanged[name] for name in unchanged)


def nothing_to_act_on(net: Net, trick: str) -> str:
    """Why the trick changed nothing in the model."""
    left = net.left.get(trick)
    return f"the model has {advised(left)}" if left else "the model has nothing that it acts on"


def layout_of(nets: Sequence[Net], own_order: Sequence[str]) -> tuple[Layout, list[dict[str, str]]]:
    """The common layout of the lanes' parameters, and for each lane {common name: name in the lane's model}.

    Order: the user's parameters in the order `own_order`, then those that tricks added, by name. So a lane's
    parameters have the same order alone and in any group.
    """
    specs: dict[str, Spec] = {}
    names = []
    for net in nets:
        mapping = {}
        for name, spec in net.specs().items():
            mapping[spec.name] = name
            known = specs.setdefault(spec.name, spec)
            assert known.shape == spec.shape, f"{spec.name}: lanes of one group must agree in shape"
        names.append(mapping)
    rank = {name: i for i, name in enumerate(own_order)}
    order = sorted(specs, key=lambda name: (rank.get(name, len(rank)), name))
    return Layout([specs[name] for name in order]), names


def initial(nets: Sequence[Net], names: Sequence[dict[str, str]], layout: Layout) -> LaneTensors:
    """The lanes' initial parameters as one flat matrix; zeros for parameters that a lane does not have."""
    lanes = LaneTensors(layout, torch.zeros(len(nets), layout.width))
    for lane, (net, mapping) in enumerate(zip(nets, names, strict=True)):
        parameters = dict(net.module.named_parameters())
        for common, name in mapping.items():
            lanes[common][lane].copy_(parameters[name].detach())
    return lanes
