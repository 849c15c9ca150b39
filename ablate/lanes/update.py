"""From gradients to new weights: the gradient, schedule and optimizer seams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

import torch
from torch import Tensor

from ablate.lanes.group import Group
from ablate.lanes.optimizer_parts import Part, column_index, columns_of, divided, is_absent
from ablate.lanes.parameters import Absent
from ablate.records.errors import InputError
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


@dataclass(frozen=True)
class Rule:
    """A part's optimizer and the settings of its lanes."""

    part: Part
    code: ModuleType
    settings: Settings


@dataclass(frozen=True)
class Decay:
    """A change of weights and gradients before the rules. `rows`: indices (int64 `[d]`) of the lanes that have it,
    None if all do; the others are unchanged, bit for bit. Writes in place."""

    change: Callable[..., tuple[LaneTensors, LaneTensors]]
    rows: Tensor | None
    settings: Settings

    def __call__(
        self, weights: LaneTensors, gradient: LaneTensors, rate: Tensor
    ) -> tuple[LaneTensors, LaneTensors]:
        if self.rows is None:
            return self.change(weights, gradient, rate, self.settings)
        given = weights.take(self.rows), gradient.take(self.rows)
        changed = self.change(*given, rate.index_select(0, self.rows), self.settings)
        for whole, old, new in zip((weights, gradient), given, changed, strict=True):
            if new is not old:
                whole.flat.index_copy_(0, self.rows, new.flat)
        return weights, gradient


class UpdatePlan:
    """What the updates of a group's lanes need and no step changes, computed once.

    Lanes of one optimizer are adjacent, so that each rule works on a slice. If parameters are divided into
    parts, lanes stay in their order and each rule works on a copy of its lanes and columns.
    """

    def __init__(self, group: Group, parts: Sequence[Part]) -> None:
        tricks = {active.name: active for active in group.active}
        self.divided = any(part.columns is not None for part in parts)
        every = torch.arange(len(group.runs), device=parts[0].lanes.device)
        order = every if self.divided else torch.cat([part.lanes for part in parts])
        lanes = torch.arange(len(order), device=order.device)
        self.new_row = order.argsort()  # lane -> the row of its new weights
        self.stay = lanes + len(order)  # lane -> the row of its present weights
        self.sizes = [len(part.lanes) for part in parts]
        self.rules = [
            Rule(part, tricks[part.name].code, tricks[part.name].settings.take(part.lanes)) for part in parts
        ]
        if self.divided:
            self.rate = torch.zeros(len(order), device=order.device)
            for rule in self.rules:
                self.rate[rule.part.lanes] = rule.settings.lr
        else:
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
        """The lanes' rows in the plan's order: a copy, unless they already are in it and nothing will change them."""
        return tensor if self.order is None else tensor.index_select(0, self.order)

    def apply(
        self, rule: Rule, weights: LaneTensors, gradient: LaneTensors, lr: Tensor, at: Tensor, moved: Tensor
    ) -> Tensor:
        """New weights of a rule's lanes and columns. If steps are skipped, the state of lanes that do not move is kept."""
        part = rule.part
        before = {name: tensor.clone() for name, tensor in part.state.items()} if self.skipping else {}
        new: Tensor = rule.code.update(weights, gradient, part.state, rule.settings.replaced(lr=lr), at)
        for name, old in before.items():
            keep = moved.index_select(0, part.lanes).reshape(-1, *[1] * (old.ndim - 1))
            part.state[name] = torch.where(keep, part.state[name], old)
        return new


