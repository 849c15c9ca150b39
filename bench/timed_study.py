"""`python -m bench.timed_study study …`: `ablate study …`, and the seconds spent training.

The last line of standard output has the wall seconds between the first run sent and the last received, summed over all trainings
of the study. (`--profile` tells the driver's waiting, which is nothing where runs train in the
driver's own process, as on a GPU; and on a GPU it waits for the device at every phase.)
"""

from __future__ import annotations

import time
from typing import Any

spent: list[float] = []


def watch() -> None:
    """Record the duration of every training of the driver in `spent`."""
    from ablate.study.session import Session

    train = Session.train

    def timed(session: Session, *given: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return train(session, *given, **options)
        finally:
            spent.append(time.perf_counter() - started)

    Session.train = timed  # type: ignore[method-assign, assignment]


def main() -> None:
    from ablate.cli import app, study  # study.begin_workers is the one that the command calls

    begin = getattr(study, "begin_workers")  # noqa: B009

    def begin_and_watch(*given: Any) -> None:
        begin(*given)  # first, so that the workers' imports go beside those of `watch`, as in `ablate study`
        watch()

    setattr(study, "begin_workers", begin_and_watch)  # noqa: B010 - mypy would not have a command changed
    try:
        app.main()
    except SystemExit as end:
        if end.code:
            raise
    print(sum(spent))


if __name__ == "__main__":
    main()
