"""A made-up ranking by tuned arms as the rank stage leaves it in the ledger, with effects that are chosen."""

from __future__ import annotations

from typing import Any

from ablate.analysis.tuned_arms import design_document
from ablate.report.data import ReportData

BASELINE = {"momentum": {"lr": 0.1}, "weight_decay": {"decay": 0.0005}}
RECIPE = {"momentum": {"lr": 0.05}, "batch_norm": {"eps": 1e-5}, "mixup": {"alpha": 0.2}}
REFERENCE = {"add-one": BASELINE, "toggle": RECIPE}


def row(
    trick: str, estimand: str, effect: float, verdict: str, half: float = 0.004, **other: Any
) -> dict[str, Any]:
    """One effect of the fact "rank"; `other` replaces entries."""
    recipe = REFERENCE[estimand]
    present = trick in recipe
    return {
        "arm": f"{estimand}: {trick}", "trick": trick, "estimand": estimand, "effect": effect, "low": effect - half,
        "high": effect + half, "se": half / 2, "df": 9.0, "p": 0.01, "p_adjusted": 0.02, "verdict": verdict,
        "in_recipe": present, "settings": "", "against": "without it", "rate": 0.1, "reference_rate": 0.1, "pairs": 12,
        "look": 1, "same": False, "runs": 12, "failed": 0, "seconds": 1.0,
        "more_pairs": 9 if verdict == "undecided" else None,
        "recipe_with": {**recipe, trick: recipe.get(trick, {})},
        "recipe_without": {name: settings for name, settings in recipe.items() if name != trick}, "seeds": [1, 2], **other,
    }  # fmt: skip


def points(trick: str, rates: tuple[float, ...], values: tuple[float, ...]) -> list[dict[str, Any]]:
    best = values.index(max(values))
    return [
        {"recipe": {trick: {}}, "rate": rate, "scores": [value], "final": [], "chosen": place == best}
        for place, (rate, value) in enumerate(zip(rates, values, strict=True))
    ]


def fact(*rows: dict[str, Any], better: bool = True, **other: Any) -> dict[str, Any]:
    """The fact "rank"; `better`: whether the recipe is recommended."""
    rows = rows or (
        row("placebo", "add-one", 0.001, "no measurable effect"),
        row("batch_norm", "add-one", 0.03, "helps"),
        row("batch_norm", "toggle", 0.02, "helps"),
        row("mixup", "add-one", -0.005, "undecided"),
        row("mixup", "toggle", 0.008, "helps a little"),
        row("weight_decay", "add-one", 0.0, "no measurable effect"),
        row("weight_decay", "toggle", 0.0, "no measurable effect", same=True, half=0.0),
    )  # fmt: skip
    gain = {"effect": 0.03, "low": 0.02 if better else -0.01, "high": 0.04, "pairs": 12}
    rates, values = (0.02, 0.05, 0.1), (0.90, 0.95, 0.93)
    arms = ["add-one: baseline", "toggle: recipe", *(r["arm"] for r in rows)]
    return {
        "kind": "tuned", "around": RECIPE, "baseline": BASELINE, "metric": "validation/accuracy", "margin": 0.01,
        "margin_source": "study file", "resplit": True, "complete": True, "edges": [], "spent": {"tuning": 40, "race": 200},
        "budget": {"tuning": {"first": 3, "finalists": 1, "repeats": 0, "rounds": 0}, "runs": 300, "asked": "", "seconds_per_run": 1.0,
                   "racing": {"pairs": [6, 12], "alpha": 0.05, "levels": [0.02, 0.03]}},
        "left_out": {"add-one": {"momentum": "the optimizer of the baseline", "adamw": "conflicts with weight_decay"},
                     "toggle": {"momentum": "the optimizer of the recipe"}},
        "tuning": {arm: points("momentum", rates, values) for arm in arms},
        "races": [{"estimand": name, "scored": "mean of the last evaluations", "family": 4, "sigma": 0.01} for name in REFERENCE],
        "lean": {"removed": ["ema"], "recipe": RECIPE},
        "ladder": {
            "levels": [0.92, 0.94, 0.95], "baseline": BASELINE, "total": gain,
            "steps": [{"trick": "batch_norm", "change": "added", "settings": "eps=1e-5", "rate": 0.05, "effect": 0.02, "low": 0.01,
                       "high": 0.03, "pairs": 12},
                      {"trick": "mixup", "change": "added", "settings": "", "rate": 0.05, "effect": 0.01, "low": -0.01, "high": 0.03,
                       "pairs": 12}],
        },
        "recommended": {"recipe": RECIPE if better else BASELINE, "is_baseline": not better, "gain": gain},
        "rows": list(rows), **other,
    }  # fmt: skip


def tuned_data(document: dict[str, Any] | None = None, **other: Any) -> ReportData:
    """`ReportData` of a study with the fact; `other` are fields of it."""
    study = {"name": "digits", "task": "digits", "metric": "validation/accuracy", "direction": "maximize"}
    return ReportData(
        study=study, baseline=BASELINE, design=design_document(document or fact()),
        tricks=other.pop("tricks", {}), **other,
    )  # fmt: skip


def confirmed(low: float, high: float) -> dict[str, Any]:
    """The confirmation of the recipe on test data, with a gain of this interval."""
    gain = {"effect": (low + high) / 2, "low": low, "high": high, "n": 10, "wins": 8, "level": 0.95}
    return {
        "gain": gain,
        "metric": "test/accuracy",
        "arms": {"winner": RECIPE, "baseline": BASELINE},
        "values": {},
    }
