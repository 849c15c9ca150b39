"""Whose exception ended a training, where its traceback does not say.

Kernels run what they traced of a user-defined `forward`, so that an index out of bounds or a matrix without an inverse is raised by a line of
ablate's. The kernel "loop" calls `forward` itself: if the run raises there too, the traceback names the user's line.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ablate.executors.job_error import JobError
from ablate.lanes.context import TaskContext
from ablate.lanes.train import train
from ablate.lanes.training import Paused, Training
from ablate.records.errors import AblateError
from ablate.records.run import Run

LOOP = "loop"
PATIENCE = 3.0
"""The runs are trained again for at most this multiple of the time that the group took for each."""
LEAST = 10.0
"""Seconds that they have at least."""


def job_error(
    error: Exception, context: TaskContext, runs: Sequence[Run], splits: Sequence[str], seconds: float
) -> JobError:
    """The exception `error` of a group of `runs` that trained for `seconds`; the user's, if the runs raise one without tracing."""
    traced = JobError.of(error)
    if not traced.is_internal or context.kernel == LOOP:
        return traced
    return (
        _untraced(context.with_kernel(LOOP), runs, splits, LEAST + PATIENCE * len(runs) * seconds) or traced
    )


def _untraced(
    context: TaskContext, runs: Sequence[Run], splits: Sequence[str], seconds: float
) -> JobError | None:
    end = time.monotonic() + seconds

    def late(training: Training) -> bool:
        return time.monotonic() >= end

    for run in runs:
        try:
            train(context, [run], splits=splits, pause=late)
        except (Paused, AblateError):
            return None
        except Exception as error:  # noqa: BLE001 - the question is which exception it is
            untraced = JobError.of(error)
            return None if untraced.is_internal else untraced
    return None
