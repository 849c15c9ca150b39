"""The loss of dense detection and its focal form against a float64 reference, place by place in Python's floats."""

import math

import numpy as np
import pytest
import torch
from catalogue.criterion_cases import settings_of_lanes
from catalogue.detection_cases import overlap

from ablate.catalogue.criterion.sigmoid_focal import example_loss
from ablate.tasks.criteria import detection


def case(seed):
    """(predictions `[20, 1, 9, 9]` with a gradient, targets `[20, 1, 2, 5]`): a grid of 3×3 places, two classes, up to two objects."""
    random = np.random.default_rng(seed)
    place = np.array([[4 * x + 2, 4 * y + 2] for y in range(3) for x in range(3)], float)
    place = np.broadcast_to(place, (20, 1, 9, 2))
    boxes = np.concatenate(
        [place - random.uniform(1, 5, place.shape), place + random.uniform(1, 5, place.shape)], 3
    )
    z = np.concatenate([boxes, place, np.ones((20, 1, 9, 1)), random.normal(size=(20, 1, 9, 2))], 3)
    low = random.uniform(0, 8, (20, 1, 2, 2))
    label = random.integers(-1, 2, (20, 1, 2, 1)).astype(float)
    target = np.concatenate([label, low, low + random.uniform(2, 8, low.shape)], 3)
    return torch.tensor(z, requires_grad=True), torch.tensor(target)


def reference(z, target, gamma, alpha):
    total, positives = 0.0, 0
    for row in z:
        inside = [t for t in target if t[0] >= 0 and t[1] <= row[4] < t[3] and t[2] <= row[5] < t[4]]
        mine = min(inside, key=lambda t: (t[3] - t[1]) * (t[4] - t[2]), default=None)
        if mine is not None:
            positives += 1
            total += 1 - overlap(row[:4], mine[1:])
        for number, logit in enumerate(row[7:]):
            p = 1 / (1 + math.exp(-logit))
            true = mine is not None and mine[0] == number
            right, weight = (p, alpha) if true else (1 - p, 1 - alpha)
            total -= (1.0 if gamma is None else weight * (1 - right) ** gamma) * math.log(right)
    return total / max(positives, 1)


@pytest.mark.parametrize("seed", range(5))
def test_plain_and_focal_losses(seed):
    z, target = case(seed)
    random = np.random.default_rng(seed)
    lanes = [
        {"gamma": g, "alpha": a}
        for g, a in zip(random.uniform(0, 5, 20), random.uniform(0.05, 0.95, 20), strict=True)
    ]
    focal = example_loss(z, target, settings_of_lanes("sigmoid_focal", lanes)).detach()
    plain = detection.example_loss(z, target).detach()
    for lane, (rows, objects) in enumerate(zip(z.tolist(), target.tolist(), strict=True)):
        assert float(plain[lane, 0]) == pytest.approx(reference(rows[0], objects[0], None, 0), rel=1e-11)
        expected = reference(rows[0], objects[0], lanes[lane]["gamma"], lanes[lane]["alpha"])
        assert float(focal[lane, 0]) == pytest.approx(expected, rel=1e-11)


def test_gradients_are_those_of_finite_differences():
    z, target = case(7)
    settings = settings_of_lanes("sigmoid_focal", [{"gamma": 2.0, "alpha": 0.25}] * 3)
    some = torch.cat([z[:3, ..., :4], z[:3, ..., 7:]], 3).detach().requires_grad_()

    def loss(columns):
        whole = torch.cat([columns[..., :4], z[:3, ..., 4:7].detach(), columns[..., 4:]], 3)
        return example_loss(whole, target[:3], settings)

    assert torch.autograd.gradcheck(loss, (some,), atol=1e-6)
