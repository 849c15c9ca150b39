"""Boxes and the predictions of a one-stage detector.

A box is (x1, y1, x2, y2) in pixels, half-open: its area is (x2 − x1)(y2 − y1), without a "+ 1"; it is 0 where a side is not positive. A detector puts out
`[…, A, 7 + C]` for each image: A places, each with a box, its place (x, y), a factor of the score (1; what `nms` and `soft_nms` change), and a logit for each of C classes.
A place's class is that of its largest logit, its score the logit's sigmoid times the factor.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BOX, PLACE, FACTOR, LOGITS = slice(0, 4), slice(4, 6), 6, 7
"""Columns of a prediction; logits begin at the last."""


def area(boxes: Tensor) -> Tensor:
    """`[…, 4]` -> `[…]`."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes that broadcast against each other, `[…, 4]` twice -> `[…]`; 0 where both are empty."""
    low = torch.maximum(one[..., :2], other[..., :2])
    high = torch.minimum(one[..., 2:], other[..., 2:])
    shared = area(torch.cat([low, high], dim=-1))
    union = area(one) + area(other) - shared
    return torch.where(union > 0, shared / torch.where(union > 0, union, 1.0), 0.0)


def classes_and_scores(predictions: Tensor) -> tuple[Tensor, Tensor]:
    """`[…, A, 7 + C]` -> class int64 and score, both `[…, A]`; of equal logits the first class."""
    logits = predictions[..., LOGITS:]
    largest = logits.amax(dim=-1, keepdim=True)
    numbers = torch.arange(logits.shape[-1], device=logits.device)
    label = torch.where(logits == largest, numbers, logits.shape[-1]).amin(dim=-1)
    return label, torch.sigmoid(largest[..., 0]) * predictions[..., FACTOR]


Decay = Callable[[Tensor, Tensor], Tensor]
"""(IoU `[R, A]` with the box just kept, that row's own parameter `[R, 1]`) -> factors of the scores."""


def suppressed(boxes: Tensor, labels: Tensor, scores: Tensor, decay: Decay, parameter: Tensor) -> Tensor:
    """Factors of the scores after non-maximum suppression of R images: `[R, A]`.

    boxes `[R, A, 4]`, labels int64 and scores `[R, A]`, parameter `[R, 1]`. The box with the highest score left is kept (of equal ones the first), and the scores of those of its
    class that are left are multiplied by `decay`; then the next.
    """
    factors = torch.ones_like(scores)
    left = torch.ones_like(scores, dtype=torch.bool)
    rows = torch.arange(len(scores), device=scores.device)
    for _ in range(scores.shape[1]):
        current = torch.where(left, scores * factors, -1.0)
        best = current.argmax(dim=1)
        if not bool((current[rows, best] > 0).any()):
            break
        left[rows, best] = False
        overlap = iou(boxes[rows, best][:, None], boxes)
        same = left & (labels == labels[rows, best][:, None])
        factors = torch.where(same, factors * decay(overlap, parameter), factors)
    return factors


def rescored(outputs: Tensor, on: Tensor, decay: Decay, parameter: Tensor) -> Tensor:
    """Outputs `[K, B, A, 7 + C]` of a detector whose scores are suppressed image by image, in the lanes that are `on`.

    on: bool, broadcast against the outputs; parameter `[K]`. The other lanes are as given.
    """
    images = outputs.flatten(0, 1)
    labels, scores = classes_and_scores(images)
    of_images = parameter.repeat_interleave(outputs.shape[1])[:, None]
    kept = suppressed(images[..., BOX], labels, scores, decay, of_images).view(outputs.shape[:-1])
    changed = outputs.clone()
    changed[..., FACTOR] *= kept
    return changed.where(on, outputs)
