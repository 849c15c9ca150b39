"""Metrics of one run's outputs on a whole split, each a few lines of torch: written into scripts.

Outputs `[N, …]` as the model gives them (probabilities' logits, or numbers), y as in the data. The engine's own
(`tasks.metrics`) are computed for many runs at once; these give the same numbers to within rounding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ablate.tasks.metric_table import Criterion

IGNORED = -100


def accuracy(outputs: Tensor, y: Tensor) -> float:
    """Share of examples whose largest output is the true class."""
    return float((outputs.argmax(1) == y).double().mean())


def cross_entropy(outputs: Tensor, y: Tensor) -> float:
    """Cross-entropy in nats, averaged over examples."""
    return float(F.cross_entropy(outputs.double(), y))


def balanced_accuracy(outputs: Tensor, y: Tensor) -> float:
    """Recall averaged over the classes that occur."""
    right = outputs.argmax(1) == y
    return float(torch.stack([right[y == c].double().mean() for c in torch.unique(y)]).mean())


def worst_class_recall(outputs: Tensor, y: Tensor) -> float:
    """Recall of the class that is recognised worst."""
    right = outputs.argmax(1) == y
    return float(torch.stack([right[y == c].double().mean() for c in torch.unique(y)]).min())


def f1(outputs: Tensor, y: Tensor) -> float:
    """F1 of class 1 where there are two classes, else averaged over the classes that occur or are predicted."""
    predicted = outputs.argmax(1)
    classes = [1] if outputs.shape[1] == 2 else torch.unique(torch.cat([y, predicted])).tolist()
    values = []
    for c in classes:
        both, either = int(((predicted == c) & (y == c)).sum()), int((predicted == c).sum() + (y == c).sum())
        values.append(2 * both / max(1, either))
    return sum(values) / len(values)


def rmse(outputs: Tensor, y: Tensor) -> float:
    """Root mean squared error, averaged over outputs."""
    return float((outputs - y).double().square().mean(0).sqrt().mean())


def mean_squared_error(outputs: Tensor, y: Tensor) -> float:
    """Averaged over examples and outputs."""
    return float((outputs - y).double().square().mean())


def mae(outputs: Tensor, y: Tensor) -> float:
    """Mean absolute error."""
    return float((outputs - y).double().abs().mean())


def r2(outputs: Tensor, y: Tensor) -> float:
    """Share of the target's variance that is explained, averaged over outputs."""
    y = y.double()
    return float((1 - (outputs - y).square().sum(0) / (y - y.mean(0)).square().sum(0)).mean())


def label_accuracy(outputs: Tensor, y: Tensor) -> float:
    """Share of labels that are right."""
    return float(((outputs > 0) == (y > 0.5)).double().mean())


def subset_accuracy(outputs: Tensor, y: Tensor) -> float:
    """Share of examples of which every label is right."""
    return float(((outputs > 0) == (y > 0.5)).all(1).double().mean())


def binary_cross_entropy(outputs: Tensor, y: Tensor) -> float:
    """Cross-entropy in nats, averaged over labels."""
    return float(F.binary_cross_entropy_with_logits(outputs.double(), y.double()))


def token_accuracy(outputs: Tensor, y: Tensor) -> float:
    """Share of the tokens that count and are right; outputs `[N, T, V]`."""
    return float((outputs.argmax(-1) == y)[y != IGNORED].double().mean())


def token_cross_entropy(outputs: Tensor, y: Tensor) -> float:
    """Cross-entropy in nats, averaged over the tokens that count."""
    return float(F.cross_entropy(outputs.double().flatten(0, -2), y.flatten(), ignore_index=IGNORED))


def perplexity(outputs: Tensor, y: Tensor) -> float:
    """The exponential of the cross-entropy of a token."""
    return float(F.cross_entropy(outputs.double().flatten(0, -2), y.flatten(), ignore_index=IGNORED).exp())


def pixel_accuracy(outputs: Tensor, y: Tensor) -> float:
    """Share of the pixels that count and are right; outputs `[N, C, H, W]`."""
    return float((outputs.argmax(1) == y)[y != IGNORED].double().mean())


def pixel_cross_entropy(outputs: Tensor, y: Tensor) -> float:
    """Cross-entropy in nats, averaged over the pixels that count."""
    return float(F.cross_entropy(outputs.double(), y, ignore_index=IGNORED))


def mean_iou(outputs: Tensor, y: Tensor) -> float:
    """|A ∩ B| / |A ∪ B| averaged over the classes that occur or are predicted."""
    counted = y != IGNORED
    predicted, true = outputs.argmax(1)[counted], y[counted]
    values = [
        ((predicted == c) & (true == c)).double().sum() / ((predicted == c) | (true == c)).sum()
        for c in torch.unique(torch.cat([predicted, true]))
    ]
    return float(torch.stack(values).mean())


def macro_f1(outputs: Tensor, y: Tensor) -> float:
    """F1 averaged over the classes of tokens that occur or are predicted; outputs `[N, T, V]`."""
    counted = y != IGNORED
    predicted, true = outputs.argmax(-1)[counted], y[counted]
    values = [
        2 * ((predicted == c) & (true == c)).double().sum() / ((predicted == c).sum() + (true == c).sum())
        for c in torch.unique(torch.cat([predicted, true]))
    ]
    return float(torch.stack(values).mean())


def example_loss_of_tokens(outputs: Tensor, target: Tensor) -> Tensor:
    """`[1, B, T, V]`, classes `[1, B, T]` -> `[1, B]`, whose mean is the mean over the tokens that count."""
    losses = F.cross_entropy(outputs.flatten(0, -2), target.flatten(), ignore_index=IGNORED, reduction="none")
    counted = (target != IGNORED).flatten(1).sum(1).clamp(min=1)
    return losses.view(target.shape).flatten(2).sum(2) * (target.shape[1] / counted)[:, None]


def example_loss_of_pixels(outputs: Tensor, target: Tensor) -> Tensor:
    """`[1, B, C, H, W]`, classes `[1, B, H, W]` -> `[1, B]`, whose mean is the mean over the pixels that count."""
    return example_loss_of_tokens(outputs.movedim(2, -1), target)


LOSS: dict[Criterion, str] = {
    "classification": "cross_entropy",
    "regression": "mean_squared_error",
    "multilabel": "binary_cross_entropy",
    "token_classification": "token_cross_entropy",
    "language_modelling": "token_cross_entropy",
    "segmentation": "pixel_cross_entropy",
}
"""Criterion -> the function here that is its loss."""
FUNCTIONS: dict[Criterion, dict[str, str]] = {
    "classification": {name: name for name in ("accuracy", "balanced_accuracy", "worst_class_recall", "f1")},
    "regression": {name: name for name in ("rmse", "mae", "r2")},
    "multilabel": {name: name for name in ("label_accuracy", "subset_accuracy")},
    "token_classification": {"accuracy": "token_accuracy", "f1": "macro_f1"},
    "language_modelling": {"accuracy": "token_accuracy", "perplexity": "perplexity"},
    "segmentation": {"accuracy": "pixel_accuracy", "mean_iou": "mean_iou"},
    "custom": {},
}
"""Criterion -> metric -> the function here; the rest of `METRICS` a script leaves out, and says so."""
