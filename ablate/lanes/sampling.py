"""The order of an epoch's examples as tricks of the data seam change it: repeated, or drawn by class."""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.lanes.group import Group
from ablate.lanes.lane_splits import LaneSplits
from ablate.lanes.order import Change
from ablate.seams.draws import Draws


def sampler(group: Group, data: LaneSplits) -> Change | None:
    """The function that applies the ports `sample` and then `position` to a permutation; None if no lane has either."""
    sampling, placing = group.ports("sample"), group.ports("position")
    if not sampling and not placing:
        return None

    def change(order: Tensor, batch_size: int, draws: Draws) -> Tensor:
        for active, sample in sampling:
            labels = data.targets("train")
            order = sample(order, labels.expand(len(order), -1), draws.within(active.name), active.settings)
        for active, reorder in placing:
            positions = torch.arange(order.shape[1], device=order.device)
            order = order.gather(1, reorder(positions, batch_size, active.settings))
        return order

    return change
