"""Random gradients of lanes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ablate.catalogue.registry import registry
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors, Layout, Spec

SHAPES = {"conv": (4, 3, 2, 2), "matrix": (5, 17), "bias": (5,), "gain": ()}
LAYOUT = Layout([Spec(name, shape) for name, shape in SHAPES.items()])


def random_gradients(lanes: int, seed: int) -> LaneTensors:
    """float64, of all sizes from 10⁻⁶ to 10⁶."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.logspace(-6, 6, lanes, dtype=torch.float64)
    named = {
        name: torch.randn(lanes, *shape, generator=generator, dtype=torch.float64)
        * size.reshape(-1, *[1] * len(shape))
        for name, shape in SHAPES.items()
    }
    return LaneTensors(LAYOUT, LAYOUT.pack(named, lanes))


def changed(trick: str, gradients: LaneTensors, lanes: Sequence[Mapping[str, Any] | None]) -> LaneTensors:
    """What the trick makes of `gradients` in lanes with these settings."""
    catalogue = registry()
    p = Settings.stack(catalogue[trick], lanes, torch.device("cpu"), torch.float64)
    outcome: LaneTensors = catalogue.code(trick).gradient(gradients, gradients, p)
    return outcome
