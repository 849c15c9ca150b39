"""Metrics for K lanes at once, in float64, so that no lane's value depends on the other lanes.

All reductions are pairwise trees of elementwise additions (`tree_sum`), or exact (maxima, counts): a library
sum may split its work by the tensor's total size and then rounds differently for another K. If a lane's
output is not finite, all of its metrics are NaN: a diverged lane has no accuracy, not even a low one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import cache

import torch
from torch import Tensor

from ablate.tasks.metric_table import METRICS, Criterion, metric_info

ECE_BINS = 15
CHUNK = 1 << 24  # float64 numbers held at once: 128 MiB


def tree_sum(values: Tensor) -> Tensor:
    """Sum over the last dimension in a fixed order: `[..., N]` to `[...]`, rounding error O(log N)."""
    while (size := values.shape[-1]) > 1:
        half = (size + 1) // 2
        folded = values[..., :half].clone()
        folded[..., : size - half] += values[..., half:]
        values = folded
    return values[..., 0]


def metrics(criterion: Criterion, output: Tensor, y: Tensor, only: Collection[str] | None = None) -> Metrics:
    """The criterion's metrics of `output` `[K, N, C or D]` against `y`, each `[K]`; `only` names some of them."""
    compute = classification_metrics if criterion == "classification" else regression_metrics
    return compute(output, y, only)


Metrics = dict[str, Tensor]


def classification_metrics(logits: Tensor, y: Tensor, only: Collection[str] | None = None) -> Metrics:
    """Metrics of `METRICS["classification"]`: logits `[K, N, C]`, y int64 `[N]`; each value `[K]` float64.

    y may also be `[K, N]`: each lane its own targets. `ece` is the expected calibration error of Guo et al. (2017, arXiv 1706.04599, eq. 3) over 15 bins of equal
    width on the largest probability. Recalls are over the classes that occur in y, as in scikit-learn. `f1` and `auroc` are
    those of class 1 where there are two classes; else `f1` is the mean over classes that occur in y or are predicted, and
    `auroc` that of each class against the rest, over classes that occur in y (scikit-learn's "macro" and "ovr"). A value
    that is not defined, as an `auroc` of one class, is NaN.
    """
    return by_lanes(_classification, "classification", logits, y, only)


def regression_metrics(prediction: Tensor, y: Tensor, only: Collection[str] | None = None) -> Metrics:
    """Metrics of `METRICS["regression"]`: prediction `[K, N, D]`, y `[N, D]` or `[K, N, D]`; each value `[K]` float64.

    With several outputs `rmse` and `r2` are averages over outputs, as in scikit-learn; `r2` of a constant
    target is 1 for a perfect prediction and else 0.
    """
    return by_lanes(_regression, "regression", prediction, y, only)


def per_example_scores(criterion: Criterion, output: Tensor, y: Tensor) -> Tensor:
    """One float64 score for each lane and example, `[K, N]`.

    Classification: probability of the true class. Regression: squared error, averaged over outputs.
    """
    output, y = float64(output), y.to(output.device)
    if criterion == "classification":
        return _log_probability(output).gather(-1, y.expand(output.shape[:2]).unsqueeze(-1)).squeeze(-1).exp()
    return tree_sum((output - float64(y)).square()) / y.shape[-1]


def by_lanes(
    compute: Callable[[Tensor, Tensor], Iterator[tuple[str, Callable[[], Tensor]]]],
    criterion: Criterion,
    output: Tensor,
    y: Tensor,
    only: Collection[str] | None,
) -> Metrics:
    """Compute in chunks of lanes that fit `CHUNK`; NaN for lanes whose output is not finite."""
    wanted = {metric_info(criterion, name).name for name in (METRICS[criterion] if only is None else only)}
    width = max(output.shape[-1], ECE_BINS if criterion == "classification" else 1)
    pieces: list[Metrics] = []
    size = max(1, CHUNK // (output.shape[1] * width))
    by_lane = y.ndim == (2 if criterion == "classification" else 3)
    for number, lanes in enumerate(torch.split(output, size)):
        lanes = float64(lanes)
        broken = ~lanes.isfinite().flatten(1).all(1)
        targets = y[number * size : (number + 1) * size] if by_lane else y
        named = compute(lanes, targets.to(lanes.device))
        pieces.append({n: value().masked_fill(broken, torch.nan) for n, value in named if n in wanted})
    return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}


