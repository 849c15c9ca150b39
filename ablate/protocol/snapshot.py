"""The outputs of briefly trained lanes in evaluation mode, on training and on validation examples, and what they show.

A hundred steps suffice to detect that labels differ in meaning between the splits, that many are wrong, or that the model in evaluation
mode differs from the one that was trained.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ablate.lanes.context import TaskContext
from ablate.lanes.data import DeviceSplit
from ablate.lanes.trainer import Trainer
from ablate.protocol.relation import SURE, ConfidentErrors
from ablate.protocol.standard_error import is_plain
from ablate.protocol.steps import Finding
from ablate.tasks.split import Split, shuffled
from ablate.tasks.task import Task

MOST = 500
"""Examples of each split that are predicted."""
SAMPLE, HELD_OUT = "sample of train", "sample of validation"
MOVED, LEAST_MOVED = 0.08, 10
"""Share of validation examples, and their number, that become right where classes are exchanged."""
ALIKE, LEARNED = 0.8, 0.4
"""The accuracy after the exchange, as a fraction of the training accuracy, which must be this much at least."""
ERRORS = 4.0
"""Standard errors by which accuracies must differ."""
CONTRADICTED = 0.8
"""Fraction of the errors that another model makes at least, if labels are wrong."""
MEMORISED = 0.25
"""Gap between training and validation accuracy above which a model is confident on memorised examples."""
EVALUATION_LOSS = 1.5
"""The loss in evaluation mode, as a multiple of that in training mode, above which it is reported."""


MODES_DIFFER = "check the statistics and momentum of batch norms, and the scale of dropout"
SETTLED = 50
"""Batches after which running statistics are those of the present weights: of a momentum of 0.1 a share of 0.9^50 = 0.5 % is older."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A lane's outputs in evaluation mode, `[N, C or D]`, and the targets `[N]`, `[N, D]`.

    `training`: outputs of the first training examples in training mode, `[M, C or D]`, M ≤ N.
    """

    train: Tensor
    y: Tensor
    validation: Tensor
    truth: Tensor
    training: Tensor


def with_samples(context: TaskContext) -> TaskContext:
    """The context with samples of training and validation data as splits of their own."""
    task = context.task
    splits = {SAMPLE: task.train, HELD_OUT: task.validation}
    cut = {name: DeviceSplit.of(_some(split), task, context.device) for name, split in splits.items()}
    return replace(context, splits={**context.splits, **cut})


def _some(split: Split) -> Split:
    return split.sample(shuffled(len(split))[:MOST])


def snapshots(trainer: Trainer) -> list[Snapshot]:
    """Snapshots of every lane, whose running statistics become those of its weights; the trainer's context is one of `with_samples`."""
    training = in_training_mode(trainer).cpu()
    train, validation = (trainer.predict(name, whole=True, views=False).cpu() for name in (SAMPLE, HELD_OUT))
    y, truth = (trainer.context.splits[name].y.cpu() for name in (SAMPLE, HELD_OUT))
    return [
        Snapshot(train[lane], y, validation[lane], truth, training[lane]) for lane in range(trainer.lanes)
    ]


