"""Adafactor against torch.optim.Adafactor; its state is as small as the paper promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from optimizer_cases import Step, assert_equal_to, from_torch
from sweep import sweep

from ablate.catalogue.optimizer.adafactor import state
from ablate.seams.tensors import LaneTensors, Layout, Spec


def reference(settings: Mapping[str, Any]) -> Step:
    named = {"lr": settings["lr"], "beta2_decay": -settings["decay"], "d": settings["clip"]}
    return from_torch(torch.optim.Adafactor, weight_decay=0.0, foreach=False)(named)


@sweep("seed", range(4))
def test_equals_torch(seed: int) -> None:
    assert_equal_to("adafactor", reference, seed, lanes=25, steps=12)


def test_a_matrix_keeps_a_number_for_each_row_and_column() -> None:
    layout = Layout([Spec("conv", (32, 16, 3, 3)), Spec("bias", (32,))])
    kept = state(LaneTensors(layout, torch.zeros(2, layout.width)))
    assert {name: tensor.shape[1:] for name, tensor in kept.items()} == {
        "taken": (1,), "rows/conv": (32, 1), "columns/conv": (1, 144), "square/bias": (1, 32),
    }  # fmt: skip
    numbers = sum(int(np.prod(tensor.shape[1:])) for tensor in kept.values())
    assert numbers == 1 + 32 + 144 + 32
