"""Translation against a loop over lanes, examples and pixels; the shifts against their distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sweep import sweep

from ablate.catalogue.data.translate import TRICK, batch, drawn_shift, shifted
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws, seed_keys
from ablate.seams.settings import Settings

CPU = torch.device("cpu")


def settings(fractions):
    return Settings.stack(TRICK, [None if f is None else {"fraction": f} for f in fractions], CPU)


def images(*shape, seed=0):
    x = torch.rand(*shape, generator=torch.Generator().manual_seed(seed))
    return Batch(x, torch.zeros(*shape[:2], 2), torch.zeros(shape[:2], dtype=torch.int64))


def moved(image, dy, dx):
    """One image `[C, H, W]`, pixel by pixel to its new place."""
    out = np.zeros_like(image)
    for i in range(image.shape[1]):
        for j in range(image.shape[2]):
            if 0 <= i + dy < image.shape[1] and 0 <= j + dx < image.shape[2]:
                out[:, i + dy, j + dx] = image[:, i, j]
    return out


@sweep("seed", range(100))
def test_every_pixel_goes_to_its_place(seed):
    random = np.random.default_rng(seed)
    lanes, examples, channels, height, width = random.integers([1, 1, 1, 3, 3], 7)
    x = random.normal(size=(lanes, examples, channels, height, width))
    dy = random.integers(-height, height + 1, (lanes, examples))
    dx = random.integers(-width, width + 1, (lanes, examples))
    moved_images = shifted(shifted(torch.tensor(x), torch.tensor(dy), 3), torch.tensor(dx), 4).numpy()
    for lane in range(lanes):
        for example in range(examples):
            expected = moved(x[lane, example], dy[lane, example], dx[lane, example])
            np.testing.assert_array_equal(moved_images[lane, example], expected)


def test_the_gradient_comes_back_by_the_way_the_pixels_went():
    x = torch.rand(1, 2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    shift = torch.tensor([[1, -2]])
    assert torch.autograd.gradcheck(lambda value: shifted(value, shift, 3), x)


@pytest.mark.parametrize(
    ("fraction", "side", "most"),
    [(0.1, 8, 1), (0.1, 30, 3), (0.3, 10, 3), (0.01, 8, 1), (0.25, 32, 8), (0.0, 8, 0)],
)
def test_shifts_are_uniform_up_to_the_limit(fraction, side, most):
    uniform = Draws(seed_keys([3], CPU)).uniform("dy", 20_000)
    shift = drawn_shift(uniform, torch.tensor([[fraction]]), side)
    counts = torch.bincount((shift + most).flatten(), minlength=2 * most + 1).double()
    assert len(counts) == 2 * most + 1
    expected = 20_000 / (2 * most + 1)
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    assert chi_square < 2 * most + 4 * np.sqrt(4 * most) + 1e-9


def test_rows_move_by_one_draw_and_columns_by_another():
    given = images(1, 6, 2, 8, 5)
    draws = Draws(seed_keys([5], CPU), "translate/")
    moved_images = batch(given, draws, settings([0.4])).x[0]
    dy, dx = (
        drawn_shift(draws.uniform(name, 6), torch.tensor([[0.4]]), side)[0]
        for name, side in (("dy", 8), ("dx", 5))
    )
    for example in range(6):
        expected = moved(given.x[0, example].numpy(), int(dy[example]), int(dx[example]))
        np.testing.assert_array_equal(moved_images[example].numpy(), expected)


def test_neutral_lanes_are_untouched_and_lanes_do_not_mix():
    fractions = [0.0, 0.2, None, 0.3]
    given = images(4, 6, 2, 8, 8)
    draws = Draws(seed_keys([5, 6, 7, 8], CPU), "translate/")
    together = batch(given, draws, settings(fractions))
    assert torch.equal(together.x[0], given.x[0])
    assert torch.equal(together.x[2], given.x[2])
    assert not torch.equal(together.x[1], given.x[1])
    assert together.target is given.target
    for lane, fraction in enumerate(fractions):
        lane_batch = Batch(
            given.x[lane : lane + 1], given.target[lane : lane + 1], given.index[lane : lane + 1]
        )
        alone = batch(lane_batch, Draws(draws.keys[lane : lane + 1], "translate/"), settings([fraction]))
        assert torch.equal(alone.x[0], together.x[lane])
