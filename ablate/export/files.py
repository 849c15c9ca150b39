"""The files of an export: `script`, `recipe`, `weights`, `text`, `parquet`, and the runs for trackers."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ablate.export.ablation_text import ablation, task_name
from ablate.export.runs import tracked
from ablate.export.script import script_of
from ablate.export.task_text import not_written
from ablate.export.trackers import to_mlflow, to_parquet, to_tensorboard, to_wandb
from ablate.export.winner import Winner, winner
from ablate.ledger.entry import Entry
from ablate.ledger.export import curve_rows
from ablate.ledger.store import Ledger
from ablate.records.designs import EXPLORATORY
from ablate.records.errors import InputError, unknown
from ablate.records.files import write_bytes, write_text
from ablate.records.recipe import Recipe
from ablate.report.collect import gather
from ablate.report.data import ReportData
from ablate.report.documents import recipe_toml
from ablate.tasks.describe import describe

if TYPE_CHECKING:
    from ablate.tasks.task import Task

KINDS = ("script", "recipe", "weights", "text", "parquet", "mlflow", "wandb", "tensorboard")
USUAL = ("script", "recipe", "weights", "text")
TRACKERS = {"mlflow": to_mlflow, "wandb": to_wandb, "tensorboard": to_tensorboard}
NEEDS_TASK = frozenset({"script", "weights"})
"""Kinds that need the task's data and model, which the ledger does not have."""


@dataclass(frozen=True)
class Exported:
    """`files`: kind -> what was written. `notes`: what is left out and why, in a line each."""

    folder: Path
    run: str
    files: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def check_kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    """The kinds in their order; the usual ones if none is named. Raises InputError for an unknown kind."""
    asked = [kind for kind in kinds if kind]
    for kind in asked:
        if kind not in KINDS:
            raise unknown("export", kind, KINDS)
    return tuple(kind for kind in KINDS if kind in asked) or USUAL


def export(
    ledger: Path,
    folder: Path,
    kinds: Sequence[str] = USUAL,
    *,
    load_task: Callable[[], Task],
    recipe: Recipe | None = None,
    seed: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write `kinds` of the study in `ledger` into `folder`. `load_task` is called where one needs the task.

    Everything that can be refused is refused before the first file is written. Raises InputError, AblateError.
    """
    with Ledger.open(ledger, write=False) as opened:
        facts, entries = opened.facts(), opened.entries(scores=False)
    data = gather(facts, entries)
    done = Exported(folder, "")
    of_recipe = NEEDS_TASK | {"recipe"}
    chosen = winner(data, entries, recipe=recipe, seed=seed) if of_recipe & set(kinds) else None
    task = load_task() if NEEDS_TASK & set(kinds) else None
    if task is not None:
        check_unchanged(task, facts.get("task") or {})
    script = None
    if "script" in kinds and chosen is not None and task is not None:
        why = not_written(task)
        if why and kinds == USUAL:
            done.notes.append(why)
        else:
            script = script_of(task, chosen.run, about=about(data, chosen), expected=chosen.metrics)
            done.notes.extend(script.left_out)
    text = ablation(data) if "text" in kinds and (kinds != USUAL or is_ranked(data)) else None
    if "text" in kinds and text is None:
        done.notes.append("no paragraph and table: nothing has been ranked yet")
    _make(folder)
    files = done.files
    if script is not None:
        write_text(folder / "train.py", script.text)
        write_bytes(folder / "data.pt", _archive(script.data))
        files["script"] = [str(folder / "train.py"), str(folder / "data.pt")]
    if "recipe" in kinds and chosen is not None:
        write_text(folder / "recipe.toml", recipe_toml(chosen.run.recipe.to_dict(), data.name))
        files["recipe"] = [str(folder / "recipe.toml")]
    if text is not None:
        write_text(folder / "ablation.md", text.markdown())
        write_text(folder / "ablation.tex", text.latex())
        files["text"] = [str(folder / name) for name in ("ablation.md", "ablation.tex")]
    if "weights" in kinds and chosen is not None and task is not None:
        files["weights"] = [str(_weights(task, chosen, folder, say))]
    if "parquet" in kinds:
        files["parquet"] = [str(path) for path in to_parquet(tables(data, entries), folder)]
    for kind in (kind for kind in kinds if kind in TRACKERS):
        files[kind] = [str(TRACKERS[kind](tracked(entries), data.name, folder))]
    return Exported(folder, chosen.run.identity if chosen else "", files, done.notes)


def _archive(data: Mapping[str, Any]) -> bytes:
    """`data` as torch saves it. As a whole in memory, as the task's data are: torch does not write atomically."""
    buffer = io.BytesIO()
    torch.save(data, buffer)
    return buffer.getvalue()


def check_unchanged(task: Task, trained: Mapping[str, Any]) -> None:
    """Raise InputError if `task` is not the one that the runs trained (`trained`: the ledger's fact "task")."""
    about = describe(task)
    for what, key in (("the data", "data_sha256"), ("the model, its loss or its metrics", "definition")):
        if trained.get(key, about[key]) != about[key]:
            raise InputError(
                f"{what} of '{task.name}' changed since the study was run, so its runs cannot be repeated",
                hint="undo the change, run the study again, or export what needs no task: --to text,recipe",
            )


def is_ranked(data: ReportData) -> bool:
    """Whether there is an effect from a designed comparison."""
    return data.ranking is not None and bool((data.ranking["estimand"] != EXPLORATORY).any())


def about(data: ReportData, chosen: Winner) -> str:
    """Where the run is from, in two sentences."""
    run = chosen.run
    where = (
        f"run {run.identity} of its stage {chosen.entry.stage}"
        if chosen.entry
        else f"a run with seed {run.seed}"
    )
    return (
        f"Study '{data.name}' of ablate on the task '{task_name(data)}', {where}: the recipe "
        f"{run.recipe.hash} for {run.epochs} epochs."
    )


def tables(data: ReportData, entries: Sequence[Entry]) -> dict[str, Any]:
    """Frames of runs, curves and ranking, with the columns of the report's CSV files."""
    import pandas as pd

    from ablate.ledger.export import CURVE_COLUMNS
    from ablate.report.data import RANKING_COLUMNS

    ranking = data.ranking if data.ranking is not None else pd.DataFrame(columns=list(RANKING_COLUMNS))
    return {
        "runs": pd.DataFrame(data.run_columns),
        "curves": pd.DataFrame(list(curve_rows(entries)), columns=list(CURVE_COLUMNS)),
        "ranking": ranking,
    }


def _weights(task: Task, chosen: Winner, folder: Path, say: Callable[[str], None]) -> Path:
    """Train the run once; the path of its weights."""
    from ablate.study.single import train_single

    say(f"weights: training the run of seed {chosen.run.seed} once, {chosen.run.epochs} epochs")
    run = chosen.run
    done = train_single(
        task, run.recipe, seed=run.seed, epochs=run.epochs, device=torch.device("cpu"), folder=folder,
        report=lambda report: None, say=say,
    )  # fmt: skip
    return done.weights.rename(folder / "weights.safetensors")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be made ({error.strerror})", hint="name another with --out") from error  # fmt: skip
