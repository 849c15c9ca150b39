"""Targets and losses of dense detection: every place is an example of its own, most of them of no class.

A target is `[…, M, 5]`: (class, x1, y1, x2, y2) of up to M objects, class −1 where there is none. The places within an object's box predict it, the smallest object where there are
several (Tian et al. 2019, FCOS, arXiv 1904.01355, section 3.1); all others are background.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.seams.boxes import BOX, LOGITS, PLACE, area, iou
from ablate.seams.by_lane import by_lane, softplus


def assigned(predictions: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(class int64 `[…, A]`, −1 for background; box `[…, A, 4]`) that each place has to predict."""
    place, boxes = predictions[..., :, None, PLACE], target[..., None, :, 1:]
    inside = ((place >= boxes[..., :2]) & (place < boxes[..., 2:])).all(dim=-1) & (
        target[..., None, :, 0] >= 0
    )
    sizes = torch.where(inside, area(boxes), torch.inf)
    smallest, which = sizes.min(dim=-1)
    chosen = torch.gather(target, -2, which[..., None].expand(*which.shape, 5))
    label = torch.where(smallest < torch.inf, chosen[..., 0], -1.0).long()
    return label, chosen[..., 1:]


def losses(
    predictions: Tensor, target: Tensor, gamma: Tensor | None = None, alpha: Tensor | None = None
) -> Tensor:
    """Loss of each image: `[K, B, A, 7 + C]`, `[K, B, M, 5]` -> `[K, B]`.

    Binary cross-entropy of each place and class, plus 1 − IoU of the places that have an object, both summed and divided by the number of those places (Lin et al. 2017, section 4.1).
    gamma, alpha `[K]`: of the focal loss α_t (1 − p_t)^γ BCE.
    """
    label, box = assigned(predictions.detach(), target)
    logits = predictions[..., LOGITS:].contiguous()
    truth = (label[..., None] == torch.arange(logits.shape[-1], device=label.device)).to(logits.dtype)
    entropy = softplus(logits) - truth * logits
    if gamma is not None and alpha is not None:
        p = by_lane(torch.sigmoid, logits)
        wrong = truth * (1 - p) + (1 - truth) * p
        share = alpha.to(p.dtype).view(-1, 1, 1, 1)
        weight = truth * share + (1 - truth) * (1 - share)
        entropy = weight * by_lane(torch.pow, wrong.clamp(min=torch.finfo(p.dtype).tiny), gamma) * entropy
    positive = label >= 0
    apart = torch.where(positive, 1 - iou(predictions[..., BOX], box), 0.0)
    return (entropy.flatten(2).sum(dim=-1) + apart.sum(dim=-1)) / positive.sum(dim=-1).clamp(min=1)
