"""Two recipes on paired seeds, look by look, until it is decided which is better."""

from __future__ import annotations

from typing import Any

from ablate.ranking.designs.design import training_seed
from ablate.ranking.estimation.compare import LOOKS, Comparison, compare
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome
from ablate.study.session import Planned, Session


def compare_recipes(session: Session, a: Recipe, b: Recipe, margin: float | None) -> Comparison:
    """Train both on the same seeds, at least five pairs, with a look after every five: a sequential test.

    Runs are in the session's ledger as stage "compare", so that a comparison continues where it stopped.
    """
    direction = "higher" if session.higher else "lower"
    pairs = LOOKS[0]
    while True:
        seeds = [training_seed(session.study.seed, 0xC03A, i) for i in range(pairs)]
        plans = [
            [Planned(session.run(recipe, seed), "compare", arm=arm) for seed in seeds]
            for arm, recipe in (("A", a), ("B", b))
        ]
        session.progress.stage(f"compare, {pairs} pairs", 2 * pairs * session.epochs)
        for plan in plans:
            session.submit(plan)
        one, other = (dict(zip(seeds, _values(session, plan), strict=True)) for plan in plans)
        comparison = compare(one, other, direction, margin=margin)
        if comparison.next_pairs is None:
            return comparison
        pairs = comparison.next_pairs


def _values(session: Session, plan: list[Planned]) -> list[float]:
    """The metric of each run, in the order of the plan; NaN for one that did not complete."""
    return [
        entry.result.metrics.get(session.metric, float("nan"))
        if entry.result.outcome is Outcome.COMPLETE
        else float("nan")
        for entry in session.collect(plan)
    ]


def document(comparison: Comparison, metric: str, a: Recipe, b: Recipe) -> dict[str, Any]:
    """The comparison as plain data. `effect` > 0: A is better."""
    return {
        "a": a.to_dict(), "b": b.to_dict(), "metric": metric, "verdict": comparison.verdict, "effect": comparison.effect,
        "low": comparison.low, "high": comparison.high, "level": comparison.level, "p": comparison.p, "margin": comparison.margin,
        "margin_auto": comparison.margin_auto, "pairs": comparison.pairs, "failed": list(comparison.failed),
        "probability": list(comparison.probability), "looks_done": comparison.looks_done, "looks": list(comparison.looks),
        "note": comparison.note,
    }  # fmt: skip
