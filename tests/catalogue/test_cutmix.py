"""CutMix against the paper's box and targets, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from image_cases import EXAMPLES, changed, draws, images, same_bits, with_extremes

from ablate.seams.beta import symmetric_beta


@pytest.mark.parametrize(("height", "least"), [(9, 11), (2, 0)])
def test_boxes_and_targets_follow_the_paper(height: int, least: int) -> None:
    """In images of two rows a box has half a row at most, which is none: nothing is mixed, at the upper border neither."""
    mixed = 0
    for seed in range(0, 40, 4):
        batch = images(height=height, width=8, seed=seed)
        alphas = [0.3, 0.7, 1.0, 2.0]
        cut_batch = changed("cutmix", [{"p": 0.8, "alpha": a} for a in alphas], batch, seed)
        drawn = draws(seed=seed)
        share = symmetric_beta(drawn.uniform("u"), drawn.uniform("v"), torch.tensor(alphas))
        partner = drawn.permutation("partner", EXAMPLES)
        for lane in range(4):
            x, t = batch.x[lane].numpy().copy(), batch.target[lane].numpy().copy()
            if float(drawn.uniform("mix")[lane]) < 0.8:
                cut = float((1 - share[lane]).sqrt())
                spans = []
                for side, name in ((height, "row"), (8, "column")):
                    centre, half = int(float(drawn.uniform(name)[lane]) * side), int(side * cut) // 2
                    spans.append((max(centre - half, 0), min(centre + half, side)))
                (top, bottom), (left, right) = spans
                others = partner[lane].numpy()
                x[:, :, top:bottom, left:right] = batch.x[lane].numpy()[others][:, :, top:bottom, left:right]
                left_over = 1 - (bottom - top) * (right - left) / (8 * height)
                t = left_over * t + (1 - left_over) * batch.target[lane].numpy()[others]
                mixed += left_over < 1
            np.testing.assert_array_equal(cut_batch.x[lane].numpy(), x)
            np.testing.assert_allclose(cut_batch.target[lane].numpy(), t, rtol=1e-6)
    assert (mixed >= least) if least else (mixed == 0)


def test_neutral() -> None:
    batch = with_extremes(images())
    cut_batch = changed("cutmix", [{"p": 0.0}, None, {"p": 1.0}, None], batch)
    for lane in (0, 1, 3):
        assert same_bits(cut_batch.x[lane], batch.x[lane])
        assert same_bits(cut_batch.target[lane], batch.target[lane])
