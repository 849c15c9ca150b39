"""Which cell is taken, and when a grid is widened: on results made by hand."""

from dataclasses import replace

import pytest
from protocol_cases import ground_of, regression, task_of

from ablate.protocol import selection
from ablate.protocol.coarse import coarse_epochs, coarse_grid
from ablate.protocol.fine import decays_around, fine_epochs, fine_grid
from ablate.protocol.grid import Grid, search
from ablate.protocol.prior import NoInputBaseline
from ablate.protocol.selection import ACCURACY, LOSS, Cell
from ablate.protocol.short_runs import rates_around
from ablate.records.run import Outcome, Result

TASK = task_of()
BLIND = NoInputBaseline.of(TASK)


def result(accuracy: float, loss: float, outcome: Outcome = Outcome.COMPLETE) -> Result:
    curve = (2.3, 1.5, loss, loss, loss, loss)
    return Result(outcome, {ACCURACY: accuracy, LOSS: loss}, {"train/loss": curve, LOSS: curve}, epochs=6)


def cell(
    rate: float,
    accuracy: float = 0.9,
    loss: float = 0.3,
    outcome: Outcome = Outcome.COMPLETE,
    decay: float = 0.0,
):
    return Cell(rate, decay, result(accuracy, loss, outcome))


DIVERGED = {"outcome": Outcome.DIVERGED}
COLLAPSED = {"accuracy": 0.1, "loss": 2.3}


def best(*cells: Cell) -> Cell:
    found = selection.best_cell(cells, TASK, BLIND)
    assert found is not None
    return found


def test_a_clearly_better_accuracy_wins_whatever_the_loss():
    assert best(cell(0.1, 0.9, 0.5), cell(0.2, 0.7, 0.2)).rate == 0.1


def test_within_a_standard_error_the_lower_loss_decides():
    """With some 120 validation examples 0.92 and 0.90 are the same."""
    assert selection.tolerance([cell(0.1, 0.92)], TASK) == pytest.approx(
        (0.92 * 0.08 / len(TASK.validation)) ** 0.5
    )
    assert best(cell(0.1, 0.92, 0.5), cell(0.2, 0.90, 0.2)).rate == 0.2


def test_a_rate_beside_a_broken_one_is_left_if_another_is_as_good():
    for lost in (DIVERGED, COLLAPSED):
        cells = [cell(0.05, 0.9, 0.31), cell(0.1, 0.91, 0.3), cell(0.2, **lost)]
        assert best(*cells).rate == 0.05
    clearly = [cell(0.05, 0.7, 0.8), cell(0.1, 0.91, 0.3), cell(0.2, **DIVERGED)]
    assert best(*clearly).rate == 0.1
    (found,) = selection.cliff(clearly, clearly[1], BLIND, "warn")
    assert found.code == "unsound-neighbour"
    assert "0.2" in found.message
    assert selection.cliff(clearly, clearly[0], BLIND, "warn") == []


def test_what_did_not_complete_is_never_taken():
    assert (
        selection.best_cell([cell(0.1, **DIVERGED), cell(0.2, 0.99, 0.1, Outcome.FAILED)], TASK, BLIND)
        is None
    )
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
    found = selection.best_cell(cells, task, NoInputBaseline.of(task))
    assert found is not None
    assert found.rate == 0.2


@pytest.mark.parametrize(
    ("accuracies", "side"),
    [((0.9, 0.7, 0.5), -1), ((0.5, 0.7, 0.9), 1), ((0.5, 0.9, 0.5), 0), ((0.9, 0.89, 0.5), 0), ((0.9,), 0)],
)
def test_edge(accuracies, side):
    cells = [cell(0.1 * (place + 1), accuracy) for place, accuracy in enumerate(accuracies)]
    assert selection.edge(cells, TASK) == side


def test_a_flat_optimum_is_told():
    (found,) = selection.flat([cell(0.1, 0.9), cell(0.2, 0.91), cell(0.3, 0.5)], TASK)
    assert found.level == "note"
    assert found.where == "rates 0.1 to 0.2"
    assert selection.flat([cell(0.1, 0.9), cell(0.1, 0.9, decay=1e-4), cell(0.3, 0.5)], TASK) == []


