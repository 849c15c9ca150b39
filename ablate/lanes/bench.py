"""The former place of `ablate.lanes.context.TaskContext`, then named `Bench`; scripts that import it go on, with a warning."""

from __future__ import annotations

import warnings

from ablate.lanes.context import TaskContext


def __getattr__(name: str) -> type[TaskContext]:
    """`Bench`, which is TaskContext (PEP 562). Raises AttributeError for other names."""
    if name != "Bench":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        "ablate.lanes.bench.Bench is deprecated: it is ablate.lanes.context.TaskContext",
        DeprecationWarning,
        stacklevel=2,
    )
    return TaskContext
