"""The study file: a study's configuration as TOML. Errors name the file and the line.

Only syntax and names are checked here; `search` builds the space from it and `tasks` loads the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast, get_args

from ablate.records import toml
from ablate.records.errors import Conflict, InputError
from ablate.records.recipe import TORCH, Catalogue, Recipe
from ablate.records.study_rank import ConfirmSection, RankSection, read_confirm, read_rank
from ablate.records.study_space import SpaceSection, overrides_to_dict, read_space
from ablate.records.table import Table

Sampler = Literal["tpe", "random", "qmc", "gp"]
Pruner = Literal["none", "median", "successive-halving"]
LR_FIND = "lr-find"
DEFAULT_BASELINE: Mapping[str, Any] = {
    "optimizer": {"name": "momentum", "lr": LR_FIND, "momentum": 0.9},
    "cosine": True,
}
"""The rate decays to zero: a constant one flatters every trick that averages, and doubles the variance of an effect."""
_SECTIONS = ("tricks", "task", "metric", "epochs", "seed", "baseline", "space", "search", "rank", "confirm")


@dataclass(frozen=True, slots=True)
class SearchSection:
    """The section [search]."""

    trials: int = 100
    sampler: Sampler = "tpe"
    pruner: Pruner = "successive-halving"


@dataclass(frozen=True, slots=True)
class StudyFile:
    """The configuration of a study. `metric` "" and `epochs` None mean the task's own.

    `tricks`: own ones, paths of files and dotted paths of optimizer classes.
    `baseline` has the form that `Recipe.of` accepts, except that an `lr` may be the string "lr-find";
    `baseline_recipe` turns it into a recipe.
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
    tricks: tuple[str, ...] = ()

    @property
    def needs_lr_find(self) -> bool:
        """Whether a learning rate of the baseline is to be determined by lr-find."""
        return any(
            isinstance(settings, Mapping) and settings.get("lr") == LR_FIND
            for settings in self.baseline.values()
        )

    def baseline_recipe(self, catalogue: Catalogue, lr: float | None = None) -> Recipe:
        """The baseline as a recipe, with `lr` in place of "lr-find". Raises InputError."""
        if self.needs_lr_find and lr is None:
            raise InputError("the baseline's lr is 'lr-find'", hint="run lr-find first or give a number")
        recipe = Recipe.of(catalogue, _with_lr(self.baseline, lr))
        if recipe.slot(catalogue, "optimizer") is None:
            raise InputError("the baseline has no optimizer", hint='write optimizer = "momentum"')
        return recipe

    def with_optimizer(self, name: str, catalogue: Catalogue) -> StudyFile:
        """This study with another optimizer in its baseline, at its default settings and the rate that lr-find finds.

        The baseline's other tricks stay. Raises InputError for an unknown optimizer, and for one that excludes a trick of the baseline.
        """
        optimizers = [trick.name for trick in catalogue.values() if trick.slot == "optimizer"]
        others = {key: value for key, value in self.baseline.items() if key not in ("optimizer", *optimizers)}
        default = DEFAULT_BASELINE["optimizer"]
        optimizer = default if name == default["name"] else {"name": name, "lr": LR_FIND}
        study = replace(self, baseline={"optimizer": optimizer, **others})
        try:
            study.baseline_recipe(catalogue, 1.0)
        except Conflict as error:
            hint = "write a baseline without it in a study file: ablate init"
            raise InputError(f"optimizer {name}: {error.message}", hint=hint) from error
        return study

    def to_toml(self) -> str:
        """The study file with every setting written out, so that it keeps its meaning if defaults change."""
        top: dict[str, Any] = {"task": self.task, "metric": self.metric or None, "epochs": self.epochs}
        if self.tricks:
            top["tricks"] = self.tricks
        sections: dict[str, Mapping[str, Any]] = {
            "baseline": self.baseline,
            "space": {"include": self.space.include, "exclude": self.space.exclude},
            **{
                f"space.{toml.key(name)}": overrides_to_dict(overrides)
                for name, overrides in self.space.overrides.items()
            },
            "search": {name: getattr(self.search, name) for name in SearchSection.__slots__},
            "rank": {
                **{name: getattr(self.rank, name) for name in RankSection.__slots__},
                "budget": self.rank.budget or None,
            },
            "confirm": {"seeds": self.confirm.seeds, "around": self.confirm.around or None},
        }
        parts = [_pairs({**top, "seed": self.seed})]
        parts += [f"[{name}]\n{_pairs(pairs)}" for name, pairs in sections.items()]
        return "\n".join(parts)


