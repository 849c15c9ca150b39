"""One-sided label smoothing: the discriminator of a standard GAN is to call real examples real with probability 1 − ε, not 1.

    l = −(1 − ε) log σ(c(x)) − ε log σ(−c(x)) − log σ(−c(x̃)) − log σ(c̄(x̃))

Shapes: the outputs are `[K, B, 4 + D]` of an adversarial pair, l is `[K, B]`; ε is `[K]`; c̄ is the discriminator with its weights held constant. Only the target of real
examples is smoothed: with a smoothed target of generated ones, the optimal discriminator would draw the generator to its present samples. ε = 0 is the standard loss.
Lineage: Salimans et al. 2016, section 3.4.
"""

from __future__ import annotations

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.by_lane import softplus
from ablate.seams.settings import Settings
from ablate.surgery.adversarial_pair import FAKE, FOR_GENERATOR, REAL


def smoothed_losses(outputs: Tensor, eps: Tensor) -> Tensor:
    """`[K, B, 4 + D]`, ε `[K, 1]` -> `[K, B]`; −log σ(z) is softplus(−z), and −log σ(−z) is that plus z."""
    real, fake, for_generator = outputs[..., REAL], outputs[..., FAKE], outputs[..., FOR_GENERATOR]
    return softplus(-real) + eps * real + softplus(fake) + softplus(-for_generator)


def example_loss(outputs: Tensor, target: Tensor, p: Settings) -> Tensor:
    return smoothed_losses(outputs, p.like("eps", outputs[..., 0]))


TRICK = Trick(
    name="one_sided_smoothing",
    title="One-sided label smoothing",
    seam="criterion",
    slot="criterion",
    parameters=(
        Parameter(
            "eps",
            0.1,
            low=0.0,
            high=0.3,
            neutral=0.0,
            most=1.0,
            meaning="what real examples' target lacks to one",
        ),
    ),
    applies_to=("adversarial",),
    claims=(
        Claim(
            metric="sliced_wasserstein",
            direction="down",
            statement="the discriminator is less sure of itself, and less vulnerable to the generator's samples",
            source=Source(
                "Improved Techniques for Training GANs",
                "Salimans, Goodfellow, Zaremba, Cheung, Radford, Chen",
                2016,
                "https://arxiv.org/abs/1606.03498",
            ),
        ),
    ),
)
