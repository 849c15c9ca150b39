"""Skip connection: a layer that keeps the shape of its input has that input added to its output.

    y = F(x) + x,    F: the convolution or linear layer, with its normalisation where it has one

Shapes: x, y are one lane's activations `[B, C, …]`, equal in all dimensions. The sum comes before the
non-linearity, as in the residual blocks of the paper; there F holds two layers or more, here each
shape-preserving hidden layer is a block of its own, since a model's modules do not tell which belong
together. Layers in a residual branch that the model has are left alone. It adds no parameters. In lanes without the trick
y = F(x), bit for bit.
Lineage: He et al. 2015 (arXiv 1512.03385), equation 1.
"""

from __future__ import annotations

from typing import Any

from ablate.records.trick import Claim, Source, Trick
from ablate.surgery.layers import Residual
from ablate.surgery.net import Net


def model(net: Net, p: Any) -> None:
    for info in net.hidden():
        if info.in_residual:
            net.leave("skip_connection", info.kind.__name__, "in residual blocks")
        elif info.input != info.output:
            net.leave("skip_connection", info.kind.__name__, "with another output shape")
        else:
            net.site(info).residual = Residual(p.on)
            net.count("skip_connection")


TRICK = Trick(
    name="skip_connection",
    title="Skip connections",
    seam="model",
    applies_to=("shape-preserving block",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="depth does not hurt: very deep plain networks train worse than shallow ones, residual ones better",
            source=Source(
                "Deep Residual Learning for Image Recognition",
                "He, Zhang, Ren, Sun",
                2015,
                "https://arxiv.org/abs/1512.03385",
            ),
            contested="around a single layer, as here, the authors saw no advantage (section 3.2); shallow networks have little to gain",
        ),
    ),
)
