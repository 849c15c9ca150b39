"""A model or its code was edited between two sessions of a study: runs of both are kept apart.

The ledger of the earlier model is put aside under its hash and a new one begins; undoing the edit uses the earlier one again.
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
    """Put the ledger at `path` aside if its runs trained another model or other code of the task. Yields messages.

    Changed data are refused elsewhere.
    """
    if not path.is_file():
        return
    about = describe(task)
    if not _edited(Ledger.facts_of(path), about):
        return
    with Ledger.open(path, write=True) as ledger:  # locked until it is put aside
        facts = ledger.facts()
        if not _edited(facts, about):
            return
        before, now = facts["task"]["definition"], about["definition"]
        runs = len(ledger.finished())
        aside, earlier = code_archive(path, before), code_archive(path, now)
        aside.unlink(missing_ok=True)
        link(path, aside)  # the ledger has a name at every moment
        again = earlier.is_file()
        if again:
            os.replace(earlier, path)
        else:
            path.unlink()
    what = "the structure of the model" if before["structure"] != now["structure"] else "the code of the model, its loss or its metrics"  # fmt: skip
    how = "the earlier study of this version continues" if again else "the study begins again"
    yield f"{what} has changed ({task.source or task.name}): {runs} earlier runs are kept in {aside.name}; {how}"


def _edited(facts: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    """Whether a ledger with `facts` has runs of another model or other code than the task that `about` describes."""
    earlier = facts.get("task") or {}
    before = earlier.get("definition")
    return (
        bool(before) and before != about["definition"] and earlier.get("data_sha256") == about["data_sha256"]
    )