@torch.no_grad()
def in_training_mode(trainer: Trainer) -> Tensor:
    """Outputs `[K, M, …]` of the first training examples of the sample, in whole batches.

    The weights stay as they are. Where a pass changes buffers, `SETTLED` batches are run first: while weights move fast, running
    statistics lag behind them, which is no fault.
    """
    size, keys = trainer.order.batch_size, trainer.seeds
    blocks = list(trainer.context.splits[SAMPLE].blocks(size))
    blocks = [block for block in blocks if len(block) >= size] or blocks
    weights = dict(trainer.weights.items())

    def run() -> Tensor:
        lanes = (block.expand(trainer.lanes, *block.shape) for block in blocks)
        return torch.cat([trainer.outputs(weights, x, keys, training=True) for x in lanes], dim=1)

    before = {name: buffer.clone() for name, buffer in trainer.forward.buffers().items()}
    outputs = run()
    if any(not torch.equal(buffer, before[name]) for name, buffer in trainer.forward.buffers().items()):
        for _ in range(SETTLED // len(blocks)):
            outputs = run()
    return outputs


def snapshot_findings(
    task: Task, seen: Snapshot, prior: float, reference: float | None = None
) -> list[Finding]:
    """`prior`: the loss of the best constant prediction; `reference`: the accuracy of another model on validation examples, if it is known."""
    if not is_plain(task):
        return []
    findings = evaluation_differs(task, seen, prior)
    if task.classes is None or findings:
        return findings
    return exchanged_classes(seen) or noisy_labels(seen, reference)


def loss_of(task: Task, seen: Snapshot) -> float | None:
    """The loss of the training examples in evaluation mode; None where it is not the criterion's own."""
    return float(task.evaluation.plain_loss(seen.train, seen.y)) if is_plain(task) else None


def evaluation_differs(task: Task, seen: Snapshot, prior: float) -> list[Finding]:
    """The loss of the same training examples under the same weights is much higher in evaluation mode than in training mode."""
    plain_loss, y = task.evaluation.plain_loss, seen.y[: len(seen.training)]
    training_loss = float(plain_loss(seen.training, y))
    loss = float(plain_loss(seen.train[: len(y)], y))
    if not differs_in_evaluation(loss, training_loss, prior):
        return []
    return [
        Finding(
            "evaluation-differs", "warn",
            f"the loss of the same training examples is {training_loss:.3g} in training mode and {loss:.3g} in evaluation mode",
            "layers that differ between modes", MODES_DIFFER,
        )
    ]  # fmt: skip


def differs_in_evaluation(evaluation_loss: float, training_loss: float, prior: float) -> bool:
    """Whether a loss in evaluation mode is much higher than that of the same examples in training mode, in which something was learned."""
    return evaluation_loss > EVALUATION_LOSS * max(training_loss, 0.2 * prior) and training_loss < 0.9 * prior


def exchanged_classes(seen: Snapshot) -> list[Finding]:
    """Validation labels become right if classes are exchanged (the best assignment of predicted to true classes)."""
    from scipy.optimize import linear_sum_assignment

    predicted, truth = seen.validation.argmax(1).numpy(), seen.truth.numpy()
    counts = np.zeros((seen.validation.shape[1],) * 2)
    np.add.at(counts, (predicted, truth), 1)
    rows, columns = linear_sum_assignment(-counts)
    gained = counts[rows, columns].sum() - counts.trace()
    if gained < max(MOVED * len(truth), LEAST_MOVED):
        return []
    renamed = torch.from_numpy(columns)[seen.train.argmax(1)]
    if float((renamed == seen.y).double().mean()) > accuracy(seen.train, seen.y):
        return []  # of the training examples too: the model confuses these classes
    moved = [(a, b) for a, b in zip(rows, columns, strict=True) if a != b and counts[a, b] > counts[a, a]]
    exchanged = counts[rows, columns].sum() / len(truth)
    if not exchanged >= ALIKE * accuracy(seen.train, seen.y) >= ALIKE * LEARNED:
        return []
    if not _beats_a_guess(exchanged, seen.truth):
        return []  # a model that has learned nothing is right as often by chance
    pairs = ", ".join(f"{a} is {b}" for a, b in moved[:4])
    return [
        Finding(
            "labels-permuted", "fail",
            f"{gained / len(truth):.0%} more of the validation labels are right if classes are exchanged ({pairs})",
            "validation labels", "give both splits the same order of classes",
        )
    ]  # fmt: skip


def noisy_labels(seen: Snapshot, reference: float | None = None) -> list[Finding]:
    """Training labels are predicted worse than validation labels, or sure predictions of validation labels are often wrong."""
    train, validation = accuracy(seen.train, seen.y), accuracy(seen.validation, seen.truth)
    error = np.sqrt(sum(_variance(a, n) for a, n in ((train, len(seen.y)), (validation, len(seen.truth)))))
    advice = "look at examples whose label is predicted to be another: many are wrong"
    if validation - train > max(ERRORS * float(error), 0.05):
        message = (
            f"about {1 - train / validation:.0%} of the training labels seem wrong: they are predicted worse ({train:.1%}) than validation labels "
            f"({validation:.1%}), in the same mode"
        )
        return [Finding("labels-noisy", "warn", message, "training labels", advice)]
    wrong_when_sure, wrong = sure_errors(seen.validation, seen.truth)
    most, learned = _most_frequent(seen.truth), _beats_a_guess(1 - wrong, seen.truth)
    memorised = train - validation > MEMORISED
    seen_wrong = ConfidentErrors(wrong_when_sure, wrong, 1 - most, len(seen.truth)).labels_wrong
    if memorised or not learned or not seen_wrong:
        return []
    if reference is not None and reference > 1 - CONTRADICTED * wrong_when_sure:
        return []  # another model predicts labels that are said to be wrong
    message = (
        f"about {wrong_when_sure:.0%} of the labels seem wrong: of the {SURE:.0%} of validation labels that the network predicts most surely "
        f"{wrong_when_sure:.0%} differ from it, of all {wrong:.0%}"
    )
    return [Finding("labels-noisy", "warn", message, "labels", advice)]


def _most_frequent(truth: Tensor) -> float:
    """Share of the most frequent class: the accuracy of a guess."""
    return float(truth.bincount().max()) / len(truth)


def _beats_a_guess(accuracy: float, truth: Tensor) -> bool:
    """Whether an accuracy is above that of a guess by `ERRORS` standard errors."""
    most = _most_frequent(truth)
    return bool(accuracy > most + ERRORS * np.sqrt(_variance(most, len(truth))))


def sure_errors(outputs: Tensor, y: Tensor) -> tuple[float, float]:
    """Share of wrong predictions among the `SURE` most certain ones, and among all."""
    certain = outputs.double().softmax(1).amax(1)
    wrong = (outputs.argmax(1) != y).double()
    top = certain.topk(max(1, int(SURE * len(y)))).indices
    return float(wrong[top].mean()), float(wrong.mean())


def accuracy(outputs: Tensor, y: Tensor) -> float:
    """Share of `outputs` `[N, C]` whose largest is that of the label."""
    return float((outputs.argmax(1) == y).double().mean())


def _variance(share: float, count: int) -> float:
    return max(share * (1 - share), 1 / count) / count
