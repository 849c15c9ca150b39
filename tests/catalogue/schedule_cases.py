"""A schedule's factors at every step of a training, for lanes with random settings."""

from __future__ import annotations

import random
from typing import Any

import torch
from optimizer_cases import settings_of
from torch import Tensor

from ablate.catalogue.registry import registry
from ablate.seams.settings import Settings


def random_settings(trick: str, lanes: int, seed: int) -> list[dict[str, Any]]:
    """Settings from the search ranges, whole numbers where the parameter is one."""
    rng = random.Random(f"{trick} {seed}")
    drawn = [settings_of(trick, rng) for _ in range(lanes)]
    whole = {p.name for p in registry()[trick].parameters if p.is_integer}
    return [{k: round(v) if k in whole else v for k, v in setting.items()} for setting in drawn]


def factors(trick: str, lanes: list[dict[str, Any]], total: int, per_epoch: int) -> Tensor:
    """float64 `[total, K]`."""
    catalogue = registry()
    p = Settings.stack(catalogue[trick], lanes, torch.device("cpu"), torch.float64)
    steps = torch.arange(total)[:, None].expand(total, len(lanes))
    curves: Tensor = catalogue.code(trick).factor(steps, total, per_epoch, p)
    return curves.double()
