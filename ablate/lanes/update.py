"""From gradients to new weights: the gradient, schedule and optimizer seams."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ablate.lanes.group import Active, Group
from ablate.records.errors import InputError
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors

State = dict[str, Tensor]


@dataclass
class Part:
    """One optimizer kind, the lanes that use it (int64 `[k]`), and its state (`[k, …]` tensors).

    `taken`: the settings of these lanes, by trick, picked once: to pick them anew at every step costs as much as a
    small update, and a GPU would be waited for.
    """

    name: str
    lanes: Tensor
    state: State
    taken: dict[str, Settings] = field(default_factory=dict)

    def settings(self, active: Active, *, whole: bool) -> Settings:
        if whole:
            return active.settings
        if active.name not in self.taken:
            self.taken[active.name] = active.settings.take(self.lanes)
        return self.taken[active.name]


class Optimizers:
    """The optimizer slot: lanes are partitioned by kind, each kind's rule updates its lanes at once."""

    def __init__(self, group: Group, weights: LaneTensors) -> None:
        self.parts: list[Part] = []
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
    ) -> Tensor:
        """New flat weights `[K, P]`.

        `factor` `[K]`: the schedule; `step` int64 `[K]`, the first is 1; `moved` bool `[K]`: where it is
        false (a skipped step of loss scaling) the optimizer's state stays as it was.
        """
        skipping = bool(group.ports("unscale"))
        tricks = {active.name: active for active in group.active}
        new = None
        for part in self.parts:
            active = tricks[part.name]
            whole = len(part.lanes) == weights.lanes
            settings = part.settings(active, whole=whole)
            own, gradient, at, scheduled = weights, gradients, step, factor
            if not whole:
                own, gradient, at = own.take(part.lanes), gradient.take(part.lanes), step[part.lanes]
                scheduled = factor[part.lanes]
            scheduled = settings.lr * scheduled
            settings = settings.replaced(lr=scheduled)
            for decay, change in group.ports("decay"):
                own, gradient = change(own, gradient, scheduled, part.settings(decay, whole=whole))
            before = {name: tensor.clone() for name, tensor in part.state.items()} if skipping else {}
            updated: Tensor = active.code.update(own, gradient, part.state, settings, at)
            for name, old in before.items():
                keep = moved[part.lanes].reshape(-1, *[1] * (old.ndim - 1))
                part.state[name] = torch.where(keep, part.state[name], old)
            if whole:
                return updated
            new = weights.flat.clone() if new is None else new
            new[part.lanes] = updated
        assert new is not None
        return new

    def take(self, lanes: Tensor) -> None:
        """Keep `lanes` (int64), in that order."""
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
        mine = {part.name: part for part in self.parts}
        for part in other.parts:
            if part.name in mine:
                own = mine[part.name]
                own.lanes = torch.cat([own.lanes, part.lanes + offset])
                own.taken = {}
                own.state = {name: torch.cat([t, part.state[name]]) for name, t in own.state.items()}
            else:
                self.parts.append(Part(part.name, part.lanes + offset, part.state))


def schedule_factor(group: Group, step: Tensor, total: int, per_epoch: int) -> Tensor:
    """Product of the schedules' factors at the lanes' steps (int64 `[K]`, the first is 0): float32 `[K]`."""
    factor = torch.ones(len(step), device=step.device)
    for active, schedule in group.ports("factor"):
        own = schedule(step, total, per_epoch, active.settings)
        factor = factor * own.to(torch.float32).where(active.settings.on, torch.ones_like(factor))
    return factor


def change_gradients(group: Group, gradients: LaneTensors, weights: LaneTensors) -> LaneTensors:
    for active, change in group.ports("gradient"):
        gradients = change(gradients, weights, active.settings)
    return gradients
