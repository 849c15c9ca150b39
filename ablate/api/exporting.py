"""Export a study by its name, file or task: ledger and task are found as `ablate study` finds them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.api.export_opened import FOLDER
from ablate.api.stages import check_not_from_python, with_tricks
from ablate.catalogue.own_tricks import NONE, using_tricks
from ablate.catalogue.registry import registry
from ablate.export.files import NEEDS_TASK, Exported, check_kinds, export
from ablate.records.errors import InputError
from ablate.records.names import check_name
from ablate.study.recipes import read_recipe
from ablate.study.request import Opened, Options, find
from ablate.study.resume import with_choices
from ablate.tasks.task_cards import CARDS

if TYPE_CHECKING:
    from ablate.tasks.task import Task


def export_study(
    given: str,
    kinds: Sequence[str] = (),
    *,
    recipe: Path | None = None,
    seed: int | None = None,
    studies: Path = Path("studies"),
    reports: Path = Path("reports"),
    name: str = "",
    tricks: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write `kinds` (`export.files.KINDS`; the usual ones if empty) of a study into `reports/NAME/export`.

    given: the study's name, its file, or a task. recipe: the path of a recipe to export instead of the recommended one. seed: of the run.
    Raises InputError for a study without a ledger, a recipe or a task that can be loaded.
    """
    chosen = check_kinds(kinds)
    options = Options(studies=studies, reports=reports, name=name, tricks=tricks)
    opened = _opened(given, options, needed=bool(NEEDS_TASK & set(chosen)))
    if isinstance(opened, Opened):
        opened = with_tricks(opened, tricks)
        called = check_name(name) if name else opened.name
    else:
        called = check_name(name or opened)
    ledger = studies / f"{called}.db"
    if not ledger.is_file():
        raise InputError(f"there is no ledger {ledger}", hint=f"run: ablate study {given}")

    def load_task() -> Task:
        assert isinstance(opened, Opened)
        return with_choices(opened)

    study_tricks = opened.tricks if isinstance(opened, Opened) else NONE
    with using_tricks(study_tricks):
        return export(
            ledger, reports / called / FOLDER, chosen, load_task=load_task, seed=seed, say=say,
            recipe=read_recipe(recipe, registry()) if recipe else None,
        )  # fmt: skip


def _opened(given: str, options: Options, *, needed: bool) -> Opened | str:
    """The opened study; only its name if no task is needed. Of a study that is named by its ledger, the task is loaded if it is built
    in: a path in a ledger is never loaded, since the ledger may be somebody else's."""
    named = options.studies / f"{given}.db"
    if "/" not in given and named.is_file() and not (options.studies / f"{given}.toml").is_file():
        from ablate.ledger.store import Ledger

        if not needed:
            return given
        check_not_from_python(given, options)
        study = Ledger.facts_of(named).get("study") or {}
        source = str(study.get("given") or study.get("task") or given)
        if source not in CARDS:
            called = "" if options.name else f" --name {given}"
            raise InputError(
                f"{named} says that it is of {source}, and ablate loads no file that a ledger names",
                hint=f"name it: ablate export {shlex.quote(source)}{called}",
            )
        return replace(find(source, options), name=given)
    return find(given, options)
