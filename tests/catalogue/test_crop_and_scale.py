"""Random resized crops against bilinear interpolation pixel by pixel."""

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
)


def test_every_crop_fills_the_image() -> None:
    batch, most = images(), np.array([0.1, 0.3, 0.6, 0.9])
    uniform = {name: draws().uniform(name, EXAMPLES).double().numpy() for name in ("area", "right", "down")}
    side = np.sqrt(1 - uniform["area"] * most[:, None])
    right, down = ((2 * uniform[way] - 1) * (1 - side) for way in ("right", "down"))
    assert (side + abs(right) <= 1 + 1e-9).all()
    expected = [
        [
            bilinear(image.numpy(), np.eye(2) * s, (r * 7 / 2, d * 5 / 2))
            for image, s, r, d in zip(batch.x[lane], side[lane], right[lane], down[lane], strict=True)
        ]
        for lane in range(4)
    ]
    assert_same_images(changed("crop_and_scale", [{"cut": m} for m in most.tolist()], batch).x, expected)


def test_neutral() -> None:
    assert_neutral_lanes_are_untouched("crop_and_scale", {"cut": 0.0})
