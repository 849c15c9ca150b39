"""What would stop a study's stages later is found before anything is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablate.catalogue.registry import registry
from ablate.ledger.store import Ledger
from ablate.records.errors import InputError
from ablate.study.environment import device_of
from ablate.study.opening import Opened, Options, check_executor
from ablate.study.recipes import read_recipe

BUILT_ON_A_RATE = {"search", "rank", "confirm"}
BUILT_ON_A_RECIPE = {"rank", "confirm"}


def check_ready(opened: Opened, options: Options, stages: Sequence[str]) -> None:
    """Raise InputError if `stages` cannot be begun: device, executor, folders, a missing stage or recipe."""
    device_of(options.device)
    check_executor(options.executor)
    check_folder(options.studies, "--studies")
    if "report" in stages:
        check_folder(options.reports / opened.name, "--out")
    facts = _facts(options.studies / f"{opened.name}.db")
    rate = (facts.get("lr-find") or {}).get("learning_rate")
    if (
        opened.study.needs_lr_find
        and rate is None
        and "lr-find" not in stages
        and BUILT_ON_A_RATE & set(stages)
    ):
        raise no_rate()
    if BUILT_ON_A_RECIPE & set(stages):
        around = opened.study.rank.around
        if around == "best":
            if "search" not in stages and not (facts.get("search") or {}).get("best"):
                raise no_best()
        elif around != "baseline":
            read_recipe(Path(around), registry())


def check_folder(folder: Path, option: str) -> None:
    """Raise InputError if `folder` is neither there and writable, nor can be made."""
    hint = f"name another with {option}"
    try:
        there = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    except ValueError as error:  # a null character
        raise InputError(f"{str(folder)!r} cannot be a folder", hint=hint) from error
    if not there.is_dir():
        what = "is a file" if there == folder else f"cannot be made: {there} is a file"
        raise InputError(f"the folder {folder} {what}", hint=hint)
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"the folder {there} cannot be written", hint=hint)
    if any(len(os.fsencode(part)) > 255 for part in folder.parts):
        raise InputError(f"the folder {folder} cannot be made: its name is too long", hint=hint)


def no_rate() -> InputError:
    return InputError("the baseline's lr is left to lr-find", hint="run the stage lr-find, or give a number")


def no_best() -> InputError:
    return InputError("there is no best recipe yet", hint="run the stage search, or rank --around baseline")


def _facts(ledger: Path) -> dict[str, Any]:
    if not os.path.lexists(ledger):
        return {}
    with Ledger.open(ledger, write=False) as opened:
        return opened.facts()