def default(task: str = "digits") -> StudyFile:
    """The study of `task` with default settings."""
    return StudyFile(task=task)


def parse(text: str, source: str, *, catalogue: Catalogue) -> StudyFile:
    """Parse `text`, the content of the file `source`.

    Names of tricks and parameters are checked against `catalogue`. Raises InputError with file, line, what is
    wrong and what to do.
    """
    top = Table.read(text, source)
    top.check_keys(_SECTIONS)
    search = top.table("search")
    search.check_keys(SearchSection.__slots__)
    epochs = top.integer("epochs", 1, 1, 1_000_000) if "epochs" in top.data else None
    return StudyFile(
        task=top.text("task", "digits"),
        metric=measured_on_validation(top.text("metric", "")),
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
        tricks=top.strings("tricks", ()),
    )


def measured_on_validation(metric: str) -> str:
    """A metric as it is recorded: `f1` is `validation/f1`. Empty for the task's own."""
    return metric if "/" in metric or not metric else f"validation/{metric}"


def named_tricks(text: str, source: str) -> tuple[str, ...]:
    """A study file's own tricks: `tricks = [...]`, and optimizer classes `{ torch = "torch.optim.NAdam" }` in
    [baseline] and [space]. Found before the file is parsed, for which they must be in the catalogue. Raises InputError."""
    top = Table.read(text, source)
    classes = []
    for section in ("baseline", "space"):
        inside = top.data.get(section)
        for value in inside.values() if isinstance(inside, Mapping) else ():
            if isinstance(value, Mapping) and isinstance(value.get(TORCH), str):
                classes.append(value[TORCH])
    return (*top.strings("tricks", ()), *classes)


def _baseline(table: Table, catalogue: Catalogue) -> Mapping[str, Any]:
    """The section, with the default optimizer if it has none. Settings are checked one by one, to report the line."""
    for name, settings in table.data.items():
        entries = settings if isinstance(settings, Mapping) else {}
        slot_name = {naming: entries[naming] for naming in ("name", TORCH) if naming in entries}
        for key in entries:
            with table.at(name, key):
                Recipe.of(catalogue, _with_lr({name: {**slot_name, key: entries[key]}}, 1.0))
        with table.at(name):
            Recipe.of(catalogue, _with_lr({name: settings}, 1.0))
    optimizers = {trick.name for trick in catalogue.values() if trick.slot == "optimizer"}
    baseline = dict(table.data)
    if not baseline.keys() & {"optimizer", *optimizers}:
        baseline = {**DEFAULT_BASELINE, **baseline}
    with table.at():
        StudyFile(baseline=baseline).baseline_recipe(catalogue, 1.0)
    return baseline


def _with_lr(baseline: Mapping[str, Any], lr: float | None) -> dict[str, Any]:
    """`baseline` with `lr` in place of "lr-find"."""
    return {
        name: {k: lr if (k, v) == ("lr", LR_FIND) else v for k, v in settings.items()}
        if isinstance(settings, Mapping)
        else settings
        for name, settings in baseline.items()
    }


def _pairs(pairs: Mapping[str, Any]) -> str:
    return "".join(f"{toml.key(k)} = {toml.value(v)}\n" for k, v in pairs.items() if v is not None)
