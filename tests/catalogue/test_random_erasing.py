"""Random erasing: rectangles of the drawn size and place, noise inside, the image outside."""

from __future__ import annotations

import numpy as np
from image_cases import EXAMPLES, assert_neutral_lanes_are_untouched, changed, draws, images


def test_rectangles_have_the_drawn_size_and_place() -> None:
    batch = images(height=12, width=10)
    lanes = [{"p": p, "max_area": area} for p in (0.5, 1.0) for area in (0.1, 0.4)]
    erased = changed("random_erasing", lanes, batch).x.numpy()
    uniform = {name: draws().uniform(name, EXAMPLES).double().numpy() for name in ("area", "aspect", "row", "column", "erase")}  # fmt: skip
    for lane, lane_settings in enumerate(lanes):
        for i in range(EXAMPLES):
            image, u = batch.x[lane, i].numpy(), {name: value[lane, i] for name, value in uniform.items()}
            changed_pixels = (erased[lane, i] != image).all(axis=0)
            if u["erase"] >= lane_settings["p"]:
                assert not changed_pixels.any()
                continue
            area = (0.02 + u["area"] * (lane_settings["max_area"] - 0.02)) * 120
            ratio = np.exp((2 * u["aspect"] - 1) * np.log(3.3))
            height = min(max(round(np.sqrt(area * ratio)), 1), 12)
            width = min(max(round(np.sqrt(area / ratio)), 1), 10)
            top, left = int(u["row"] * (12 - height + 1)), int(u["column"] * (10 - width + 1))
            expected = np.zeros((12, 10), dtype=bool)
            expected[top : top + height, left : left + width] = True
            np.testing.assert_array_equal(changed_pixels, expected)


def test_neutral() -> None:
    assert_neutral_lanes_are_untouched("random_erasing", {"p": 0.0})
