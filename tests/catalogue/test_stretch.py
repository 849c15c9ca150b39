"""Stretch against bilinear interpolation pixel by pixel."""

from __future__ import annotations

import numpy as np
from image_cases import (
    assert_neutral_lanes_are_untouched,
    assert_same_images,
    bilinear,
    changed,
    images,
    signed,
)


def test_every_image_is_stretched_on_both_sides() -> None:
    batch, most = images(), [0.1, 0.2, 0.3, 0.5]
    factors = [np.exp(signed(side, np.log1p(most).tolist())) for side in ("width", "height")]
    expected = [
        [
            bilinear(image.numpy(), np.diag([1 / w, 1 / h]))
            for image, w, h in zip(batch.x[lane], factors[0][lane], factors[1][lane], strict=True)
        ]
        for lane in range(4)
    ]
    assert_same_images(changed("stretch", [{"most": m} for m in most], batch).x, expected)


def test_neutral() -> None:
    assert_neutral_lanes_are_untouched("stretch", {"most": 0.0})
