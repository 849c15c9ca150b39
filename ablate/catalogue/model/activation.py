"""Activation: the model's non-linearities are replaced by another one.

    relu        max(0, x)                       gelu     x · Φ(x), Φ: the normal distribution function
    leaky_relu  max(0, x) + 0.01 min(0, x)      silu     x / (1 + exp(−x))                  ("Swish")
    tanh        (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)         sigmoid  1 / (1 + exp(−x))

Elementwise on one lane's activations `[B, …]`; kinds may differ between lanes.
It replaces activation modules (`nn.ReLU()`) anywhere before the head, and functions that the model calls (`F.relu`) in a `forward`
that torch.fx can trace. Left alone are what follows the head, which belongs to the task, sigmoids in a model that has other
activations, which are taken for gates, as are the functions sigmoid and tanh, and what is of the kind already.
Lineage: Nair & Hinton 2010 (relu); Maas et al. 2013 (leaky_relu); Hendrycks & Gimpel 2016 (gelu, silu);
Ramachandran et al. 2017 (silu as "Swish").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.layer_types import ACTIVATIONS
from ablate.surgery.net import Net
from ablate.surgery.observe import LayerInfo
from ablate.surgery.untouched import ALREADY

KINDS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def hidden_activations(net: Net) -> list[LayerInfo]:
    """The activation modules between the model's layers: no output activation, no gates."""
    paths = [info.path for info in net.layer_infos]
    last = max((paths.index(head) for head in net.observed.heads), default=len(paths))
    before_head = [path for path in paths[:last] if path not in net.observed.ends]
    every = net.of(*ACTIVATIONS)
    hidden = [info for info in every if info.path in before_head]
    replaceable = [info for info in hidden if not issubclass(info.kind, nn.Sigmoid)] or hidden
    for info in every:
        if info not in replaceable:
            why = "as gates" if info in hidden else "after the head"
            net.leave("activation", info.kind.__name__, why)
    return replaceable


def model(net: Net, p: Any) -> None:
    switches = [net.switch(info) for info in hidden_activations(net)] + net.function_switches("activation")
    for switch in switches:
        original = switch.otherwise
        for kind, make in KINDS.items():
            if repr(make()) != repr(original):
                switch.add(kind, make(), p.on and p.kind == kind)
        if p.kind in switch.branches:
            net.count("activation")
        else:
            net.leave("activation", type(original).__name__, ALREADY)
    for kind in KINDS:
        if switches and not any(kind in switch.branches for switch in switches):
            net.leaves_unchanged("activation", "kind", kind)


TRICK = Trick(
    name="activation",
    title="Activation function",
    seam="model",
    applies_to=("activation",),
    parameters=(
        Parameter(
            "kind",
            "gelu",
            choices=("relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid"),
            meaning="the function that replaces the model's own",
        ),
    ),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="gelu: better than ReLU and ELU in vision, language and speech tasks",
            source=Source(
                "Gaussian Error Linear Units (GELUs)",
                "Hendrycks, Gimpel",
                2016,
                "https://arxiv.org/abs/1606.08415",
            ),
        ),
        Claim(
            metric="accuracy",
            direction="up",
            statement="silu: in place of ReLU, 0.6 to 0.9 points on ImageNet in deep networks",
            source=Source(
                "Searching for Activation Functions",
                "Ramachandran, Zoph, Le",
                2017,
                "https://arxiv.org/abs/1710.05941",
            ),
        ),
        Claim(
            metric="accuracy",
            direction="up",
            statement="relu: better than sigmoid or tanh units, through which gradients vanish; no pre-training needed",
            source=Source(
                "Deep Sparse Rectifier Neural Networks",
                "Glorot, Bordes, Bengio",
                2011,
                "https://proceedings.mlr.press/v15/glorot11a.html",
            ),
        ),
    ),
)
