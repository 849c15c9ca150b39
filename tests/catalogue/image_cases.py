"""Random images, and the bilinear interpolation of one image pixel by pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablate.catalogue.registry import registry
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws, seed_keys
from ablate.seams.settings import Settings

LANES, EXAMPLES = 4, 25


def draws(lanes: int = LANES, seed: int = 0) -> Draws:
    return Draws(seed_keys(list(range(seed, seed + lanes)), torch.device("cpu")))


def images(channels: int = 2, height: int = 5, width: int = 7, seed: int = 0) -> Batch:
    """float64 images of 4 lanes with 25 examples each, and targets of three classes."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(LANES, EXAMPLES, channels, height, width, generator=generator, dtype=torch.float64)
    target = torch.rand(LANES, EXAMPLES, 3, generator=generator, dtype=torch.float64)
    return Batch(x, target, torch.zeros(LANES, EXAMPLES, dtype=torch.int64))


def changed(trick: str, lanes: Sequence[Mapping[str, Any] | None], batch: Batch, seed: int = 0) -> Batch:
    """What the trick makes of the batch in lanes with these settings (and the defaults)."""
    catalogue = registry()
    full = [None if lane is None else {**catalogue[trick].defaults, **lane} for lane in lanes]
    p = Settings.stack(catalogue[trick], full, torch.device("cpu"), torch.float64)
    outcome: Batch = catalogue.code(trick).batch(batch, draws(len(lanes), seed), p)
    return outcome


def with_extremes(batch: Batch) -> Batch:
    """The batch with −0, ∞ and NaN among the numbers of each image, and −0 in every other target: arithmetic that changes nothing else changes these."""
    x, target = batch.x.clone(), batch.target.clone()
    x[..., :3] = x.new_tensor([-0.0, float("inf"), float("nan")])
    target[:, ::2, 0] = -0.0  # 0 · t of another example is then +0, and −0 + 0 = +0
    return batch.replaced(x=x, target=target)


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of floats are equal bit for bit; NaN equals itself, and −0 is not 0."""
    return one.dtype == other.dtype and one.numpy().tobytes() == other.numpy().tobytes()


def signed(name: str, most: Sequence[float], seed: int = 0) -> np.ndarray:
    """The stream `name` as uniform on −most … most of each lane, `[K, B]`."""
    uniform = draws(len(most), seed).uniform(name, EXAMPLES).double().numpy()
    return (2 * uniform - 1) * np.asarray(most)[:, None]


def bilinear(image: np.ndarray, matrix: np.ndarray, offset: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """`image` `[C, H, W]` at matrix · (column, row) + offset, in pixels from its centre; zero outside."""
    _, height, width = image.shape
    out = np.zeros_like(image)
    for i in range(height):
        for j in range(width):
            place = matrix @ np.array([j - (width - 1) / 2, i - (height - 1) / 2]) + np.array(offset)
            column, row = place[0] + (width - 1) / 2, place[1] + (height - 1) / 2
            for r in (int(np.floor(row)), int(np.floor(row)) + 1):
                for c in (int(np.floor(column)), int(np.floor(column)) + 1):
                    if 0 <= r < height and 0 <= c < width:
                        out[:, i, j] += (1 - abs(row - r)) * (1 - abs(column - c)) * image[:, r, c]
    return out


def assert_same_images(changed_images: Tensor, expected: Sequence[Sequence[np.ndarray]]) -> None:
    """`[K, B, C, H, W]` to the precision of the drawn numbers, which are float32."""
    torch.testing.assert_close(changed_images, torch.from_numpy(np.array(expected)), rtol=1e-4, atol=2e-5)


def assert_neutral_lanes_are_untouched(trick: str, neutral: Mapping[str, Any]) -> None:
    batch = images(seed=9)
    assert not torch.equal(changed(trick, [neutral, None, {}, None], batch).x[2], batch.x[2])
    batch = with_extremes(batch)
    outcome = changed(trick, [neutral, None, {}, None], batch)
    for lane in (0, 1, 3):
        assert same_bits(outcome.x[lane], batch.x[lane])
        assert same_bits(outcome.target[lane], batch.target[lane])
