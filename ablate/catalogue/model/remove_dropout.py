"""Dropout removed: the model's own dropout layers keep every unit.

    y = x    in training and evaluation, in place of y = x · m / (1 − p)

Shapes: x, y, m are one lane's activations `[B, …]`. All of torch's dropout layers are meant (of units, of channels,
alpha dropout), dropout functions that a `forward` calls in training alone (`F.dropout(x, p, self.training)`), and the dropout of torch's attention layers.
A function that drops in evaluation too cannot be removed.
Lineage: the model of Srivastava et al. 2014 (JMLR 15) without their method.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ablate.records.trick import Claim, Source, Trick
from ablate.surgery.layer_types import DROPOUTS
from ablate.surgery.layers import Dropout
from ablate.surgery.net import Net


def model(net: Net, p: Any) -> None:
    net.leave_out_of_reach("remove_dropout", "dropout")
    for info in net.of(*DROPOUTS):
        layer = net.layer(info.path)
        if getattr(layer, "p", 0.0) == 0:
            net.leave("remove_dropout", info.kind.__name__, "with p = 0")
            continue
        if not isinstance(layer, Dropout):
            net.switch(info).add("remove_dropout", nn.Identity(), p.on)
        elif p.on:
            net.replace(info.path, Dropout(0.0, f"model/{info.path}"))
        net.count("remove_dropout")
    for attention in net.attention_dropouts():
        if p.on:
            attention.dropout = 0.0
        net.count("remove_dropout")


TRICK = Trick(
    name="remove_dropout",
    title="The model's dropout removed",
    seam="model",
    applies_to=("dropout layer",),
    conflicts=("dropout",),
    claims=(
        Claim(
            metric="accuracy",
            direction="down",
            statement="networks that can over-fit generalise worse without dropout",
            source=Source(
                "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
                "Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov",
                2014,
                "https://jmlr.org/papers/v15/srivastava14a.html",
            ),
            contested="with batch normalisation, removing it can raise the accuracy (Ioffe & Szegedy 2015, section 4.2.1)",
        ),
    ),
)
