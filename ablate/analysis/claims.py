"""The claims of the literature on each trick, with the effects measured in the designed runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from statistics import median
from typing import Any

import pandas as pd

from ablate.ledger.entry import Entry
from ablate.ranking.designs.design import Design
from ablate.ranking.designs.registry import array_design
from ablate.ranking.estimation.coding import lines
from ablate.ranking.verdicts.ranking_table import ClaimMetric, claim_effects
from ablate.records.claim_metrics import COSTS, STEPS_TO_TARGET
from ablate.records.document import Document
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome
from ablate.records.trick import Claim, Trick

STEPS = f"validation/{STEPS_TO_TARGET}"
BEFORE = ("lr-find", "search", "select", "pilot", "retune")
"""Stages whose baseline runs set the target of a ranking."""


def with_steps(
    entries: Sequence[Entry], facts: Mapping[str, Any], metric: str, *, higher: bool
) -> tuple[list[Entry], Document | None]:
    """`entries` with the metric `validation/steps_to_target` where a run has the curve, and the target.

    The target is the median final value of the baseline's full-length runs before the ranking; without
    such runs, that of the designed runs, and `source` says so. Steps are counted in whole
    epochs. A run that completes without reaching the target counts with all its steps: a lower bound.
    """
    target_row = _target(entries, facts, metric)
    if target_row is None:
        return list(entries), None
    threshold = target_row["target"]
    marked, never = [], 0
    for entry in entries:
        curve = entry.result.curves.get(metric, ())
        if entry.result.outcome is not Outcome.COMPLETE or not curve:
            marked.append(entry)
            continue
        reached = next(
            (i for i, v in enumerate(curve, 1) if (v >= threshold if higher else v <= threshold)), None
        )
        never += reached is None and entry.stage == "rank"
        steps = (reached or len(curve)) * _steps_per_epoch(entry.run.recipe, facts)
        result = replace(entry.result, metrics={**entry.result.metrics, STEPS: float(steps)})
        marked.append(replace(entry, result=result))
    return marked, {**target_row, "never": never}


def first_claims(records: Mapping[str, Trick], entries: Sequence[Entry]) -> dict[str, ClaimMetric]:
    """Trick -> the first of its claims that is made in a metric that runs record on validation data."""
    recorded = {name for entry in entries for name in entry.result.metrics}
    claims = {}
    for name, trick in records.items():
        first = next((c for c in map(_on_validation, trick.claims) if c.metric in recorded), None)
        if first is not None:
            claims[name] = first
    return claims


def claim_lines(
    facts: Mapping[str, Any], entries: Sequence[Entry], records: Mapping[str, Trick], costs: pd.DataFrame | None
) -> list[Document]:  # fmt: skip
    """Every claim of every ranked trick that is about the settings it was ranked at, one row each: `trick, metric, direction, statement, contested, source`,
    and `effect, low, high, verdict, n` where it was measured, or `why` it was not.

    Effects are in the metric's own direction ("rises by"); costs are ratios without an interval.
    """
    fact = facts.get("rank") or {}
    stored = fact.get("design")
    if not stored:
        return []
    plan = Design.from_json(stored)
    tricks = [factor.name for factor in plan.factors if factor.name in records]
    measured = _measured(plan, fact, entries, {name: records[name] for name in tricks})
    around = fact.get("around") or {}
    ratios = {str(row["trick"]): row for row in lines(costs)} if costs is not None else {}
    return [
        {
            "trick": name, "metric": claim.metric, "direction": claim.direction, "statement": claim.statement,
            "contested": claim.contested, "source": f"{claim.source.authors} {claim.source.year}",
            **_cost(claim, ratios.get(name)), **measured.get((name, claim.metric, claim.direction), {}),
        }
        for name in tricks for claim in records[name].claims
        if name not in around or all(around[name].get(key) == value for key, value in claim.settings)
    ]  # fmt: skip


def _measured(
    plan: Design, fact: Mapping[str, Any], entries: Sequence[Entry], tricks: Mapping[str, Trick]
) -> dict[tuple[str, str, str], Document]:
    """(trick, metric, direction) -> effect, interval and verdict; Holm over the claims of one rank among a trick's."""
    if array_design(plan.kind).reference:
        return {}
    by_identity = {entry.identity: entry for entry in entries}
    runs = [
        (row, by_identity[row["identity"]])
        for row in fact.get("rows") or ()
        if row["identity"] in by_identity
    ]
    recorded = sorted({name for _, entry in runs for name in entry.result.metrics})
    frame = pd.DataFrame(
        [
            {**row["levels"], "seed": row["seed"], "block": row["block"], "wave": row["wave"],
             "outcome": str(entry.result.outcome),
             **{name: entry.result.metrics.get(name, float("nan")) for name in recorded}}
            for row, entry in runs
        ]
    )  # fmt: skip
    effects: dict[tuple[str, str, str], Document] = {}
    most = max((len(trick.claims) for trick in tricks.values()), default=0)
    looks = int(fact.get("looks") or 3)
    look = min(max(1, int(fact.get("waves") or 1)), looks)
    for place in range(most):
        claims = {
            name: claim
            for name, trick in tricks.items()
            if len(trick.claims) > place
            and (claim := _on_validation(trick.claims[place])).metric in recorded
            and frame[claim.metric].notna().any()
        }
        try:
            table = claim_effects(frame, plan.factors, claims, look=look, looks=looks) if claims else None
        except InputError:
            continue  # not one complete run has the metric: the claim stays unmeasured, and the row says so
        for row in lines(table) if table is not None else []:
            claim = claims[row["trick"]]
            sign = -1.0 if claim.direction == "down" else 1.0
            low, high = sorted((sign * row["claim_low"], sign * row["claim_high"]))
            key = (row["trick"], claim.metric.removeprefix("validation/"), claim.direction)
            effects.setdefault(key, {
                "effect": sign * row["claim_effect"], "low": low, "high": high, "verdict": row["claim_verdict"],
                "n": int(frame[claim.metric].notna().sum()), "why": "",
            })  # fmt: skip
    return effects


