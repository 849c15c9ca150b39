"""Skip connections removed: the model's residual additions are left out.

    y = F(x)    in place of y = F(x) + x, or of F(x) + P(x) with a projection P

Shapes: x, F(x), P(x), y are one lane's activations `[B, …]`, equal in all dimensions. An addition counts as residual where one
operand was computed from the other by a layer with weights, or is its projection by one linear layer or convolution
of size 1. It can be removed if torch.fx can trace the `forward` that contains it; a projection stays in the
model, unused.
Lineage: the plain networks of He et al. 2015 (arXiv 1512.03385), section 3.3.
"""

from __future__ import annotations

from typing import Any

from ablate.records.trick import Claim, Source, Trick
from ablate.surgery.net import Net


def model(net: Net, p: Any) -> None:
    net.gate_residuals("remove_skip", on=not p.on)


TRICK = Trick(
    name="remove_skip",
    title="The model's skip connections removed",
    seam="model",
    applies_to=("residual addition",),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="down",
            statement="deep plain networks train worse than the same networks with skip connections (34 layers: 28.5 against 25.0 % error)",
            source=Source(
                "Deep Residual Learning for Image Recognition",
                "He, Zhang, Ren, Sun",
                2015,
                "https://arxiv.org/abs/1512.03385",
            ),
            contested="at 18 layers the same paper finds hardly a difference",
        ),
    ),
)
