"""The simulation of races: it computes what the shipped race does, and small worlds meet the targets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ablate.ranking.designs.racing import Racing
from ablate.ranking.verdicts.racing import replay
from bench.statistics import replay_many as fast
from bench.statistics.race_figures import race_figures
from bench.statistics.race_worlds import MARGIN, World, worlds
from bench.statistics.races import PLACEBO, drawn, simulate

SMALL = {world.name: world for world in worlds()}
REPLICATES = 6
CODES = {"helps": 1, "hurts": -1, "no": 0, "undecided": 2}


@pytest.mark.parametrize(
    "name", ["normal", "unequal σ", "5 % collapses", "arms share 0 or 0.7 of the variance"]
)
def test_the_fast_race_is_the_shipped_one(name: str) -> None:
    world = SMALL[name]
    racing = Racing.up_to(world.looks_up_to)
    _, _, _, arms, placebo, reference = drawn(world, REPLICATES, np.random.default_rng(5))
    off = np.abs(np.random.default_rng(6).normal(0.0, 0.2, (REPLICATES, len(world.tricks) + 1)))
    outcome = fast.replay_many(arms, placebo, reference, racing, MARGIN, off)
    seeds = list(range(reference.shape[1]))
    apart = list(range(10_000, 10_000 + placebo.shape[1]))
    for i in range(REPLICATES):
        given = {
            name: dict(zip(seeds, row, strict=False)) for name, row in zip(world.tricks, arms[i], strict=True)
        }
        given[PLACEBO] = dict(zip(apart, placebo[i], strict=True))
        race = replay(
            given, dict(zip(seeds, reference[i], strict=True)), seeds, {PLACEBO: apart}, racing, MARGIN,
            tuning_se=dict(zip((*world.tricks, PLACEBO), off[i], strict=True)),
        )  # fmt: skip
        rows = [race.rows[name] for name in (*world.tricks, PLACEBO)]
        assert [CODES[row.verdict.split()[0]] for row in rows] == outcome.code[i].tolist()
        assert [row.look for row in rows] == outcome.look[i].tolist()
        assert [row.pairs for row in rows] == outcome.pairs[i].tolist()
        for field in ("effect", "se", "df"):
            expected = [getattr(row, field) for row in rows]
            np.testing.assert_allclose(getattr(outcome, field)[i], expected, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(
            (outcome.effect - outcome.half)[i], [row.low for row in rows], rtol=1e-8, atol=1e-12
        )
        assert race.comparison is not None
        assert sum(row.pairs for row in rows) + race.comparison.reference_runs == outcome.runs[i]


@pytest.mark.parametrize(
    "name", ["normal", "effects vary by split (0.5 σ)", "A/A, normal", "27 of 30 without effect"]
)
def test_targets(name: str) -> None:
    """With allowance for 400 replicates: three standard errors of a share at its target."""
    world, replicates = SMALL[name], 400
    for figure in race_figures(world, simulate(world, replicates, 1)):
        if figure.why or figure.target == "none":
            continue
        edge = figure.low if np.isfinite(figure.low) else figure.high
        slack = 3 * np.sqrt(edge * (1 - edge) / replicates)
        assert figure.low - slack <= figure.value <= figure.high + slack, figure


def test_a_broken_standard_error_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    effects = fast._effects

    def narrow(*given):
        effect, se, df = effects(*given)
        return effect, 0.7 * se, df

    monkeypatch.setattr(fast, "_effects", narrow)
    figures = race_figures(SMALL["A/A, normal"], simulate(SMALL["A/A, normal"], 300, 1))
    assert {figure.name for figure in figures if not figure.met} >= {
        "coverage of 95 % intervals",
        "family-wise error, any look",
    }


def test_arms_are_tuned_to_their_own_best_rates() -> None:
    world = replace(SMALL["rate × trick, best rates up to a decade apart"], effects=(1.0, 0.0, -1.0))
    races = simulate(world, 10, 0)
    lost = races.best - races.truth
    assert np.median(np.abs(lost)) < 0.6
    assert World("x").offsets().max() == 0
