"""RMS normalisation: activations are divided by their root mean square; no mean is subtracted.

    y = γ_c x / √(mean(x²) + ε)

Shapes: x, y are one lane's activations `[B, C, …]`; γ is `[C]`; the mean of squares is one number an example, over its channels and positions
(of tokens: one for each token, over its channels). There is no shift. Training and evaluation are the same.
It is inserted after each hidden convolution and linear layer, before the non-linearity, or replaces the model's norm layers.
Lineage: Zhang & Sennrich 2019, equation 4; `torch.nn.RMSNorm`.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.net import Net
from ablate.surgery.norms import RootMeanSquareNorm


def model(net: Net, p: Any) -> None:
    for switch, channels, _ in net.norm_switches("rms_norm", (nn.RMSNorm,)):
        branch = RootMeanSquareNorm(channels, p.eps, tokens=switch.channels_last)
        switch.add("rms_norm", branch, p.on)
        net.count("rms_norm")


TRICK = Trick(
    name="rms_norm",
    title="RMS normalisation",
    seam="model",
    slot="norm",
    applies_to=("normalisable",),
    parameters=(Parameter("eps", 1e-5, low=1e-6, high=1e-2, log=True, meaning="added to the mean square"),),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="time",
            direction="down",
            statement="as good as layer normalisation, 7 to 64 % faster on several models: re-scaling is what matters, not re-centring",
            source=Source(
                "Root Mean Square Layer Normalization",
                "Zhang, Sennrich",
                2019,
                "https://arxiv.org/abs/1910.07467",
            ),
        ),
        Claim(
            metric="accuracy",
            direction="same",
            statement="the results of layer normalisation",
            source=Source(
                "Root Mean Square Layer Normalization",
                "Zhang, Sennrich",
                2019,
                "https://arxiv.org/abs/1910.07467",
            ),
        ),
    ),
)
