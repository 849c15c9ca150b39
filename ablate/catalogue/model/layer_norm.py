"""Layer normalisation: each example is standardised over all units of the layer, then scaled and shifted.

    y_c = γ_c (x_c − μ) / √(σ² + ε) + β_c

Shapes: x, y are one lane's activations `[B, C, …]`; γ, β are `[C]`. μ and σ² are one number an example, over
channels and positions of a feature map (γ and β are shared by the positions, as in the comparison of Wu &
He 2018); for tokens, one number an example and token, over the channels. Training and evaluation are the same.
It is inserted after each hidden convolution and linear layer, before the non-linearity, or replaces the
model's norm layers.
Lineage: Ba, Kiros & Hinton 2016, equations 3 and 4; `torch.nn.LayerNorm`.
"""

from __future__ import annotations

from math import prod
from typing import Any

from torch import nn

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.net import Net
from ablate.surgery.norms import LayerNorm


def model(net: Net, p: Any) -> None:
    for switch, channels, _ in net.norm_switches("layer_norm", (nn.LayerNorm,)):
        values = channels if switch.channels_last else prod(switch.shape[1:])
        if values > 1:  # a single value would become β
            switch.add("layer_norm", LayerNorm(channels, p.eps, tokens=switch.channels_last), p.on)
            net.count("layer_norm")


TRICK = Trick(
    name="layer_norm",
    title="Layer normalisation",
    seam="model",
    slot="norm",
    applies_to=("normalisable",),
    parameters=(Parameter("eps", 1e-5, low=1e-6, high=1e-2, log=True, meaning="added to the variance"),),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="steps_to_target",
            direction="down",
            statement="faster training, independent of the batch: works at any batch size, the same in evaluation",
            source=Source(
                "Layer Normalization", "Ba, Kiros, Hinton", 2016, "https://arxiv.org/abs/1607.06450"
            ),
            contested="in convolutional networks its authors found batch normalisation better (section 6.7)",
        ),
    ),
)
