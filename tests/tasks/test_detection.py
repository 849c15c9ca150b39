"""The criterion of detection: mAP against pycocotools, and what it takes as targets."""

import contextlib
import io
from functools import partial

import numpy as np
import pytest
import torch

from ablate import InputError, Task
from ablate.protocol.guess import guess_loss
from ablate.protocol.prior import PriorLosses
from ablate.seams.boxes import BOX, classes_and_scores
from ablate.tasks.check import check
from ablate.tasks.criteria import detection
from ablate.tasks.detector import detector


def scenes(
    seed: int, images: int = 12, places: int = 20, classes: int = 3
) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions near the objects and elsewhere, with duplicates; objects of some images only."""
    random = np.random.default_rng(seed)
    low = random.uniform(0, 20, (images, 4, 2))
    target = np.concatenate(
        [random.integers(-1, classes, (images, 4, 1)), low, low + random.uniform(4, 12, low.shape)], 2
    )
    near = target[:, random.integers(0, 4, places)]
    boxes = near[..., 1:] + random.normal(scale=1.2, size=(images, places, 4))
    logits = random.normal(size=(images, places, classes))
    given = np.concatenate([boxes, boxes[..., :2], random.uniform(0.2, 1, (images, places, 1)), logits], 2)
    return torch.tensor(given), torch.tensor(target)


def coco_map50(predictions: torch.Tensor, target: torch.Tensor) -> float:
    coco_module, evaluation = (
        pytest.importorskip("pycocotools.coco"),
        pytest.importorskip("pycocotools.cocoeval"),
    )
    objects, detections = [], []
    for image, (rows, truth) in enumerate(zip(predictions.tolist(), target.tolist(), strict=True), start=1):
        for label, x1, y1, x2, y2 in truth:
            if label >= 0:
                objects.append({
                    "id": len(objects) + 1, "image_id": image, "category_id": int(label), "iscrowd": 0,
                    "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1),
                })  # fmt: skip
        for x1, y1, x2, y2, _, _, factor, *logits in rows:
            score = factor / (1 + np.exp(-max(logits)))
            detections.append(
                {
                    "image_id": image,
                    "category_id": int(np.argmax(logits)),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": score,
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_module.COCO()
        truth.dataset = {
            "images": [{"id": i + 1} for i in range(len(target))], "annotations": objects,
            "categories": [{"id": label} for label in range(predictions.shape[-1] - 7)], "info": {},
        }  # fmt: skip
        truth.createIndex()
        judge = evaluation.COCOeval(truth, truth.loadRes(detections), "bbox")
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][0, :, :, 0, 2]  # IoU 0.5, all sizes, 100 detections
    return float(precision[precision > -1].mean())


@pytest.mark.parametrize("seed", range(8))
def test_map_is_that_of_pycocotools(seed):
    predictions, target = scenes(seed)
    metrics = detection.metrics(
        torch.stack([predictions, predictions.flip(0)]), torch.stack([target, target.flip(0)])
    )["map50"]
    assert float(metrics[0]) == pytest.approx(coco_map50(predictions, target), abs=1e-12)
    assert 0.05 < float(metrics[0]) < 0.95
    assert float(metrics[1]) == pytest.approx(float(metrics[0]), abs=1e-12)


def duplicates_one_by_one(predictions: torch.Tensor, target: torch.Tensor) -> float:
    """Detections that find nothing since others found it, in Python's floats."""
    labels, scores = classes_and_scores(predictions.double())
    again = objects = 0
    for image in range(len(predictions)):
        real = [row for row in target[image].tolist() if row[0] >= 0]
        objects += len(real)
        taken = set()
        for place in sorted(range(len(scores[image])), key=lambda i: -float(scores[image, i]))[:100]:
            box, label = predictions[image, place, BOX].double().tolist(), int(labels[image, place])
            near = []
            for number, (kind, *other) in enumerate(real):
                width = min(box[2], other[2]) - max(box[0], other[0])
                height = min(box[3], other[3]) - max(box[1], other[1])
                common = max(0.0, width) * max(0.0, height)
                areas = [max(0.0, b[2] - b[0]) * max(0.0, b[3] - b[1]) for b in (box, other)]
                if kind == label and common >= 0.5 * (sum(areas) - common) > 0:
                    near.append((common / (sum(areas) - common), number))
            free = [one for one in near if one[1] not in taken]
            if free:
                taken.add(max(free)[1])
            elif near and float(scores[image, place]) >= 0.05:
                again += 1
    return again / objects