def _cost(claim: Claim, row: Mapping[str, Any] | None) -> Document:
    """What the costs stage says of a claim about time or memory; else that nothing was measured yet."""
    nothing = {"effect": None, "low": None, "high": None, "verdict": "", "n": 0}
    if claim.metric not in COSTS:
        return {**nothing, "why": "no designed run has it"}
    ratio = (row or {}).get(f"{claim.metric}_ratio")
    if row is None or ratio is None or not isfinite(ratio):
        return {**nothing, "why": "the stage costs has not run"}
    return {**nothing, "effect": ratio, "verdict": "a ratio, no interval", "n": int(row["n"]), "why": ""}


def _on_validation(claim: Claim) -> ClaimMetric:
    return ClaimMetric(f"validation/{claim.metric}", claim.direction)


def _target(entries: Sequence[Entry], facts: Mapping[str, Any], metric: str) -> Document | None:
    epochs = (facts.get("study") or {}).get("epochs")
    plain = facts.get("baseline")
    baseline_hash = Recipe(plain).hash if plain else None

    def ends(chosen: Sequence[Entry]) -> list[float]:
        done = [e for e in chosen if e.result.outcome is Outcome.COMPLETE and e.run.epochs == epochs]
        curves = [e.result.curves[metric] for e in done if e.result.curves.get(metric)]
        return [curve[-1] for curve in curves if isfinite(curve[-1])]

    before = ends([e for e in entries if e.stage in BEFORE and e.run.recipe.hash == baseline_hash])
    if before:
        return {"target": median(before), "n": len(before), "source": "the baseline's runs before the ranking"}  # fmt: skip
    ranked = ends([e for e in entries if e.stage == "rank"])
    if not ranked:
        return None
    return {"target": median(ranked), "n": len(ranked), "source": "the designed runs themselves, since the baseline was not run before"}  # fmt: skip


def _steps_per_epoch(recipe: Recipe, facts: Mapping[str, Any]) -> int:
    """Whole batches in an epoch, as the engine counts them."""
    task = facts.get("task") or {}
    examples = int((task.get("splits") or {}).get("train") or 0)
    batch = int((recipe["batch_size"]["size"] if "batch_size" in recipe else task.get("batch_size")) or 1)
    return max(1, examples // min(batch, examples)) if examples else 1
