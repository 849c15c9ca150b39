"""More epochs, or a model, its code or an own trick that was edited: runs of the earlier version are kept apart.

The ledger is put aside (`study/aside.py`), and another takes its place: the one that was put aside earlier for this version, or a
new one. A new one of more epochs begins with the learning rate, and the best recipes are tried first. Nothing is ever
deleted: whoever goes back to an earlier version goes on with its ledger.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ablate.catalogue.own_tricks import OptimizerEntry
from ablate.catalogue.registry import Registry
from ablate.catalogue.torch_optimizer import optimizer_class
from ablate.ledger.store import Ledger
from ablate.study.aside import Version, archive_of, free_name, put_aside, version_of
from ablate.study.growth import begin_with_best_of
from ablate.study.study_diff import may_grow
from ablate.tasks.describe import describe
from ablate.tasks.syntax import code_of, code_of_files, sha256, user_file
from ablate.tasks.task import Task


def trick_code(catalogue: Registry) -> dict[str, str]:
    """Name → SHA-256 of the code of the user's own tricks, as syntax trees, with the modules that they import."""
    hashes = {}
    for name in catalogue:
        entry = catalogue.entry(name)
        if isinstance(entry, OptimizerEntry):
            code = code_of([optimizer_class(entry.module)])
        else:
            code = code_of_files([entry.path]) if user_file(entry.path) else []
        if code:
            hashes[name] = sha256(code)
    return hashes


def keep_apart(path: Path, task: Task, essential: str, tricks: Mapping[str, str]) -> Iterator[str]:
    """Put the ledger at `path` aside if its runs are of another version than `task`, with its epochs, and `tricks`. Yields messages.

    Other data are refused elsewhere, and so are fewer epochs than ever before. essential: of the requested study.
    """
    if not path.is_file():
        return
    about = describe(task)
    wanted = Version(task.epochs, essential, str(about["data_sha256"]), **about["definition"], tricks=tricks)
    if not _leaves(path, version_of(Ledger.facts_of(path)), wanted):
        return
    with Ledger.open(path, write=True) as ledger:  # locked until it is put aside
        facts = ledger.facts()
        then = version_of(facts)
        if then is None or not _leaves(path, then, wanted):
            return
        edited = then.differs(wanted)
        kept = [] if edited else ledger.entries("lr-find")
        runs = len(ledger.finished()) - sum(entry.result.outcome.finished for entry in kept)
        aside, earlier = free_name(path, then), archive_of(path, wanted)
        new = earlier or path.with_name(f".{path.stem}.new")
        if earlier is None:
            new.unlink(missing_ok=True)  # of a process that was killed
            with Ledger.open(new, write=True) as begun:
                begun.record(kept)
                now = {
                    "epochs": wanted.epochs,
                    "essential": essential,
                    "created": time.strftime("%Y-%m-%d %H:%M:%S %z"),
                }
                begun.put("study", {**facts["study"], **now})
                begun.put("task", about)
                begun.put("trick_code", dict(tricks))
                if not edited:
                    begin_with_best_of(begun, facts, ledger.entries(scores=False), aside.name)
        put_aside(path, aside, new)
    if edited:
        how = "the earlier study of this version continues" if earlier else "the study begins again"
        yield f"{_what(edited)} has changed ({task.source or task.name}): {runs} earlier runs are kept in {aside.name}; {how}"
    elif earlier:
        yield f"the study of {wanted.epochs} epochs continues; {runs} runs of {then.epochs} epochs are kept in {aside.name}"
    else:
        yield (
            f"{wanted.epochs} epochs instead of {then.epochs}: {runs} runs of {then.epochs} epochs are kept in {aside.name} and are not compared "
            "with longer ones; the learning rate is kept, and the best recipes are tried first"
        )


def _leaves(path: Path, then: Version | None, wanted: Version) -> bool:
    """Whether the ledger at `path`, with runs of `then`, makes room for one of the version `wanted`."""
    if then is None or then.data != wanted.data:
        return False
    if then.differs(wanted):
        return True
    if then.epochs == wanted.epochs or not may_grow(then.essential, wanted.essential):
        return False
    return wanted.epochs > then.epochs or archive_of(path, wanted) is not None


def _what(edited: Sequence[str]) -> str:
    """The first of `Version.differs` in words."""
    told = {
        "structure": "the structure of the model",
        "code": "the code of the model, its loss or its metrics",
    }
    return told.get(edited[0], f"the code of the trick {edited[0]}")
