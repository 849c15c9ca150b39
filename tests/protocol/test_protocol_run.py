"""The whole protocol: its document, its gates, and that it is the same twice."""

import json
from math import inf, log, nan

import numpy as np
import pytest
import torch
from protocol_cases import (
    baseline_of,
    changed,
    context_of,
    digits,
    ground_of,
    mlp,
    regression,
    task_of,
    trained_on,
)
from torch import nn

from ablate.lanes.trainer import Trainer
from ablate.protocol import loss_drop, overfit
from ablate.protocol.fit import fit
from ablate.protocol.guess import guess_losses
from ablate.protocol.plan import Budget, most_runs, plan
from ablate.protocol.prior import PriorLosses
from ablate.protocol.run import lr_find
from ablate.protocol.short_runs import map_lanes, train_steps
from ablate.protocol.steps import NAMES, Finding, Step, skipped, to_json
from ablate.records.errors import AblateError
from ablate.report.plots.lr_find import panel
from ablate.tasks.describe import prior_loss
from ablate.tasks.load import load


def protocol(task, *, seed=0, force=False, arms=None, said=None, baseline=None, budget=None):
    context = context_of(task)
    return lr_find(
        context, trained_on(context, arms), baseline=baseline or baseline_of(), task=task.name, seed=seed,
        force=force, budget=budget,
        say=(lambda line: None) if said is None else said.append,
    )  # fmt: skip


WHOLE = Budget(runs=19)
"""Runs of 90 steps are hardly longer than the short ones, so that the allowance would leave no repeats."""


@pytest.fixture(scope="module")
def document():
    return protocol(task_of(), budget=WHOLE)


def test_the_document_is_plain_json_of_the_agreed_shape(document):
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert list(document) == [
        "task", "device", "optimizer", "complete", "steps", "learning_rate", "weight_decay",
    ]  # fmt: skip
    assert document["optimizer"] == "momentum"
    assert (document["task"], document["device"], document["complete"]) == ("case", "cpu", True)
    assert [(step["step"], step["name"]) for step in document["steps"]] == list(enumerate(NAMES))
    for step in document["steps"]:
        assert set(step) == {"step", "name", "verdict", "figures", "findings"}
        assert step["verdict"] in ("pass", "warn")
        for finding in step["findings"]:
            assert list(finding) == ["code", "message", "where", "advice"]
            assert all(isinstance(value, str) for value in finding.values())


def test_the_rate_is_a_cell_of_the_grid_and_a_good_one(document):
    cells = document["steps"][5]["figures"]["cells"]
    (chosen,) = [
        c
        for c in cells
        if (c["learning_rate"], c["weight_decay"]) == (document["learning_rate"], document["weight_decay"])
    ]
    assert (
        chosen["validation/accuracy"]
        >= max(c["validation/accuracy"] or 0 for c in cells if c["seeds"] == 3) - 0.03
    )
    assert 0.01 < document["learning_rate"] < 1
    assert chosen["seeds"] == 3 or document["weight_decay"] > 0
    grid = document["steps"][4]["figures"]["cells"]
    assert {cell["weight_decay"] for cell in grid} == {0.0}
    (first,) = [cell for cell in grid if cell["learning_rate"] == document["learning_rate"]]
    assert first["validation/accuracy"] > 0.85
    test = document["steps"][5]["figures"]["against_guess"]
    assert test["loss"] < test["guess"]
    assert test["p"] < 0.001
    assert document["steps"][6]["figures"]["of"]["learning_rate"] == document["learning_rate"]


def test_twice_the_same(document):
    assert protocol(task_of(), budget=WHOLE) == document
    assert protocol(task_of(), seed=1) != document


def test_every_step_has_a_panel_in_the_report(document):
    pictures = [panel(step) for step in document["steps"][1:]]
    assert panel(document["steps"][0]) is None
    assert all(picture is not None for picture in pictures)
    captions = [picture.caption for picture in pictures]
    assert "initial loss" in captions[0]
    assert "rate 0.1" in captions[1]
    assert captions[2].startswith("Range test")
    assert f"{len(document['steps'][4]['figures']['cells'])} cells" in captions[3]
    assert "validation/loss" in captions[5]


def test_series_stay_short(document):
    def longest(value):
        if isinstance(value, dict):
            return max(map(longest, value.values()), default=0)
        return max(len(value), *map(longest, value)) if isinstance(value, list) and value else 0

    assert longest(document["steps"]) <= 500


def test_regression_and_tables_end_with_a_rate():
    for task in (regression(), load("wine").but(epochs=10)):
        arms: list[str] = []
        answer = protocol(task, arms=arms, budget=WHOLE)
        assert answer["complete"]
        assert answer["learning_rate"] > 0
        assert arms[0] == "rates"
        assert {"rates", "seeds"} <= set(arms) <= {"rates", "rates, extended", "seeds", "decays"}
        assert "decays" in arms or "rates, extended" in arms, "decays get the runs that are left"


