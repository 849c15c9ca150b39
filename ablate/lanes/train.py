"""Train a group of runs to the end, as many at a time as fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ablate.lanes.context import TaskContext
from ablate.lanes.memory import is_out_of_memory
from ablate.lanes.trace import EpochCallback
from ablate.lanes.training import Training
from ablate.records.run import Outcome, Result, Run


def train(
    context: TaskContext,
    runs: Sequence[Run],
    *,
    splits: Sequence[str] = ("validation",),
    watch: EpochCallback | None = None,
    lanes: int | None = None,
    pause: Callable[[Training], bool] | None = None,
    begun: Callable[[], Training] | None = None,
) -> list[Result]:
    """Train `runs` (of one structure) as lanes, at most `lanes` at a time. Results in the order of `runs`.

    `pause`: called after each epoch; true raises Paused. `begun`: makes the training to continue.
    Out of memory: the group is halved and trained again; a single run that does not fit ends
    `out_of_memory`. A model that cannot be vmapped is trained one lane at a time.
    """
    if context.solo and len(runs) > 1:
        return [result for run in runs for result in train(context, [run], splits=splits, watch=watch)]
    try:
        # In a function of its own, which keeps nothing of a group that did not fit.
        return _finished(lambda: begun() if begun is not None else Training(context, runs, splits, watch, lanes), runs, pause)  # fmt: skip
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        note = " ".join(str(error).split())[:200]
    if len(runs) == 1:
        return [Result(Outcome.OUT_OF_MEMORY, note=note)]
    half = len(runs) // 2
    return [
        result
        for part in (runs[:half], runs[half:])
        for result in train(context, part, splits=splits, watch=watch, lanes=min(lanes or half, half))
    ]


def _finished(
    make: Callable[[], Training], runs: Sequence[Run], pause: Callable[[Training], bool] | None
) -> list[Result]:
    training = make()
    training.finish(pause)
    return [training.results[run.identity] for run in runs]
