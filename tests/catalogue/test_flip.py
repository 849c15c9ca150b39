"""Flips against numpy's, image by image."""

from __future__ import annotations

import numpy as np
import torch
from image_cases import EXAMPLES, assert_neutral_lanes_are_untouched, changed, draws, images


def test_chosen_images_are_mirrored() -> None:
    batch = images()
    lanes = [{"p": p, "axis": axis} for p in (0.5, 1.0) for axis in ("horizontal", "vertical")]
    flipped = changed("flip", lanes, batch).x.numpy()
    uniform = draws().uniform("flip", EXAMPLES).numpy()
    for lane, lane_settings in enumerate(lanes):
        for example in range(EXAMPLES):
            image = batch.x[lane, example].numpy()
            mirrored = np.flip(image, 2 if lane_settings["axis"] == "horizontal" else 1)
            expected = mirrored if uniform[lane, example] < lane_settings["p"] else image
            np.testing.assert_array_equal(flipped[lane, example], expected)
    assert not torch.equal(torch.from_numpy(flipped[0]), batch.x[0])


def test_neutral() -> None:
    assert_neutral_lanes_are_untouched("flip", {"p": 0.0})
