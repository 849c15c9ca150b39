"""Decides whether integers in the inputs are token ids or measurements: only a model with an embedding accepts integers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ablate.records.errors import InputError
from ablate.tasks import data
from ablate.tasks.packing import Adapted, is_nested
from ablate.tasks.user_code import FAILED, tried

NOTE = (
    'the inputs are taken as token ids: they are whole numbers, and the model takes no others (kind="text")'
)


def accepts_token_ids(model: Any, x: Any) -> bool:
    """Whether `x` holds integers that a fresh model accepts as integers and not as floats."""
    if is_nested(x) or isinstance(model, nn.Module | Adapted) or not callable(model):
        return False
    try:
        ids = data.tensor(x[:2], "x")
    except (InputError, TypeError, KeyError):  # rejected with an error where the inputs are read
        return False
    if ids.is_floating_point() or ids.dtype == torch.bool or ids.ndim < 2:
        return False
    return tried(model, ids.to(torch.int64)) is not FAILED and tried(model, ids.to(torch.float32)) is FAILED
