"""Initialisation: how the weights of convolutions and linear layers are drawn before training.

    constant    w = 0.01 g                           zero        w = 0
    normal      w ~ N(0, (0.01 g)²)                  xavier      w ~ U(−a, a), a = g √(6 / (fan_in + fan_out))
    kaiming     w ~ N(0, 2 g² / fan_in)              orthogonal  W Wᵀ = g² I (or WᵀW), W uniformly so

g: `gain`; W is `[out, in · kernel]`. Biases start at zero. All such layers are drawn, the head among them:
so do the papers, and only so does the flaw of `constant` and `zero` show: units of a layer that start equal
get equal gradients and stay equal (a random head would tell them apart). Nothing remains in the model after.
Other layers (norms, embeddings) keep what they have.
Lineage: Krizhevsky et al. 2012 (normal, σ = 0.01); Glorot & Bengio 2010, equation 16 (xavier); He et al.
2015, equation 10 (kaiming); Saxe et al. 2013 (orthogonal); `torch.nn.init`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.draws import stream_number
from ablate.surgery.layer_types import AFFINE
from ablate.surgery.layers import Site
from ablate.surgery.net import Net
from ablate.surgery.switch import Switch

SIGMA = 0.01


def draw(weight: Tensor, scheme: str, gain: float, generator: Generator) -> None:
    """Fill `weight` `[out, in, …]` in place."""
    if scheme in ("constant", "zero"):
        nn.init.constant_(weight, SIGMA * gain if scheme == "constant" else 0.0)
    elif scheme == "normal":
        nn.init.normal_(weight, std=SIGMA * gain, generator=generator)
    elif scheme == "xavier":
        nn.init.xavier_uniform_(weight, gain=gain, generator=generator)
    elif scheme == "orthogonal":
        nn.init.orthogonal_(weight, gain=gain, generator=generator)
    else:
        nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
        with torch.no_grad():
            weight.mul_(gain)


def affine_layers(net: Net) -> Iterator[tuple[str, nn.Module]]:
    """(name, layer) of every convolution and linear layer that is trained, also of replacements of one of the
    user's. Not of layers with a `forward` of the user's own, who know what their weights mean."""
    for info in net.of(*AFFINE):
        if info.custom:
            continue
        layer = net.layer(info.path)
        while isinstance(layer, Site | Switch):
            layer = layer.layer if isinstance(layer, Site) else layer.chosen
        for name, part in layer.named_modules():
            if isinstance(part, AFFINE) and part.weight.requires_grad:
                yield f"{info.path}/{name}", part


def model(net: Net, p: Any) -> None:
    if not p.on:
        return
    root = int(torch.randint(2**31, (), generator=p.generator))
    for name, layer in affine_layers(net):
        # A generator for each layer: what one draws cannot depend on which others there are.
        generator = Generator().manual_seed(stream_number(f"{root} {name}") & 0x7FFFFFFF)
        assert isinstance(layer, AFFINE)
        draw(layer.weight, p.scheme, p.gain, generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        net.count("initialization")


TRICK = Trick(
    name="initialization",
    title="Weight initialisation",
    seam="model",
    slot="init",
    parameters=(
        Parameter(
            "scheme",
            "kaiming",
            choices=("constant", "zero", "normal", "xavier", "kaiming", "orthogonal"),
            meaning="the distribution that weights are drawn from",
        ),
        Parameter("gain", 1.0, low=0.1, high=10.0, log=True, meaning="multiplies the weights"),
    ),
    claims=(
        Claim(
            metric="steps_to_target",
            direction="down",
            statement="kaiming: activations keep their scale through ReLU layers, so that very deep networks converge at all",
            source=Source(
                "Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet Classification",
                "He, Zhang, Ren, Sun",
                2015,
                "https://arxiv.org/abs/1502.01852",
            ),
            contested="with normalisation layers the scale of the weights matters much less",
            settings=(("scheme", "kaiming"),),
        ),
        Claim(
            metric="steps_to_target",
            direction="down",
            statement="xavier: substantially faster convergence with tanh units; constant weights leave all units of a layer equal",
            source=Source(
                "Understanding the difficulty of training deep feedforward neural networks",
                "Glorot, Bengio",
                2010,
                "https://proceedings.mlr.press/v9/glorot10a.html",
            ),
            settings=(("scheme", "xavier"),),
        ),
        Claim(
            metric="steps_to_target",
            direction="down",
            statement="orthogonal: learning time independent of depth in deep linear networks",
            source=Source(
                "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks",
                "Saxe, McClelland, Ganguli",
                2013,
                "https://arxiv.org/abs/1312.6120",
            ),
            settings=(("scheme", "orthogonal"),),
        ),
    ),
)
