"""A task that exists only as an object of the caller's program (a script, a notebook), sent to workers by value.

Workers load a task by its reference (`digits`, `my_task.py:task`). A model that is defined in `__main__` or in a notebook has none:
cloudpickle serialises the task once, code of `__main__` and of task files included, and each worker process receives it once.
Code of modules that can be imported is imported by the workers, as always in pickles.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from typing import Any

import cloudpickle

from ablate.records.errors import InputError
from ablate.tasks.load import load
from ablate.tasks.task import Task

PREFIX = "python:"
MOST = 4
"""Tasks that a process keeps."""
TASK_MODULES = "ablate_task_"
"""How `tasks.load` names the modules of task files, which no other process can import."""
CANNOT_PICKLE = (
    pickle.PicklingError,
    TypeError,
    AttributeError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    OSError,
)
"""Raised by objects that cannot be pickled: locks, generators, open files, handles of C libraries."""
_tasks: OrderedDict[str, Task] = OrderedDict()


class SharedTask:
    """A task under a reference that `task_of` resolves in every process that has called `remember`.

    `payload`: the pickled task. A process that has received it unpickles it when it is needed, after versions were compared: with other
    software unpickling may fail.
    """

    def __init__(self, reference: str, payload: bytes, task: Task | None = None) -> None:
        self.reference, self.payload, self._task = reference, payload, task

    @property
    def task(self) -> Task:
        """The task itself."""
        if self._task is None:
            self._task = _tasks.get(self.reference) or received(self.payload)
        return self._task

    def remember(self) -> None:
        """Make `task_of` find the task in this process, even if it was evicted by later ones."""
        _tasks[self.reference] = self.task
        _tasks.move_to_end(self.reference)
        while len(_tasks) > MOST:
            _tasks.popitem(last=False)

    @classmethod
    def of(cls, task: Task, *, pickled: bool) -> SharedTask:
        """`pickled`: for other processes. Raises InputError with the reason where the task cannot be pickled."""
        if not pickled:
            return cls(f"{PREFIX}{task.name}-{id(task):x}", b"", task)
        try:
            payload = _pickled(task)
        except CANNOT_PICKLE as error:
            text = " ".join(str(error).split())[:200]
            raise InputError(
                f"the task '{task.name}' cannot be sent to worker processes: {type(error).__name__}: {text}",
                hint='train in this process with executor="inline", or define what cannot be pickled inside the model',
            ) from error
        return cls(f"{PREFIX}{task.name}-{hashlib.sha256(payload).hexdigest()[:16]}", payload, task)

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedTask, (self.reference, self.payload or _pickled(self.task))


def received(content: bytes) -> Any:
    """The object that the driver pickled and sent to this worker, as the engine would have made it on arrival. Never of a file's bytes."""
    return ForkingPickler.loads(content)


def _pickled(task: Task) -> bytes:
    with _task_files_by_value():
        payload: bytes = cloudpickle.dumps(task)
    return payload


def task_of(reference: str) -> Task:
    """The task that was shared under `reference`, or that `tasks.load` finds."""
    return _tasks[reference] if reference in _tasks else load(reference)


@contextmanager
def _task_files_by_value() -> Iterator[None]:
    modules = [module for name, module in sys.modules.items() if name.startswith(TASK_MODULES)]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
