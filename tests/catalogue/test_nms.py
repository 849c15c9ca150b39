"""Non-maximum suppression, and the overlap of boxes, against their definitions in Python's floats."""

import pytest
import torch
from catalogue.criterion_cases import settings_of_lanes
from catalogue.detection_cases import DEGENERATE, overlap, predictions, suppressed

from ablate.catalogue.evaluation.nms import views
from ablate.seams.boxes import FACTOR, iou


def test_overlap_of_degenerate_and_random_boxes():
    boxes = torch.cat([torch.tensor(DEGENERATE).double(), predictions(0)[0, 1, :, :4]])
    overlaps = iou(boxes[:, None], boxes[None])
    expected = [[overlap(one, other) for other in boxes.tolist()] for one in boxes.tolist()]
    torch.testing.assert_close(overlaps, torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=0)
    assert float(overlaps[0, 1]) == 1.0  # identical
    assert float(overlaps[0, 2]) == 0.0  # touching: boxes are half-open
    assert float(overlaps[0, 6]) == 0.5
    assert overlaps[4].abs().sum() == 0  # empty
    assert overlaps[5].abs().sum() == 0  # of negative size


@pytest.mark.parametrize("seed", range(35))  # three images each
def test_what_is_kept(seed):
    given = predictions(seed)
    lanes = [{"threshold": 0.3}, None, {"threshold": 0.6}]
    kept_boxes = views(None, torch.empty(0), given.expand(3, -1, -1, -1), settings_of_lanes("nms", lanes))
    assert torch.equal(kept_boxes[1], given[0])
    for lane, limit in ((0, 0.3), (2, 0.6)):
        for image in range(3):
            expected = suppressed(given[0, image], lambda share, limit=limit: float(share <= limit))
            assert kept_boxes[lane, image, :, FACTOR].tolist() == expected
    changed = kept_boxes.clone()
    changed[..., FACTOR] = 1
    assert torch.equal(changed, given.expand(3, -1, -1, -1))


def test_an_overlap_at_the_threshold_is_kept():
    given = predictions(0)[:, :1, :2].clone()
    given[..., :4] = torch.tensor([[2.0, 2.0, 6.0, 6.0], [2.0, 2.0, 4.0, 6.0]])
    given[..., 7:] = torch.tensor([[2.0, 0.0], [1.0, 0.0]])
    kept = views(None, torch.empty(0), given, settings_of_lanes("nms", [{"threshold": 0.5}]))
    assert kept[0, 0, :, FACTOR].tolist() == [1.0, 1.0]
    given[..., 1, 2] = 4.01
    kept = views(None, torch.empty(0), given, settings_of_lanes("nms", [{"threshold": 0.5}]))
    assert kept[0, 0, :, FACTOR].tolist() == [1.0, 0.0]
