"""Run jobs in this process, one after another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from ablate.executors.job import Progress


class Inline(Executor):
    """`concurrent.futures.Executor` that runs each call when it is submitted."""

    workers = 1

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress

    def offer(self, waiting: int) -> None:
        """Nobody waits here."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(call(*args, progress=self.progress, **kwargs))
        except Exception as error:  # noqa: BLE001 - a Future hands the error to whoever asks for the result
            future.set_exception(error)
        return future
