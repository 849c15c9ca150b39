"""A place where each lane goes its own way: one of several layers, chosen per lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from ablate.kernels import pointwise
from ablate.kernels.compiled import known
from ablate.kernels.compiled_norms import PARAMETERS, RUNNING, NormOp, Standardising
from ablate.kernels.compiled_ops import ActivationOp, Same, is_pointwise
from ablate.kernels.fused import LayerOp, LayerOps
from ablate.kernels.layer_ops import Run
from ablate.kernels.leave_vmap import leave_vmap, under_vmap
from ablate.kernels.memory_format import apart, is_innermost, match_grad_layout, together
from ablate.kernels.parameter_binding import Binding
from ablate.kernels.stacked import is_covered, layer_ops_of, stacked
from ablate.surgery.layer_proxy import LayerProxy
from ablate.surgery.layer_types import ACTIVATIONS, EXACT

PIECE = 64
"""Numbers: a multiple of what torch's vectorised loops handle at a time (two AVX-512 vectors of float32)."""


class Switch(LayerProxy):
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
        self._plan: BranchBinding | None = None
        self._known: Runs | None = None

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

    @property
    def branch_key(self) -> str:
        """What lanes must share to go together here. Activations are the same where they are written alike, settings included."""
        return f"{self.picked} {repr(self.chosen) if isinstance(self.chosen, ACTIVATIONS) else ''}"

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
        """Under vmap: each lane through its own branch, one after another."""
        picks = self.picks

        def lane(number: int, value: Tensor, state: Sequence[Tensor]) -> Tensor:
            return (self if picks is None else picks[number]).plan.run(value, state)

        return leave_vmap(lane, x, self.plan.tensors())

    def stacked(self, x: Tensor) -> Tensor:
        """Neighbouring lanes of one branch together where that rounds as it does alone, else one after another."""
        if not (self.alone or self.branches):
            return stacked(self.otherwise, x)
        picks = self.picks or [self] * len(x)
        runs = self._runs(picks)
        layers, lengths = runs.layers, runs.lengths
        if runs.pointwise and (runs.exact or all(rounds_alike(layer, x) for layer in layers)):
            return self._pointwise(x, runs)
        x = match_grad_layout(x)
        parts = (x,) if len(lengths) == 1 else apart(x, lengths)
        done, first = [], 0
        for layer, part in zip(layers, parts, strict=True):
            done.append(self._run_of(picks[first : first + len(part)], first, layer, part))
            first += len(part)
        return match_grad_layout(done[0] if len(done) == 1 else together(done, x, cat=True))

    def layer_ops(self, run: Run) -> list[LayerOp]:
        """The same for compiled code, which goes through each lane's own branch."""
        if not (self.alone or self.branches):
            return layer_ops_of(self.otherwise)
        layers = [pick.chosen for pick in self.picks or [self]]
        if all(isinstance(layer, nn.Identity) for layer in layers):
            return []
        if all(is_pointwise(layer) for layer in layers):
            return [LayerOp(run, ActivationOp(layers if self.picks else Same(layers[0])))]
        if self.channels_last or not all(isinstance(layer, (nn.Identity, Standardising)) for layer in layers):
            return [LayerOp(run)]
        return [self._normed(self.picks, run)]

    def _normed(self, given: Sequence[Switch] | None, run: Run, rows: slice | None = None) -> LayerOp:
        """Norms of the lanes `given` (None: of this one for all); `rows`: which of the lanes these are, if not all."""
        picks = given or [self]
        own = [{path.rpartition(".")[2]: number for number, path in pick.plan.own} for pick in picks]
        numbers = [
            sorted({lane[name] for lane in own for name in names if name in lane})
            for names in (PARAMETERS, RUNNING)
        ]
        places = [
            {name: of.index(lane[name]) for names, of in zip((PARAMETERS, RUNNING), numbers, strict=True) for name in names if name in lane}
            for lane in own
        ]  # fmt: skip
        layers = [pick.chosen if isinstance(pick.chosen, Standardising) else None for pick in picks]
        parameters, running = numbers
        counts = len(parameters), len(running)
        link = NormOp(layers, places, *counts) if given else NormOp(Same(layers[0]), Same(places[0]), *counts)
        return LayerOp(run, link, lambda: self._held(parameters, rows), lambda: self._held(running, rows))

    def _held(self, numbers: Sequence[int], rows: slice | None) -> list[Tensor]:
        tensors = self.plan.tensors(numbers)
        return tensors if rows is None else [tensor[rows] for tensor in tensors]

    def _runs(self, picks: Sequence[Switch]) -> Runs:
        """Worked out once for the same lanes."""
        if self._known is None or self._known.picks is not picks:
            runs = [list(run) for _, run in groupby(picks, lambda pick: pick.branch_key)]
            self._known = Runs(picks, [run[0].chosen for run in runs], [len(run) for run in runs])
        return self._known

    def _pointwise(self, x: Tensor, runs: Runs) -> Tensor:
        assert runs.pointwise is not None
        if all(isinstance(layer, nn.Identity) for layer in runs.layers):
            return x
        return pointwise.pointwise(x, runs.pointwise)

    def _run_of(self, picks: Sequence[Switch], first: int, branch: nn.Module, x: Tensor) -> Tensor:
        """`x` of the lanes `picks`, neighbours from `first` on, through the `branch` that they share: by compiled code wherever it
        would be where all lanes have such branches."""
        if (memory := known()) is not None and is_pointwise(branch):
            return stacked(branch, x)
        if memory is not None and isinstance(branch, Standardising) and not self.channels_last:
            key = self, first, len(picks)
            if key not in memory:
                run = partial(self._run_by_torch, picks, first, branch)
                memory[key] = LayerOps([self._normed(picks, run, slice(first, first + len(picks)))])
            y: Tensor = memory[key](x)
            return y
        return self._run_by_torch(picks, first, branch, x)

    def _run_by_torch(self, picks: Sequence[Switch], first: int, branch: nn.Module, x: Tensor) -> Tensor:
        if rounds_alike(branch, x):
            # As memory has it: torch hands a contiguous tensor to another routine (GELU's rounds differently).
            inside = x.movedim(2, -1) if is_innermost(x) else x
            y: Tensor = stacked(branch, inside) if is_covered(branch) else branch(inside)
            return y.movedim(-1, 2) if is_innermost(x) else y
        plan, held = picks[0].plan, self.plan.tensors()
        own = {number: held[number][first : first + len(x)] for number, _ in plan.own}
        if isinstance(branch, Together) and branch.fits(x[0]):
            return plan.run(x, own, together=True)
        columns = {number: tensor.unbind(0) for number, tensor in own.items()}
        lanes = [
            pick.plan.run(one, {number: column[row] for number, column in columns.items()})
            for row, (pick, one) in enumerate(zip(picks, x.unbind(0), strict=True))
        ]
        return together(lanes, x)

    @property
    def plan(self) -> BranchBinding:
        if self._plan is None:
            self._plan = BranchBinding(self)
        return self._plan

    def _run(self, name: str, x: Tensor, *, together: bool = False) -> Tensor:
        chosen = self._branch(name)
        run = cast(Together, chosen).stacked if together else chosen
        channels = 2 if together else 1
        y: Tensor
        if name and self.channels_last:
            y = run(x.movedim(-1, channels))
            return y.movedim(channels, -1)
        y = run(x)
        return y


