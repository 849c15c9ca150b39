"""`Switch`: lanes that picked the same branch share a call if that rounds as alone; the others run one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from torch import Tensor, nn

from ablate.kernels.compiled import op_cache
from ablate.kernels.compiled_op import LayerOp
from ablate.kernels.compiled_ops import ActivationOp, Uniform, is_compiled_activation
from ablate.kernels.functional_math import vectorises_alike
from ablate.kernels.fused import LayerOps
from ablate.kernels.lane_switches import active_switches, branch_binding, lane_switches
from ablate.kernels.leave_vmap import leave_vmap, under_vmap
from ablate.kernels.memory_format import is_channels_last, match_grad_layout, split_lanes, stack_lanes
from ablate.kernels.registry import Eager, register_compiled, register_stacked, register_vmapped, stacked_rule
from ablate.kernels.rules.norms import NORM_LAYERS
from ablate.kernels.rules.switch_norms import norms_op
from ablate.kernels.stacked import is_covered, layer_ops_of, stacked
from ablate.kernels.torch_norms import torch_norm
from ablate.seams.draws import calls_so_far, count_calls
from ablate.surgery.layer_types import ACTIVATIONS, EXACT, NORMS
from ablate.surgery.switch import Switch
from ablate.surgery.torch_layers import is_hooked


def is_divided(switch: Switch) -> bool:
    """Whether lanes are grouped by branch: there are several branches, or the only layer's rounding depends on the number of lanes."""
    layer = switch.otherwise
    return len(switch.branches) > 0 or (
        isinstance(layer, (*NORMS, *ACTIVATIONS)) and not isinstance(layer, EXACT)
    )


def branch_key(switch: Switch) -> str:
    """Lanes with equal keys may run together. The key of an activation includes its settings."""
    return f"{switch.picked} {repr(switch.chosen) if isinstance(switch.chosen, ACTIVATIONS) else ''}"


@register_vmapped(Switch)
def vmapped_switch(switch: Switch, x: Tensor) -> Tensor:
    """Each lane through its own branch, one after another."""
    if not (is_divided(switch) and under_vmap(x)):
        return Switch.forward(switch, x)
    lanes = lane_switches(switch)
    calls = calls_so_far()  # each lane's draws are numbered from here, not from the lane before

    def lane(number: int, value: Tensor, state: Sequence[Tensor]) -> Tensor:
        lane_switch = switch if lanes is None else lanes[number]
        count_calls(None if calls is None else dict(calls))
        with branch_binding(lane_switch).bound(state):
            return Switch.forward(lane_switch, value)

    return leave_vmap(lane, x, branch_binding(switch).tensors())


@dataclass(frozen=True)
class Runs:
    """Runs of neighbouring lanes with equal branch keys.

    `layers[i]` is shared by `lengths[i]` lanes.
    """

    layers: Sequence[nn.Module]
    lengths: list[int]

    @classmethod
    def of(cls, lanes: Sequence[Switch]) -> Runs:
        """The runs of these lanes, in their order."""
        runs = [list(run) for _, run in groupby(lanes, branch_key)]
        return cls([run[0].chosen for run in runs], [len(run) for run in runs])


def _runs_of(switch: Switch, lanes: Sequence[Switch]) -> Runs:
    """Computed once for the present lanes."""
    active = active_switches()
    if active is None:
        return Runs.of(lanes)
    if switch not in active.cache:
        active.cache[switch] = Runs.of(lanes)
    runs: Runs = active.cache[switch]
    return runs


@register_stacked(Switch)
def stacked_switch(switch: Switch, x: Tensor) -> Tensor:
    """Stacked rule of `Switch`: each run of lanes through its branch."""
    if not is_divided(switch):
        return stacked(switch.otherwise, x)
    lanes = lane_switches(switch) or [switch] * len(x)
    runs = _runs_of(switch, lanes)
    if all(isinstance(layer, nn.Identity) for layer in runs.layers):
        return x
    x = match_grad_layout(x)
    parts = (x,) if len(runs.lengths) == 1 else split_lanes(x, runs.lengths)
    outputs, first = [], 0
    calls = calls_so_far()  # as in `vmapped_switch`
    for layer, part in zip(runs.layers, parts, strict=True):
        count_calls(None if calls is None else dict(calls))
        rows = slice(first, first + len(part))
        outputs.append(_run(switch, lanes[rows], rows, layer, part))
        first = rows.stop
    return match_grad_layout(outputs[0] if len(outputs) == 1 else stack_lanes(outputs, x, cat=True))