class Optimizers:
    """The optimizer slot: lanes are partitioned by kind, each kind's rule updates its lanes at once.

    `frozen`: parameters that never have a gradient.
    """

    def __init__(self, group: Group, weights: LaneTensors, frozen: frozenset[str] = frozenset()) -> None:
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
        if frozen:
            self.parts = divided(self.parts, [frozen] * weights.lanes, weights.layout)

    def update(
        self,
        group: Group,
        weights: LaneTensors,
        gradients: LaneTensors,
        factor: Tensor,
        step: Tensor,
        moved: Tensor,
        absent: Absent = None,
    ) -> None:
        """Update `weights` in place.

        `factor` `[K]`: the schedule; `step` int64 `[K]`, the first is 1; `moved` bool `[K]`: if false (a lane
        that has failed, a step that loss scaling skips) the weights stay, and so does the optimizer's state where
        steps are skipped. `absent`: the parameters without a gradient, which are skipped.
        """
        if absent is not None:
            parts = divided(self.parts, absent, weights.layout)
            if list(map(id, parts)) != list(map(id, self.parts)):
                self.parts, self.plan = parts, None
        plan = self.plan = self.plan or UpdatePlan(group, self.parts)
        ordered, gradient = (tensors.like(plan.ordered(tensors.flat)) for tensors in (weights, gradients))
        rate = plan.rate * plan.ordered(factor)
        if plan.divided:
            ordered, gradient = weights.like(ordered.flat.clone()), weights.like(gradient.flat.clone())
        for decay in plan.decays:
            ordered, gradient = decay(ordered, gradient, rate)
        if plan.divided:
            self._update_parts(plan, weights, ordered, gradient, rate, step, moved, absent)
            return
        columns = (ordered.flat, gradient.flat, rate, plan.ordered(step))
        rows = zip(
            plan.rules, *(torch.split_with_sizes(column, plan.sizes) for column in columns), strict=True
        )
        new = [
            plan.apply(rule, ordered.like(w), gradient.like(g), lr, at, moved) for rule, w, g, lr, at in rows
        ]
        # Whole rows are copied: a choice element by element would take several times as long.
        rows_of = torch.where(moved, plan.new_row, plan.stay)
        torch.index_select(torch.cat([*new, weights.flat]), 0, rows_of, out=weights.flat)

    def _update_parts(
        self,
        plan: UpdatePlan,
        weights: LaneTensors,
        weights_in: LaneTensors,
        gradient: LaneTensors,
        rate: Tensor,
        step: Tensor,
        moved: Tensor,
        absent: Absent,
    ) -> None:
        """Apply each rule to its lanes and parameters; parameters without a gradient are unchanged."""
        new = weights.flat.clone()
        for rule in plan.rules:
            part = rule.part
            if is_absent(part, absent, weights.layout):
                part.miss(moved)
                continue
            at = step[part.lanes] if part.missed is None else step[part.lanes] - part.missed
            given = columns_of(weights_in, part), columns_of(gradient, part), rate[part.lanes]
            updated = plan.apply(rule, *given, at, moved)
            if part.columns is None:
                new[part.lanes] = updated
            else:
                new[part.lanes[:, None], column_index(weights.layout, part.columns).to(new.device)] = updated
        weights.flat.copy_(torch.where(moved[:, None], new, weights.flat))

    def scored(self, group: Group, weights: LaneTensors) -> LaneTensors:
        """The weights used in evaluation: `weights`, except for optimizers with a port `scored`."""
        averaging = {active.name: active for active, _ in group.ports("scored")}
        for part in (part for part in self.parts if part.name in averaging):
            active = averaging[part.name]
            values = active.code.scored(
                columns_of(weights, part), part.state, active.settings.take(part.lanes)
            )
            weights = weights.like(weights.flat.clone())
            if part.columns is None:
                weights.flat[part.lanes] = values
            else:
                columns = column_index(weights.layout, part.columns).to(values.device)
                weights.flat[part.lanes[:, None], columns] = values
        return weights

    def take(self, lanes: Tensor) -> None:
        """Keep `lanes` (int64), in that order."""
        self.plan = None
        kept = []
        new_row = {old: new for new, old in enumerate(lanes.tolist())}
        for part in self.parts:
            rows = sorted(
                (row for row, lane in enumerate(part.lanes.tolist()) if lane in new_row),
                key=lambda row: new_row[int(part.lanes[row])],
            )
            if rows:
                new = [new_row[int(part.lanes[row])] for row in rows]
                kept.append(part.take(*(torch.tensor(index, device=lanes.device) for index in (rows, new))))
        self.parts = kept

    def extend(self, other: Optimizers, offset: int) -> None:
        """Append another group's lanes; `offset`: the number of lanes here."""
        self.plan = None
        mine = {(part.name, part.columns): number for number, part in enumerate(self.parts)}
        for part in other.parts:
            number = mine.get((part.name, part.columns))
            if number is not None:
                self.parts[number] = self.parts[number].joined(part, offset)
            else:
                self.parts.append(replace(part, lanes=part.lanes + offset))


def schedule_factor(group: Group, step: Tensor, total: int, per_epoch: int) -> Tensor:
    """Product of the schedules' factors at the lanes' steps (int64 `[…, K]`, the first is 0), float32."""
    factor = None
    for active, schedule in group.ports("factor"):
        value = schedule(step, total, per_epoch, active.settings).to(torch.float32)
        if not active.settings.everywhere:  # schedules need no neutral settings
            value = value.where(active.settings.on, value.new_ones(()))
        factor = value if factor is None else factor * value
    return torch.ones(step.shape, device=step.device) if factor is None else factor


def are_finite(losses: Tensor, gradients: LaneTensors, skip: Tensor | None) -> Tensor:
    """Lanes whose loss and gradient are finite, bool `[K]`; with `skip`, only the loss is checked."""
    total = gradients.flat.sum(dim=1)  # finite only if all terms are
    if skip is not None:
        total = total.where(~skip, total.new_zeros(()))
    check = losses + total
    return check - check == 0  # ∞ − ∞ is NaN; this takes a third of the calls of `isfinite`


def change_gradients(group: Group, gradients: LaneTensors, weights: LaneTensors) -> LaneTensors:
    """The gradients after the ports of the gradient seam, in the order of tricks."""
    for active, change in group.ports("gradient"):
        if active.settings.anywhere:
            gradients = change(gradients, weights, active.settings)
    return gradients


def resting(group: Group, within: int, absent: Absent, weights: LaneTensors) -> Absent:
    """`absent`, and the parameters that a trick does not update at the step `within` of the epoch."""
    for active, rests in group.ports("rests"):
        if names := rests(within, weights.layout.specs, active.settings):
            absent = [known | names for known in absent or [frozenset()] * weights.lanes]
    return absent


def project(group: Group, weights: LaneTensors) -> None:
    """Put the new weights where tricks constrain them, in place."""
    for active, change in group.ports("project"):
        change(weights, active.settings)
