"""Export an open study, whose task is available as a name or an object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ablate.catalogue.own_tricks import NONE, using_tricks
from ablate.export.files import NEEDS_TASK, Exported, check_kinds, export
from ablate.records.errors import InputError
from ablate.study.request import Opened, Options
from ablate.study.resume import with_choices

if TYPE_CHECKING:
    from ablate.tasks.task import Task

FOLDER = "export"
"""Folder within that of a study's report."""


def export_opened(
    name: str, opened: Opened | None, options: Options, kinds: Sequence[str], say: Callable[[str], None]
) -> Exported:
    """Write `kinds` (the usual ones if empty) of the study `name` into the folder of its report.

    `opened`: None for a study that was loaded from its ledger, which does not hold the task. Raises InputError.
    """
    chosen = check_kinds(kinds)
    if opened is None and NEEDS_TASK & set(chosen):
        raise InputError(
            f"the study '{name}' was loaded from its ledger, which does not hold the task",
            hint='export it by the command line, or name other kinds: study.export("recipe", "text")',
        )

    def load_task() -> Task:
        assert opened is not None
        return with_choices(opened)

    with using_tricks(NONE if opened is None else opened.tricks):
        return export(
            options.studies / f"{name}.db",
            options.reports / name / FOLDER,
            chosen,
            load_task=load_task,
            say=say,
        )
