"""Rotation against bilinear interpolation pixel by pixel."""

from __future__ import annotations

import numpy as np
import torch
from image_cases import (
    assert_neutral_lanes_are_untouched,
    assert_same_images,
    bilinear,
    changed,
    images,
    signed,
)


def test_every_image_is_turned_by_its_angle() -> None:
    batch, most = images(), [0.5, 20.0, 45.0, 180.0]
    angles = np.deg2rad(signed("angle", most))
    expected = [
        [
            bilinear(image.numpy(), np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]))
            for image, a in zip(batch.x[lane], angles[lane], strict=True)
        ]
        for lane in range(4)
    ]
    assert_same_images(changed("rotate", [{"degrees": d} for d in most], batch).x, expected)


def test_a_quarter_turn_of_a_square_moves_pixels_to_pixels() -> None:
    from ablate.catalogue.data.rotate import rotations
    from ablate.seams.affine import warped

    x = torch.arange(9.0).reshape(1, 1, 1, 3, 3)
    turned = warped(x, rotations(torch.tensor([[np.pi / 2]], dtype=torch.float32)))
    torch.testing.assert_close(turned[0, 0], torch.rot90(x[0, 0], 1, (1, 2)), atol=1e-5, rtol=0)


def test_neutral() -> None:
    assert_neutral_lanes_are_untouched("rotate", {"degrees": 0.0})
