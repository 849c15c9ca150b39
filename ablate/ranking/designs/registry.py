"""The designs of a ranking: one record a design, from its runs to its effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

import pandas as pd

from ablate.ranking.designs import waves
from ablate.ranking.designs.design import Design, Factor, Kind
from ablate.ranking.estimation.analysis import Analysis, Declaration, analyse
from ablate.ranking.estimation.arms import analyse_arms
from ablate.records.designs import (
    ADD_ONE,
    ARRAY_DESIGNS,
    AVERAGE,
    DESIGN_NOTES,
    DROP_ONE,
    FACTORIAL,
    SCREENING,
    TOGGLE,
    TUNED,
    DesignName,
    Estimand,
)  # fmt: skip
from ablate.records.errors import unknown

Shipped = Mapping[str, str] | None
"""Factor -> its level in the recipe that is ranked."""


class Wave(Protocol):
    """The runs of one wave (from 1), a pure function of the arguments. Raises InputError for what it cannot hold."""

    def __call__(self, factors: Sequence[Factor], *, wave: int, seed: int, shipped: Shipped) -> Design:
        """The rows of the wave."""
        ...


class Analyse(Protocol):
    """The effects of finished runs. `frame`: one line a run. Raises InputError where no run gave a value."""

    def __call__(
        self,
        frame: pd.DataFrame,
        factors: Sequence[Factor],
        said: Declaration,
        *,
        look: int,
        shipped: Shipped,
    ) -> Analysis:
        """The effects with their verdicts after `look` waves."""
        ...


@dataclass(frozen=True, slots=True)
class ArrayDesign:
    """How an array design chooses its runs and reads them.

    `check`: raises InputError for factors that the design cannot hold. `contrast` and `estimator`: for the methods
    paragraph. `redrawn`: what is different from wave to wave, for the same paragraph. `reference`: the recipe that
    differs from each of the others in one trick; None where tricks are varied together.
    """

    wave: Wave
    analyse: Analyse
    contrast: str
    estimator: str
    redrawn: str = ""
    check: Callable[[Sequence[Factor]], None] = field(default=lambda factors: None)
    reference: Literal["recipe", "baseline"] | None = None


@dataclass(frozen=True, slots=True)
class RankDesign:
    """A design that a study file can name. `estimands`: what its effects are, the first of them the design's own.
    `question`: what it answers and when it does not serve. `array`: None where runs are chosen by results (racing)."""

    name: DesignName
    estimands: tuple[Estimand, ...]
    array: ArrayDesign | None

    @property
    def question(self) -> str:
        """What the design answers, and when it does not serve."""
        return DESIGN_NOTES[self.name]


def _average(
    frame: pd.DataFrame, factors: Sequence[Factor], said: Declaration, *, look: int, shipped: Shipped
) -> Analysis:
    return analyse(frame, factors, said, look=look)


def _drop_one(
    frame: pd.DataFrame, factors: Sequence[Factor], said: Declaration, *, look: int, shipped: Shipped
) -> Analysis:
    return analyse_arms(frame, factors, said, estimand=DROP_ONE, shipped=shipped, look=look)


def _add_one(
    frame: pd.DataFrame, factors: Sequence[Factor], said: Declaration, *, look: int, shipped: Shipped
) -> Analysis:
    return analyse_arms(frame, factors, said, estimand=ADD_ONE, look=look)


_AVERAGED: dict[str, Any] = {
    "analyse": _average,
    "contrast": "between runs with and without it, averaged over the settings of all other tricks (the Banzhaf value)",
    "estimator": "main effects",
}
DESIGNS: Mapping[DesignName, RankDesign] = {
    design.name: design
    for design in (
        RankDesign(TUNED, (ADD_ONE, TOGGLE), None),
        RankDesign(
            SCREENING,
            (AVERAGE,),
            ArrayDesign(
                waves.screening_wave, redrawn=", each wave with its columns and signs drawn anew", **_AVERAGED
            ),
        ),
        RankDesign(
            FACTORIAL,
            (AVERAGE,),
            ArrayDesign(waves.factorial_wave, check=waves.check_factorial, **_AVERAGED),
        ),
        RankDesign(
            DROP_ONE,
            (DROP_ONE,),
            ArrayDesign(
                waves.drop_one_wave,
                _drop_one,
                "between the recipe and that recipe without it, on the same seeds",
                "one mean an arm",
                reference="recipe",
            ),
        ),
        RankDesign(
            ADD_ONE,
            (ADD_ONE,),
            ArrayDesign(
                waves.add_one_wave,
                _add_one,
                "between the baseline with it and the baseline, on the same seeds",
                "one mean an arm",
                reference="baseline",
            ),
        ),
    )
}


def array_design(kind: str) -> ArrayDesign:
    """The record of an array design. Raises InputError for another kind ("tuned", "pilot")."""
    design = DESIGNS.get(cast(DesignName, kind))
    if design is None or design.array is None:
        raise unknown("array design", kind, ARRAY_DESIGNS)
    return design.array


def estimand_of(kind: str) -> Estimand | None:
    """The estimand of an array design; None for another kind."""
    return DESIGNS[kind].estimands[0] if kind in ARRAY_DESIGNS else None


def wave_of(
    kind: Kind, factors: Sequence[Factor], *, wave: int, seed: int, shipped: Shipped = None
) -> Design:
    """Wave `wave` (from 1) of the design `kind`, a pure function of its arguments.

    `shipped`: factor -> level in the recipe that drop-one starts from. Raises InputError for a factorial of
    more than four tricks, and where there is nothing to vary.
    """
    return array_design(kind).wave(factors, wave=wave, seed=seed, shipped=shipped)


def check_kind(kind: Kind, factors: Sequence[Factor]) -> None:
    """Raise InputError where `kind` cannot hold these factors."""
    array_design(kind).check(factors)
