"""The state that tricks of a group keep from step to step, beside the optimizer's: trick -> name -> tensor, lanes first."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ablate.lanes.group import Group
from ablate.seams.tensors import LaneTensors

TrickState = dict[str, dict[str, Tensor]]


def first_state(group: Group, weights: LaneTensors) -> TrickState:
    """The state before the first step."""
    return {active.name: prepare(weights, active.settings) for active, prepare in group.ports("begin")}


def named(state: TrickState) -> dict[str, Tensor]:
    """The tensors as `extra/TRICK/NAME`, as checkpoints have them."""
    return {f"extra/{trick}/{name}": tensor for trick, own in state.items() for name, tensor in own.items()}


def of_names(state: TrickState, tensors: Mapping[str, Tensor]) -> TrickState:
    """The state like `state` with the tensors of `named` in `tensors`."""
    return {trick: {name: tensors[f"extra/{trick}/{name}"] for name in own} for trick, own in state.items()}


def take(state: TrickState, lanes: Tensor) -> TrickState:
    """The state of the lanes at the positions `lanes` (int64), in that order."""
    return {trick: {name: tensor[lanes] for name, tensor in own.items()} for trick, own in state.items()}


def join(state: TrickState, other: TrickState) -> TrickState:
    """The state of the lanes of `state`, then of `other`."""
    return {
        trick: {name: torch.cat([tensor, other[trick][name]]) for name, tensor in own.items()}
        for trick, own in state.items()
    }
