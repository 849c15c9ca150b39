"""Running the user's code: its exceptions become one-line errors, and its random draws are repeatable."""

from __future__ import annotations

import random
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ablate.records.errors import InputError
from ablate.tasks.syntax import user_file

FAILED = object()
"""Returned instead of the result if the user's code failed."""


ATTEMPTS = 3
"""Calls each of which must have changed a global generator of Python or NumPy."""


class UserCode:
    """Context in which the user's code runs: any exception becomes an InputError.

    doing: the action, for the message ("the model's forward pass"). file: the user's file, whose innermost line on
    the way to the error is named; without one, the innermost line of any file of the user. An InputError is passed on with
    its location. Ctrl-C is not caught; `sys.exit` counts as an error, since a task file must not end the program.
    The original exception is kept as the cause, for `--debug`.
    """

    def __init__(self, doing: str, file: Path | None = None, hint: str = "") -> None:
        self.doing, self.file, self.hint = doing, file, hint

    def __enter__(self) -> UserCode:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception | SystemExit):
            return
        location = _place(error, trace, self.file)
        if isinstance(error, InputError):
            told = not location or location in error.message
            raise InputError(
                error.message if told else f"{location}: {error.message}", hint=error.hint
            ) from error
        text = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
        message = f"{type(error).__name__}: {text}" if text else type(error).__name__
        where = f" at {location}" if location else ""
        raise InputError(f"{self.doing} failed{where}: {message}", hint=self.hint) from error


def _place(error: BaseException, trace: TracebackType | None, file: Path | None) -> str:
    """`my_task.py:7`, or "" if the error does not come from a user's file."""
    if isinstance(error, SyntaxError) and file is not None and error.filename == str(file):
        return f"{file}:{error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(trace)
        if (user_file(frame.filename) if file is None else frame.filename == str(file))
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def seed_generators(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators (on the CPU)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


class SeparateDraws:
    """Context in which the global generators (Python's, NumPy's, torch's on the CPU) are a separate sequence of draws.

    It begins at `seed` when it is first entered, continues where it was left when it is entered again, and restores the
    generators each time.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.saved: States | None = None

    def __enter__(self) -> None:
        self.before = _states()
        if self.saved is None:
            seed_generators(self.seed)
        else:
            _restore(self.saved)

    def __exit__(self, *_: object) -> None:
        self.saved = _states()
        _restore(self.before)


@contextmanager
def repeatable(seed: int = 0) -> Iterator[None]:
    """Seed the global generators and restore them afterwards.

    So a task file that draws its data or split at random yields the same in every worker and on resume.
    """
    with SeparateDraws(seed):
        yield


@cache
def without_nested_notice() -> None:
    """Have torch give its notice on nested tensors here, unheard: it gives it once a process, where a `TransformerEncoder` with a padding mask is
    evaluated first, and nobody who uses ablate can do anything about it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The PyTorch API of nested tensors", UserWarning)
        torch.nested.nested_tensor([torch.zeros(1)])


States = tuple[Any, Any, Tensor]


def _states() -> States:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _restore(states: States) -> None:
    python, numpy, torch_state = states
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(torch_state)


def tried(model: Callable[[], nn.Module], *x: Any) -> Any:
    """The output of a fresh model in evaluation mode for `x`, or without one the model; FAILED if it raises: `check` runs it again and reports why."""
    without_nested_notice()
    try:
        with repeatable(), torch.no_grad():
            module = model().eval()
            return module(*x) if x else module
    except Exception:  # noqa: BLE001 - a question to the user's code; check runs it again and says what is wrong with it
        return FAILED


def draws(call: Callable[[], object]) -> bool:
    """Whether `call`, which may be made several times, draws from a global generator: torch's, NumPy's or Python's.

    Other threads of the process (the event loop of Dask or of a notebook) draw from Python's and NumPy's now and then: these count if
    they change each time.
    """
    for _ in range(ATTEMPTS):
        with repeatable():
            before = generators()
            call()
            after = generators()
        if after == before:
            return False
        if after[0] != before[0]:  # torch's
            return True
    return True


def generators() -> tuple[Any, ...]:
    """The state of torch's, Python's and NumPy's global generators."""
    _, words, *scalars = np.random.get_state(legacy=True)
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), np.asarray(words).tobytes(), scalars
