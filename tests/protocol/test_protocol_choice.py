"""Which cell is taken, and when a grid is widened: on results made by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from protocol_cases import changed, ground_of, mlp, regression, task_of
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from ablate.catalogue.registry import registry
from ablate.protocol import selection
from ablate.protocol.baseline import Baseline
from ablate.protocol.batch_checks import frozen_findings
from ablate.protocol.cells import LOSS, Cell, none_completed
from ablate.protocol.chosen import choose_cell, metric_at_chance, with_decay
from ablate.protocol.data_columns import constant_columns
from ablate.protocol.guess import against_guess, guess_losses, one_sided
from ablate.protocol.loss_drop import drop_of
from ablate.protocol.plan import Plan
from ablate.protocol.rate_grid import nearest, rate_grid, rates_worth_trying
from ablate.protocol.short_runs import LossTrace
from ablate.protocol.standard_error import standard_error
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result

TASK = task_of()
ACCURACY = "validation/accuracy"


def result(accuracy: float, loss: float, outcome: Outcome = Outcome.COMPLETE) -> Result:
    """A run whose per-example cross-entropies have the mean `loss`; a good one was better in its second epoch."""
    curve = (2.4, 1.5 if accuracy > 0.2 else loss, loss, loss, loss, loss)
    spread = np.linspace(0.8, 1.2, len(TASK.validation))
    scores = tuple(np.exp(-loss * spread).tolist()) if outcome is Outcome.COMPLETE else ()
    return Result(
        outcome, {ACCURACY: accuracy, LOSS: loss}, {"train/loss": curve, LOSS: curve}, {"validation": scores},
        epochs=6,
    )  # fmt: skip


def cell(
    rate: float,
    accuracy: float = 0.9,
    loss: float = 0.3,
    outcome: Outcome = Outcome.COMPLETE,
    decay: float = 0.0,
):
    return Cell(rate, decay, result(accuracy, loss, outcome))


DIVERGED = {"outcome": Outcome.DIVERGED}
COLLAPSED = {"accuracy": 0.1, "loss": 2.5}


def best(*cells: Cell) -> Cell:
    chosen = selection.best_cell(cells, TASK)
    assert chosen is not None
    return chosen


def test_a_clearly_better_accuracy_wins_whatever_the_loss():
    assert best(cell(0.1, 0.9, 0.5), cell(0.2, 0.7, 0.2)).rate == 0.1


def test_within_half_a_standard_error_the_lower_loss_decides():
    """With some 120 validation examples 0.92 and 0.91 are the same, 0.92 and 0.90 are not."""
    error = (0.92 * 0.08 / len(TASK.validation)) ** 0.5
    assert selection.tolerance([cell(0.1, 0.92)], TASK) == pytest.approx(error / 2)
    assert best(cell(0.1, 0.92, 0.5), cell(0.2, 0.91, 0.2)).rate == 0.2
    assert best(cell(0.1, 0.92, 0.5), cell(0.2, 0.90, 0.2)).rate == 0.1


def test_a_rate_beside_a_broken_one_is_left_if_another_is_as_good():
    for lost in (DIVERGED, COLLAPSED):
        cells = [cell(0.05, 0.9, 0.31), cell(0.1, 0.91, 0.3), cell(0.2, **lost)]
        assert best(*cells).rate == 0.05
    clearly = [cell(0.05, 0.7, 0.8), cell(0.1, 0.91, 0.3), cell(0.2, **DIVERGED)]
    assert best(*clearly).rate == 0.1
    (finding,) = selection.cliff(clearly, clearly[1], TASK, "warn")
    assert finding.code == "unsound-neighbour"
    assert "0.2" in finding.message
    assert selection.cliff(clearly, clearly[0], TASK, "warn") == []


def test_messages_are_in_the_number_of_their_nouns():
    """One run diverges, two diverge."""
    one = [cell(0.1), cell(0.2, **DIVERGED)]
    (finding,) = selection.cliff(one, one[0], TASK, "warn")
    assert "best rate 0.1, the only run diverges" in finding.message
    three = [*one, cell(0.2, **COLLAPSED), cell(0.2, **COLLAPSED)]
    (finding,) = selection.cliff(three, three[0], TASK, "warn")
    assert "1 of 3 runs diverges and 2 of 3 runs learn nothing" in finding.message
    assert "the only run did not complete (diverged)" in none_completed([cell(0.1, **DIVERGED)], "m").message
    assert "none of 2 runs completed" in none_completed([cell(0.1, **DIVERGED)] * 2, "m").message
    undefined = none_completed([cell(0.1, float("nan")), cell(0.2, **DIVERGED)], "validation/mine")
    assert (
        undefined.message
        == "validation/mine is not finite in 1 run that trained to the end, nor in any other"
    )
    assert "look at the metric" in undefined.advice
    assert str(Plan(3, 1, 0, 1)) == "3 rates, 1 repeat of the best and 0 weight decays: 4 runs of 1 epoch"
    (constant,) = constant_columns(np.array([[1.0, 2.0], [1.0, 3.0]]))
    assert constant.message == "1 of 2 columns is constant: 0"
    other = mlp()
    other[0].bias.requires_grad_(False)
    (frozen,) = frozen_findings(other, changed(lambda module: module[0].bias.fill_(1))())
    assert frozen.message == "1 of 6 parameter tensors is random and frozen"


def test_what_did_not_complete_is_never_taken():
    assert selection.best_cell([cell(0.1, **DIVERGED), cell(0.2, 0.99, 0.1, Outcome.FAILED)], TASK) is None
    assert (
        best(cell(0.1, 0.5, 1.0), cell(0.2, 0.99, 0.1, Outcome.DIVERGED), cell(0.3, float("nan"), 0.1)).rate
        == 0.1
    )


def test_regression_takes_the_lowest_error():
    task = regression()
    cells = [
        Cell(rate, 0.0, Result(Outcome.COMPLETE, {"validation/rmse": rmse, LOSS: rmse**2}))
        for rate, rmse in ((0.1, 0.7), (0.2, 0.69), (0.3, 0.8))
    ]
    chosen = selection.best_cell(cells, task)
    assert chosen is not None
    assert chosen.rate == 0.2


@pytest.mark.parametrize(
    ("accuracies", "side"),
    [((0.9, 0.7, 0.5), -1), ((0.5, 0.7, 0.9), 1), ((0.5, 0.9, 0.5), 0), ((0.9, 0.89, 0.5), 0), ((0.9,), 0)],
)
def test_edge(accuracies, side):
    cells = [cell(0.1 * (place + 1), accuracy) for place, accuracy in enumerate(accuracies)]
    assert selection.edge(cells, TASK) == side


def test_a_flat_optimum_is_told():
    (finding,) = selection.flat([cell(0.1, 0.9), cell(0.2, 0.91), cell(0.3, 0.5)], TASK)
    assert finding.level == "note"
    assert finding.where == "rates 0.1 to 0.2"
    assert selection.flat([cell(0.1, 0.9), cell(0.1, 0.9, decay=1e-4), cell(0.3, 0.5)], TASK) == []


def test_a_grid_that_learns_nothing_fails():
    cells = [cell(0.1, 0.1, 2.41), cell(0.2, 0.12, 2.5), cell(0.3, **DIVERGED)]
    cells = [
        replace(one, result=replace(one.result, curves={LOSS: (one.value(LOSS),)}))
        for one in cells[:2]
    ]  # fmt: skip
    finding = selection.no_better_than_a_guess(cells, TASK, TASK.epochs)
    assert finding is not None
    assert (finding.code, finding.level) == ("no-better-than-a-guess", "fail")
    shorter = selection.no_better_than_a_guess(cells, TASK, 1)  # than the task's own, for lack of budget
    steps = -(-len(TASK.train) // TASK.batch_size)
    assert shorter.advice.startswith(f"a run of 1 epoch has {steps} steps only")
    assert "train longer (a larger --budget)" in shorter.advice
    assert (
        selection.no_better_than_a_guess([*cells, cell(0.1, 0.5, 2.5)], TASK, TASK.epochs) is None
    )  # its second epoch was


def simulated(peak: float, arms: list[str], worst: float = float("inf"), floor: float = 0.2):
    """A `train` whose accuracy falls with the distance to `peak` in decades; diverges from `worst` on."""
    from math import log10

    def train(runs, arm):
        arms.append(arm)
        rates = [run.recipe["momentum"]["lr"] for run in runs]
        far = [abs(log10(rate / peak)) for rate in rates]
        return [
            result(max(0.95 - 0.1 * off, 0.0), floor + off, Outcome.DIVERGED if rate >= worst else Outcome.COMPLETE)
            for rate, off in zip(rates, far, strict=True)
        ]  # fmt: skip

    return train


RATES = [0.01, 0.032, 0.1, 0.32, 1.0]


@pytest.mark.parametrize(
    ("peak", "rate", "codes", "arms"),
    [
        (0.1, 0.1, [], ["rates"]),
        (3.2, 3.2, ["widened"], ["rates", "rates, extended"]),
        (0.0032, 0.0032, ["widened"], ["rates", "rates, extended"]),
        (100.0, 10.0, ["widened", "edge"], ["rates", "rates, extended"]),
        (1e-5, 0.001, ["widened", "edge"], ["rates", "rates, extended"]),
    ],
)
def test_a_grid_is_extended_once(peak, rate, codes, arms):
    seen: list[str] = []
    setup = replace(ground_of(TASK), train=simulated(peak, seen))
    step, cells = rate_grid(setup, RATES, 3)
    assert step.figures["learning_rate"] == rate
    assert [one.code for one in step.findings] == codes
    assert seen == arms
    assert len(cells) == 5 + 2 * (len(arms) - 1)


def test_where_all_diverge_lower_rates_are_tried():
    seen: list[str] = []
    setup = replace(ground_of(TASK), train=simulated(0.003, seen, worst=0.009))
    step, _ = rate_grid(setup, RATES, 3)
    assert step.figures["learning_rate"] == 0.0032
    assert "no run completed" in step.findings[0].message
    step, nothing = rate_grid(replace(setup, train=simulated(0.003, seen, worst=0.0)), RATES, 3)
    assert nothing == []
    assert step.verdict == "fail"
    assert step.by_severity[0].code == "no-run-completed"
    assert {row["outcome"] for row in step.to_dict()["figures"]["cells"]} == {"diverged"}


def test_a_weight_decay_is_the_optimizers_own_where_it_excludes_the_trick():
    def baseline(optimizer: str) -> Baseline:
        return Baseline(Recipe.of(registry(), {optimizer: {"lr": 0.1}}), registry())

    assert (baseline("adamw").decay, baseline("adamw").at(0.2, 0.5)["adamw"]["decay"]) == (0.01, 0.5)
    averages = baseline("adafactor")  # its `decay` is that of running averages
    assert averages.decay == 0.0
    assert averages.at(0.2, 0.001)["adafactor"]["decay"] == averages.recipe["adafactor"]["decay"]
    assert averages.at(0.2, 0.001)["weight_decay"]["decay"] == 0.001


def test_the_best_rates_get_more_seeds_and_the_winner_decays():
    seen: list[str] = []
    setup = replace(ground_of(TASK), train=simulated(0.1, seen))
    _, cells = rate_grid(setup, RATES, 3)
    step, best = choose_cell(setup, cells, Plan(5, 6, 2, 3))
    assert (best.rate, best.decay, len(best.results)) == (0.1, 0.0, 3)
    assert seen == ["rates", "seeds", "decays"]
    rows = step.figures["cells"]
    assert sorted(row["seeds"] for row in rows) == [1, 1, 3]  # half a decade away it is clearly worse
    assert {row["weight_decay"] for row in rows} == {0.0, 1e-4, 1e-3}
    assert step.figures["against_guess"]["p"] < 1e-3


def test_only_close_rates_get_more_seeds_and_the_rest_goes_to_decays():
    error = standard_error(TASK, 0.9)
    first, near, far = (cell(rate, 0.9 - below * error) for rate, below in ((0.1, 0), (0.2, 1.0), (0.3, 3.0)))
    assert selection.close([first, near, far], TASK) == [first, near]
    seen: list[str] = []
    setup = replace(ground_of(TASK), train=simulated(0.1, seen))
    step, _ = choose_cell(setup, [first, near, far], Plan(3, 4, 1, 3))
    assert sorted(row["seeds"] for row in step.figures["cells"]) == [1, 3, 3]
    step, _ = choose_cell(setup, [first, far], Plan(2, 4, 0, 3))
    assert sorted(row["seeds"] for row in step.figures["cells"]) == [1, 1, 3]  # two repeats and both decays
    step, _ = choose_cell(setup, [first, near, far], Plan(2, 2, 0, 3))  # the grid was widened by one
    assert [row["seeds"] for row in step.figures["cells"]] == [1, 1, 1]  # one decay, as one run is left


def test_no_rate_is_given_whose_loss_exceeds_the_guess():
    """Accuracy alone is not enough: the loss is above the guess at every epoch but one, which is trained again."""
    seen: list[str] = []
    setup = replace(ground_of(TASK), train=simulated(0.1, seen, floor=2.5))
    cells = [cell(0.1, 0.9, 2.5), cell(0.32, 0.8, 2.6)]
    step, best = choose_cell(setup, cells, Plan(2, 0, 0, 3))
    assert (step.verdict, best.rate) == ("fail", 0.1)
    assert seen == ["best epoch"]
    assert [one.code for one in step.findings if one.level == "fail"] == ["no-better-than-a-guess"]


def test_a_decay_is_taken_only_if_it_is_clearly_better():
    without_decay = cell(0.1, 0.8, 0.5)
    error = standard_error(TASK, 0.8)
    clearly = cell(0.1, 0.8 + 1.5 * error, 0.4, decay=1e-3)
    assert (
        with_decay(without_decay, [clearly, cell(0.1, 0.8 + 0.5 * error, 0.3, decay=1e-4)], TASK) is clearly
    )
    assert with_decay(without_decay, [cell(0.1, 0.8 + 0.5 * error, 0.3, decay=1e-4)], TASK) is without_decay
    assert with_decay(without_decay, [cell(0.1, 0.9, 0.6, decay=1e-4)], TASK) is without_decay


def drops(shares: dict[float, float | None]):
    """Drops by rate: a fraction of the loss, None where the lane diverged."""
    still = np.full(100, 2.0)
    return [
        drop_of(rate, LossTrace(still * (np.nan if share is None else 1 - share)), still)
        for rate, share in shares.items()
    ]


def test_rates_that_step_3_rules_out_are_not_trained():
    rates = ground_of(TASK).baseline.rates()
    seen = drops({1e-4: 0.01, 1e-3: 0.02, 1e-2: 0.3, 0.1: 0.8, 1.0: 0.5, 10.0: None})
    kept = rates_worth_trying(rates, seen, 100)
    assert kept == [0.01, 0.032, 0.1, 0.32, 1.0, 3.2]
    assert rates_worth_trying(rates, seen, 1000) == [3.2e-3, *kept]  # ten times the steps go ten times as far
    assert rates_worth_trying(rates, drops({0.1: 0.0, 1.0: None}), 100) == [r for r in rates if r < 1]
    assert rates_worth_trying(rates, drops({1e-5: None}), 100) == rates
    assert nearest(kept, seen, 3) == [0.032, 0.1, 0.32]
    assert nearest(kept, seen, 9) == kept
    assert nearest(rates, drops({1e-5: None}), 1) == [rates[5]]


def rare(metric: str, count: int = 4000):
    """A binary task with 2 % positives."""
    x = torch.randn(count, 64, generator=torch.Generator().manual_seed(0))
    y = (torch.arange(count) % 50 == 0).long()
    return task_of(lambda: mlp(outputs=2), x, y, metric=metric)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "worst_class_recall", "auroc", "f1"])
def test_standard_errors_are_those_of_resampled_examples(metric):
    """The bootstrap over examples of a classifier that is right with 80 % in either class."""
    task, rng = rare(metric), np.random.default_rng(0)
    y = task.validation.y.numpy()
    margin = rng.standard_normal(len(y)) + np.where(y == 1, 0.84, -0.84)

    def score(rows):
        truth, guess = y[rows], margin[rows] > 0
        return {
            "accuracy": lambda: np.mean(guess == truth), "balanced_accuracy": lambda: balanced_accuracy_score(truth, guess),
            "worst_class_recall": lambda: np.mean(guess[truth == 1]), "auroc": lambda: roc_auc_score(truth, margin[rows]),
            "f1": lambda: f1_score(truth, guess),
        }[metric]()  # fmt: skip

    draws = [score(rng.integers(0, len(y), len(y))) for _ in range(300)]
    right = (margin > 0) == (y == 1)
    run = scored_run(task, np.where(right, 0.9, 0.1))
    error = standard_error(task, float(score(np.arange(len(y)))), run)
    assert error == pytest.approx(np.std(draws), rel=0.45)


def test_losses_have_the_error_of_their_mean():
    task = regression()
    squares = np.random.default_rng(0).chisquare(1, len(task.validation))
    run = Result(Outcome.COMPLETE, scores={"validation": tuple(squares.tolist())})
    rmse = float(np.sqrt(squares.mean()))
    draws = [np.sqrt(np.random.default_rng(i).choice(squares, len(squares)).mean()) for i in range(500)]
    assert standard_error(task, rmse, run) == pytest.approx(np.std(draws), rel=0.15)
    assert standard_error(task, rmse) == 0.0


def test_the_test_against_the_guess_holds_its_level():
    """One-sided p of gains without a mean are uniform; a heavy tail does not make it reject more."""
    rng = np.random.default_rng(0)
    ps = np.array([one_sided(rng.standard_normal(200)) for _ in range(2000)])
    assert np.mean(ps < 0.05) == pytest.approx(0.05, abs=0.015)
    assert one_sided(np.ones(5)) == 0.0
    assert one_sided(np.zeros(5)) == one_sided(np.ones(1)) == 1.0


def scored_run(task, probability) -> Result:
    return Result(Outcome.COMPLETE, scores={"validation": tuple(probability.tolist())})


def test_a_prediction_of_the_majority_is_no_better_than_a_guess():
    task = rare("balanced_accuracy")
    y = task.validation.y.numpy()
    prior = np.where(y == 1, 0.02, 0.98)
    assert not against_guess(task, scored_run(task, prior)).better
    assert against_guess(task, scored_run(task, np.where(y == 1, 0.5, 0.97))).better
    assert guess_losses(task).mean() == pytest.approx(0.098, abs=0.01)


def test_a_balanced_metric_at_chance_fails_and_accuracy_only_warns():
    run = Result(Outcome.COMPLETE, {"validation/balanced_accuracy": 0.5, LOSS: 0.1})
    (finding,) = metric_at_chance(Cell(0.1, 0.0, run), rare("balanced_accuracy"))
    assert (finding.code, finding.level) == ("metric-at-chance", "fail")
    assert "16 validation examples" in finding.message
    run = Result(Outcome.COMPLETE, {ACCURACY: 0.98, LOSS: 0.1})
    (finding,) = metric_at_chance(Cell(0.1, 0.0, run), rare("accuracy"))
    assert finding.level == "warn"
    run = Result(Outcome.COMPLETE, {"validation/balanced_accuracy": 0.8, LOSS: 0.1})
    assert metric_at_chance(Cell(0.1, 0.0, run), rare("balanced_accuracy")) == []


def test_a_single_usable_rate_is_a_narrow_band():
    losses = {0.01: 2.3, 0.032: 2.25, 0.1: 0.4, 0.32: 2.4}
    cells = [cell(rate, 0.2, loss) for rate, loss in losses.items()]
    assert [one.code for one in selection.narrow(cells, TASK)] == ["narrow-band"]
    assert selection.narrow([*cells, cell(0.2, 0.8, 0.6)], TASK) == []
    assert selection.narrow(cells[:3], TASK) == []
