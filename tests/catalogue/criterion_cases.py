"""Random losses, and settings that know the numbers of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablate.catalogue.registry import registry
from ablate.seams.facts import Facts
from ablate.seams.settings import Settings


def settings_of_lanes(
    trick: str, lanes: Sequence[Mapping[str, Any] | None], counts: Sequence[float] | None = None
) -> Settings:
    facts = Facts(None if counts is None else torch.tensor(counts, dtype=torch.float32))
    return Settings.stack(registry()[trick], lanes, torch.device("cpu"), torch.float64, facts)


def random_logits(seed: int, lanes: int = 20, examples: int = 5) -> tuple[Tensor, Tensor, list[int]]:
    """(logits that require a gradient, soft targets, class counts), float64 `[K, B, C]` twice and `[C]`."""
    random = np.random.default_rng(seed)
    classes = int(random.integers(2, 7))
    z = torch.tensor(random.normal(scale=3, size=(lanes, examples, classes)), requires_grad=True)
    t = torch.tensor(random.dirichlet(np.ones(classes), (lanes, examples)))
    return z, t, random.integers(1, 500, classes).tolist()