@register_compiled(Switch)
def compiled_switch(switch: Switch, eager: Eager) -> list[LayerOp]:
    """Compiled code runs each lane's own branch."""
    if not is_divided(switch):
        return layer_ops_of(switch.otherwise)
    lanes = lane_switches(switch)
    layers = [lane_switch.chosen for lane_switch in lanes or [switch]]
    if all(isinstance(layer, nn.Identity) for layer in layers):
        return []
    if all(is_compiled_activation(layer) for layer in layers):
        return [LayerOp(eager, ActivationOp(layers if lanes else Uniform(layers[0])))]
    if not all(type(layer) is nn.Identity or is_compiled_norm(switch, layer) for layer in layers):
        return [LayerOp(eager)]
    return [norms_op(switch, lanes, eager)]


def is_compiled_norm(switch: Switch, branch: nn.Module) -> bool:
    """Whether compiled code runs this norm: not one that sees channels elsewhere than where they are."""
    if type(branch) in NORM_LAYERS:
        return not switch.channels_last
    return not is_hooked(branch) and torch_norm(branch) is not None


def rounds_alike(branch: nn.Module, x: Tensor) -> bool:
    """Whether lanes `x` may share a call of `branch` and still be rounded as if alone.

    Most activations are vectorised except at the end of a tensor, where they may round differently.
    """
    if isinstance(branch, (nn.Identity, *EXACT)):
        return True
    if not isinstance(branch, ACTIVATIONS) or isinstance(branch, nn.PReLU):
        return False
    return vectorises_alike(x.permute(0, 1, 3, 4, 2) if is_channels_last(x) else x)


def _run(switch: Switch, lanes: Sequence[Switch], rows: slice, branch: nn.Module, x: Tensor) -> Tensor:
    """`x` of the neighbouring `lanes` (`rows` of all) through the `branch` that they share: by compiled code if that would run
    it if all lanes had such branches."""
    if (cache := op_cache()) is not None and is_compiled_activation(branch):
        return stacked(branch, x)
    if cache is not None and is_compiled_norm(switch, branch):
        key = switch, rows.start, rows.stop
        if key not in cache:
            eager = partial(_run_eager, switch, lanes, rows, branch)
            cache[key] = LayerOps([norms_op(switch, lanes, eager, rows)])
        y: Tensor = cache[key](x)
        return y
    return _run_eager(switch, lanes, rows, branch, x)


def _run_eager(switch: Switch, lanes: Sequence[Switch], rows: slice, branch: nn.Module, x: Tensor) -> Tensor:
    if rounds_alike(branch, x):
        # In memory order: torch uses another routine for contiguous tensors (GELU's rounds differently).
        inside = x.movedim(2, -1) if is_channels_last(x) else x
        y: Tensor = stacked(branch, inside) if is_covered(branch) else branch(inside)
        return y.movedim(-1, 2) if is_channels_last(x) else y
    binding, tensors = branch_binding(lanes[0]), branch_binding(switch).tensors()
    branch_tensors = {number: tensors[number][rows] for number in binding.names}
    moved = switch.channels_last and bool(lanes[0].picked)
    rule = stacked_rule(branch)
    if rule is not None and rule.tensors_only:
        value = x.movedim(-1, 2) if moved else x
        if rule.fits(branch, value):
            with binding.bound(branch_tensors):
                y = rule.run(branch, value)
            return y.movedim(2, -1) if moved else y
    columns = {number: tensor.unbind(0) for number, tensor in branch_tensors.items()}
    outputs = []
    calls = calls_so_far()  # as in `vmapped_switch`
    for row, (lane, value) in enumerate(zip(lanes, x.unbind(0), strict=True)):
        count_calls(None if calls is None else dict(calls))
        with branch_binding(lane).bound({number: column[row] for number, column in columns.items()}):
            outputs.append(Switch.forward(lane, value))
    return stack_lanes(outputs, x)
