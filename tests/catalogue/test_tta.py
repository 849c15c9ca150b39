"""Test-time augmentation against a loop over lanes, examples and views, with a model that is a plain function."""

from __future__ import annotations

import numpy as np
import torch
from sweep import sweep

from ablate.catalogue.evaluation.tta import SHIFTS, TRICK, view, views
from ablate.seams.settings import Settings

VIEWS = (1, 3, 5, 9)


def settings(rows):
    lanes = [None if row is None else {"views": row[0], "mirror": row[1]} for row in rows]
    return Settings.stack(TRICK, lanes, torch.device("cpu"))


def seen(image, down, right, mirror):
    """One image `[C, H, W]` as one view shows it, pixel by pixel."""
    out = np.zeros_like(image)
    _, height, width = image.shape
    for i in range(height):
        for j in range(width):
            if 0 <= i - down < height and 0 <= j - right < width:
                out[:, i, width - 1 - j if mirror else j] = image[:, i - down, j - right]
    return out


def linear(weight):
    def predict(x):
        return torch.einsum("knchw,kchwo->kno", x, weight)

    return predict


@sweep("seed", range(100))
def test_probabilities_are_the_mean_over_views(seed):
    random = np.random.default_rng(seed)
    lanes, examples, channels, height, width, classes = random.integers([1, 1, 1, 2, 2, 2], 5)
    rows = [(int(random.choice(VIEWS)), bool(random.integers(2))) for _ in range(lanes)]
    x = random.normal(size=(lanes, examples, channels, height, width))
    weight = random.normal(size=(lanes, channels, height, width, classes))
    predict = linear(torch.tensor(weight))
    plain = predict(torch.tensor(x))
    outputs = views(predict, torch.tensor(x), plain, settings(rows))
    outputs_of_lanes = torch.stack(
        [z.softmax(-1) if row == (1, False) else z.exp() for z, row in zip(outputs, rows, strict=True)]
    )
    for lane, (number, mirror) in enumerate(rows):
        for example in range(examples):
            probabilities = []
            for flipped in (False, True) if mirror else (False,):
                for down, right in SHIFTS[:number]:
                    image = seen(x[lane, example], down, right, flipped)
                    z = np.tensordot(image, weight[lane], axes=3)
                    probabilities.append(np.exp(z - z.max()) / np.exp(z - z.max()).sum())
            np.testing.assert_allclose(
                outputs_of_lanes[lane, example].numpy(), np.mean(probabilities, axis=0), rtol=1e-10
            )


def test_views_differ_and_every_number_of_views_is_balanced():
    assert len(set(SHIFTS)) == len(SHIFTS) == max(VIEWS)
    for number in VIEWS:
        assert np.sum(SHIFTS[:number], axis=0).tolist() == [0, 0]
    x = torch.rand(1, 1, 1, 5, 5)
    assert torch.equal(view(x, 0, 0, mirror=False), x)


def test_neutral_lanes_are_untouched_and_lanes_do_not_mix():
    generator = torch.Generator().manual_seed(2)
    rows = [(1, False), (9, True), None, (3, False), (1, True)]
    x = torch.randn(5, 7, 2, 6, 6, generator=generator)
    weight = torch.randn(5, 2, 6, 6, 3, generator=generator)
    plain = linear(weight)(x)
    together = views(linear(weight), x, plain, settings(rows))
    assert torch.equal(together[0], plain[0])
    assert torch.equal(together[2], plain[2])
    for lane, row in enumerate(rows):
        one = slice(lane, lane + 1)
        alone = views(linear(weight[one]), x[one], plain[one], settings([row]))
        torch.testing.assert_close(alone[0], together[lane], rtol=1e-6, atol=1e-6)  # einsum's own rounding


def test_no_more_passes_than_the_lane_with_most_views_needs():
    passes = []

    def predict(x):
        passes.append(1)
        return x.flatten(2)

    x = torch.rand(2, 3, 1, 2, 2)
    views(predict, x, x.flatten(2), settings([(3, False), (1, False)]))
    assert len(passes) == 2
    passes.clear()
    views(predict, x, x.flatten(2), settings([(3, True), None]))
    assert len(passes) == 5


def test_certain_outputs_stay_finite():
    x = torch.zeros(1, 1, 1, 2, 2)
    outputs = torch.tensor([[[1e4, -1e4]]])
    log_means = views(lambda _: outputs, x, outputs, settings([(9, False)]))
    assert log_means.isfinite().all()
    assert log_means.softmax(-1).tolist() == [[[1.0, 0.0]]]
