"""Colour jitter against the three changes written for one image."""

from __future__ import annotations

import numpy as np
import pytest
from image_cases import assert_neutral_lanes_are_untouched, assert_same_images, changed, images, signed


@pytest.mark.parametrize(("channels", "height"), [(1, 5), (2, 5), (3, 1)])
def test_every_image_has_its_own_tone(channels: int, height: int) -> None:
    batch, most = images(channels, height), [0.1, 0.3, 0.5, 0.8]
    b, c, s = (signed(what, most) for what in ("brightness", "contrast", "saturation"))

    def one(image: np.ndarray, b: float, c: float, s: float) -> np.ndarray:
        mean, spread = image.mean(), image.std()
        image = image + b * spread
        image = (mean + b * spread) + (1 + c) * (image - image.mean())
        grey = image.mean(axis=0, keepdims=True)
        return image if channels == 1 else grey + (1 + s) * (image - grey)

    expected = [[one(batch.x[k, i].numpy(), b[k, i], c[k, i], s[k, i]) for i in range(25)] for k in range(4)]
    assert_same_images(changed("color_jitter", [{"strength": m} for m in most], batch).x, expected)


def test_neutral() -> None:
    assert_neutral_lanes_are_untouched("color_jitter", {"strength": 0.0})
