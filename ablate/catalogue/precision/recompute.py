"""Recomputation (gradient checkpointing): activations are computed twice in place of being kept.

    forward: a segment of n modules keeps its input;  backward: it runs forward again, and then backward

With n = √L of L modules, memory for activations falls from L to about 2 √L; every segment costs one more forward
pass. Results and gradients are equal bit for bit (see `ablate/surgery/recompute.py`), whatever the shapes.
The outermost `nn.Sequential`s of the model are cut; a model without one has nothing to cut.
Lineage: Griewank & Walther 2000 (revolve); Chen et al. 2016 (1604.06174).
"""

from __future__ import annotations

from types import SimpleNamespace

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.net import Net
from ablate.surgery.recompute import cut


def model(net: Net, p: SimpleNamespace) -> None:
    if not p.on:
        return
    net.module, segments = cut(net.module, p.modules)
    net.count("recompute", segments)


TRICK = Trick(
    name="recompute",
    title="Recomputation of activations",
    seam="precision",
    parameters=(
        Parameter("modules", 4, low=1, high=32, lane=False, least=1, meaning="modules in a segment"),
    ),
    lane=False,
    searched=False,
    claims=(
        Claim(
            metric="loss",
            direction="same",
            statement="the result is equal, bit for bit",
            source=Source(
                "Training Deep Nets with Sublinear Memory Cost",
                "Chen, Xu, Zhang, Guestrin",
                2016,
                "https://arxiv.org/abs/1604.06174",
            ),
        ),
        Claim(
            metric="memory",
            direction="down",
            statement="activations take memory in proportion to the root of the depth",
            source=Source(
                "Training Deep Nets with Sublinear Memory Cost",
                "Chen, Xu, Zhang, Guestrin",
                2016,
                "https://arxiv.org/abs/1604.06174",
            ),
        ),
        Claim(
            metric="time",
            direction="up",
            statement="one more forward pass: a step takes about a third longer",
            source=Source(
                "Training Deep Nets with Sublinear Memory Cost",
                "Chen, Xu, Zhang, Guestrin",
                2016,
                "https://arxiv.org/abs/1604.06174",
            ),
        ),
    ),
)