@pytest.mark.parametrize("seed", range(4))
def test_duplicates_are_those_of_one_detection_after_the_other(seed):
    predictions, target = scenes(seed)
    (duplicates,) = detection.metrics(predictions[None], target, ["duplicates"])["duplicates"].tolist()
    assert duplicates > 0
    assert duplicates == pytest.approx(duplicates_one_by_one(predictions, target), rel=1e-12)


def test_perfect_doubled_and_broken_predictions():
    target = torch.tensor([[[0, 1, 1, 5, 5.0], [-1, 0, 0, 0, 0]], [[1, 2, 2, 9, 9], [-1, 0, 0, 0, 0]]])
    perfect = torch.tensor([[[1.0, 1, 5, 5, 3, 3, 1, 4, -4]], [[2, 2, 9, 9, 5, 5, 1, -4, 4]]])
    assert float(detection.metrics(perfect[None], target)["map50"]) == 1.0
    wrong = perfect.clone()
    wrong[..., 7:] = wrong[..., 7:].flip(-1)
    assert float(detection.metrics(wrong[None], target)["map50"]) == 0.0
    broken = perfect.clone()
    broken[0, 0, 0] = torch.nan
    assert detection.metrics(broken[None], target)["map50"].isnan().all()


def test_targets_and_outputs_are_checked():
    x, y = torch.zeros(40, 1, 8, 8), torch.tensor([[[1.0, 1, 1, 5, 5]]]).expand(40, 1, 5)
    task = Task(
        partial(detector, 1, (4, 4), 2),
        (x + torch.arange(40.0)[:, None, None, None], y),
        criterion="detection",
    )
    assert check(task) == ()
    with pytest.raises(InputError, match="the model's output has shape"):
        check(task.but(model=partial(detector, 1, (4, 4), 1)))
    with pytest.raises(InputError, match=r"train y has shape \[40, 5\]"):
        Task(partial(detector, 1, (4, 4), 2), (x, y[:, 0]), criterion="detection")
    with pytest.raises(InputError, match="x2 is not above x1"):
        Task(partial(detector, 1, (4, 4), 2), (x, y.flip(-1)), criterion="detection")


def test_the_best_constant_knows_places_but_no_inputs():
    """Every image has its object at the left or at the right: a constant cannot tell which, and a detector that tells is better."""
    generator = torch.Generator().manual_seed(3)
    left = torch.arange(40) % 2 == 0
    boxes = torch.where(left[:, None], torch.tensor([0.0, 0, 4, 8]), torch.tensor([4.0, 0, 8, 8]))
    y = torch.cat([torch.zeros(40, 1), boxes], 1)[:, None]
    task = Task(
        partial(detector, 1, (4, 4), 1),
        (torch.randn(40, 1, 8, 8, generator=generator), y),
        criterion="detection",
    )
    prior = PriorLosses.of(task)
    assert prior.loss == prior.start
    ln2 = float(np.log(2))
    assert prior.loss == pytest.approx(
        4 * ln2 / 2, rel=0.05
    )  # four places of which two hold the object: each is told by a coin
    assert guess_loss(task) == pytest.approx(prior.loss, rel=0.1)
    outputs = task.train.x.new_zeros(1, 40, 4, 8)
    places = torch.tensor([[2.0, 2], [6, 2], [2, 6], [6, 6]])
    outputs[..., 4:6], outputs[..., 6] = places, 1
    outputs[..., :4] = y[:, None, 0, 1:]
    inside = (places[None] >= y[:, :, 1:3]) & (places[None] < y[:, :, 3:])
    outputs[..., 7] = torch.where(inside.all(-1), 6.0, -6.0)
    assert float(detection.plain_loss(outputs[0], y)) < 0.1
