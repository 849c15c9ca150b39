"""Any number of labels for each example: y float32 `[N, C]` of 0 and 1, logits `[B, C]`, binary cross-entropy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ablate.records.errors import InputError
from ablate.tasks import data
from ablate.tasks.metrics import by_lanes, float64, mean_over, tree_sum

SCORE = "label_accuracy"


def targets(ys: Mapping[str, Any]) -> tuple[dict[str, Tensor], tuple[str, ...], None]:
    encoded = {}
    names: tuple[str, ...] = ()
    for where, y in ys.items():
        values = data.tensor(y, f"{where} y").to(torch.float32)
        if values.ndim != 2:
            hint = "multilabel takes a 0 or 1 for each label, [N, C], as of sklearn's MultiLabelBinarizer"
            raise InputError(f"{where} y has shape {list(values.shape)}", hint=hint)
        bad = (values != 0) & (values != 1)
        if bad.any():
            raise InputError(
                f"{where} y holds {float(values[bad][0]):g}, which is neither 0 nor 1",
                hint='multilabel takes 0 or 1 for each label; for numbers use criterion="regression"',
            )
        encoded[where] = values.contiguous()
        if data.is_frame(y) and where == "train":
            names = tuple(map(str, y.columns))
    return encoded, names, None


def encoded(y: Tensor, classes: int | None) -> Tensor:
    return y


def example_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over labels of −t log σ(z) − (1 − t) log σ(−z): `[K, B, C]`, `[K, B, C]` -> `[K, B]`."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=-1)


def plain_loss(logits: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, y)


def hits(outputs: Tensor, target: Tensor) -> Tensor:
    """Share of labels that are right."""
    right = (outputs > 0) == (target > 0.5)
    return right.sum(dim=(1, 2)) / right[0].numel()


def metrics(outputs: Tensor, y: Tensor, only: Collection[str] | None = None) -> dict[str, Tensor]:
    """Metrics of `METRICS["multilabel"]`: logits `[K, N, C]`, y `[N, C]` or `[K, N, C]`; each value `[K]` float64."""
    return by_lanes(_metrics, "multilabel", outputs, y, only)


def _metrics(logits: Tensor, y: Tensor) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    lanes, count, labels = logits.shape
    member = float64(y).expand(lanes, count, labels).transpose(1, 2)
    scores = logits.transpose(1, 2)
    chosen = (scores > 0).double()
    right = (chosen == member).double()

    @cache  # it has two names
    def loss() -> Tensor:
        losses = F.binary_cross_entropy_with_logits(scores, member, reduction="none")
        return tree_sum(tree_sum(losses)) / (count * labels)

    def average_precision() -> Tensor:
        return mean_over(ranked_precision(scores, member), member.any(-1))

    def f1() -> Tensor:
        both, either = (chosen * member).sum(-1), (chosen + member).sum(-1)  # counts: exact in any order
        return mean_over(2 * both / either.clamp(min=1), either > 0)

    yield "average_precision", average_precision
    yield "f1", f1
    yield "subset_accuracy", lambda: right.prod(1).sum(-1) / count
    yield "label_accuracy", lambda: right.sum((1, 2)) / (count * labels)
    yield "loss", loss
    yield "log_loss", loss


def ranked_precision(scores: Tensor, members: Tensor) -> Tensor:
    """Average precision: `[..., N]` scores, float64 `[..., N]` 1 for a member and else 0 -> `[...]`; 0 without members.

    The mean over members of the precision among examples that score at least as high, as scikit-learn's
    `average_precision_score` (equal scores enter together).
    """
    ordered, order = scores.sort(dim=-1)
    ordered = ordered.contiguous()
    below = torch.searchsorted(ordered, ordered)  # examples that score less
    sorted_members = members.gather(-1, order)
    cumulated = F.pad(sorted_members.cumsum(-1), (1, 0))
    positives = cumulated[..., -1:] - cumulated.gather(-1, below)
    precision = positives / (scores.shape[-1] - below)
    return tree_sum(precision * sorted_members) / members.sum(-1).clamp(min=1)


def example_scores(outputs: Tensor, y: Tensor) -> Tensor:
    """The mean over labels of the probability of the true value."""
    probability = torch.sigmoid(float64(outputs))
    member = float64(y.to(probability.device))
    return tree_sum(torch.where(member > 0, probability, 1 - probability)) / y.shape[-1]


def constant(y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Log odds of each label's share, with one more example with it and one without."""
    share = (y.double().sum(0) + 1) / (len(y) + 2)
    return torch.logit(share)[None, None]
