"""Any targets that a custom loss takes. What depends on the loss is in `tasks/evaluation.py`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from ablate.records.errors import InputError
from ablate.tasks import data
from ablate.tasks.packing import Packing, is_nested, pack

SCORE = "loss"


def targets(ys: Mapping[str, Any]) -> tuple[dict[str, Tensor], tuple[str, ...], Packing | None]:
    """Numbers unchanged (float32, int64 or bool), `[N, …]`; text as classes; nested targets packed `[N, F]`."""
    if is_nested(ys["train"]):
        packed = {where: pack(y, where, data.tensor, letter="y") for where, y in ys.items()}
        packing = packed["train"][1]
        for where, (_, other) in packed.items():
            if other != packing:
                raise InputError(
                    f"{where} y is {other}, train y is {packing}", hint="prepare all splits in the same way"
                )
        return {where: y for where, (y, _) in packed.items()}, (), packing
    if data.is_text(ys["train"]):
        return *data.targets(ys, "classification"), None
    return {where: _plain(y, where) for where, y in ys.items()}, (), None


def _plain(y: Any, where: str) -> Tensor:
    values = data.tensor(y, f"{where} y")
    if values.ndim == 0:
        raise InputError(f"{where} y is one number", hint="give one entry for each example")
    if values.is_floating_point():
        values = values.to(torch.float32)
    return values.contiguous()


def encoded(y: Tensor, classes: int | None) -> Tensor:
    return y


def example_loss(outputs: Tensor, target: Tensor) -> Tensor:
    raise NotImplementedError("a custom criterion has the task's own loss")


plain_loss = example_loss


def hits(outputs: Tensor, target: Tensor) -> None:
    return None


def metrics(outputs: Tensor, y: Tensor, only: Collection[str] | None = None) -> dict[str, Tensor]:
    """No metrics: the loss is the task's."""
    return {}


def example_scores(outputs: Tensor, y: Tensor) -> Tensor:
    return outputs.new_zeros(len(outputs), 0, dtype=torch.float64)


def constant(y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Zeros; `reference_loss` improves on them by the loss itself."""
    return torch.zeros(1, 1, *shape, dtype=torch.float64)
