"""Snapshot ensemble: evaluation averages the predictions of the weights at several moments of one training.

    p(c | x) = (1 / M) Σ_m softmax(z(x; w_m))_c;   what is put out is log p, which has these probabilities

Shapes: x is `[K, N, …]`, z is `[K, N, classes]`; w_m are the flat `[K, P]` weights at the ends of the M equal parts of the training, the last of which are the final ones.
The moments are those at which a cyclic schedule is lowest: `cosine_restarts` with a multiplier of 1 and a cycle of epochs / M. Under a schedule that decays once
the early snapshots are poor. Training does not see the snapshots; M passes in evaluation. Learning curves, and the model that is exported, are of the last weights.
Each snapshot has running statistics of its own, estimated again in evaluation; those of the last weights are the training's.
Lineage: Huang et al. 2017, section 3 (all M of M cycles are averaged).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


def part_ended(steps: Tensor, total: int, members: int) -> Tensor:
    """int64 `[K]`: which of the parts 1 … M ends after `steps` (int64 `[K]`), where part m ends after ⌊m · total / M⌋ steps; 0 for none."""
    ends = torch.arange(1, members + 1, device=steps.device) * total // members
    here = steps[:, None] == ends
    return (here * torch.arange(1, members + 1, device=steps.device)).amax(dim=1)


def begin(weights: LaneTensors, p: Settings) -> dict[str, Tensor]:
    earlier = int(p.value("members")) - 1
    return {"snapshots": weights.flat.new_zeros(weights.lanes, earlier, weights.flat.shape[1])}


def average(state: dict[str, Tensor], weights: LaneTensors, steps: Tensor, p: Settings) -> None:
    snapshots = state["snapshots"]
    ended = part_ended(steps, p.facts.total_steps, snapshots.shape[1] + 1)
    places = torch.arange(1, snapshots.shape[1] + 1, device=steps.device)
    taken = (ended[:, None] == places)[:, :, None]
    state["snapshots"] = torch.where(taken, weights.flat[:, None], snapshots)


def ensemble(
    predict: Callable[[Tensor, LaneTensors], Tensor],
    state: Mapping[str, Tensor],
    weights: LaneTensors,
    x: Tensor,
    outputs: Tensor,
    p: Settings,
) -> Tensor:
    snapshots = state["snapshots"]
    total = outputs.double().softmax(-1)
    for m in range(snapshots.shape[1]):
        total = total + predict(x, weights.like(snapshots[:, m].contiguous())).double().softmax(-1)
    # A probability of zero has no logarithm, and outputs must be finite.
    mean = (total / (snapshots.shape[1] + 1)).log().clamp(min=torch.finfo(outputs.dtype).min)
    return mean.to(outputs.dtype).where(p.on.reshape(-1, 1, 1), outputs)


TRICK = Trick(
    name="snapshot_ensemble",
    title="Snapshot ensemble",
    seam="evaluation",
    parameters=(
        Parameter(
            "members",
            3,
            choices=(2, 3, 4, 5),
            lane=False,
            meaning="snapshots that are averaged, the final weights among them",
        ),
    ),
    lane=False,
    applies_to=("classification",),
    conflicts=("ema", "swa", "early_stopping"),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="an ensemble for the price of one training: lower error than single models (CIFAR-10 3.4 %, CIFAR-100 17.4 % with DenseNets)",
            source=Source(
                "Snapshot Ensembles: Train 1, Get M for Free",
                "Huang, Li, Pleiss, Liu, Hopcroft, Weinberger",
                2017,
                "https://arxiv.org/abs/1704.00109",
            ),
            contested="M passes in inference; with restarts that are short, members are poorer than one long training",
        ),
    ),
)
