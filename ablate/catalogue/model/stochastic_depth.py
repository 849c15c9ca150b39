"""Stochastic depth: residual branches are passed over at random in training.

    y = x + b · F(x) / (1 − p_i) in training,   y = x + F(x) in evaluation;   b ~ Bernoulli(1 − p_i),  p_i = p · i / n

Shapes: x, y are one lane's activations `[B, …]`; b is one number an example, redrawn for each branch and step; i counts the n
branches from the input's side, so deep ones are dropped more often. A model with residual additions has these branches. In another, each hidden layer that
keeps its shape is one, and the trick brings the skip connection with it (`skip_connection` alone is p = 0 with the connection). With p = 0 it changes
nothing. Kept branches are scaled up in training (the paper scales in evaluation).
Lineage: Huang et al. 2016, equations 2 and 4 (the paper draws one b a batch; one an example is the form in use since).
"""

from __future__ import annotations

from typing import Any

from ablate.records.errors import InputError
from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.layers import DropBranch, Gate, Residual
from ablate.surgery.net import Net


def model(net: Net, p: Any) -> None:
    if not 0 <= p.p < 1:
        raise InputError(f"stochastic_depth.p must be below 1, not {p.p}")
    p_last = p.p if p.on else 0.0
    if net.drop_branches("stochastic_depth", p_last):
        return
    same = [info for info in net.hidden() if info.input == info.output]
    branches = [info for info in same if not info.in_residual]
    net.leave("stochastic_depth", "layer", "in residual blocks", len(same) - len(branches))
    for number, info in enumerate(branches, 1):
        site = net.site(info)
        if site.residual is None:
            site.residual = Residual(False)
        if p.on and p.p > 0 and isinstance(site.residual, Gate):
            site.residual.on.fill_(1)
        probability = p_last * number / len(branches)
        site.after.append(DropBranch(f"stochastic_depth/{info.path}", probability))
        net.count("stochastic_depth")


TRICK = Trick(
    name="stochastic_depth",
    title="Stochastic depth",
    seam="model",
    applies_to=("block to pass over",),
    conflicts=("remove_skip",),
    parameters=(
        Parameter(
            "p",
            0.2,
            low=0.0,
            high=0.5,
            neutral=0.0,
            most=0.95,
            meaning="probability to pass over the last branch",
        ),
    ),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="CIFAR-10, 110 layers: test error from 6.41 % to 5.25 %, with a quarter less training time",
            source=Source(
                "Deep Networks with Stochastic Depth",
                "Huang, Sun, Liu, Sedra, Weinberger",
                2016,
                "https://arxiv.org/abs/1603.09382",
            ),
            contested="shallow networks have too few layers to lose one",
        ),
    ),
)
