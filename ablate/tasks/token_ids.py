"""Decides whether integers in the inputs are token ids or measurements: only a model with an embedding accepts integers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ablate.records.errors import InputError
from ablate.tasks import data
from ablate.tasks.items import Survey
from ablate.tasks.model_outputs import Adapted
from ablate.tasks.packing import is_nested
from ablate.tasks.user_code import FAILED, tried

NOTE = (
    'the inputs are taken as token ids: they are whole numbers, and the model takes no others (kind="text")'
)


CAST = 'the inputs are integers and were cast to float32, which the model accepts (kind="text" keeps token ids as they are)'
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def integers(x: Any) -> Tensor | None:
    """The first examples of inputs of int64, which may be token ids; else None. (Pixels are uint8, and flags boolean.)"""
    x = x.head if isinstance(x, Survey) else x
    if is_nested(x):
        return None
    try:
        first = data.tensor(x[:2], "x")
    except (InputError, TypeError, KeyError):  # rejected with an error where the inputs are read
        return None
    return first if first.dtype in (torch.int32, torch.int64) and first.ndim >= 2 else None


def accepts_token_ids(model: Any, ids: Tensor) -> bool:
    """Whether a fresh model accepts the integers `ids` as integers and not as floats; or has an embedding and accepts neither,
    as where an id is too large for it, which `check` then reports."""
    if isinstance(model, nn.Module | Adapted) or not callable(model):
        return False
    if tried(model, ids.to(torch.float32)) is not FAILED:
        return False
    return tried(model, ids.to(torch.int64)) is not FAILED or has_embedding(model)


def has_embedding(model: Any) -> bool:
    """Whether a fresh model has an embedding; False where it cannot be made, which `check` reports."""
    module = tried(model)
    return module is not FAILED and any(isinstance(layer, EMBEDDINGS) for layer in module.modules())
