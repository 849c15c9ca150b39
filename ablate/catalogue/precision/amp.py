"""Automatic mixed precision: matrix products and convolutions in 16 bits, weights and the rest in 32.

    float16 has few exponents, so small gradients would vanish: the gradient of s · J is taken and divided by s.
    overflow (∞ or NaN in the gradient)  ->  the step is skipped,  s ← s / 2
    2000 steps without one               ->  s ← 2 s               (s = 2¹⁶ at first)

Shapes: losses and s are `[K]`, gradients the flat `[K, P]`: every lane has a scale of its own, and a lane that
overflows holds up no other. s is a power of two, so that scaling does not round. bfloat16 has the exponents of
float32 and needs no scale. The rules are those of `torch.amp.GradScaler`. All lanes of a group share the dtype.
Lineage: Micikevicius et al. 2017 (1710.03740); Kalamkar et al. 2019 (1905.12322) for bfloat16.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors

INITIAL = 2.0**16
GROWTH = 2.0
BACKOFF = 0.5
INTERVAL = 2000
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def next_scale(
    scale: Tensor, good: Tensor, overflow: Tensor, interval: int = INTERVAL
) -> tuple[Tensor, Tensor]:
    """(new scale, new count of steps without overflow), from the same before; all `[K]`."""
    good = torch.where(overflow, 0, good + 1)
    due = good >= interval
    grown = scale * GROWTH
    grown = grown.where(grown.isfinite(), scale)
    scale = torch.where(overflow, scale * BACKOFF, torch.where(due, grown, scale))
    return scale, torch.where(due, 0, good)


def context(p: Settings, device: torch.device) -> AbstractContextManager[object]:
    # No cache: each weight is used once a pass, and a cached copy would outlive the vmap that it belongs to.
    return torch.autocast(device.type, dtype=DTYPES[str(p.value("dtype"))], cache_enabled=False)


def begin(weights: LaneTensors, p: Settings) -> dict[str, Tensor]:
    scale = INITIAL if p.value("dtype") == "float16" else 1.0
    flat = weights.flat
    return {
        "scale": torch.full((weights.lanes,), scale, device=flat.device),
        "good": torch.zeros(weights.lanes, dtype=torch.int64, device=flat.device),
    }


def scale(losses: Tensor, state: dict[str, Tensor], p: Settings) -> Tensor:
    return losses * state["scale"]


def unscale(gradients: LaneTensors, state: dict[str, Tensor], p: Settings) -> tuple[LaneTensors, Tensor]:
    if p.value("dtype") != "float16":
        return gradients, torch.zeros_like(state["good"], dtype=torch.bool)
    overflow = ~gradients.flat.isfinite().all(dim=1)
    unscaled = gradients.like(gradients.flat * state["scale"].reciprocal()[:, None])
    state["scale"], state["good"] = next_scale(state["scale"], state["good"], overflow)
    return unscaled, overflow


TRICK = Trick(
    name="amp",
    title="Automatic mixed precision",
    seam="precision",
    parameters=(
        Parameter(
            "dtype",
            "bfloat16",
            choices=("bfloat16", "float16"),
            lane=False,
            meaning="16-bit type of products and convolutions",
        ),
    ),
    lane=False,
    searched=False,
    claims=(
        Claim(
            metric="loss",
            direction="same",
            statement="the result is that of training in 32 bits, with the same settings",
            source=Source(
                "Mixed Precision Training",
                "Micikevicius, Narang, Alben, Diamos, Elsen, Garcia, Ginsburg, Houston, Kuchaiev, Venkatesh, Wu",
                2017,
                "https://arxiv.org/abs/1710.03740",
            ),
        ),
        Claim(
            metric="memory",
            direction="down",
            statement="activations take half the memory",
            source=Source(
                "Mixed Precision Training",
                "Micikevicius, Narang, Alben, Diamos, Elsen, Garcia, Ginsburg, Houston, Kuchaiev, Venkatesh, Wu",
                2017,
                "https://arxiv.org/abs/1710.03740",
            ),
        ),
        Claim(
            metric="time",
            direction="down",
            statement="operations that wait for arithmetic or memory run two to six times faster on 16-bit units",
            source=Source(
                "Mixed Precision Training",
                "Micikevicius, Narang, Alben, Diamos, Elsen, Garcia, Ginsburg, Houston, Kuchaiev, Venkatesh, Wu",
                2017,
                "https://arxiv.org/abs/1710.03740",
            ),
            contested="slower than 32 bits on processors that lack such units, and for models of small layers",
        ),
    ),
)
