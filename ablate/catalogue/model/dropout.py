"""Dropout: in training, each hidden unit is switched off with probability p.

    y = x · m / (1 − p) in training, y = x in evaluation        scaling = "training" ("inverted" dropout)
    y = x · m           in training, y = (1 − p) · x            scaling = "evaluation" (as first published)

Shapes: x, y, m are one lane's activations `[B, …]`; m is 0 with probability p and 1 otherwise, redrawn
for each example, unit (in feature maps: each channel at each position) and step. The mask stands on the
*hidden units*, after the non-linearity (and any pooling): on the input of every convolution and linear
layer but the first, the head among them. The model's inputs are never dropped.

profile = "flat": p everywhere. "rising": the i-th of n places has p · i / n, so that low layers keep more, as
in the convolutional networks of the 2014 paper.

A model that has `nn.Dropout` layers keeps them where they are and gets these probabilities in them (and in
torch's attention, where that drops), instead of further masks: there p = 0 takes its dropout out. Dropout that is out of
reach (`F.dropout(x, p)`, which drops in evaluation too) or of another kind (`nn.Dropout2d`) is left alone, and no mask is added to it.
Lineage: Hinton et al. 2012 (arXiv 1207.0580); Srivastava et al. 2014 (JMLR 15, section 4).
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ablate.records.errors import InputError
from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.layer_types import AFFINE, DROPOUTS
from ablate.surgery.layers import Dropout
from ablate.surgery.net import Net
from ablate.surgery.untouched import ALREADY


def probabilities(p: float, layers: int, profile: str) -> list[float]:
    """The drop probability of each of `layers` layers, from the input to the head."""
    return [p if profile == "flat" else p * (i + 1) / layers for i in range(layers)]


def model(net: Net, p: Any) -> None:
    if not 0 <= p.p < 1:
        raise InputError(f"dropout.p must be below 1, not {p.p}", hint="1 would switch every unit off")
    plain, drops = net.of(nn.Dropout), net.attention_dropouts()
    foreign = net.leave_out_of_reach("dropout", "dropout")
    others = [info for info in net.of(*DROPOUTS) if info not in plain]
    for info in others:
        net.leave("dropout", info.kind.__name__, "of another kind")
    if plain or drops:
        replace(net, p)
    elif not foreign and not others:
        add(net, p)


def add(net: Net, p: Any) -> None:
    """Masks on the inputs of all layers but the first; p = 0 in lanes without the trick."""
    infos = net.of(*AFFINE)[1:]
    chances = probabilities(p.p if p.on else 0.0, len(infos), p.profile)
    for info, probability in zip(infos, chances, strict=True):
        layer = Dropout(probability, f"dropout/{info.path}", inverted=not p.on or p.scaling == "training")
        net.site(info).before.append(layer)
        net.count("dropout")


def replace(net: Net, p: Any) -> None:
    """The model's own layers with other probabilities."""
    infos, inverted = net.of(nn.Dropout), p.scaling == "training"
    had = [net.layer(info.path).p for info in infos]
    for info, before, probability in zip(infos, had, probabilities(p.p, len(infos), p.profile), strict=True):
        if probability == before and inverted:
            net.leave("dropout", "Dropout", f"with p = {before:g} {ALREADY}")
            continue
        if p.on:
            net.replace(info.path, Dropout(probability, f"model/{info.path}", inverted=inverted))
        net.count("dropout")
    for attention in net.attention_dropouts():
        had.append(attention.dropout)
        if attention.dropout == p.p:
            net.leave("dropout", "MultiheadAttention", f"with p = {p.p:g} {ALREADY}")
            continue
        if p.on:
            attention.dropout = p.p
        net.count("dropout")
    if len(set(had)) == 1:
        net.leaves_unchanged("dropout", "p", float(had[0]))  # type: ignore[arg-type]


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
