"""Executors by name: `--executor NAME`, or `--executor module:factory` for one from another package; from Python, also an object.

inline, processes                       on this machine
dask, dask:tcp://host:8786              a Dask cluster: a local one, or the one whose scheduler has this address
ray, ray:auto, ray:ray://host:10001     a Ray cluster; the parameters num_cpus and num_gpus are what a job takes: ray:auto?num_gpus=0.5
module:factory                          a function that makes an `Executor` or a `concurrent.futures.Executor`
"""

from __future__ import annotations

import concurrent.futures
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl

from ablate.executors.executor import Executor, Factory
from ablate.executors.inline import Inline
from ablate.executors.processes import Processes
from ablate.executors.progress import Progress
from ablate.records.errors import InputError, unknown

AUTO = "auto"
"""Worker processes if there is more than one worker, else this process."""
INLINE = "inline"
PROCESSES = "processes"
EXECUTORS: Mapping[str, Factory] = {
    INLINE: lambda workers, progress: Inline(progress),
    PROCESSES: Processes,
}
CLUSTERS = {
    "dask": ("ablate.executors.dask_cluster", "DaskCluster", ()),
    "ray": ("ablate.executors.ray_cluster", "RayCluster", ("num_cpus", "num_gpus")),
}
"""Name -> module, class, parameters. Each is an extra of the same name."""
Given = str | Executor | concurrent.futures.Executor | Callable[..., Any]
"""What a caller may pass as the executor: a name or an object."""


def is_cluster(given: Given) -> bool:
    """Whether workers may be on other machines than the driver: tasks are then sent to them by value, and they say how many they are."""
    return isinstance(given, str) and given.partition(":")[0] in CLUSTERS


def factory_of(given: Given) -> Factory:
    """The factory behind a name or an object. Raises InputError for an unknown name, a `module:factory` that cannot be imported, or
    a cluster whose package is missing."""
    if not isinstance(given, str):
        return partial(_adapted, given, repr(given))
    if given == AUTO:
        return _auto
    if given in EXECUTORS:
        return EXECUTORS[given]
    name, colon, attribute = given.partition(":")
    if name in CLUSTERS:
        return _cluster(name, attribute)
    if not colon:
        raise unknown("executor", given, [AUTO, *EXECUTORS, *CLUSTERS])
    try:
        factory: Any = getattr(import_module(name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"the executor '{given}' cannot be imported: {error}", hint="give module:factory"
        ) from error
    if not callable(factory):
        raise InputError(f"the executor '{given}' is not a function", hint="give module:factory")
    return partial(_adapted, factory, given)


def _auto(workers: int, progress: Progress | None) -> Executor:
    return Processes(workers, progress) if workers > 1 else Inline(progress)


def _cluster(name: str, address: str) -> Factory:
    """A cluster at `ADDRESS?parameter=number`. Raises InputError."""
    module, attribute, parameters = CLUSTERS[name]
    address, _, query = address.partition("?")
    given: dict[str, float] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in parameters:
            raise unknown(f"parameter of {name}", key, list(parameters))
        try:
            given[key] = float(value)
        except ValueError as error:
            raise InputError(f"{key} of {name} is a number, not '{value}'") from error
    try:
        import_module(name if name == "ray" else "distributed")
    except ImportError as error:
        raise InputError(
            f"the executor '{name}' needs a package that is not installed: {error}",
            hint=f"pip install 'ablate[{name}]'",
        ) from error
    factory: Factory = partial(getattr(import_module(module), attribute), address=address, **given)
    return factory


def _adapted(given: Any, name: str, workers: int, progress: Progress | None) -> Executor:
    """The executor that `given` is or makes. A pool that it makes is shut down with the executor; one that it is belongs to the caller. A factory with two parameters gets (workers, progress), as `Factory` says; one with
    `max_workers` gets their number, like the pools of `concurrent.futures`; any other is called without arguments."""
    made = given
    if isinstance(given, type) or not hasattr(given, "submit"):
        made = _call(given, workers, progress)
    if hasattr(made, "set_idle_workers"):
        executor: Executor = made
        return executor
    if not isinstance(made, concurrent.futures.Executor):
        raise InputError(
            f"the executor {name} is a {type(made).__name__}, not a concurrent.futures.Executor",
            hint="pass an object with submit and shutdown of that protocol, or an ablate Executor",
        )
    from ablate.executors.futures import Futures

    return Futures(made, getattr(made, "_max_workers", None) or workers, progress, owned=made is not given)


def _call(factory: Callable[..., Any], workers: int, progress: Progress | None) -> Any:
    try:
        parameters = inspect.signature(factory).parameters
    except ValueError:  # of a built-in
        parameters = {}  # type: ignore[assignment]
    if "max_workers" in parameters:
        return factory(max_workers=workers)
    required = [
        p for p in parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]  # fmt: skip
    return factory(workers, progress) if len(required) == 2 else factory()
