"""Two recipes on paired seeds, look by look, until it is decided which is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isnan
from typing import Any

from ablate.ledger.entry import Entry
from ablate.ranking.designs.design import training_seed
from ablate.ranking.estimation.compare import LOOKS, Comparison, compare
from ablate.records.recipe import Recipe
from ablate.records.words import noun
from ablate.study.ranking.scores import score_of
from ablate.study.session import Planned, Session
from ablate.tasks.chance_level import chance_level


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
        ended = [session.collect(plan) for plan in plans]
        failed = [sum(map(isnan, _values(session, entries, None))) for entries in ended]
        collapsed = chance_level(session.context.task, session.metric) if any(failed) else None
        one, other = (
            dict(zip(seeds, _values(session, entries, collapsed), strict=True)) for entries in ended
        )
        comparison = compare(one, other, direction, margin=margin)
        if comparison.next_pairs is None:
            return comparison if collapsed is None else _with_failed(comparison, *failed)
        pairs = comparison.next_pairs


def _values(session: Session, entries: Sequence[Entry], collapsed: float | None) -> list[float]:
    """The metric of each run as it is; of one that failed `collapsed`, the metric of a constant prediction, or NaN."""
    return [
        score_of(entry, session.metric, higher=True, final=True, collapsed=collapsed) for entry in entries
    ]


def _with_failed(comparison: Comparison, of_a: int, of_b: int) -> Comparison:
    """The comparison with the runs of each recipe that failed, and a note of how they count."""
    said = f"{of_a} {noun(of_a, 'run')} of A and {of_b} of B failed; a failed run counts as a constant prediction"
    return replace(comparison, failed=(of_a, of_b), note="; ".join(filter(None, (said, comparison.note))))


def document(comparison: Comparison, metric: str, a: Recipe, b: Recipe) -> dict[str, Any]:
    """The comparison as plain data. `effect` > 0: A is better."""
    return {
        "a": a.to_dict(), "b": b.to_dict(), "metric": metric, "verdict": comparison.verdict, "effect": comparison.effect,
        "low": comparison.low, "high": comparison.high, "level": comparison.level, "p": comparison.p, "margin": comparison.margin,
        "margin_auto": comparison.margin_auto, "pairs": comparison.pairs, "failed": list(comparison.failed),
        "probability": list(comparison.probability), "looks_done": comparison.looks_done, "looks": list(comparison.looks),
        "note": comparison.note,
    }  # fmt: skip
