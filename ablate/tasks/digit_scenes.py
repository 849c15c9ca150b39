"""The task `digit-scenes`: scikit-learn's digits pasted on a canvas of 24×24 pixels, to be found and named."""

from __future__ import annotations

from functools import partial

import numpy as np

from ablate.tasks import sources
from ablate.tasks.detector import detector
from ablate.tasks.pixels import moments
from ablate.tasks.split import random_parts
from ablate.tasks.task import Task
from ablate.tasks.task_cards import TaskCard

CANVAS, DIGIT, MOST = 24, 8, 3
SIDES = (8, 8, 12)
"""A digit is pasted unchanged, or enlarged by half (nearest neighbours)."""
SIZES = {"T": 1024, "V": 128, "S": 128}
CLASSES = 10


def scene(
    pixels: np.ndarray, labels: np.ndarray, rows: np.ndarray, draws: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(a canvas `[24, 24]`, its objects `[3, 5]`): one to three digits, which may overlap a little at their edges."""
    canvas = np.zeros((CANVAS, CANVAS), np.float32)
    objects = np.zeros((MOST, 5), np.float32)
    objects[:, 0] = -1
    taken = np.zeros((CANVAS, CANVAS), bool)
    for number in range(int(draws.integers(1, MOST + 1))):
        row, size = int(draws.choice(rows)), int(draws.choice(SIDES))
        nearest = np.arange(size) * DIGIT // size
        digit = pixels[row][nearest][:, nearest]
        x, y = draws.integers(0, CANVAS - size + 1, 2)
        if taken[y : y + size, x : x + size].mean() > 0.2:
            continue
        taken[y : y + size, x : x + size] = True
        canvas[y : y + size, x : x + size] = np.maximum(canvas[y : y + size, x : x + size], digit)
        objects[number] = labels[row], x, y, x + size, y + size
    return canvas, objects


def digit_scenes(card: TaskCard) -> Task:
    """The task `digit-scenes`; digits of a split are in that split's scenes only."""
    pixels, labels = sources.digits()
    images = pixels.reshape(-1, DIGIT, DIGIT).astype(np.float32)
    rows = random_parts(len(labels), "TVSTT", labels)
    splits = {}
    for seed, (letter, count) in enumerate(SIZES.items()):
        draws = np.random.default_rng(seed)
        scenes = [scene(images, labels, rows[letter], draws) for _ in range(count)]
        splits[letter] = tuple(np.stack(each) for each in zip(*scenes, strict=True))
    mean, deviation = moments(splits["T"][0])
    train, validation, test = (
        (((x - mean) / deviation).astype(np.float32)[:, None], y) for x, y in splits.values()
    )
    return Task(
        partial(detector, 1, (8, 16, 32), CLASSES),
        train,
        validation,
        test,
        **card.options,
        epochs=8,
        batch_size=32,
        notes=(
            f"one to {MOST} digits of 8×8 or 12×12 pixels on {CANVAS}×{CANVAS}",
            f"pixels are scaled to mean 0 and deviation 1 by training data ({mean:.3f}, {deviation:.3f})",
        ),
    )
