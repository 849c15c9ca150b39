"""A class for every pixel: y int64 `[N, H, W]`, logits `[B, C, H, W]`."""

from __future__ import annotations

from ablate.tasks.criteria.dense import Dense, mean_iou

FORM = "0 … C-1 for every pixel, [N, H, W], with -100 at pixels that do not count"
code = Dense(class_axis=1, dims=2, form=FORM, per_class=True, also={"mean_iou": mean_iou})
