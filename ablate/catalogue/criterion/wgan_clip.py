"""Wasserstein GAN with weight clipping: the critic estimates a distance instead of a probability.

    l = −c(x) + c(x̃) − c̄(x̃),    after every update: w ← min(max(w, −v), v) for each of the critic's weights

Shapes: the outputs are `[K, B, 4 + D]` of an adversarial pair, l is `[K, B]`; v is `[K]`. c̄ is the critic with its weights held constant, so that its term trains the
generator alone. With the critic near its optimum, its mean score of real examples less that of generated ones is the Wasserstein-1 distance up to a factor.
The weights that a run begins with are not clipped before the first update. The paper updates the critic five times for each update of the generator (`critic_steps`).
Lineage: Arjovsky et al. 2017, algorithm 1, there with RMSProp at a rate of 5e-5, v = 0.01 and batches of 64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors
from ablate.surgery.adversarial_pair import CRITIC, FAKE, FOR_GENERATOR, REAL


def wasserstein_losses(outputs: Tensor) -> Tensor:
    """`[K, B, 4 + D]` -> `[K, B]`."""
    return outputs[..., FAKE] - outputs[..., REAL] - outputs[..., FOR_GENERATOR]


def example_loss(outputs: Tensor, target: Tensor, p: Settings) -> Tensor:
    return wasserstein_losses(outputs)


def limits(p: Settings) -> Tensor:
    """v of the lanes that clip, else infinity: `[K]`."""
    return torch.where(p.on, p.clip, torch.inf)


def project(weights: LaneTensors, p: Settings) -> None:
    limit = p.once(limits)
    for name, tensor in weights.items():
        if name.startswith(CRITIC):
            at = limit.view(-1, *[1] * (tensor.ndim - 1))
            tensor.copy_(torch.minimum(torch.maximum(tensor, -at), at))


TRICK = Trick(
    name="wgan_clip",
    title="Wasserstein GAN, weights clipped",
    seam="criterion",
    slot="criterion",
    parameters=(
        Parameter(
            "clip",
            0.01,
            low=0.001,
            high=1.0,
            log=True,
            least=0.0,
            meaning="largest absolute value of the critic's weights",
        ),
    ),
    applies_to=("adversarial",),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="sliced_wasserstein",
            direction="down",
            statement="training needs no careful balance of generator and critic, a plain perceptron suffices as generator, and modes are hardly dropped",
            source=Source(
                "Wasserstein GAN", "Arjovsky, Chintala, Bottou", 2017, "https://arxiv.org/abs/1701.07875"
            ),
            contested="the authors call weight clipping a clearly terrible way to enforce a Lipschitz constraint; and with as much tuning the losses of GANs do "
            "not differ reliably (Lucic et al. 2018, 1711.10337)",
        ),
        Claim(
            metric="critic_rank_correlation",
            direction="up",
            statement="the critic's value goes with the quality of the samples",
            source=Source(
                "Wasserstein GAN", "Arjovsky, Chintala, Bottou", 2017, "https://arxiv.org/abs/1701.07875"
            ),
        ),
    ),
)
