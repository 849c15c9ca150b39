"""Wasserstein GAN with a gradient penalty: the critic's slope is drawn to one between real and generated examples.

    l = −c(x) + c(x̃) − c̄(x̃) + λ (‖∇c(x̂)‖ − 1)²,    x̂ = u x + (1 − u) x̃,  u uniform on [0, 1)

Shapes: the outputs are `[K, B, 4 + D]` of an adversarial pair, l is `[K, B]`; λ is `[K]`. The norm is over all of an example's elements. c̄ is the critic with its weights
held constant. The penalty takes a second backward pass through the critic, so lanes with it form groups of their own. It is about one example at a time:
norms over examples in the critic mix them, and the paper takes layer norm there. The paper updates the critic five times for each update of the generator (`critic_steps`).
Lineage: Gulrajani et al. 2017, algorithm 1, with λ = 10.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.surgery.adversarial_pair import FAKE, FOR_GENERATOR, NORM, REAL, pair_of
from ablate.surgery.net import Net


def penalised_losses(outputs: Tensor, weight: Tensor) -> Tensor:
    """`[K, B, 4 + D]`, λ `[K, 1]` -> `[K, B]`."""
    wasserstein = outputs[..., FAKE] - outputs[..., REAL] - outputs[..., FOR_GENERATOR]
    return wasserstein + weight * (outputs[..., NORM] - 1).square()


def example_loss(outputs: Tensor, target: Tensor, p: Settings) -> Tensor:
    return penalised_losses(outputs, p.like("penalty", outputs[..., 0]))


def model(net: Net, p: Any) -> None:
    pair = pair_of(net.module)
    if pair is not None:
        pair.penalised = p.on
        net.count("wgan_gp")


TRICK = Trick(
    name="wgan_gp",
    title="Wasserstein GAN with gradient penalty",
    seam="criterion",
    slot="criterion",
    lane=False,
    parameters=(
        Parameter("penalty", 10.0, low=0.1, high=100.0, log=True, least=0.0, meaning="weight of the penalty"),
    ),
    applies_to=("adversarial",),
    conflicts=("batch_norm", "extended_batch_norm", "whitening", "recompute"),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="sliced_wasserstein",
            direction="down",
            statement="more stable training and better samples than with clipped weights, with hardly any tuning",
            source=Source(
                "Improved Training of Wasserstein GANs",
                "Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville",
                2017,
                "https://arxiv.org/abs/1704.00028",
            ),
            contested="with as much tuning the losses of GANs do not differ reliably (Lucic et al. 2018, 1711.10337)",
        ),
    ),
)
