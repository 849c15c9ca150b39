"""From gradients to new weights: the gradient, schedule and optimizer seams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from ablate.lanes.group import Group
from ablate.records.errors import InputError
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors

State = dict[str, Tensor]


@dataclass
class Part:
    """One optimizer kind, the lanes that use it (int64 `[k]`), and its state (`[k, …]` tensors)."""

    name: str
    lanes: Tensor
    state: State


@dataclass(frozen=True)
class Rule:
    """A part's optimizer and the settings of its lanes."""

    part: Part
    code: ModuleType
    settings: Settings


@dataclass(frozen=True)
class Decay:
    """A change of weights and gradients before the rules. `rows`: the places (int64 `[d]`) of the lanes that have it,
    None where all do; of others, not a bit is changed. Writes to the rows that it is given."""

    change: Callable[..., tuple[LaneTensors, LaneTensors]]
    rows: Tensor | None
    settings: Settings

    def __call__(
        self, own: LaneTensors, gradient: LaneTensors, rate: Tensor
    ) -> tuple[LaneTensors, LaneTensors]:
        if self.rows is None:
            return self.change(own, gradient, rate, self.settings)
        given = own.take(self.rows), gradient.take(self.rows)
        found = self.change(*given, rate.index_select(0, self.rows), self.settings)
        for whole, old, new in zip((own, gradient), given, found, strict=True):
            if new is not old:
                whole.flat.index_copy_(0, self.rows, new.flat)
        return own, gradient


class UpdatePlan:
    """What the updates of a group's lanes need and no step changes, worked out once.

    Lanes of one optimizer are put side by side, so that each rule works on a slice.
    """

    def __init__(self, group: Group, parts: Sequence[Part]) -> None:
        tricks = {active.name: active for active in group.active}
        order = torch.cat([part.lanes for part in parts])
        lanes = torch.arange(len(order), device=order.device)
        self.place = order.argsort()  # lane -> where its new weights stand
        self.stay = lanes + len(order)  # lane -> where its present ones do
        self.sizes = [len(part.lanes) for part in parts]
        self.rules = [
            Rule(part, tricks[part.name].code, tricks[part.name].settings.take(part.lanes)) for part in parts
        ]
        self.rate = torch.cat([rule.settings.lr for rule in self.rules])
        self.skipping = bool(group.ports("unscale"))
        self.decays = []
        for active, change in group.ports("decay"):
            settings = active.settings.take(order)
            if not settings.anywhere:
                continue
            rows = None if settings.everywhere else settings.on.nonzero().flatten()
            self.decays.append(Decay(change, rows, settings if rows is None else settings.take(rows)))
        stands = torch.equal(order, lanes) and all(decay.rows is None for decay in self.decays)
        self.order = None if stands else order

    def ordered(self, tensor: Tensor) -> Tensor:
        """The lanes' rows in the plan's order: a copy, unless they stand so and nothing will change them."""
        return tensor if self.order is None else tensor.index_select(0, self.order)


