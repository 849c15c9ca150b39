"""Shear against bilinear interpolation pixel by pixel."""

from __future__ import annotations

import numpy as np
from image_cases import (  # fmt: skip
    EXAMPLES,
    assert_neutral_lanes_are_untouched,
    assert_same_images,
    bilinear,
    changed,
    draws,
    images,
    signed,
)


def test_every_image_is_slanted_along_one_side() -> None:
    batch, most = images(), [0.1, 0.2, 0.4, 1.0]
    slants = signed("slant", most)
    upright = draws().uniform("axis", EXAMPLES).numpy() < 0.5
    assert 20 < upright.sum() < 80
    expected = [
        [
            bilinear(image.numpy(), np.array([[1, 0], [s, 1]]) if up else np.array([[1, s], [0, 1]]))
            for image, s, up in zip(batch.x[lane], slants[lane], upright[lane], strict=True)
        ]
        for lane in range(4)
    ]
    assert_same_images(changed("shear", [{"slant": m} for m in most], batch).x, expected)


def test_neutral() -> None:
    assert_neutral_lanes_are_untouched("shear", {"slant": 0.0})
