"""Objects in images: y float32 `[N, M, 5]`, outputs `[B, A, 7 + C]` of a one-stage detector (`seams/boxes.py`, `seams/detection_loss.py`).

y holds (class, x1, y1, x2, y2) of up to M objects in pixels, class −1 where an image has fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from ablate.records.errors import InputError
from ablate.seams.boxes import BOX, LOGITS, classes_and_scores, iou
from ablate.seams.detection_loss import losses
from ablate.tasks import data
from ablate.tasks.metrics import float64, tree_sum

SCORE = "loss"
MOST = 100
"""Detections of an image that count, as in COCO."""
SCORED = 0.05
"""The lowest score of a detection that counts as a duplicate: fainter ones would not be shown."""
RECALLS = 101
"""Recalls at which precision is interpolated, as in COCO."""


def targets(ys: Mapping[str, Any]) -> tuple[dict[str, Tensor], tuple[str, ...], None]:
    encoded = {where: data.tensor(y, f"{where} y").to(torch.float32).contiguous() for where, y in ys.items()}
    for where, y in encoded.items():
        if y.ndim != 3 or y.shape[-1] != 5:
            hint = "detection takes (class, x1, y1, x2, y2) of up to M objects of each image, [N, M, 5], class -1 where there are fewer"
            raise InputError(f"{where} y has shape {list(y.shape)}", hint=hint)
        real = y[y[..., 0] >= 0]
        if bool((real[:, 3:] <= real[:, 1:3]).any()):
            raise InputError(
                f"{where} y holds a box whose x2 is not above x1, or y2 not above y1", hint="leave it out"
            )
    return encoded, (), None


def encoded(y: Tensor, classes: int | None) -> Tensor:
    return y


def example_loss(outputs: Tensor, target: Tensor) -> Tensor:
    """`[K, B, A, 7 + C]`, `[K, B, M, 5]` -> `[K, B]`."""
    return losses(outputs, target)


def plain_loss(outputs: Tensor, y: Tensor) -> Tensor:
    return losses(outputs[None], y[None]).mean()


def hits(outputs: Tensor, target: Tensor) -> None:
    return None


def metrics(outputs: Tensor, y: Tensor, only: Collection[str] | None = None) -> dict[str, Tensor]:
    """Metrics of `METRICS["detection"]`: outputs `[K, N, A, 7 + C]`, y `[N, M, 5]` or `[K, N, M, 5]`; each value `[K]` float64."""
    targets = y.expand(len(outputs), *y.shape[-3:])
    rows: dict[str, list[Tensor]] = {name: [] for name in (FUNCTIONS if only is None else only)}
    for lane, target in zip(outputs, targets, strict=True):
        lane, target = float64(lane), float64(target).to(lane.device)
        sound = bool(lane.isfinite().all())
        for name, values in rows.items():
            value = FUNCTIONS[name](lane, target).cpu()
            values.append(value if sound else torch.tensor(torch.nan, dtype=torch.float64))
    return {name: torch.stack(values).double() for name, values in rows.items()}


def _loss(predictions: Tensor, target: Tensor) -> Tensor:
    return tree_sum(losses(predictions[None], target[None])[0]) / len(predictions)


def _detections(predictions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes `[N, D, 4]`, classes and scores `[N, D]` of the MOST detections of each image, in order of scores."""
    labels, scores = classes_and_scores(predictions)
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    scores, order = scores[:, :MOST], order[:, :MOST]
    return (
        predictions[..., BOX].gather(1, order[..., None].expand(-1, -1, 4)),
        labels.gather(1, order),
        scores,
    )


def _duplicates(predictions: Tensor, target: Tensor) -> Tensor:
    """Detections, for each object, that overlap one of their class by 1/2 or more and do not find any, since others with higher scores found it: `[N, A,
    7 + C]`, `[N, M, 5]` -> a scalar; NaN where there are no objects."""
    boxes, labels, scores = _detections(predictions)
    near = (_overlaps(boxes, labels, target) >= 0.5).any(dim=2)
    again = near & ~matched(boxes, labels, target) & (scores >= SCORED)
    return again.sum().double() / (target[..., 0] >= 0).sum()


def _mean_average_precision(predictions: Tensor, target: Tensor) -> Tensor:
    """mAP at an IoU of one half: `[N, A, 7 + C]`, `[N, M, 5]` -> a scalar; NaN where there are no objects.

    As pycocotools evaluates it: in order of scores a detection matches the object of its class in its image that it overlaps most among those not yet matched, if by at least
    1/2; precision is interpolated at 101 recalls and averaged over them and over the classes that occur.
    """
    boxes, labels, scores = _detections(predictions)
    right = matched(boxes, labels, target)
    of_class = []
    for label in range(predictions.shape[-1] - LOGITS):
        objects = int((target[..., 0] == label).sum())
        if objects:
            chosen = (labels == label) & (scores > 0)
            of_class.append(average_precision(scores[chosen], right[chosen], objects))
    return torch.stack(of_class).mean() if of_class else torch.tensor(torch.nan, dtype=torch.float64)


def matched(boxes: Tensor, labels: Tensor, target: Tensor) -> Tensor:
    """Whether each detection, `[N, D, 4]` and `[N, D]` in order of scores, finds an object of `target` `[N, M, 5]`: bool `[N, D]`."""
    overlap = _overlaps(boxes, labels, target)
    free = torch.ones_like(target[..., 0], dtype=torch.bool)
    rows = torch.arange(len(boxes), device=boxes.device)
    hits = []
    for number in range(boxes.shape[1]):
        best, which = torch.where(free, overlap[:, number], -1.0).max(dim=1)
        hit = best >= 0.5
        free[rows, which] &= ~hit
        hits.append(hit)
    return torch.stack(hits, dim=1)


def _overlaps(boxes: Tensor, labels: Tensor, target: Tensor) -> Tensor:
    """IoU of each detection with each object of its class, −1 with others: `[N, D, M]`."""
    overlap = iou(boxes[:, :, None], target[:, None, :, 1:])
    return torch.where(labels[..., None] == target[:, None, :, 0], overlap, -1.0)


def average_precision(scores: Tensor, right: Tensor, objects: int) -> Tensor:
    """`[D]`, bool `[D]` -> a scalar, float64: the precision at 101 recalls, each the highest at that recall or a higher one."""
    order = scores.argsort(descending=True, stable=True)
    true = right[order].double().cumsum(0)
    if not len(true):
        return torch.zeros((), dtype=torch.float64)
    precision = true / torch.arange(1, len(true) + 1, dtype=torch.float64)
    envelope = precision.flip(0).cummax(0).values.flip(0)
    recalls = torch.arange(RECALLS, dtype=torch.float64) * 0.01  # rounded as NumPy's linspace
    at = torch.searchsorted((true / objects).contiguous(), recalls)
    return torch.where(at < len(true), envelope[at.clamp(max=len(true) - 1)], 0.0).mean()


FUNCTIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "map50": _mean_average_precision,
    "duplicates": _duplicates,
    "loss": _loss,
}
"""Metrics of `METRICS["detection"]` for one lane: outputs `[N, A, 7 + C]` and y `[N, M, 5]`, both float64, to a scalar."""


def example_scores(outputs: Tensor, y: Tensor) -> Tensor:
    return outputs.new_zeros(len(outputs), 0, dtype=torch.float64)


def constant(y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Logits of zero and empty boxes, `[1, 1, A, 7 + C]`."""
    return torch.zeros(1, 1, *shape, dtype=torch.float64)
