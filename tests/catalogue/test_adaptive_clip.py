"""AGC against the authors' rule in numpy, in their layout (outputs last), unit by unit."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from sweep import sweep

from ablate.catalogue.gradient.adaptive_clip import gradient
from ablate.catalogue.registry import registry
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors, Layout, Spec

SPECS = [
    Spec("conv.weight", (4, 3, 3, 2), "weight"),
    Spec("conv.bias", (4,), "bias"),
    Spec("sequence.weight", (3, 2, 5), "weight"),
    Spec("linear.weight", (6, 7), "weight"),
    Spec("one_output.weight", (1, 9), "weight"),
    Spec("one_input.weight", (9, 1), "weight"),
    Spec("gain", (1, 1, 1, 8), "norm"),
    Spec("scale", (), "other"),
    Spec("head.weight", (3, 6), "weight", head=True),
    Spec("head.bias", (3,), "bias", head=True),
    Spec("two_outputs.weight", (2, 9), "weight"),
]
LAYOUT = Layout(SPECS)
CPU = torch.device("cpu")


def settings(*lanes: tuple[float, float] | None, dtype: torch.dtype = torch.float64) -> Settings:
    named = [None if lane is None else {"clipping": lane[0], "eps": lane[1]} for lane in lanes]
    return Settings.stack(registry()["adaptive_clip"], named, CPU, dtype)


def tensors(lanes: int, seed: int, scale: float, dtype: torch.dtype = torch.float64) -> LaneTensors:
    """Random numbers, with units of very different size and some that are all zero."""
    generator = torch.Generator().manual_seed(seed)
    named = {}
    for name, spec in LAYOUT.specs.items():
        x = torch.randn(lanes, *spec.shape, generator=generator, dtype=torch.float64)
        if spec.shape:
            units = torch.randn(lanes, spec.shape[0], generator=generator, dtype=torch.float64)
            dead = torch.rand(lanes, spec.shape[0], generator=generator) < 0.1
            size = (3 * units).exp().masked_fill(dead, 0)
            x = x * size.reshape(lanes, -1, *[1] * (len(spec.shape) - 1))
        named[name] = (x * scale).to(dtype)
    return LaneTensors(LAYOUT, LAYOUT.pack(named, lanes))


def clipped(w: np.ndarray, g: np.ndarray, clipping: float, eps: float) -> np.ndarray:
    """One tensor of one lane, outputs first; unit by unit."""
    if np.squeeze(w).ndim <= 1:
        units = [(w, g)]
    else:
        w, g = np.moveaxis(w, 0, -1), np.moveaxis(g, 0, -1)
        units = [(w[..., o], g[..., o]) for o in range(w.shape[-1])]
    out = []
    for unit, slope in units:
        length = math.sqrt(math.fsum(float(x) ** 2 for x in slope.ravel()))
        limit = clipping * max(math.sqrt(math.fsum(float(x) ** 2 for x in unit.ravel())), eps)
        out.append(slope if length < limit else slope * (limit / max(length, 1e-6)))
    return out[0] if np.squeeze(w).ndim <= 1 else np.stack(out, axis=0)


@sweep("seed", range(25))
def test_equals_the_authors_rule(seed: int) -> None:
    rng = random.Random(seed)
    lanes = [(10 ** rng.uniform(-3, 0), 10 ** rng.uniform(-4, -1)) for _ in range(4)]
    weights, given = tensors(4, seed, 1.0), tensors(4, seed + 1000, 0.05)
    clipped_lanes = gradient(given, weights, settings(*lanes))
    changed = 0
    for spec in SPECS:
        for lane, (clipping, eps) in enumerate(lanes):
            w, g = weights[spec.name][lane].numpy(), given[spec.name][lane].numpy()
            expected = g if spec.head else clipped(w, g, clipping, eps)
            np.testing.assert_allclose(clipped_lanes[spec.name][lane].numpy(), expected, rtol=1e-13, atol=0)
            changed += not np.array_equal(expected, g)
    assert changed > 4


@pytest.mark.parametrize("length", [5e-7, 1.5e-6, 1e-3])
def test_gradients_of_units_of_zeros_are_held_against_eps(length: float) -> None:
    """The limit is 10⁻³ · 10⁻⁴; a gradient is divided by its length, but by no less than 10⁻⁶."""
    given = LaneTensors(LAYOUT, torch.zeros(1, LAYOUT.width, dtype=torch.float64))
    weights = given.like(given.flat.clone())
    given["linear.weight"][0, :, 0] = length
    slopes = gradient(given, weights, settings((1e-3, 1e-4)))["linear.weight"][0, :, 0]
    expected = torch.full((6,), length * 1e-7 / max(length, 1e-6), dtype=torch.float64)
    torch.testing.assert_close(slopes, expected, rtol=1e-12, atol=0)


def test_no_unit_is_longer_than_its_share_and_the_head_is_left_alone() -> None:
    weights, given = tensors(3, 1, 1.0), tensors(3, 2, 10.0)
    clipped_lanes = gradient(given, weights, settings(*[(0.02, 1e-3)] * 3))
    for name in ("linear.weight", "conv.weight"):
        lengths = clipped_lanes[name].flatten(2).norm(dim=2)
        limits = 0.02 * weights[name].flatten(2).norm(dim=2).clamp(min=1e-3)
        assert (lengths <= limits * (1 + 1e-12)).all()
    for name in ("head.weight", "head.bias"):
        assert torch.equal(clipped_lanes[name], given[name])


@pytest.mark.parametrize("scale", [0.0, -0.0, 1.0, 1e30])
def test_neutral_keeps_every_bit_even_where_a_norm_overflows(scale: float) -> None:
    weights = tensors(3, 3, 1.0, torch.float32)
    given = tensors(3, 4, scale, torch.float32)
    clipped_lanes = gradient(
        given, weights, settings((math.inf, 1e-3), None, (math.inf, 1e-2), dtype=torch.float32)
    )
    assert torch.equal(clipped_lanes.flat.view(torch.int32), given.flat.view(torch.int32))


def test_a_lane_has_the_same_bits_alone_and_in_a_group() -> None:
    rng = random.Random(8)
    lanes = [(10 ** rng.uniform(-3, 0), 10 ** rng.uniform(-4, -1)) for _ in range(13)]
    weights, given = tensors(13, 5, 1.0, torch.float32), tensors(13, 6, 0.1, torch.float32)
    together = gradient(given, weights, settings(*lanes, dtype=torch.float32))
    for lane, lane_settings in enumerate(lanes):
        pick = torch.tensor([lane])
        alone = gradient(given.take(pick), weights.take(pick), settings(lane_settings, dtype=torch.float32))
        assert torch.equal(together.flat[lane], alone.flat[0])
