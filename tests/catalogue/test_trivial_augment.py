"""TrivialAugment: every image gets the one change that was drawn for it."""

from __future__ import annotations

import numpy as np
import torch
from image_cases import (  # fmt: skip
    EXAMPLES,
    assert_neutral_lanes_are_untouched,
    assert_same_images,
    bilinear,
    changed,
    draws,
    images,
    same_bits,
    signed,
    with_extremes,
)

from ablate.catalogue.data.trivial_augment import KINDS


def one(image: np.ndarray, kind: str, s: float) -> np.ndarray:
    angle = 0.75 * np.pi * s
    match kind:
        case "shear x":
            return bilinear(image, np.array([[1, 0.99 * s], [0, 1]]))
        case "shear y":
            return bilinear(image, np.array([[1, 0], [0.99 * s, 1]]))
        case "shift x":
            return bilinear(image, np.eye(2), (s / 3 * image.shape[2], 0))
        case "shift y":
            return bilinear(image, np.eye(2), (0, s / 3 * image.shape[1]))
        case "rotate":
            return bilinear(
                image, np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            )
        case "brightness":
            return image + 0.99 * s * image.std()
        case "contrast":
            return image.mean() + (1 + 0.99 * s) * (image - image.mean())
    return image


def test_every_image_gets_one_change() -> None:
    batch, most = images(), [0.2, 0.5, 0.8, 1.0]
    strength = signed("strength", most)
    kinds = (draws().uniform("kind", EXAMPLES).numpy() * len(KINDS)).astype(int)
    assert set(kinds.flatten().tolist()) == set(range(len(KINDS)))
    expected = [
        [one(batch.x[k, i].numpy(), KINDS[kinds[k, i]], strength[k, i]) for i in range(EXAMPLES)]
        for k in range(4)
    ]
    assert_same_images(changed("trivial_augment", [{"strength": m} for m in most], batch).x, expected)
    batch = with_extremes(batch)
    changed_images = changed("trivial_augment", [{"strength": m} for m in most], batch).x
    as_they_are = torch.from_numpy(kinds == 0)
    assert same_bits(changed_images[as_they_are], batch.x[as_they_are])


def test_neutral() -> None:
    assert_neutral_lanes_are_untouched("trivial_augment", {"strength": 0.0})
