"""The models of a group's lanes, with the surgery of their tricks, on the group's device."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.lanes.build import build_net
from ablate.lanes.context import TaskContext
from ablate.lanes.group import Group
from ablate.records.run import Run
from ablate.surgery.net import Net


def lane_models(context: TaskContext, group: Group, runs: Sequence[Run]) -> list[Net]:
    """A model for each of `runs`.

    In the loop kernel each has only the tricks of its own run; stacked kernels need the group's tricks in every model, switched
    off where the run lacks them. Raises NotApplicable if a trick finds nothing to act on.
    """
    task, stacked = context.task, context.kernel != "loop"
    surgeries = [active.name for active, _ in group.ports("model")]
    nets = [
        build_net(
            task.model, run, context.catalogue, task.train.x[:2],
            surgeries if stacked else [name for name in surgeries if name in run.recipe],
            context.observed, together=stacked,
        )
        for run in runs
    ]  # fmt: skip
    for net in nets:
        net.module.to(context.device)
    return nets
