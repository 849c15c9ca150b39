"""All claims of a folder: find their files, run them one after the other, and collect the results as rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from math import exp
from pathlib import Path

from ablate.catalogue.registry import registry
from ablate.records.claim_file import ClaimFile, parse
from ablate.records.claim_metrics import COSTS, MEASURED_SEPARATELY
from ablate.records.errors import InputError, unknown
from ablate.records.names import check_name
from ablate.records.study import StudyFile
from ablate.study.claims.run import ClaimResult, run_claim
from ablate.study.progress import Progress
from ablate.study.request import Opened, Options, checked_task, relative_to_study
from ablate.study.resume import session_of

Row = dict[str, str | int | float | None]
Shown = Callable[[Opened], AbstractContextManager[Progress]]
"""Shows the progress of a study."""


def claim_files(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """The claim files of a folder, all or those of `names`, in alphabetical order. Raises InputError."""
    paths = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    if not paths:
        raise InputError(f"there are no claim files in {folder}", hint="name their folder with --claims")
    for name in names:
        if name not in paths:
            raise unknown("claim", name, paths)
    return [path for name, path in paths.items() if not names or name in names]


def read_claim(path: Path) -> tuple[ClaimFile, str]:
    """The claim of a file, and the file's text. Raises InputError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the claim file {path} cannot be read: {error}") from error
    return parse(text, str(path), catalogue=registry()), text


def open_claim(path: Path) -> tuple[ClaimFile, Opened]:
    """The claim of a file, and what a session needs of it; the task is loaded and checked. Raises InputError."""
    claim, text = read_claim(path)
    task = checked_task(relative_to_study(claim.task, path))
    if claim.metric not in MEASURED_SEPARATELY:
        task.metric_info(claim.metric)
    study = StudyFile(
        task=task.source or task.name, metric=claim.tuned_on and f"validation/{claim.tuned_on}", epochs=claim.epochs, seed=claim.seed,
        baseline=claim.without.to_dict(),
    )  # fmt: skip
    return claim, Opened(check_name(path.stem), study, task, text, str(path))


def run_claims(
    files: Sequence[Path], options: Options, pairs: int, shown: Shown, *, thorough: bool = False
) -> Iterator[Row]:
    """Yields the row of each claim as soon as it is available. Ledgers are kept in `options.studies`. All files are read and all tasks loaded before the first is run."""
    for claim, opened in [open_claim(path) for path in files]:
        with shown(opened) as progress, session_of(opened, options, progress) as session:
            yield row_of(
                opened.name,
                claim,
                run_claim(session, claim, pairs, thorough=thorough),
                session.context.task.name,
            )


def row_of(name: str, claim: ClaimFile, result: ClaimResult, task: str) -> Row:
    """One claim as a row of the table. The effect of a cost is the ratio, with the trick to without it."""
    effect = result.effect
    if claim.metric in COSTS:
        effect = replace(effect, effect=exp(effect.effect), low=exp(effect.low), high=exp(effect.high))
    source = next(
        (one.source for one in registry()[claim.trick].claims if one.metric == claim.metric),
        registry()[claim.trick].claims[0].source,
    )
    return {
        "claim": name,
        "trick": claim.trick,
        "statement": claim.statement,
        "task": task,
        "metric": claim.metric,
        "direction": claim.direction,
        "without": effect.without,
        "with": effect.with_trick,
        "effect": effect.effect,
        "low": effect.low,
        "high": effect.high,
        "margin": claim.margin,
        "verdict": result.verdict,
        "pairs": effect.pairs,
        "failed_without": result.failed[0],
        "failed_with": result.failed[1],
        "rates": claim.rates,
        "rate_without": result.rate_without,
        "rate_with": result.rate_with,
        "at_edge": int(result.at_edge),
        "runs": result.runs,
        "source": f"{source.authors} {source.year}",
        "url": source.url,
    }