class Optimizers:
    """The optimizer slot: lanes are partitioned by kind, each kind's rule updates its lanes at once."""

    def __init__(self, group: Group, weights: LaneTensors) -> None:
        self.parts: list[Part] = []
        self.plan: UpdatePlan | None = None
        covered = 0
        for active in group.of_seam("optimizer"):
            if active.trick.slot != "optimizer":
                continue
            lanes = active.settings.on.nonzero().flatten()
            covered += len(lanes)
            if len(lanes):
                state = active.code.state(weights.take(lanes))
                self.parts.append(Part(active.name, lanes, state))
        if covered != weights.lanes:
            raise InputError(
                "a recipe has no optimizer", hint='add optimizer = { name = "momentum", lr = 0.1 }'
            )

    def update(
        self,
        group: Group,
        weights: LaneTensors,
        gradients: LaneTensors,
        factor: Tensor,
        step: Tensor,
        moved: Tensor,
    ) -> None:
        """New `weights`, in their place.

        `factor` `[K]`: the schedule; `step` int64 `[K]`, the first is 1; `moved` bool `[K]`: where it is false (a lane
        that has failed, a step that loss scaling skips) the weights stay, and so does the optimizer's state where
        steps are skipped.
        """
        plan = self.plan = self.plan or UpdatePlan(group, self.parts)
        own, gradient = (tensors.like(plan.ordered(tensors.flat)) for tensors in (weights, gradients))
        rate = plan.rate * plan.ordered(factor)
        for decay in plan.decays:
            own, gradient = decay(own, gradient, rate)
        columns = (own.flat, gradient.flat, rate, plan.ordered(step))
        rows = zip(
            plan.rules, *(torch.split_with_sizes(column, plan.sizes) for column in columns), strict=True
        )
        new: list[Tensor] = []
        for rule, w, g, lr, at in rows:
            part = rule.part
            before = {name: tensor.clone() for name, tensor in part.state.items()} if plan.skipping else {}
            settings = rule.settings.replaced(lr=lr)
            new.append(rule.code.update(own.like(w), gradient.like(g), part.state, settings, at))
            for name, old in before.items():
                keep = moved.index_select(0, part.lanes).reshape(-1, *[1] * (old.ndim - 1))
                part.state[name] = torch.where(keep, part.state[name], old)
        # Whole rows are copied: a choice element by element would take several times as long.
        rows_of = torch.where(moved, plan.place, plan.stay)
        torch.index_select(torch.cat([*new, weights.flat]), 0, rows_of, out=weights.flat)

    def take(self, lanes: Tensor) -> None:
        """Keep `lanes` (int64), in that order."""
        self.plan = None
        kept = []
        place = {old: new for new, old in enumerate(lanes.tolist())}
        for part in self.parts:
            rows = sorted(
                (row for row, lane in enumerate(part.lanes.tolist()) if lane in place),
                key=lambda row: place[int(part.lanes[row])],
            )
            if rows:
                pick = torch.tensor(rows, device=lanes.device)
                new = torch.tensor([place[int(part.lanes[row])] for row in rows], device=lanes.device)
                kept.append(Part(part.name, new, {name: t[pick] for name, t in part.state.items()}))
        self.parts = kept

    def extend(self, other: Optimizers, offset: int) -> None:
        """Put another group's lanes behind these; `offset` is how many lanes there are here."""
        self.plan = None
        mine = {part.name: part for part in self.parts}
        for part in other.parts:
            if part.name in mine:
                own = mine[part.name]
                own.lanes = torch.cat([own.lanes, part.lanes + offset])
                own.state = {name: torch.cat([t, part.state[name]]) for name, t in own.state.items()}
            else:
                self.parts.append(Part(part.name, part.lanes + offset, part.state))


def schedule_factor(group: Group, step: Tensor, total: int, per_epoch: int) -> Tensor:
    """Product of the schedules' factors at the lanes' steps (int64 `[…, K]`, the first is 0), float32."""
    factor = None
    for active, schedule in group.ports("factor"):
        own = schedule(step, total, per_epoch, active.settings).to(torch.float32)
        if not active.settings.everywhere:  # neutral settings are not asked of schedules
            own = own.where(active.settings.on, own.new_ones(()))
        factor = own if factor is None else factor * own
    return torch.ones(step.shape, device=step.device) if factor is None else factor


def are_finite(losses: Tensor, gradients: LaneTensors, skip: Tensor | None) -> Tensor:
    """Lanes whose loss and gradient are finite, bool `[K]`; where `skip`, only the loss is asked about."""
    total = gradients.flat.sum(dim=1)  # finite only if all that it adds up is
    if skip is not None:
        total = total.where(~skip, total.new_zeros(()))
    check = losses + total
    return check - check == 0  # ∞ − ∞ is no number; this is a third of the calls of `isfinite`


def change_gradients(group: Group, gradients: LaneTensors, weights: LaneTensors) -> LaneTensors:
    for active, change in group.ports("gradient"):
        if active.settings.anywhere:
            gradients = change(gradients, weights, active.settings)
    return gradients
