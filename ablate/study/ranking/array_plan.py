"""The plan of an array design of the rank stage: its runs before and in each wave, and their power."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

from ablate.ledger.entry import Entry
from ablate.ranking.designs.power import design_power
from ablate.ranking.designs.registry import check_kind, wave_of
from ablate.ranking.designs.screening import is_factorial
from ablate.ranking.designs.waves import apart
from ablate.records.designs import DROP_ONE, SCREENING
from ablate.records.recipe import Recipe
from ablate.records.trick import PLACEBO, Trick
from ablate.study.ranking.array_stage import for_drops, for_kind, main_factors, tricks
from ablate.study.ranking.candidates import Seen, best_seen
from ablate.study.ranking.design_matrix import FactorMapping
from ablate.study.ranking.factors import array
from ablate.study.ranking.known_recipe import KnownRecipe, known_recipe
from ablate.study.ranking.pilot import pays
from ablate.study.ranking.retune import declaration
from ablate.study.request import Opened, Options

SIZES = (0.5, 1.0, 1.5, 2.0)
PILOT = 6


def array_plan(
    opened: Opened,
    options: Options,
    catalogue: Mapping[str, Trick],
    baseline: Recipe,
    candidates: Sequence[str],
) -> dict[str, Any]:
    """Design, runs, power. Around the recipe that would be ranked, where it is known already; else around the
    baseline, as if every trick were a candidate. Raises InputError if the design is impossible."""
    asked, seed = opened.study.rank, opened.study.seed
    mapping, _, around = array_mapping(opened, options, catalogue, baseline, candidates)
    check_kind(asked.design, mapping.factors)
    summary = {
        "design": asked.design, "around": around, "factors": [factor.name for factor in mapping.factors],
        "levels": {f.name: list(f.levels) for f in tricks(mapping) if len(f.levels) > 2},
        "fixed": [factor.name for factor in mapping.fixed], "waves_at_most": asked.waves, "looks": asked.waves,
        "margin": asked.margin, "left_out": dict(mapping.left_out),
    }  # fmt: skip
    if not tricks(mapping):
        return {**summary, "note": "nothing to rank", "runs": {}, "runs_per_wave": 0, "power_of_one_wave": {}, "power_of_all_waves": {}}  # fmt: skip
    design = wave_of(
        asked.design, main_factors(asked.design, mapping), wave=1, seed=seed, shipped=for_drops(mapping)
    )
    design_apart = apart(mapping.fixed, mapping.shipped, design, wave=1, seed=seed)
    rates = declaration(mapping, asked.retune)
    runs = {
        "rates": len(rates["arms"]) * rates["runs_per_arm"] if rates else 0,
        "pilot": PILOT if pays(asked.design, len(design.rows)) else 0,
        "each wave": len(design.rows) + (len(design_apart.rows) if design_apart else 0),
    }

    def power(waves: int) -> dict[str, float]:
        return {
            f"{size:g}": float(design_power(design, size, waves=waves, looks=asked.waves)["power"].min())
            for size in SIZES
        }

    return {
        **summary, "note": design.note + (" (few tricks)" if asked.design == SCREENING and is_factorial(design.factors) else ""),
        "retune": rates, "runs": runs, "runs_per_wave": runs["each wave"],
        "runs_at_most": runs["rates"] + runs["pilot"] + asked.waves * runs["each wave"],
        "power_of_one_wave": power(1), "power_of_all_waves": power(asked.waves),
    }  # fmt: skip


def array_mapping(
    opened: Opened,
    options: Options,
    catalogue: Mapping[str, Trick],
    baseline: Recipe,
    candidates: Sequence[str],
) -> tuple[FactorMapping, bool, str]:
    """The array, whether the recipe that it is around is known, and that recipe in words. Raises InputError
    if the study file asks for tricks that are unavailable."""
    asked = opened.study.rank
    known = known_recipe(opened, options, baseline)
    winner = known.recipe
    whole = array(catalogue, winner or baseline, baseline, candidates, asked, _seen(known, opened))
    if winner is None and asked.design == DROP_ONE:
        whole = replace(whole, shipped={f.name: f.levels[-1] for f in tricks(whole)} | {PLACEBO: "off"})
    around = known.words + ("" if winner else ": planned on the baseline, every trick a candidate")
    return for_kind(whole, asked.design), winner is not None, around


def _seen(known: KnownRecipe, opened: Opened) -> Seen:
    """The search's candidates."""
    sign = 1.0 if opened.task.direction == "higher" else -1.0
    metric = opened.study.metric or opened.task.metric

    def score(entry: Entry) -> float:
        value = entry.result.metrics.get(metric, float("nan"))
        return sign * value if isfinite(value) else float("nan")

    return best_seen(known.entries, score) if known.recipe is not None else {}
