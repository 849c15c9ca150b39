"""The simulation of `bench.statistics`, small: every target met, and the shipped functions are what it runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ablate.ranking.designs.screening import screening
from ablate.ranking.estimation.analysis import Declaration, analyse
from bench.statistics import __main__ as command
from bench.statistics import study
from bench.statistics.__main__ import worlds
from bench.statistics.figures import Figure, figures
from bench.statistics.pairs import pair_figures
from bench.statistics.study import simulate
from bench.statistics.world import MARGIN, NOTHING, World, outcomes

REPLICATES = 200


@pytest.mark.parametrize(
    "world", [w for w in worlds() if w.declared and not w.trick_by_seed], ids=lambda w: w.name
)
def test_targets(world: World) -> None:
    """With allowance for 200 replicates: three standard errors of a share at its target."""
    for figure in figures(world, simulate(world, REPLICATES, 1, MARGIN)):
        if figure.why or figure.target == "none":
            continue
        edge = figure.low if np.isfinite(figure.low) else figure.high
        slack = 3 * np.sqrt(edge * (1 - edge) / REPLICATES)
        assert figure.low - slack <= figure.value <= figure.high + slack, figure


def test_the_comparison_of_two_recipes_keeps_its_errors() -> None:
    for figure in pair_figures("normal", REPLICATES, 1):
        edge = figure.low if np.isfinite(figure.low) else figure.high
        slack = 3 * np.sqrt(edge * (1 - edge) / REPLICATES)
        assert figure.low - slack <= figure.value <= figure.high + slack, figure


def test_one_simulated_study_is_what_a_user_would_see() -> None:
    world, number, seed = World("normal", "two-factor"), 0, 3
    studies = simulate(world, 2, seed, MARGIN)
    draw = np.random.default_rng([seed, number, sum(map(ord, world.name))])
    waves = [screening(world.factors, wave=w, seed=int(draw.integers(2**31))).frame() for w in (1, 2, 3)]
    frame = pd.concat(waves, ignore_index=True)
    y = outcomes(world, frame, 2, draw)
    words = {1: "helps", -1: "hurts", 0: "no measurable effect", 2: "undecided"}
    for look in (1, 2, 3):
        for i in range(2):
            part = frame.iloc[: look * studies.runs].assign(metric=y[i, : look * studies.runs])
            table = analyse(
                part, world.factors, Declaration("metric", "higher", wave_runs=32), look=look
            ).table
            np.testing.assert_allclose(table["effect"], studies.effect[i, look - 1], rtol=1e-8)
            said = table["verdict"].str.removesuffix(" a little")
            assert said.tolist() == [words[c] for c in studies.code[i, look - 1].tolist()]


def test_the_simulation_notices_a_broken_statistic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Holm and Pocock the family-wise error is what the targets exist to prevent."""
    monkeypatch.setattr(study, "nominal_level", lambda looks: 0.4)
    by_name = {
        f.name: f
        for f in figures(
            World("normal", "additive", NOTHING),
            simulate(World("normal", "additive", NOTHING), 100, 0, MARGIN),
        )
    }
    assert not by_name["family-wise error, any look"].met
    monkeypatch.setattr(study, "half_width", lambda se, df, confidence: 1.2 * se)
    by_name = {
        f.name: f
        for f in figures(World("normal", "additive"), simulate(World("normal", "additive"), 100, 0, MARGIN))
    }
    assert not by_name["coverage of 95 % intervals"].met


def test_the_command_ends_with_1_for_a_miss_that_nobody_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench.statistics"])
    good, miss, excused = (
        Figure("w", "f", value, 10, -np.inf, 0.05, why)
        for value, why in ((0.04, ""), (0.07, ""), (0.07, "because"))
    )
    for measured, code, says in (
        ([good], 0, "1 of 1 targets met"),
        ([good, excused], 0, "f: because"),
        ([good, miss], 1, "MISS"),
    ):
        monkeypatch.setattr(command, "measure", lambda replicates, seed, measured=measured: iter(measured))
        assert command.main() == code
        assert says in capsys.readouterr().out
