"""From the scored outputs of a run to its metrics and per-example scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from ablate.lanes import robust_accuracy
from ablate.lanes.context import TaskContext
from ablate.records.run import Outcome


def scored(
    context: TaskContext,
    outputs: Mapping[str, Tensor],
    splits: Sequence[str],
    outcome: Outcome,
    targets: Callable[[str], Tensor],
) -> tuple[dict[str, float], dict[str, tuple[float, ...]]]:
    """`split/metric` -> value, and split -> scores, of `outputs`: split -> `[N, …]`. `targets`: a split's y for this run.

    A diverged run has no metrics (NaN) and no scores. Robust accuracy, if requested, is only computed for a run that
    is complete.
    """
    values: dict[str, float] = {}
    scores: dict[str, tuple[float, ...]] = {}
    evaluation = context.task.evaluation
    if outcome is Outcome.COMPLETE and robust_accuracy.ROBUST in outputs:
        values |= robust_accuracy.values(
            outputs[robust_accuracy.ROBUST], evaluation.plain(targets("validation"))
        )
    for split in (split for split in splits if split != robust_accuracy.ROBUST):
        output, y = outputs[split][None], targets(split)
        if outcome is Outcome.DIVERGED:
            values |= {f"{split}/{name}": float("nan") for name in context.task.metric_names}
            continue
        metrics = {name: value.item() for name, value in evaluation.metrics(output, y).items()}
        values |= {f"{split}/{name}": value for name, value in metrics.items()}
        for name in evaluation.undefined(metrics):
            context.clock.slow.add(
                f"the metric '{name}' is not finite on {split} data of a run whose loss is: it does not count"
            )
        scores[split] = tuple(evaluation.example_scores(output, y)[0].tolist())
    return values, scores


def note_of(outcome: Outcome, best: int, epochs: int) -> str:
    """The note of a result: where it diverged, that no parameter moved, or that an epoch before the last is scored."""
    if outcome is Outcome.FAILED:
        return f"nothing was trained: no parameter has moved in {epochs} epoch{'s' * (epochs != 1)}"
    if outcome is Outcome.DIVERGED:
        return f"not finite in epoch {epochs}"
    return "" if best == epochs else f"scored at epoch {best}"
