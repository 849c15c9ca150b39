"""Clipping by norm against torch.nn.utils.clip_grad_norm_, lane by lane."""

from __future__ import annotations

import math
import random

import pytest
import torch
from sweep import sweep
from torch import nn

from ablate.catalogue.gradient.clip_norm import gradient
from ablate.catalogue.registry import registry
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors, Layout, Spec

LAYOUT = Layout([Spec("a", (7, 5)), Spec("b", (7,)), Spec("c", (3, 2, 3, 3)), Spec("d", ())])
CPU = torch.device("cpu")


def settings(*limits: float | None, dtype: torch.dtype = torch.float64) -> Settings:
    lanes = [None if limit is None else {"max_norm": limit} for limit in limits]
    return Settings.stack(registry()["clip_norm"], lanes, CPU, dtype)


def gradients(lanes: int, seed: int, dtype: torch.dtype = torch.float64) -> LaneTensors:
    generator = torch.Generator().manual_seed(seed)
    scale = 10.0 ** torch.randint(-3, 3, (lanes,), generator=generator)
    named = {
        name: torch.randn(lanes, *spec.shape, generator=generator, dtype=dtype)
        * scale.to(dtype).reshape(-1, *[1] * len(spec.shape))
        for name, spec in LAYOUT.specs.items()
    }
    return LaneTensors(LAYOUT, LAYOUT.pack(named, lanes))


@sweep("seed", range(25))
def test_equals_torch(seed: int) -> None:
    rng = random.Random(seed)
    limits = [math.exp(rng.uniform(math.log(0.01), math.log(100))) for _ in range(5)]
    given = gradients(5, seed)
    clipped = gradient(given, given, settings(*limits))
    for lane, limit in enumerate(limits):
        parameters = [
            nn.Parameter(torch.zeros(spec.shape, dtype=torch.float64)) for spec in LAYOUT.specs.values()
        ]
        for parameter, tensor in zip(parameters, given.values(), strict=True):
            parameter.grad = tensor[lane].clone()
        nn.utils.clip_grad_norm_(parameters, limit)
        for parameter, tensor in zip(parameters, clipped.values(), strict=True):
            torch.testing.assert_close(tensor[lane], parameter.grad, rtol=1e-14, atol=0)


def test_long_gradients_end_at_the_limit_and_short_ones_keep_their_bits() -> None:
    given = gradients(12, 4)
    limits = [
        norm * factor for norm, factor in zip(given.norm().tolist(), [0.1, 0.99, 1.01, 9.0] * 3, strict=True)
    ]
    clipped = gradient(given, given, settings(*limits))
    for lane, limit in enumerate(limits):
        if lane % 4 >= 2:
            assert torch.equal(clipped.flat[lane], given.flat[lane])
        else:
            norm = clipped.norm()[lane].item()
            assert norm <= limit
            assert norm == pytest.approx(limit, rel=2e-6 / given.norm()[lane].item())


@pytest.mark.parametrize("scale", [1.0, 0.0, -0.0, 1e30, float("inf")])
def test_neutral_keeps_every_bit_even_where_the_norm_overflows(scale: float) -> None:
    given = gradients(3, 5, torch.float32)
    given = given.like(given.flat.sign() * scale if scale == float("inf") else given.flat * scale)
    clipped = gradient(given, given, settings(math.inf, None, math.inf, dtype=torch.float32))
    assert torch.equal(clipped.flat.view(torch.int32), given.flat.view(torch.int32))


def test_a_lane_has_the_same_bits_alone_and_in_a_group() -> None:
    rng = random.Random(6)
    limits = [math.exp(rng.uniform(-4, 4)) for _ in range(19)]
    given = gradients(19, 6, torch.float32)
    together = gradient(given, given, settings(*limits, dtype=torch.float32))
    for lane, limit in enumerate(limits):
        lane_gradient = given.take(torch.tensor([lane]))
        alone = gradient(lane_gradient, lane_gradient, settings(limit, dtype=torch.float32))
        assert torch.equal(together.flat[lane], alone.flat[0])
