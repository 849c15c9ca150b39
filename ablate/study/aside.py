"""Ledgers of one study that are put aside: of another budget, of another model, of other code.

An archive is chosen by what its facts say, never by its name, and is never removed or overwritten.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.ledger.store import Ledger
from ablate.records.files import copy_file, fsync_folder
from ablate.study.study_diff import may_grow

ARCHIVE = re.compile(r"\.(\d+-epochs|model-[0-9a-f]).*\.db")
"""What follows the study's name in the name of an archive."""


@dataclass(frozen=True)
class Version:
    """What the runs of one ledger have in common.

    essential: the settings of the study, as TOML. data: SHA-256. structure, code: of the task (`tasks/definition.py`). tricks: name → SHA-256
    of the code of the user's own ones.
    """

    epochs: int
    essential: str
    data: str
    structure: str
    code: str
    tricks: Mapping[str, str]

    def differs(self, other: Version) -> list[str]:
        """What of the code differs: "structure", "code", names of tricks. A trick that only one of them has does not count."""
        kinds = [kind for kind in ("structure", "code") if getattr(self, kind) != getattr(other, kind)]
        return kinds + [name for name in self.tricks if other.tricks.get(name, self.tricks[name]) != self.tricks[name]]  # fmt: skip

    def goes_on_with(self, other: Version) -> bool:
        """Whether runs of both may stand in one ledger."""
        same = (self.epochs, self.data) == (other.epochs, other.data)
        return same and not self.differs(other) and may_grow(other.essential, self.essential)


def version_of(facts: Mapping[str, Any]) -> Version | None:
    """The version of a ledger with `facts`; None if nothing was trained for it."""
    study, task = facts.get("study"), facts.get("task")
    if not study or not task or not task.get("definition"):
        return None
    return Version(
        int(study["epochs"]), study["essential"], str(task["data_sha256"]), task["definition"]["structure"],
        task["definition"]["code"], facts.get("trick_code") or {},
    )  # fmt: skip


def archives(path: Path) -> list[Path]:
    """The ledgers that were put aside from `path`, by name."""
    return sorted(
        other
        for other in path.parent.iterdir()
        if other.name.startswith(f"{path.stem}.") and ARCHIVE.fullmatch(other.name[len(path.stem) :])
    )


def archive_of(path: Path, version: Version) -> Path | None:
    """The ledger that was put aside from `path` and goes on with `version`; of several the one with most tricks in common, then most runs."""
    found: list[tuple[int, int, Path]] = []
    for other in archives(path):
        facts = Ledger.facts_of(other)
        then = version_of(facts)
        if then is not None and then.goes_on_with(version) and facts["study"].get("name") == path.stem:
            with Ledger.open(other, write=False) as ledger:
                found.append((len(then.tricks.keys() & version.tricks.keys()), len(ledger.finished()), other))
    return max(found)[-1] if found else None


def put_aside(path: Path, aside: Path, new: Path) -> None:
    """Give the ledger at `path`, which must be locked, the name `aside` (of `free_name`), and `new` its place.

    At no moment is there no ledger at `path`, and none is without a name.
    """
    if not aside.exists():  # else it is this ledger: a process was killed here
        link(path, aside)
    os.replace(new, path)
    fsync_folder(path.parent)


def free_name(path: Path, version: Version) -> Path:
    """The name of an archive for the ledger at `path`, which no file has but, after a kill, this ledger itself."""
    told = [version.structure, version.code, sorted(version.tricks.items()), version.data, version.essential]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]
    number = 1
    while True:
        more = f".{number}" if number > 1 else ""
        aside = path.with_name(f"{path.stem}.{version.epochs}-epochs.model-{digest}{more}.db")
        if not os.path.lexists(aside) or (aside.exists() and aside.samefile(path)):
            return aside
        number += 1


def link(path: Path, other: Path) -> None:
    """The same file under another name; a copy where the file system has no links."""
    try:
        os.link(path, other)
    except FileExistsError:
        raise
    except OSError:
        copy_file(path, other)