def broken_head(module: nn.Sequential) -> None:
    module[-1].weight *= 100


def test_a_step_that_fails_stops_the_protocol():
    arms: list[str] = []
    said: list[str] = []
    answer = protocol(task_of(changed(broken_head)), arms=arms, said=said)
    assert [step["verdict"] for step in answer["steps"]] == ["pass", "fail"] + ["skipped"] * 5
    assert (answer["complete"], answer["learning_rate"], answer["weight_decay"]) == (False, None, None)
    assert "step 1 (initial loss) failed" in answer["steps"][6]["findings"][0]["message"]
    assert arms == []
    assert len(said) == 2
    assert said[1].startswith("lr-find 1/6, initial loss: fail: the untrained model's loss")


def test_force_goes_on_to_the_end():
    answer = protocol(task_of(changed(broken_head)), force=True)
    assert answer["steps"][1]["verdict"] == "fail"
    assert answer["complete"]
    assert answer["learning_rate"] is not None


def test_force_without_any_rate_tries_the_whole_grid_and_gives_none():
    """Labels of noise and a model that cannot even learn by heart."""
    noise = torch.randint(0, 10, (600,), generator=torch.Generator().manual_seed(0))
    blind = task_of(lambda: nn.Sequential(nn.Linear(64, 10, bias=False), Zero()), y=noise, epochs=1)
    answer = protocol(blind, force=True)
    third = answer["steps"][3]
    assert third["verdict"] == "fail"
    assert [finding["code"] for finding in third["findings"]] == [
        "labels-unrelated",
        "does-not-learn",
    ]
    rates = {cell["learning_rate"] for cell in answer["steps"][4]["figures"]["cells"]}
    assert rates >= set(baseline_of().rates())
    assert answer["steps"][4]["verdict"] == "fail"
    assert answer["learning_rate"] is None


class Zero(nn.Module):
    def forward(self, x):
        return x * 0


class Dropping(nn.Module):
    """Draws from torch's own generator, so that lanes must run one at a time."""

    def __init__(self):
        super().__init__()
        self.body = mlp()

    def forward(self, x):
        return self.body(x * torch.bernoulli(torch.full_like(x, 0.9)) if self.training else x)


def test_a_model_that_trains_alone_passes_too(monkeypatch):
    monkeypatch.setattr(loss_drop, "STEPS", 40)
    monkeypatch.setattr(overfit, "fit", lambda *given, steps=100, **named: fit(*given, steps=steps, **named))
    task = task_of(Dropping, *(part[:200] for part in digits()), epochs=1)
    assert context_of(task).solo
    answer = protocol(task)
    assert answer["complete"]
    assert answer["steps"][3]["figures"]["rate"] == 0.1


def test_lanes_are_halved_where_memory_is_short():
    context = context_of(task_of())
    setup = ground_of(task_of())
    runs = [setup.short_run(rate) for rate in (0.01, 0.02, 0.03, 0.04, 0.05)]
    sizes: list[int] = []

    def work(trainer: Trainer, most: int = 2):
        if trainer.lanes > most:
            raise MemoryError
        sizes.append(trainer.lanes)
        return train_steps(trainer, 5)

    results = map_lanes(context, runs, work)
    assert sizes == [2, 1, 2]
    together = map_lanes(context, runs, lambda trainer: train_steps(trainer, 5))
    assert [one.losses.tolist() for one in results] == [one.losses.tolist() for one in together]
    with pytest.raises(AblateError, match="not even one run fits"):
        map_lanes(context, runs, lambda trainer: work(trainer, 0))


def test_a_descent_notes_when_a_lane_was_lost():
    setup = ground_of(task_of())
    sound, lost = map_lanes(
        setup.context, [setup.short_run(rate) for rate in (0.1, 1e30)], lambda t: train_steps(t, 30)
    )
    assert sound.alive
    assert sound.finite_steps == 30
    assert not lost.alive
    assert 0 < lost.finite_steps < 5


def test_a_decay_is_the_optimizers_own_or_the_trick():
    plain = baseline_of()
    assert plain.at(0.1).to_dict() == {"momentum": {"lr": 0.1, "momentum": 0.9, "nesterov": False}}
    assert plain.at(0.1, 0.0) == plain.at(0.1)
    assert plain.at(0.1, 1e-4)["weight_decay"]["decay"] == 1e-4
    assert plain.other_decays() == [1e-4, 1e-3]
    baseline = baseline_of(adamw={"decay": 0.01}, cosine=True)
    assert baseline.decay == 0.01
    assert baseline.at(0.1, 0.1)["adamw"]["decay"] == 0.1
    assert "weight_decay" not in baseline.at(0.1, 0.1)
    assert baseline.other_decays() == [0.1, 1.0]
    asked = baseline_of(momentum=True, weight_decay={"decay": 5e-4, "mode": "decoupled"})
    assert asked.decay == 5e-4
    assert asked.at(0.1) == asked.at(0.1, 5e-4)
    assert asked.at(0.1)["weight_decay"]["mode"] == "decoupled"
    assert asked.other_decays() == []


