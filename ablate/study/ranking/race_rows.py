"""The rows of a race: each arm against its reference, as plain data for the ledger."""

from __future__ import annotations

from typing import Any

import numpy as np

from ablate.ranking.estimands import reference_of
from ablate.ranking.verdicts.racing import Race, RaceRow, more_pairs
from ablate.study.ranking.arms import described, rate_of
from ablate.study.ranking.races import Key, Races
from ablate.study.ranking.scores import failed


def rows_of(races: Races, key: Key, race: Race, margin: float) -> list[dict[str, Any]]:
    """A JSON-ready row of each arm: the effect of *having* the trick, in the metric's units, positive where it helps."""
    estimand, _ = key
    reference = races.tuned[reference_of(estimand)]
    rows = []
    for name, row in race.rows.items():
        one = races.tuned[name]
        seeds = list(races.own_seeds.get(name, races.seeds))[: races.racing.pairs[row.look]]
        entries = [races.entries[name, seed] for seed in seeds]
        with_trick, without = (one, reference) if one.arm.sign > 0 else (reference, one)
        rows.append(
            {
                "arm": name,
                "trick": one.arm.trick,
                "estimand": estimand,
                **_signed(row, one.arm.sign),
                "in_recipe": one.arm.sign < 0,
                "settings": described(with_trick.recipe, one.arm),
                "against": one.arm.against,
                "rate": rate_of(one.recipe, races.stage.catalogue),
                "reference_rate": rate_of(reference.recipe, races.stage.catalogue),
                "pairs": row.pairs,
                "look": row.look + 1,
                "same": row.same,
                "runs": len(seeds),
                "failed": sum(map(failed, entries)),
                "seconds": float(sum(entry.result.seconds for entry in entries)),
                "more_pairs": _more(row, races, key, margin),
                "recipe_with": with_trick.recipe.to_dict(),
                "recipe_without": without.recipe.to_dict(),
                "seeds": seeds,
            }
        )
    return rows


def _more(row: RaceRow, races: Races, key: Key, margin: float) -> int | None:
    if row.verdict != "undecided":
        return None
    return more_pairs(row, races.racing.levels[-1], len(races.members[key]), margin)


def _signed(row: RaceRow, sign: int) -> dict[str, Any]:
    """Effect, interval and verdict of having the trick."""
    swapped = {
        "helps": "hurts",
        "hurts": "helps",
        "helps a little": "hurts a little",
        "hurts a little": "helps a little",
    }
    low, high = sorted((sign * row.low, sign * row.high))
    return {
        "effect": sign * row.effect + 0.0,
        "low": low,
        "high": high,
        "se": row.se,
        "tuning_se": row.tuning_se,
        "df": finite(row.df),
        "p": row.p,
        "p_adjusted": row.p_adjusted,
        "verdict": row.verdict if sign > 0 else swapped.get(row.verdict, row.verdict),
    }


def finite(value: float) -> float | None:
    """JSON knows no infinity."""
    return float(value) if np.isfinite(value) else None
