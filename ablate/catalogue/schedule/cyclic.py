"""Cyclical learning rates: the rate goes up and down in straight lines between a floor and its full value.

    phase = 2 t / cycle;   x = |phase mod 2 − 1|;   factor = floor + (1 − floor) · (1 − x) · scale
    scale: triangular 1;  triangular2 ½^c;  exp_range 0.5^{2 t / cycle}       c = ⌊t / cycle⌋, cycles completed

Shapes: t is int64 `[…, K]` (steps taken so far); cycle (in steps) and floor are `[K]`; the shape is one of three for each
lane. The first step has the floor's rate, the middle of a cycle the full rate. The floor is a share of the full rate.
Lineage: Smith 2015 (1506.01186), section 3.1; `CyclicLR` of torch. For exp_range its γ is 0.5 per half cycle, so that
both decaying forms lose half of their height in comparable time whatever the cycle's length.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings

SHAPES = ("triangular", "triangular2", "exp_range")


def triangle(step: Tensor, cycle: Tensor) -> Tensor:
    """0 at the ends of a cycle, 1 in its middle; `step` int64 `[…, K]`, `cycle` float `[K]` in steps."""
    phase = 2 * (step.to(cycle.dtype) / cycle)
    return 1 - (phase % 2 - 1).abs()


def factor(step: Tensor, total: int, per_epoch: int, p: Settings) -> Tensor:
    cycle = p.cycle * per_epoch
    done = step.to(cycle.dtype) / cycle
    halvings = torch.stack([torch.zeros_like(done), done.floor(), 2 * done], dim=-1)
    kind = torch.tensor([SHAPES.index(name) for name in p.shape], device=step.device)
    exponent = halvings.gather(-1, kind.expand(step.shape).unsqueeze(-1)).squeeze(-1)
    height = triangle(step, cycle) * (-log(2.0) * exponent).exp()
    floor: Tensor = p.floor
    return floor + (1 - floor) * height


TRICK = Trick(
    name="cyclic",
    title="Cyclical learning rate",
    seam="schedule",
    slot="schedule",
    parameters=(
        Parameter(
            "shape",
            "triangular2",
            choices=("triangular", "triangular2", "exp_range"),
            meaning="equal cycles, each half as high as the last, or falling all the time",
        ),
        Parameter("cycle", 4, low=2, high=20, log=True, least=1, meaning="length of a cycle in epochs"),
        Parameter(
            "floor", 0.1, low=0.0, high=0.5, most=1.0, meaning="lowest rate, as a share of the full rate"
        ),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="steps_to_target",
            direction="down",
            statement="CIFAR-10: 81.4 % in 25,000 steps in place of 70,000 with a fixed schedule, with less tuning of the rate",
            source=Source(
                "Cyclical Learning Rates for Training Neural Networks",
                "Smith",
                2015,
                "https://arxiv.org/abs/1506.01186",
            ),
        ),
    ),
)