class Runs:
    """Neighbouring lanes that share a layer: the layers, and how many lanes each has.

    Layers that are neither activations nor `Together` hold numbers of each lane's own, and are only run beside each other.
    `pointwise`: what is told to those that have a form that writes where it should, if all have; `exact`: and round alike however many lanes there are.
    """

    def __init__(self, picks: Sequence[Switch], layers: list[nn.Module], lengths: list[int]) -> None:
        self.picks, self.layers, self.lengths = picks, layers, lengths
        written = all(type(layer) in pointwise.KINDS for layer in layers)
        self.pointwise = pointwise.Lanes(layers, lengths) if written else None
        self.exact = all(isinstance(layer, (nn.Identity, *EXACT)) for layer in layers)


@runtime_checkable
class Together(Protocol):
    """A branch that lanes can go through together (`stacked`) where their activations fit; it holds what they differ in as tensors."""

    def fits(self, x: Tensor) -> bool: ...
    def stacked(self, x: Tensor) -> Tensor: ...


def rounds_alike(branch: nn.Module, x: Tensor) -> bool:
    """Whether lanes `x` may pass `branch` together and be rounded as each would be alone.

    Most activations are computed in pieces of a few vectors, and what is left over at the end of a tensor one by one,
    which may round differently: so every lane must be a whole number of pieces, and no thread may cut elsewhere.
    """
    if isinstance(branch, (nn.Identity, *EXACT)):
        return True
    if not isinstance(branch, ACTIVATIONS) or isinstance(branch, nn.PReLU):
        return False
    if x.device.type != "cpu":
        return True
    inside = x.permute(0, 1, 3, 4, 2) if is_innermost(x) else x
    return x[0].numel() % PIECE == 0 and inside.is_contiguous() and torch.get_num_threads() == 1


class BranchBinding:
    """Which of a Switch's tensors its own branch holds, worked out once."""

    def __init__(self, switch: Switch) -> None:
        self.switch = switch
        self.binding = Binding(switch)
        self._places = [places[0] for places in self.binding.places.values()]
        branch = f"branches.{switch.picked}." if switch.picked else "otherwise."
        self.own = [(number, own) for number, own in enumerate(self.binding.places) if own.startswith(branch)]

    def tensors(self, numbers: Sequence[int] | None = None) -> list[Tensor]:
        """The tensors that are in the switch now, or those of these `numbers`: under vmap, the lanes' stacked ones."""
        places = self._places if numbers is None else [self._places[number] for number in numbers]
        return [cast(Tensor, where[name]) for where, name in places]

    def run(
        self, x: Tensor, tensors: Sequence[Tensor] | Mapping[int, Tensor], *, together: bool = False
    ) -> Tensor:
        """The lane's `x` through its branch, with the lane's tensors in their places; `together`: of several lanes, stacked."""
        before = self.binding.put({own: tensors[number] for number, own in self.own})
        try:
            return self.switch._run(self.switch.picked, x, together=together)
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
            layer.picks = layer._known = None
    for path, switches in (picks or {}).items():
        cast(Switch, module.get_submodule(path)).picks = switches
