"""`ablate.lr_find`, `ablate.train` and `ablate.compare`: single steps without a whole study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import pandas as pd
from torch import nn

from ablate.api.arguments import check_arguments, checked
from ablate.api.open_task import opened_for
from ablate.api.result import Study
from ablate.api.settings import StudySettings, whole
from ablate.api.stages import run_stages, shown_for
from ablate.catalogue.own_tricks import using_tricks
from ablate.catalogue.registry import registry
from ablate.ledger.store import Ledger
from ablate.ranking.estimation.compare import Comparison
from ablate.records.arguments import parameters_of
from ablate.records.errors import AblateError, InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Result, Run
from ablate.study.recipes import read_recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ablate.protocol.anywhere.record import LRFindResult


@dataclass(frozen=True)
class LearningRate:
    """The result of the six steps. `passed`: no step failed. `document`: as in `lr-find.json`."""

    learning_rate: float | None
    weight_decay: float | None
    passed: bool
    document: Mapping[str, Any]

    @property
    def steps(self) -> pd.DataFrame:
        """step, name, verdict (pass, warn, fail, skipped), and the findings."""
        return pd.DataFrame(
            [
                {
                    "step": step["step"],
                    "name": step["name"],
                    "verdict": step["verdict"],
                    "findings": "; ".join(finding["message"] for finding in step["findings"]),
                }
                for step in self.document["steps"]
            ]
        )

    def plot_lr_find(self, ax: Axes | None = None, step: int = 4) -> Axes:
        """Draw the figures of a step, by default the grid of rates (matplotlib). Raises InputError if it has none."""
        from ablate.api.plots import plot_lr_find

        return plot_lr_find(self.document, ax, step)

    def __repr__(self) -> str:
        rate = f"{self.learning_rate:.3g}" if self.learning_rate is not None else "none"
        rows = [f"  {row.step} {row.name}: {row.verdict}" for row in self.steps.itertuples(index=False)]
        return "\n".join([f"learning rate {rate}, weight decay {self.weight_decay}", *rows])

    def _repr_html_(self) -> str:
        rate = f"{self.learning_rate:.3g}" if self.learning_rate is not None else "none"
        head = f"<strong>learning rate {rate}, weight decay {self.weight_decay}</strong>"
        return head + str(self.steps.to_html(index=False, border=0))


@dataclass(frozen=True)
class Trained:
    """One run: its metrics, and the file of the scored weights."""

    run: Run
    result: Result
    weights: Path
    model: nn.Module

    @property
    def metrics(self) -> dict[str, float]:
        """`split/metric` -> value, at the scored epoch."""
        return dict(self.result.metrics)

    @property
    def curves(self) -> pd.DataFrame:
        """One row per epoch (index, from 1), one column per metric."""
        curves = {name: pd.Series(list(values)) for name, values in self.result.curves.items()}
        frame = pd.DataFrame(curves)
        frame.index = pd.RangeIndex(1, len(frame) + 1, name="epoch")
        return frame

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {value:.4f}" for name, value in sorted(self.result.metrics.items()))
        return f"Trained({shown}; weights: {self.weights})"


def lr_find(
    task: Any = None,
    train_loader: Any = None,
    validation_loader: Any = None,
    *,
    model: Callable[[], nn.Module] | None = None,
    data: Any = None,
    criterion: str = "",
    budget: Any = None,
    force: bool = False,
    **settings: Any,
) -> LearningRate | LRFindResult:
    """Find a sound learning rate and weight decay in six steps. Task, model and data: as for `study`.

    budget: of the steps, "2m", "90s" or "8runs". A step that fails ends the protocol unless `force`; the result then has `passed`
    False and says what to try.
    With a ready module and loaders, `lr_find(module, train_loader, validation_loader, optimizer=torch.optim.AdamW, loss=…)`,
    no task is needed: see `ablate.protocol.anywhere.find.lr_find`, which takes the `settings`.
    """
    if isinstance(task, nn.Module):
        from ablate.protocol.anywhere.find import lr_find as of_module

        return of_module(task, train_loader, validation_loader, budget=budget, **settings)
    names = [*parameters_of(lr_find), *StudySettings.__annotations__]
    check_arguments({"budget": budget, "criterion": criterion, **settings}, names)
    opened, options = opened_for(task, cast(StudySettings, settings), model, data, criterion)
    try:
        done = run_stages(
            opened, options, ["lr-find", "report"], lr_find_budget=budget or "", force=force,
            quiet=bool(settings.get("quiet", False)),
        )  # fmt: skip
        document = done.data.lr_find or {}
    except InputError:
        raise
    except AblateError:  # a step failed: the document names it and the reason
        with Ledger.open(options.studies / f"{opened.name}.db", write=False) as ledger:
            document = ledger.fact("lr-find") or {}
        if not document:
            raise
    passed = all(step["verdict"] != "fail" for step in document["steps"])
    return LearningRate(document.get("learning_rate"), document.get("weight_decay"), passed, document)


def recipe_of(given: Any, lr: float | None = None) -> Recipe:
    """A recipe from a Recipe, a dictionary, the path of a TOML file, or the recommendation of a `Study`."""
    catalogue = registry()
    if given is None:
        return Recipe.of(catalogue, {"momentum": {"lr": 0.05 if lr is None else lr}})
    if lr is not None:
        raise InputError("lr is for a run without a recipe", hint="set the rate in the recipe")
    if isinstance(given, Study):
        if given.recommended is None:
            raise InputError(f"the study '{given.name}' has no recipe yet", hint="run the stage search")
        given = given.recommended
    if isinstance(given, Mapping):
        return Recipe.of(catalogue, given)
    if isinstance(given, str | Path):
        return read_recipe(Path(given), catalogue)
    raise InputError(
        f"a recipe cannot be a {type(given).__name__}", hint="give a dict, a Recipe, a path or a Study"
    )


@checked
def train(
    task: Any = None,
    recipe: Any = None,
    *,
    model: Callable[[], nn.Module] | None = None,
    data: Any = None,
    criterion: str = "",
    lr: float | None = None,
    **settings: Unpack[StudySettings],
) -> Trained:
    """Train one recipe once and save the scored weights. Call it again to resume.

    task: as for `study`, or a `Study`. recipe: a `Recipe`, a dictionary (`{"adam": {"lr": 1e-3}, "dropout": {"p": 0.2}}`),
    a path, or a `Study`, whose recommendation is used; without one, SGD with momentum at `lr`.
    """
    from ablate.lanes.weights import load
    from ablate.study.environment import device_of
    from ablate.study.single import train_single

    opened, options = opened_for(task, settings, model, data, criterion)
    quiet = bool(settings.get("quiet", False))
    with using_tricks(opened.tricks), shown_for(opened, quiet=quiet) as progress:
        chosen = recipe_of(task if recipe is None and isinstance(task, Study) else recipe, lr)
        epochs = opened.study.epochs or opened.task.epochs
        progress.stage("train", epochs)
        done = train_single(
            opened.task, chosen, seed=whole("seed", settings, 0) or 0, epochs=epochs,
            device=device_of(options.device), folder=options.reports / opened.name,
            report=lambda report: progress.trained(1), say=progress.say,
        )  # fmt: skip
        return Trained(done.run, done.result, done.weights, load(done.weights, task=opened.task))


@checked
def compare(
    a: Any,
    b: Any,
    task: Any = None,
    *,
    model: Callable[[], nn.Module] | None = None,
    data: Any = None,
    criterion: str = "",
    margin: float | None = None,
    **settings: Unpack[StudySettings],
) -> Comparison:
    """Train two recipes on the same seeds, and stop as soon as one is shown to be better. `effect` > 0: A is better.

    a, b: recipes, in any form that `train` takes. Task, model and data: as for `study`. Call it again to resume.
    """
    from ablate.study.compare import compare_recipes
    from ablate.study.resume import session_of

    opened, options = opened_for(task, settings, model, data, criterion)
    with using_tricks(opened.tricks):
        one, other = recipe_of(a), recipe_of(b)
    if one == other:
        raise InputError("the two recipes are the same", hint="give two that differ")
    opened = replace(opened, name=f"compare-{one.hash}-{other.hash}", text=opened.study.to_toml())
    with (
        using_tricks(opened.tricks),
        shown_for(opened, quiet=bool(settings.get("quiet", False))) as progress,
        session_of(opened, options, progress) as session,
    ):
        return compare_recipes(session, one, other, margin)