def test_a_grid_that_learns_nothing_fails():
    cells = [cell(0.1, 0.1, 2.31), cell(0.2, 0.12, 2.5), cell(0.3, **DIVERGED)]
    (found,) = selection.learned(cells, cells[0], BLIND)
    assert (found.code, found.level) == ("no-better-than-a-guess", "fail")
    assert selection.learned(cells, cells[0], BLIND, lenient=True) == [found]
    falling = replace(
        cells[0], result=replace(cells[0].result, curves={LOSS: (9.0, 8.0, 7.0, 6.0, 5.0, 4.0)})
    )
    (mild,) = selection.learned(cells, falling, BLIND, lenient=True)
    assert (mild.code, mild.level) == ("too-short-to-judge", "warn")
    assert selection.learned([cell(0.1, 0.5, 2.4)], cells[0], BLIND) == []  # overconfident, but right


def simulated(peak: float, arms: list[str], worst: float = float("inf")):
    """A `train` whose accuracy falls with the distance to `peak` in decades; diverges from `worst` on."""
    from math import log10

    def train(runs, arm):
        arms.append(arm)
        rates = [run.recipe["momentum"]["lr"] for run in runs]
        far = [abs(log10(rate / peak)) for rate in rates]
        return [
            result(0.95 - 0.1 * off, 0.2 + off, Outcome.DIVERGED if rate >= worst else Outcome.COMPLETE)
            for rate, off in zip(rates, far, strict=True)
        ]

    return train


@pytest.mark.parametrize(
    ("peak", "rate", "codes", "arms"),
    [
        (0.1, 0.1, [], ["grid"]),
        (3.2, 3.2, ["widened"], ["grid", "grid, widened"]),
        (0.0032, 0.0032, ["widened"], ["grid", "grid, widened"]),
        (1000.0, 10.0, ["widened", "edge"], ["grid", "grid, widened"]),
        (1e-6, 0.001, ["widened", "edge"], ["grid", "grid, widened"]),
    ],
)
def test_a_grid_is_widened_once(peak, rate, codes, arms):
    seen: list[str] = []
    setup = replace(ground_of(TASK), train=simulated(peak, seen))
    cells, found, findings = search(setup, Grid("grid", 0.1, 2.0, (0.0, 1e-4), 3), BLIND)
    assert found is not None
    assert found.rate == rate
    assert [one.code for one in findings] == codes
    assert seen == arms
    assert len(cells) == 10 + 4 * (len(arms) - 1)


def test_where_all_diverge_lower_rates_are_tried():
    seen: list[str] = []
    setup = replace(ground_of(TASK), train=simulated(0.003, seen, worst=0.009))
    _, found, findings = search(setup, Grid("grid", 0.1, 2.0, (0.0,), 3), BLIND)
    assert found is not None
    assert found.rate == 0.0032
    assert "nothing completed" in findings[0].message
    setup = replace(setup, train=simulated(0.003, seen, worst=0.0))
    step, nothing = coarse_grid(setup, 0.1)
    assert nothing is None
    assert step.verdict == "fail"
    assert step.by_severity[0].code == "no-run-completed"
    assert {row["outcome"] for row in step.to_dict()["figures"]["cells"]} == {"diverged"}
    assert fine_grid(setup, cell(0.1))[0].verdict == "fail"


def test_rates_and_decays_of_the_grids():
    assert rates_around(0.1, 5, 2.0) == [0.01, 0.032, 0.1, 0.32, 1.0]
    assert decays_around(1e-4) == (3.2e-05, 1e-4, 3.2e-4)
    assert decays_around(0.0) == (0.0, 1e-5)


def test_budgets_of_the_grids():
    assert len(TASK.train) // TASK.batch_size == 7
    long = TASK.but(epochs=50)
    assert coarse_epochs(long) == 8  # 5 epochs would be 35 steps
    assert coarse_epochs(long.but(batch_size=8)) == 2  # 60 steps an epoch
    assert coarse_epochs(long.but(batch_size=1)) == 1
    assert coarse_epochs(long.but(batch_size=24)) == 5
    assert coarse_epochs(TASK.but(epochs=1)) == 1
    assert fine_epochs(long) == 20
    assert fine_epochs(long.but(batch_size=8)) == 10
    assert fine_epochs(long.but(epochs=3)) == 3
