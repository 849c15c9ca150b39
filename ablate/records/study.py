"""The study file: what a person asks for, as TOML. Every mistake is named with its line.

Only the words are read here. What a recipe of the space looks like is known to `search`, what the task
offers to `tasks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from ablate.records import toml
from ablate.records.errors import InputError
from ablate.records.recipe import Catalogue, Recipe
from ablate.records.study_rank import ConfirmSection, RankSection, read_confirm, read_rank
from ablate.records.study_space import SpaceSection, overrides_to_dict, read_space
from ablate.records.table import Table

Sampler = Literal["tpe", "random", "qmc", "gp"]
Pruner = Literal["none", "median", "successive-halving"]
LR_FIND = "lr-find"
DEFAULT_BASELINE: Mapping[str, Any] = {"optimizer": {"name": "momentum", "lr": LR_FIND, "momentum": 0.9}}
_SECTIONS = ("task", "metric", "epochs", "seed", "baseline", "space", "search", "rank", "confirm")


@dataclass(frozen=True, slots=True)
class SearchSection:
    trials: int = 100
    sampler: Sampler = "tpe"
    pruner: Pruner = "successive-halving"


@dataclass(frozen=True, slots=True)
class StudyFile:
    """A study, as asked for. `metric` "" and `epochs` None leave it to the task.

    `baseline` is as written (see `Recipe.of`), except that an `lr` may be the text "lr-find";
    `baseline_recipe` makes a recipe of it.
    """

    task: str = "digits"
    metric: str = ""
    epochs: int | None = None
    seed: int = 0
    baseline: Mapping[str, Any] = field(default_factory=lambda: dict(DEFAULT_BASELINE))
    space: SpaceSection = field(default_factory=SpaceSection)
    search: SearchSection = field(default_factory=SearchSection)
    rank: RankSection = field(default_factory=RankSection)
    confirm: ConfirmSection = field(default_factory=ConfirmSection)

    @property
    def needs_lr_find(self) -> bool:
        """Whether some learning rate of the baseline is left to the protocol."""
        return any(
            isinstance(given, Mapping) and given.get("lr") == LR_FIND for given in self.baseline.values()
        )

    def baseline_recipe(self, catalogue: Catalogue, lr: float | None = None) -> Recipe:
        """The recipe that everything starts from, `lr` in the place of "lr-find". Raises InputError."""
        if self.needs_lr_find and lr is None:
            raise InputError(
                "the baseline's lr is left to lr-find", hint="run lr-find first or give a number"
            )
        recipe = Recipe.of(catalogue, _with_lr(self.baseline, lr))
        if recipe.slot(catalogue, "optimizer") is None:
            raise InputError("the baseline has no optimizer", hint='write optimizer = "momentum"')
        return recipe

    def to_toml(self) -> str:
        """The file, complete, so that it says what was meant also where defaults change later."""
        top: dict[str, Any] = {"task": self.task, "metric": self.metric or None, "epochs": self.epochs}
        sections: dict[str, Mapping[str, Any]] = {
            "baseline": self.baseline,
            "space": {"include": self.space.include, "exclude": self.space.exclude},
            **{
                f"space.{toml.key(name)}": overrides_to_dict(given)
                for name, given in self.space.overrides.items()
            },
            "search": {name: getattr(self.search, name) for name in SearchSection.__slots__},
            "rank": {name: getattr(self.rank, name) for name in RankSection.__slots__},
            "confirm": {"seeds": self.confirm.seeds},
        }
        parts = [_pairs({**top, "seed": self.seed})]
        parts += [f"[{name}]\n{_pairs(pairs)}" for name, pairs in sections.items()]
        return "\n".join(parts)


def default(task: str = "digits") -> StudyFile:
    """The study of `task` when no file says otherwise."""
    return StudyFile(task=task)


def parse(text: str, source: str, *, catalogue: Catalogue) -> StudyFile:
    """The study in `text`, which came from the file `source`.

    Names of tricks and parameters are checked against `catalogue`. Raises InputError: file, line, what is
    wrong, what to do.
    """
    top = Table.read(text, source)
    top.check_keys(_SECTIONS)
    search = top.table("search")
    search.check_keys(SearchSection.__slots__)
    epochs = top.integer("epochs", 1, 1, 1_000_000) if "epochs" in top.data else None
    return StudyFile(
        task=top.text("task", "digits"),
        metric=top.text("metric", ""),
        epochs=epochs,
        seed=top.integer("seed", 0, 0, 2**31 - 1),
        baseline=_baseline(top.table("baseline"), catalogue),
        space=read_space(top.table("space"), catalogue),
        search=SearchSection(
            search.integer("trials", 100, 1, 1_000_000),
            cast(Sampler, search.choice("sampler", "tpe", get_args(Sampler))),
            cast(Pruner, search.choice("pruner", "successive-halving", get_args(Pruner))),
        ),
        rank=read_rank(top.table("rank"), catalogue),
        confirm=read_confirm(top.table("confirm")),
    )


def _baseline(table: Table, catalogue: Catalogue) -> Mapping[str, Any]:
    """The section as written, an optimizer added where none is named. Checked piece by piece, for the line."""
    for name, settings in table.data.items():
        pieces = settings if isinstance(settings, Mapping) else {}
        named = {"name": pieces["name"]} if "name" in pieces else {}
        for key in pieces:
            with table.at(name, key):
                Recipe.of(catalogue, _with_lr({name: {**named, key: pieces[key]}}, 1.0))
        with table.at(name):
            Recipe.of(catalogue, _with_lr({name: settings}, 1.0))
    optimizers = {trick.name for trick in catalogue.values() if trick.slot == "optimizer"}
    given = dict(table.data)
    if not given.keys() & {"optimizer", *optimizers}:
        given = {**DEFAULT_BASELINE, **given}
    with table.at():
        StudyFile(baseline=given).baseline_recipe(catalogue, 1.0)
    return given


def _with_lr(given: Mapping[str, Any], lr: float | None) -> dict[str, Any]:
    """`given` with `lr` in the place of "lr-find"."""
    return {
        name: {k: lr if (k, v) == ("lr", LR_FIND) else v for k, v in settings.items()}
        if isinstance(settings, Mapping)
        else settings
        for name, settings in given.items()
    }


def _pairs(pairs: Mapping[str, Any]) -> str:
    return "".join(f"{toml.key(k)} = {toml.value(v)}\n" for k, v in pairs.items() if v is not None)
