"""Several updates of the critic for each update of the generator.

    the generator is updated at steps 0, n, 2n, … of each epoch; the critic at every step

Shapes: none; `steps` is n, the same for all lanes of a group. At a step that both take part in, both move from the same weights (simultaneous gradient descent), where
the algorithm of the paper updates the critic first. At the other steps the generator and its optimizer's state stand still, as parameters without a gradient do in torch.
The budget is the critic's: with n = 5 the generator has a fifth of the updates.
Lineage: Goodfellow et al. 2014, algorithm 1 (there k); Arjovsky et al. 2017, algorithm 1, with n = 5.
"""

from __future__ import annotations

from collections.abc import Iterable

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.surgery.adversarial_pair import is_generator


def generators(names: Iterable[str]) -> frozenset[str]:
    """The names of the generator's parameters."""
    return frozenset(filter(is_generator, names))


def rests(step: int, names: Iterable[str], p: Settings) -> frozenset[str]:
    return generators(names) if step % int(p.value("steps")) else frozenset()


TRICK = Trick(
    name="critic_steps",
    title="Several critic updates for each of the generator",
    seam="optimizer",
    lane=False,
    parameters=(
        Parameter(
            "steps",
            5,
            low=1,
            high=8,
            neutral=1,
            least=1,
            lane=False,
            meaning="updates of the critic for each of the generator",
        ),
    ),
    applies_to=("adversarial",),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="sliced_wasserstein",
            direction="down",
            statement="the critic stays near its optimum, so that the generator's gradient is that of a divergence",
            source=Source(
                "Generative Adversarial Networks",
                "Goodfellow, Pouget-Abadie, Mirza, Xu, Warde-Farley, Ozair, Courville, Bengio",
                2014,
                "https://arxiv.org/abs/1406.2661",
            ),
            contested="the authors took one step, the cheapest; the standard loss saturates where the discriminator is optimal (1701.04862)",
        ),
        Claim(
            metric="sliced_wasserstein",
            direction="down",
            statement="a Wasserstein critic can and should be trained till optimality",
            source=Source(
                "Wasserstein GAN", "Arjovsky, Chintala, Bottou", 2017, "https://arxiv.org/abs/1701.07875"
            ),
        ),
    ),
)
