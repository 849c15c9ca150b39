"""Soft non-maximum suppression against its definition in Python's floats."""

import math

import pytest
import torch
from catalogue.criterion_cases import settings_of_lanes
from catalogue.detection_cases import predictions, suppressed

from ablate.catalogue.evaluation.soft_nms import views
from ablate.seams.boxes import FACTOR


@pytest.mark.parametrize("seed", range(35))  # three images each
def test_scores_decay_with_the_overlap(seed):
    given = predictions(seed)
    settings = settings_of_lanes("soft_nms", [{"sigma": 0.5}, None])
    boxes = views(None, torch.empty(0), given.expand(2, -1, -1, -1), settings)
    assert torch.equal(boxes[1], given[0])
    for image in range(3):
        expected = suppressed(given[0, image], lambda share: math.exp(-(share**2) / 0.5))
        torch.testing.assert_close(
            boxes[0, image, :, FACTOR], torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0
        )