def test_short_runs_have_the_baselines_optimizer_and_no_schedule():
    baseline = baseline_of(rmsprop=True, cosine=True, mixup=True, clip_norm=True)
    assert set(baseline.briefly(0.1)) == {"rmsprop", "clip_norm"}
    assert set(baseline.at(0.1)) == {"rmsprop", "cosine", "mixup", "clip_norm"}


def test_the_grid_is_five_decades_of_half_decades_around_the_default():
    rates = baseline_of().rates()
    assert rates == [1e-4, 3.2e-4, 1e-3, 3.2e-3, 0.01, 0.032, 0.1, 0.32, 1.0, 3.2, 10.0]
    assert baseline_of(adam=True).rates()[5] == 1e-3
    assert baseline_of().decades(1, 1) == [0.01, 0.1, 1.0]


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (30, (9, 6, 2, 20)), (17, (9, 6, 2, 20)), (16.5, (9, 6, 1, 20)), (12, (9, 3, 0, 20)), (9, (9, 0, 0, 20)),
        (4.5, (9, 0, 0, 10)), (0.25, (5, 0, 0, 1)), (0.01, (3, 0, 0, 1)),
    ],
)  # fmt: skip
def test_a_budget_leaves_out_decays_then_repeats_then_shortens_runs(most, expected):
    planned = plan(9, 2, 20, most)
    assert (planned.rates, planned.repeats, planned.decays, planned.epochs) == expected
    assert most < 1 or planned.runs * planned.epochs <= most * 20
    assert Budget(seconds=40).in_runs(2.0) == 15  # a quarter is for steps 2 and 3
    assert Budget(runs=4, seconds=30).in_runs(2.0) == 4


def test_without_a_budget_all_of_it_costs_1_3_times_one_seed_of_the_plain_grid():
    usual = most_runs(Budget(), 2.0, 9)
    assert usual == pytest.approx(1.3 * 11 - 2)
    assert most_runs(Budget(), 20.0, 9) == 9
    assert most_runs(Budget(seconds=8), 2.0, 9, 1.0) == 6
    assert most_runs(Budget(seconds=8000), 2.0, 9, 1.0) == usual
    assert most_runs(Budget(runs=40), 2.0, 9) == 40


def test_a_budget_is_kept_and_told():
    arms, said = [], []
    answer = protocol(task_of(), arms=arms, said=said, budget=Budget(runs=3))
    assert arms[0] == "rates"
    assert "seeds" not in arms
    assert any(line.startswith("lr-find will train") for line in said)
    step = answer["steps"][4]
    assert step["figures"]["epochs"] < 6
    assert "shortened" in [finding["code"] for finding in step["findings"]]
    assert answer["learning_rate"] is not None


def test_priors():
    balanced = PriorLosses.of(task_of(y=torch.arange(600) % 10))
    assert balanced.loss == pytest.approx(log(10), abs=1e-3)
    assert balanced.start == pytest.approx(log(10))
    rare = task_of(lambda: mlp(outputs=2), y=(torch.arange(600) % 10 == 0).long())
    assert PriorLosses.of(rare).loss == pytest.approx(-0.1 * log(0.1) - 0.9 * log(0.9), abs=1e-2)
    assert PriorLosses.of(rare).loss == pytest.approx(prior_loss(rare))
    assert PriorLosses.of(rare).start == pytest.approx(log(2))
    shifted = regression(y=torch.arange(442.0))
    y = shifted.train.y
    assert PriorLosses.of(shifted).loss == pytest.approx(float(y.var(correction=0)))
    assert PriorLosses.of(shifted).start == pytest.approx(float((y**2).mean()))
    assert guess_losses(rare).mean() == pytest.approx(0.325, abs=0.02)
    balanced_validation = rare.but(validation=(rare.train.x[:100], torch.arange(100) % 2))
    assert guess_losses(balanced_validation) == pytest.approx(
        np.full(100, log(2))
    )  # the training frequencies would cost 1.2


def test_values_are_made_plain():
    assert to_json({"a": [nan, inf, -inf, 1.23456789], 2: (1, True, None, "x"), "c": 1e-14}) == {
        "a": [None, None, None, 1.23457], "2": [1, True, None, "x"], "c": 0.0,
    }  # fmt: skip


def test_a_step_is_as_grave_as_its_gravest_finding():
    note, warn, fail = (Finding(level, level, "…") for level in ("note", "warn", "fail"))
    assert Step(1).verdict == Step(1, findings=(note,)).verdict == "pass"
    assert Step(1, findings=(note, warn)).verdict == "warn"
    assert Step(1, findings=(note, warn, fail)).verdict == "fail"
    assert [one["code"] for one in Step(1, findings=(note, warn, fail)).to_dict()["findings"]] == [
        "fail",
        "warn",
        "note",
    ]
    assert skipped(3, "why").to_dict()["verdict"] == "skipped"
