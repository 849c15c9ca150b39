"""The baseline whose learning rate is searched: the study's recipe with the rate and the decay left open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

from ablate.catalogue.registry import Registry
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe, conflict
from ablate.records.trick import Trick

PER_DECADE, RATES = 2, 11
"""The grid: half-decades over five decades."""
DECAYS = (1e-4, 1e-3)
"""Weight decays to try if the baseline has none."""
OWN_DECAY_FACTORS = (10.0, 100.0)
"""Multiples of an optimizer's own decay to try."""
BRIEF_SEAMS = frozenset({"model", "optimizer", "gradient"})
"""The seams that short runs keep of the baseline: no schedules, which depend on a run's length, and no changed data or losses."""
DEFAULT = {"momentum": {"momentum": 0.9}}


@dataclass(frozen=True)
class Baseline:
    """A recipe with an optimizer, and its variants that differ in learning rate and weight decay only."""

    recipe: Recipe
    catalogue: Registry

    @classmethod
    def default(cls, catalogue: Registry) -> Baseline:
        """SGD with momentum 0.9 at a constant rate."""
        return cls(Recipe.of(catalogue, DEFAULT), catalogue)

    @property
    def optimizer(self) -> Trick:
        """The record of the baseline's optimizer. Raises InputError if it has none."""
        name = self.recipe.slot(self.catalogue, "optimizer")
        if name is None:
            raise InputError("the baseline has no optimizer", hint='write optimizer = "momentum"')
        return self.catalogue[name]

    @property
    def decay(self) -> float:
        """The baseline's weight decay: its optimizer's own parameter, or that of the trick `weight_decay`; else 0."""
        own = self.recipe[self.optimizer.name] if self.decays_itself else self.recipe.get("weight_decay", {})
        return float(own.get("decay", 0.0))

    @property
    def decays_itself(self) -> bool:
        """Whether the optimizer has a weight decay of its own, and so excludes the trick `weight_decay`. (Adafactor's `decay` is of averages.)"""
        optimizer, trick = self.optimizer, self.catalogue.get("weight_decay")
        return "decay" in self.recipe[optimizer.name] and (trick is None or bool(conflict(trick, optimizer)))

    def at(self, rate: float, decay: float | None = None) -> Recipe:
        """The recipe with this rate and weight decay (None: the baseline's own)."""
        tricks = self.recipe.to_dict()
        settings = tricks[self.optimizer.name]
        settings["lr"] = rate
        if decay is not None and self.decays_itself:
            settings["decay"] = decay
        elif decay is not None and decay > 0:
            tricks["weight_decay"] = {**tricks.get("weight_decay", {}), "decay": decay}
        elif decay is not None:
            tricks.pop("weight_decay", None)
        return Recipe.of(self.catalogue, tricks)

    def briefly(self, rate: float) -> Recipe:
        """The recipe of a short run at a constant rate: only tricks of `BRIEF_SEAMS`."""
        kept = {n: s for n, s in self.at(rate).to_dict().items() if self.catalogue[n].seam in BRIEF_SEAMS}
        return Recipe.of(self.catalogue, kept)

    def rates(self) -> list[float]:
        """The grid: `RATES` half-decades centred at the optimizer's default rate."""
        return half_decades(float(self.optimizer.parameter("lr").default))

    def decades(self, below: int, above: int) -> list[float]:
        """Whole decades from `below` under the one next to the default rate to `above` over it."""
        nearest = round(log10(float(self.optimizer.parameter("lr").default)))
        return [float(f"1e{nearest + i}") for i in range(-below, above + 1)]

    def other_decays(self) -> Sequence[float]:
        """Weight decays to try besides the baseline's own; none if the recipe sets the trick or excludes it."""
        optimizer = self.optimizer
        if self.decays_itself:
            most = optimizer.parameter("decay").high or 1.0
            return [d for factor in OWN_DECAY_FACTORS if 0 < (d := self.decay * factor) <= most]
        if "weight_decay" in self.recipe or "weight_decay" not in self.catalogue:
            return []
        decay = self.catalogue["weight_decay"]
        return [] if any(conflict(decay, self.catalogue[name]) for name in self.recipe) else list(DECAYS)


def half_decades(default: float) -> list[float]:
    """`RATES` rates, `PER_DECADE` per decade, centred at the one nearest to `default`."""
    center, half = round(PER_DECADE * log10(default)), RATES // 2
    return [round_rate(10 ** ((center + i) / PER_DECADE)) for i in range(-half, half + 1)]


def round_rate(rate: float) -> float:
    """`rate` rounded to two significant digits."""
    return float(f"{rate:.2g}")
