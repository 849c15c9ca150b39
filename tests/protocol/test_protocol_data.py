"""Step 0, the look at the data: each planted fault is told by its code, and sound data by none."""

from __future__ import annotations

import pytest
import torch
from protocol_cases import ground_of, mlp
from torch import Tensor

from ablate.protocol.data_check import check_data
from ablate.tasks.task import Task

G = torch.Generator().manual_seed(0)
X, NEW = torch.randn(200, 4, generator=G), torch.randn(120, 4, generator=G)
NOISE, NEW_NOISE = torch.randn(200, generator=G), torch.randn(120, generator=G)
SUM = torch.tensor([1.0, -1.0, 0.5, 0.2])
Y, NEW_Y = (X @ SUM > 0).long(), (NEW @ SUM > 0).long()
TARGET, NEW_TARGET = X @ SUM + NOISE, NEW @ SUM + NEW_NOISE


def put(values: Tensor, where: tuple[int, ...] | slice, value: float) -> Tensor:
    changed = values.clone()
    changed[where] = value
    return changed


def found(x: Tensor, y: Tensor, new: Tensor, new_y: Tensor) -> list[tuple[str, str]]:
    numbers = y.is_floating_point()
    kind, outputs = ("regression", 1) if numbers else ("classification", 1 + int(max(y.max(), new_y.max())))
    model = lambda: mlp(x.shape[1], outputs)  # noqa: E731
    task = Task(model, (x, y), (new, new_y), test=False, criterion=kind)
    return [
        (one.code, one.level) for one in check_data(ground_of(task)).findings if one.level in ("warn", "fail")
    ]


def test_sound_data_have_no_finding() -> None:
    assert found(X, Y, NEW, NEW_Y) == []
    assert found(X, TARGET, NEW, NEW_TARGET) == []


TOGETHER = torch.cat([NOISE[:, None].expand(-1, 4) + 0.01 * X, NEW_NOISE[:, None].expand(-1, 4) + 0.01 * NEW])
FAULTS = {
    "one class": ((X, Y * 0, NEW, NEW_Y), "target-constant", "fail"),
    "one number": ((X, TARGET * 0, NEW, NEW_TARGET), "target-constant", "fail"),
    "a target in other units": ((X, put(TARGET, (7,), 1e6), NEW, NEW_TARGET), "extreme-value", "warn"),
    "a value in other units": ((put(X, (3, 2), 1e7), Y, NEW, NEW_Y), "extreme-value", "warn"),
    "few": ((X[:29], Y[:29], NEW, NEW_Y), "few-examples", "warn"),
    "nearly copies": ((X, Y, torch.cat([NEW[:100], X[:20] + 1e-4]), torch.cat([NEW_Y[:100], Y[:20]])), "near-duplicates", "warn"),
    "a rare class": ((X, put(Y, slice(0, 3), 2), NEW, NEW_Y), "class-rare", "warn"),
    "one class dominates": ((X, put(Y * 0, slice(0, 5), 1), NEW, put(NEW_Y * 0, slice(0, 3), 1)), "class-dominates", "warn"),
    "other shares of classes": ((X, Y, NEW, put(NEW_Y, slice(0, 90), 1)), "labels-differ", "warn"),
    "columns that say the same": ((TOGETHER[:200], Y, TOGETHER[200:], NEW_Y), "inputs-collinear", "warn"),
    "the target among the inputs": ((torch.cat([X, TARGET[:, None]], 1), TARGET, torch.cat([NEW, NEW_TARGET[:, None]], 1), NEW_TARGET),
                                    "input-tells-target", "warn"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "code", "level"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_the_one_finding(data, code: str, level: str) -> None:
    assert found(*data) == [(code, level)]