def _classification(logits: Tensor, y: Tensor) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    lanes, count, classes = logits.shape
    log_probability = _log_probability(logits)
    top = log_probability.amax(-1)
    # The first of equal logits wins on every device; argmax leaves ties undefined. (`amin` on integers takes many times as long.)
    numbers = torch.arange(classes, dtype=logits.dtype, device=logits.device)
    predicted = torch.where(logits == logits.amax(-1, keepdim=True), numbers, classes).amin(-1)
    correct = (predicted == y).double()

    @cache  # it has two names
    def loss() -> Tensor:
        return -tree_sum(log_probability.gather(-1, y.expand(lanes, count).unsqueeze(-1)).squeeze(-1)) / count

    def f1() -> Tensor:
        members = torch.nn.functional.one_hot(y, classes).double().expand(lanes, count, classes)
        chosen = torch.nn.functional.one_hot(predicted.long().clamp(max=classes - 1), classes).double()
        both, either = (members * chosen).sum(1), members.sum(1) + chosen.sum(1)  # counts: exact in any order
        scores = 2 * both / either.clamp(min=1)
        return scores[:, 1] if classes == 2 else mean_over(scores, either > 0)

    def auroc() -> Tensor:
        members = torch.nn.functional.one_hot(y, classes).double().expand(lanes, count, classes)
        areas = ranked_areas(log_probability.transpose(1, 2), members.transpose(1, 2))
        return areas[:, 1] if classes == 2 else mean_over(areas, areas.isfinite())

    @cache
    def recalls() -> Tensor:
        members = torch.nn.functional.one_hot(y, classes).double()
        if y.ndim == 1:
            occurring = members.any(0)
            return (correct @ members)[:, occurring] / members.sum(0)[occurring]  # counts: exact in any order
        right = (correct.unsqueeze(1) @ members).squeeze(1)
        return right / members.sum(1)  # NaN where a lane's targets lack the class

    def balanced() -> Tensor:
        by_class = recalls()
        return _mean(by_class) if y.ndim == 1 else mean_over(by_class, by_class.isfinite())

    def worst() -> Tensor:
        return recalls().nan_to_num(torch.inf).amin(-1)

    def ece() -> Tensor:
        gap = correct - top.exp()
        bin_of = (top.exp() * ECE_BINS).ceil().clamp(1, ECE_BINS) - 1
        bins = torch.arange(ECE_BINS, device=logits.device).unsqueeze(-1)
        in_bin = tree_sum(torch.where(bin_of.unsqueeze(1) == bins, gap.unsqueeze(1), 0.0))
        return tree_sum(in_bin.abs()) / count

    yield "accuracy", lambda: tree_sum(correct) / count
    yield "loss", loss
    yield "log_loss", loss
    yield "balanced_accuracy", balanced
    yield "worst_class_recall", worst
    yield "f1", f1
    yield "auroc", auroc
    yield "ece", ece


def ranked_areas(scores: Tensor, members: Tensor) -> Tensor:
    """Areas under ROC curves: `[..., N]` scores, float64 `[..., N]` 1 for a member and else 0 -> `[...]`.

    The probability that a member scores higher than another example, ties counted half, from the sum of the members'
    ranks (Mann & Whitney 1947). Ranks are integers or half-integers, so that sums are exact in any order. NaN if all
    examples or none are members.
    """
    ordered, order = scores.sort(dim=-1)
    if bool((ordered[..., 1:] == ordered[..., :-1]).any()):
        ordered, scores = ordered.contiguous(), scores.contiguous()
        below = torch.searchsorted(ordered, scores)
        ranks = (below + torch.searchsorted(ordered, scores, right=True) + 1).double() / 2
    else:
        members = members.gather(-1, order)
        ranks = torch.arange(1, members.shape[-1] + 1, dtype=torch.float64, device=members.device)
    inside = members.sum(-1)
    outside = members.shape[-1] - inside
    return ((ranks * members).sum(-1) - inside * (inside + 1) / 2) / (inside * outside)


def _regression(prediction: Tensor, y: Tensor) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    y = float64(y)
    count = y.shape[-2]
    error = (prediction - y).transpose(1, 2)
    squared = tree_sum(error.square())  # [K, D]
    centred = y - tree_sum(y.transpose(-1, -2)).div(count).unsqueeze(-2)
    total = tree_sum(centred.square().transpose(-1, -2))  # [D] or [K, D]

    def r2() -> Tensor:
        constant = torch.where(squared == 0, 1.0, 0.0)
        return _mean(torch.where(total == 0, constant, 1 - squared / torch.where(total == 0, 1.0, total)))

    yield "rmse", lambda: _mean((squared / count).sqrt())
    yield "loss", lambda: _mean(squared / count)
    yield "mae", lambda: _mean(tree_sum(error.abs()) / count)
    yield "r2", r2


def _mean(values: Tensor) -> Tensor:
    return tree_sum(values) / values.shape[-1]


def mean_over(values: Tensor, counted: Tensor) -> Tensor:
    """The mean over the last dimension of the values that are `counted`; NaN if none is."""
    return tree_sum(values.where(counted, values.new_zeros(()))) / counted.sum(-1)


def _log_probability(logits: Tensor) -> Tensor:
    shifted = logits - logits.amax(-1, keepdim=True)
    return shifted - tree_sum(shifted.exp()).log().unsqueeze(-1)


def float64(values: Tensor) -> Tensor:
    """`values` in float64 and contiguous, on the CPU if the device has no float64."""
    # Apple's GPUs have no float64.
    return (values.cpu() if values.device.type == "mps" else values).double().contiguous()
