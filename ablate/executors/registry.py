"""Executors by name: `--executor NAME`, or `--executor module:factory` for one from another package."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from ablate.executors.executor import Executor, Factory
from ablate.executors.inline import Inline
from ablate.executors.processes import Processes
from ablate.executors.progress import Progress
from ablate.records.errors import InputError, unknown

AUTO = "auto"
"""Worker processes if there is more than one worker, else this process."""
INLINE = "inline"
EXECUTORS: Mapping[str, Factory] = {
    INLINE: lambda workers, progress: Inline(progress),
    "processes": Processes,
}


def factory_of(name: str) -> Factory:
    """The factory behind a name. Raises InputError for an unknown name or a `module:factory` that cannot be imported."""
    if name == AUTO:
        return _auto
    if name in EXECUTORS:
        return EXECUTORS[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise unknown("executor", name, [AUTO, *EXECUTORS])
    try:
        factory: Factory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"the executor '{name}' cannot be imported: {error}", hint="give module:factory"
        ) from error
    if not callable(factory):
        raise InputError(f"the executor '{name}' is not a function", hint="give module:factory")
    return factory


def _auto(workers: int, progress: Progress | None) -> Executor:
    return Processes(workers, progress) if workers > 1 else Inline(progress)
