"""Spectral normalisation: each layer's weights are divided by their largest singular value, so that the layer stretches no input by more than one.

    Ŵ = W / σ,    σ = uᵀ W v;    in training, before: v ← Wᵀu / ‖Wᵀu‖, u ← W v / ‖W v‖

Shapes: W is one lane's weight `[O, I, …]`, taken as a matrix `[O, n]`; u `[O]` and v `[n]` are buffers that follow the singular vectors by one power iteration
a step, no gradient through them. They begin with `WARM` iterations from a random u. The kernel of a convolution is normalised as that matrix, which bounds
the layer's Lipschitz constant up to a factor (Sedghi et al. 2018). It acts on every hidden convolution and linear layer; in an adversarial pair on the critic's only.
Products with u and v are sums over rows that lie together in memory: torch's matrix-vector product rounds one matrix otherwise than several.
Lineage: Miyato et al. 2018, algorithm 1 and equation 8; `torch.nn.utils.parametrizations.spectral_norm`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ablate.records.trick import Claim, Source, Trick
from ablate.surgery.adversarial_pair import CRITIC, pair_of
from ablate.surgery.net import Net
from ablate.surgery.spectral_norm import SpectralNorm


def model(net: Net, p: Any) -> None:
    adversarial = pair_of(net.module) is not None
    for info, site in net.sites():
        if not info.custom and (not adversarial or info.path.startswith(CRITIC)):
            weight = site.layer.weight
            assert isinstance(weight, Tensor)
            site.weight_transforms.append(SpectralNorm(p.on, weight, p.generator))
            net.count("spectral_norm")


TRICK = Trick(
    name="spectral_norm",
    title="Spectral normalisation",
    seam="model",
    slot="weight",
    applies_to=("normalisable",),
    conflicts=("init",),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="steadier training of a GAN's discriminator, and better images, than with weight clipping or a gradient penalty",
            source=Source(
                "Spectral Normalization for Generative Adversarial Networks",
                "Miyato, Kataoka, Koyama, Yoshida",
                2018,
                "https://arxiv.org/abs/1802.05957",
            ),
            contested="no claim for classifiers: a layer that cannot stretch its input has less capacity",
        ),
        Claim(
            metric="accuracy",
            direction="up",
            statement="with a penalty on the same norms a network is less sensitive to perturbed inputs, and generalises better",
            source=Source(
                "Spectral Norm Regularization for Improving the Generalizability of Deep Learning",
                "Yoshida, Miyato",
                2017,
                "https://arxiv.org/abs/1705.10941",
            ),
        ),
    ),
)
