"""A model or its code that was edited between two sessions of a study: runs of both are kept apart.

The ledger of the earlier model is put aside under its hash and a new one begins; editing back takes the earlier one up again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ablate.ledger.store import Ledger
from ablate.study.growth import link
from ablate.tasks.describe import describe
from ablate.tasks.task import Task


def code_archive(path: Path, defined: Mapping[str, str]) -> Path:
    """Where the ledger of another model, or of other code, is put."""
    return path.with_name(f"{path.stem}.model-{defined['structure'][:6]}-{defined['code'][:6]}.db")


def keep_apart(path: Path, task: Task) -> Iterator[str]:
    """Put the ledger at `path` aside if its runs trained another model or other code of the task. Yields what is said.

    Changed data is left to be refused.
    """
    if not path.is_file():
        return
    with Ledger.open(path, write=True) as ledger:  # locked until it is put aside
        known: dict[str, Any] = ledger.fact("task") or {}
        before = known.get("definition")
        about = describe(task)
        now = about["definition"]
        if not before or before == now or known.get("data_sha256") != about["data_sha256"]:
            return
        runs = len(ledger.finished())
        aside, earlier = code_archive(path, before), code_archive(path, now)
        aside.unlink(missing_ok=True)
        link(path, aside)  # at no moment is the only name gone
        again = earlier.is_file()
        if again:
            os.replace(earlier, path)
        else:
            path.unlink()
    what = "the structure of the model" if before["structure"] != now["structure"] else "the code of the model, its loss or its metrics"  # fmt: skip
    how = "the study of it as it is now is taken up again" if again else "the study begins again"
    yield f"{what} has changed ({task.source or task.name}): {runs} runs of before are kept apart in {aside.name}; {how}"
