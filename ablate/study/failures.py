"""Handling of failed jobs: the run has failed, the study stops, or the job is submitted again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

from ablate.executors.job import Job
from ablate.executors.job_error import JobError
from ablate.records.bug_report import study_bug_report
from ablate.records.errors import AblateError, InputError
from ablate.records.files import write_text
from ablate.records.run import Outcome, Result
from ablate.records.secrets import mask_secrets

ALIKE = 3
"""The study stops after this many runs that failed with the same exception of the user's code."""
RETRIES = 2
"""How often a run that was lost with its worker is submitted again."""


class Failures:
    """Counts failures, and writes the latest traceback to `file` for the user.

    `about`: the study's fact in the ledger, for the report of an error of ablate's own.
    """

    def __init__(self, file: Path, about: Callable[[], Mapping[str, Any]]) -> None:
        self.file, self.about = file, about
        self.alike: Counter[tuple[str, str]] = Counter()
        self.lost: Counter[str] = Counter()

    def result(self, error: JobError) -> Result:
        """The result of the run that raised `error`. Raises AblateError if the study cannot usefully continue:
        the exception is ablate's own, or the third of its kind in the user's code."""
        if error.is_internal:
            study = self.about()
            report = study_bug_report(error.trace, str(study.get("command", "")), str(study.get("file", "")))
            where = self._written(report)
            raise _with_trace(
                AblateError(
                    f"training stopped by an error in ablate itself: {mask_secrets(str(error))}",
                    hint=f"finished runs are kept; please report it with its traceback ({where})",
                ),
                error,
            )
        where = self._written(mask_secrets(error.trace))
        self.alike[error.message, error.location] += 1
        if self.alike[error.message, error.location] >= ALIKE:
            raise _with_trace(
                AblateError(
                    f"{ALIKE} runs failed alike in your code: {mask_secrets(str(error))}",
                    hint=f"correct it and run the same command again ({where})",
                ),
                error,
            )
        return Result(Outcome.FAILED, note=mask_secrets(str(error)))

    def _written(self, text: str) -> str:
        """Where the traceback `text` is. A folder that cannot be written to must not hide the error itself."""
        try:
            write_text(self.file, text)
        except InputError as unwritten:
            return f"{unwritten.message}: run it with --debug"
        return f"traceback: {self.file}, or run it with --debug"

    def attempts_lost(self, job: Job) -> int:
        """Counts a loss of the job's worker; the most losses of any of its runs."""
        self.lost.update(run.identity for run in job.runs)
        return max(self.lost[run.identity] for run in job.runs)


def _with_trace(failure: AblateError, error: JobError) -> AblateError:
    """`failure`, with the traceback of the worker as a note, for --debug."""
    failure.add_note(mask_secrets(error.trace))
    return failure


def lost_worker(error: BaseException) -> str:
    """What became of a worker whose job is submitted again."""
    killed = isinstance(error, BrokenExecutor)
    return f"a worker was lost ({'killed, often because memory ran out' if killed else type(error).__name__})"


def worker_lost(error: BaseException) -> AblateError:
    """The error of runs that could not be trained because their worker was lost each time."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return AblateError(
        f"a worker process was killed (often by the operating system, because memory ran out): {reason}",
        hint="finished runs are kept: run the same command again, with fewer --workers or --lanes",
    )
