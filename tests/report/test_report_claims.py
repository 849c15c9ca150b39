"""Claimed against measured: steps counted by hand, every claim told, and what was not measured says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ablate.analysis.claims import STEPS, claim_lines, first_claims, with_steps
from ablate.catalogue.registry import registry
from ablate.ledger.entry import Entry
from ablate.ranking.designs.design import Factor
from ablate.ranking.designs.screening import screening
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from ablate.report import tables

METRIC = "validation/accuracy"
BASE = {"momentum": {"lr": 0.1, "momentum": 0.9, "nesterov": False}}
FACTS = {
    "study": {"epochs": 4, "metric": METRIC},
    "baseline": BASE,
    "task": {"splits": {"train": 100}, "batch_size": 30},
}


def entry(curve: tuple[float, ...], stage: str = "rank", seed: int = 0, **tricks: dict) -> Entry:
    run = Run("t", Recipe({**BASE, **tricks}), seed, 4)
    return Entry(run, Result(Outcome.COMPLETE, {METRIC: curve[-1]}, {METRIC: curve}), stage)


def test_steps_are_those_of_the_first_epoch_at_the_target():
    """Target 0.8, the median of 0.7, 0.8 and 0.9; 3 whole batches of 30 in 100 examples, 10 of 10."""
    before = [entry((0.1, 0.2, 0.3, end), "search", i) for i, end in enumerate((0.7, 0.8, 0.9))]
    runs = [
        entry((0.5, 0.8, 0.1, 0.2), seed=10),
        entry((0.5, 0.79, 0.79, 0.79), seed=11),
        entry((0.9, 0.1, 0.1, 0.1), seed=12, batch_size={"size": 10}),
    ]
    marked, target = with_steps([*before, *runs], FACTS, METRIC, higher=True)
    assert target is not None
    assert (target["target"], target["n"], target["never"]) == (0.8, 3, 1)
    assert [e.result.metrics[STEPS] for e in marked[3:]] == [6, 12, 10]
    lower, _ = with_steps([*before, *runs], FACTS, METRIC, higher=False)
    assert [e.result.metrics[STEPS] for e in lower[3:]] == [3, 3, 20]


def test_without_a_baseline_before_the_designed_runs_set_the_target_and_it_is_said():
    runs = [entry((0.1, 0.2, 0.3, end), seed=i) for i, end in enumerate((0.5, 0.6, 0.7))]
    _, target = with_steps(runs, FACTS, METRIC, higher=True)
    assert target is not None
    assert target["target"] == 0.6
    assert "designed runs themselves" in target["source"]
    broken = replace(runs[0], result=Result(Outcome.DIVERGED))
    assert with_steps([broken], FACTS, METRIC, higher=True) == ([broken], None)


@pytest.fixture
def designed():
    """A screening array of fgsm, clip_norm and recompute: robust accuracy +0.2 with fgsm, steps halved by clip_norm."""
    factors = [Factor(name) for name in ("fgsm", "clip_norm", "recompute", "placebo")]
    design = screening(factors, wave=1, seed=0)
    draw = np.random.default_rng(0)
    entries, rows = [], []
    for row in design.rows:
        on = {name: level == "on" for name, level in row.levels.items()}
        values = {
            METRIC: 0.9 + 0.001 * draw.normal(),
            "validation/loss": 0.3 + 0.001 * draw.normal(),
            "validation/robust_accuracy": 0.4 + 0.2 * on["fgsm"] + 0.001 * draw.normal(),
            STEPS: 60 - 30 * on["clip_norm"] + 0.1 * draw.normal(),
        }
        recipe = Recipe({**BASE, **{name: {} for name in on if on[name]}})
        entries.append(Entry(Run("t", recipe, row.seed, 4), Result(Outcome.COMPLETE, values), "rank"))
        rows.append({"identity": entries[-1].identity, "levels": dict(row.levels), "seed": row.seed, "block": row.block, "wave": row.wave})  # fmt: skip
    return {"rank": {"design": design.to_json(), "rows": rows, "looks": 1, "waves": 1}}, entries


def test_every_claim_is_told_with_its_own_metric_and_direction(designed):
    facts, entries = designed
    costs = pd.DataFrame([{"trick": "recompute", "time_ratio": 1.3, "memory_ratio": 0.6, "n": 12}])
    lines = {(r["trick"], r["metric"]): r for r in claim_lines(facts, entries, registry(), costs)}
    claims = [
        (n, c.metric) for n in ("fgsm", "clip_norm", "recompute", "placebo") for c in registry()[n].claims
    ]
    assert set(lines) == set(claims)
    robust, steps = lines["fgsm", "robust_accuracy"], lines["clip_norm", "steps_to_target"]
    assert robust["verdict"] == steps["verdict"] == "as claimed"
    assert robust["low"] < 0.2 < robust["high"]
    assert steps["low"] < -30 < steps["high"] < 0
    assert lines["recompute", "memory"]["effect"] == 0.6
    assert lines["recompute", "memory"]["low"] is None
    assert lines["placebo", "loss"]["verdict"] in ("as claimed", "undecided")


def test_what_was_not_measured_says_why(designed):
    facts, entries = designed
    bare = [replace(e, result=replace(e.result, metrics={METRIC: e.result.metrics[METRIC]})) for e in entries]
    lines = {(r["trick"], r["metric"]): r for r in claim_lines(facts, bare, registry(), None)}
    assert lines["fgsm", "robust_accuracy"]["why"] == "no designed run has it"
    assert lines["recompute", "memory"]["why"] == "the stage costs has not run"
    assert lines["fgsm", "accuracy"]["why"] == ""
    assert first_claims(registry(), bare)["fgsm"].metric == METRIC
    assert first_claims(registry(), entries)["fgsm"].metric == "validation/robust_accuracy"


def test_the_page_shows_the_table(html, data):
    assert data.claims
    assert tables.claims(data) is not None
    assert "Claimed against measured" in html
