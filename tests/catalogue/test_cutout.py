"""Cutout against a loop over pixels."""

from __future__ import annotations

from math import ceil

import numpy as np
from image_cases import EXAMPLES, assert_neutral_lanes_are_untouched, changed, draws, images


def test_a_square_about_the_centre_is_zero() -> None:
    batch, sizes = images(), [0.2, 0.4, 0.6, 1.0]
    cut_images = changed("cutout", [{"size": s} for s in sizes], batch).x.numpy()
    rows, columns = (draws().uniform(name, EXAMPLES).numpy() for name in ("row", "column"))
    for lane, size in enumerate(sizes):
        side = ceil(size * 5)
        for example in range(EXAMPLES):
            expected = batch.x[lane, example].numpy().copy()
            top, left = int(rows[lane, example] * 5) - side // 2, int(columns[lane, example] * 7) - side // 2
            for i in range(5):
                for j in range(7):
                    if top <= i < top + side and left <= j < left + side:
                        expected[:, i, j] = 0
            np.testing.assert_array_equal(cut_images[lane, example], expected)


def test_neutral() -> None:
    assert_neutral_lanes_are_untouched("cutout", {"size": 0.0})
