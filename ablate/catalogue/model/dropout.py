"""Dropout: in training, each hidden unit is switched off with probability p.

    y = x · m / (1 − p) in training, y = x in evaluation        scaling = "training" ("inverted" dropout)
    y = x · m           in training, y = (1 − p) · x            scaling = "evaluation" (as first published)

Shapes: x, y, m are one lane's activations `[B, …]`; m is 0 with probability p and 1 otherwise, drawn anew
for each example, unit (in feature maps: each channel at each position) and step. The mask stands on the
*hidden units*, after the non-linearity (and any pooling): on the input of every convolution and linear
layer but the first, the head among them. The model's inputs are never dropped.

profile = "flat": p everywhere. "rising": the i-th of n places has p · i / n, so that low layers keep more, as
in the convolutional networks of the 2014 paper. It comes on top of dropout layers that the model has.
Lineage: Hinton et al. 2012 (arXiv 1207.0580); Srivastava et al. 2014 (JMLR 15, section 4).
"""

from __future__ import annotations

from typing import Any

from ablate.records.errors import InputError
from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.layer_types import AFFINE
from ablate.surgery.layers import Dropout
from ablate.surgery.net import Net


def probabilities(p: float, places: int, profile: str) -> list[float]:
    """The drop probability at each of `places` places, from the input's side to the head's."""
    return [p if profile == "flat" else p * (i + 1) / places for i in range(places)]


def model(net: Net, p: Any) -> None:
    if not 0 <= p.p < 1:
        raise InputError(f"dropout.p must be below 1, not {p.p}", hint="1 would switch every unit off")
    places = net.of(*AFFINE)[1:]
    for place, probability in zip(places, probabilities(p.p, len(places), p.profile), strict=True):
        layer = Dropout(probability, f"dropout/{place.path}", inverted=p.scaling == "training")
        net.site(place).before.append(layer)
        net.count("dropout")


TRICK = Trick(
    name="dropout",
    title="Dropout",
    seam="model",
    parameters=(
        Parameter(
            "p",
            0.5,
            low=0.0,
            high=0.8,
            neutral=0.0,
            most=0.99,
            meaning="probability to switch a hidden unit off",
        ),
        Parameter(
            "profile",
            "flat",
            choices=("flat", "rising"),
            meaning="the same p everywhere, or rising with depth up to p before the head",
        ),
        Parameter(
            "scaling",
            "training",
            choices=("training", "evaluation"),
            meaning="when activations are scaled by 1 - p: divided in training or multiplied in evaluation",
        ),
    ),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="less over-fitting: units cannot rely on one another, and evaluation averages many thinned networks",
            source=Source(
                "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
                "Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov",
                2014,
                "https://jmlr.org/papers/v15/srivastava14a.html",
            ),
            contested="before batch normalisation its change of variance between training and evaluation can hurt (Li et al. 2019, 1801.05134); small or under-fitting models lose",
        ),
        Claim(
            metric="accuracy",
            direction="up",
            statement="MNIST, plain networks: from 160 test errors to 130 (and to 110 where inputs are dropped too)",
            source=Source(
                "Improving neural networks by preventing co-adaptation of feature detectors",
                "Hinton, Srivastava, Krizhevsky, Sutskever, Salakhutdinov",
                2012,
                "https://arxiv.org/abs/1207.0580",
            ),
        ),
    ),
)
