"""RAdam against torch.optim.RAdam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from optimizer_cases import Step, assert_equal_to, from_torch
from sweep import sweep

from ablate.catalogue.optimizer.radam import rectification


def reference(settings: Mapping[str, Any]) -> Step:
    named = {"lr": settings["lr"], "eps": settings["eps"], "betas": (settings["beta1"], settings["beta2"])}
    return from_torch(torch.optim.RAdam, foreach=False)(named)


@sweep("seed", range(4))
def test_equals_torch(seed: int) -> None:
    assert_equal_to("radam", reference, seed, lanes=25, steps=12)


def test_the_second_moment_is_used_from_the_sixth_step_and_fully_in_the_end() -> None:
    rest = torch.tensor([[0.001]], dtype=torch.float64)
    for step, expected in ((5, False), (6, True)):
        used, _ = rectification(1 - (1 - rest) ** step, torch.full_like(rest, step), rest)
        assert used.item() is expected
    _, ratio = rectification(torch.ones_like(rest), torch.full_like(rest, 1e5), rest)
    assert ratio.item() == pytest.approx(1.0)
