"""Class-balanced sampling: examples are drawn so that rare classes come up more often than they occur.

    P(class c) ∝ n_c^q;  within a class every example alike, with replacement

Shapes: the epoch's order is int64 `[K, N]`, labels `[K, examples]`; q is `[K]`. q = 1 is the order as it was (every example once), q = ½ square-root
sampling, q = 0 all classes alike. Examples are drawn by inverting the cumulated weights at uniform numbers, again for each epoch.
Lineage: Mahajan et al. 2018 (1805.00932, square root); the survey of Zhang et al. 2021 (2110.04596, section 3.1.1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings


def drawn_examples(labels: Tensor, power: Tensor, uniform: Tensor) -> Tensor:
    """int64 `[K, N]` examples for `uniform` `[K, N]`; labels int64 `[K, examples]`, q `[K]`. In float64."""
    classes = int(labels.max()) + 1
    counts = torch.zeros(len(labels), classes, dtype=torch.float64, device=labels.device)
    counts.scatter_add_(1, labels, torch.ones_like(labels, dtype=torch.float64))
    weights = counts.clamp(min=1).pow(power.double()[:, None] - 1).gather(1, labels)
    cumulated = weights.cumsum(dim=1)
    target = uniform.double() * cumulated[:, -1:]
    return torch.searchsorted(cumulated, target, right=True).clamp(max=labels.shape[1] - 1)


def sample(order: Tensor, labels: Tensor, draws: Draws, p: Settings) -> Tensor:
    drawn = drawn_examples(labels, p.power, draws.uniform("example", order.shape[1]))
    return torch.where(p.power[:, None] < 1, drawn, order)


TRICK = Trick(
    name="balanced_sampling",
    title="Class-balanced sampling",
    seam="data",
    parameters=(
        Parameter(
            "power",
            0.5,
            low=0.0,
            high=1.0,
            neutral=1.0,
            most=1.0,
            meaning="q: 0 all classes alike, 1 as they occur",
        ),
    ),
    applies_to=("classification", "imbalanced classes", "any order"),
    claims=(
        Claim(
            metric="balanced_accuracy",
            direction="up",
            statement="higher recall on the tail's classes of long-tailed data",
            source=Source(
                "Deep Long-Tailed Learning: A Survey",
                "Zhang, Kang, Hooi, Yan, Feng",
                2021,
                "https://arxiv.org/abs/2110.04596",
            ),
            contested="repeats the few examples of rare classes and over-fits them; instance-balanced features are often better (Kang et al. 2019, 1910.09217)",
        ),
    ),
)
