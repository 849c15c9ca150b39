"""Are whole numbers in the inputs token ids or measurements? The model knows: only an embedding takes whole numbers."""

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


def takes_token_ids(model: Any, x: Any) -> bool:
    """Whether `x` holds whole numbers that a fresh model takes as they are, and not as real numbers."""
    if is_nested(x) or isinstance(model, nn.Module | Adapted) or not callable(model):
        return False
    try:
        ids = data.tensor(x[:2], "x")
    except (InputError, TypeError, KeyError):  # refused in a line where the inputs are read
        return False
    if ids.is_floating_point() or ids.dtype == torch.bool or ids.ndim < 2:
        return False
    return tried(model, ids.to(torch.int64)) is not FAILED and tried(model, ids.to(torch.float32)) is FAILED
