"""The factors of a ranking, and the tricks that each of their levels puts into a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ablate.ranking.designs.design import Factor, effective
from ablate.records.recipe import Recipe
from ablate.records.study_rank import OPTIMIZER
from ablate.records.trick import Trick, Value

Level = Mapping[str, Mapping[str, Value]]
"""Tricks (with settings) that a factor's level puts into the recipe."""
OFF, ON = "off", "on"


@dataclass(frozen=True)
class FactorMapping:
    """The factors of a ranking and what each level means as tricks; `common` stays in every recipe.

    `shipped`: each factor's level in the recipe that is ranked. `shifting`: factors whose levels differ in a
    trick that shifts the best learning rate. `rates`: factor -> level -> what the learning rate of a run with
    that level is multiplied by (1 where it is not named); `rate`: the same for every run.
    """

    factors: tuple[Factor, ...]
    meaning: Mapping[str, Mapping[str, Level]]
    common: Recipe
    shipped: Mapping[str, str]
    shifting: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    rates: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    rate: float = 1.0

    @property
    def fixed(self) -> tuple[Factor, ...]:
        """The factors that the array keeps on, to be tested separately."""
        return tuple(factor for factor in self.factors if factor.role == "must_have")

    def recipe(self, catalogue: Mapping[str, Trick], levels: Mapping[str, str]) -> Recipe:
        """The recipe of a row. A factor that is not in `levels` is as shipped."""
        levels = effective({**self.shipped, **levels}, self.factors)
        tricks: dict[str, Any] = self.common.to_dict()
        rate = self.rate
        for factor, level in levels.items():
            tricks |= {name: dict(settings) for name, settings in self.meaning[factor][level].items()}
            rate *= self.rates.get(factor, {}).get(level, 1.0)
        return at_rate(Recipe.of(catalogue, tricks), catalogue, rate)

    def to_dict(self) -> dict[str, dict[str, dict[str, Any]]]:
        """`meaning` as JSON."""
        return {
            factor: {
                level: {n: dict(settings) for n, settings in what.items()} for level, what in levels.items()
            }
            for factor, levels in self.meaning.items()
        }

    def without(self, gone: Mapping[str, str]) -> FactorMapping:
        """This mapping without some factors, each left at its reference; `gone`: factor -> why."""
        names = set(gone)
        tricks = self.common.to_dict()
        rate = self.rate
        for name in gone:
            reference, what = next(iter(self.meaning[name].items()))
            tricks |= {n: dict(s) for n, s in what.items()}
            rate *= self.rates.get(name, {}).get(reference, 1.0)
        kept = tuple(f for f in self.factors if f.name not in names and f.parent not in names)
        lost = {f.name: f"acts only with {f.parent}" for f in self.factors if f.parent in names}
        return replace(
            self, factors=kept, common=Recipe(tricks), left_out={**self.left_out, **lost, **gone},
            meaning={n: levels for n, levels in self.meaning.items() if n in {f.name for f in kept}},
            shipped={f.name: self.shipped[f.name] for f in kept}, rate=rate,
            shifting=tuple(name for name in self.shifting if name in {f.name for f in kept}),
        )  # fmt: skip


def at_rate(recipe: Recipe, catalogue: Mapping[str, Trick], factor: float) -> Recipe:
    """The recipe at `factor` times its learning rate; unchanged if its optimizer has none."""
    name = recipe.slot(catalogue, OPTIMIZER)
    if factor == 1.0 or name is None or "lr" not in recipe[name]:
        return recipe
    return recipe.with_trick(catalogue, name, {**recipe[name], "lr": float(recipe[name]["lr"]) * factor})
