"""Step 5: repeat the best rates with more seeds, try a few weight decays at the winner, and judge the chosen cell."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.protocol.cells import LOSS, Cell, summarise, train_cells
from ablate.protocol.guess import BALANCED, FEW, PairedTest, against_guess
from ablate.protocol.label_causes import (
    task_label_cause,
    task_relations,
    with_label_cause,
    worse_than_reference,
)
from ablate.protocol.plan import BEST, SEEDS, Plan
from ablate.protocol.selection import PREPARED, best_cell, cliff, close, flat, guess_advice, ranked
from ablate.protocol.standard_error import standard_error
from ablate.protocol.steps import Finding, Setup, Step
from ablate.records.recipe import conflict
from ablate.records.run import Outcome, Run
from ablate.records.words import noun
from ablate.tasks.chance_level import chance_level
from ablate.tasks.task import Task

REPEATS, DECAYS, AT_BEST = "seeds", "decays", "best epoch"
STOPPING = "early_stopping"


def choose_cell(setup: Setup, cells: Sequence[Cell], plan: Plan) -> tuple[Step, Cell]:
    """The step, and the chosen cell: the result of the protocol, unless the step fails because it is no better than a guess."""
    task = setup.context.task
    repeated = repeat(setup, close(ranked(cells, task, BEST), task), plan, len(cells))
    best = best_cell(cells, task, among=repeated) or best_cell(cells, task)
    assert best is not None  # step 4 passed its cells on, so one completed
    tried = decays(setup, best, plan, len(cells) + sum(len(cell.repeats) for cell in repeated))
    chosen = with_decay(best, tried, task)
    figures = summarise([*repeated, *tried], chosen, task, plan.epochs)
    test = judged(setup, chosen, plan.epochs)
    figures["against_guess"] = test.to_dict()
    findings = [*verdict(test, guess_advice(task, plan.epochs)), *metric_at_chance(chosen, task)]
    if any(finding.code == "no-better-than-a-guess" for finding in findings):
        findings = with_label_cause(findings, task_label_cause(task))
    elif task.metric_info().name == "accuracy" and task.classes is not None:
        value = chosen.value(task.metric)
        findings += worse_than_reference(
            task_relations(task), value, standard_error(task, value, chosen.result)
        )
    failed = any(finding.level == "fail" for finding in findings)
    findings += [] if failed else cliff(cells, chosen, task, "warn")
    return Step(5, figures, (*findings, *flat(repeated, task))), chosen


def repeat(setup: Setup, best: Sequence[Cell], plan: Plan, trained: int) -> list[Cell]:
    """The best cells with results of further seeds, as many as `plan` allows after `trained` runs, evenly divided among them."""
    count = min(plan.repeats, plan.runs - trained)
    best = best[:count] if 1 < count < len(best) else best
    seeds = [setup.seed + 1 + i for i in range(min(count // len(best), SEEDS - 1))]
    if not seeds:
        return list(best)
    runs = [setup.run(cell.rate, None, seed, plan.epochs) for cell in best for seed in seeds]
    results = setup.train(runs, REPEATS)
    return [cell.with_repeats(results[i * len(seeds) : (i + 1) * len(seeds)]) for i, cell in enumerate(best)]


def decays(setup: Setup, best: Cell, plan: Plan, trained: int) -> list[Cell]:
    """Other weight decays at the best rate, with the first seed, as many as `plan` allows after `trained` runs."""
    values = list(setup.baseline.other_decays())[: max(plan.runs - trained, 0)]
    return train_cells(setup, [(best.rate, decay) for decay in values], [setup.seed], plan.epochs, DECAYS)


def with_decay(best: Cell, tried: Sequence[Cell], task: Task) -> Cell:
    """The cell of another decay, if its metric is more than a standard error better under the same seed, and its loss lower."""
    sign = 1.0 if task.direction == "higher" else -1.0
    undecayed = Cell(best.rate, best.decay, best.result)
    least = sign * undecayed.value(task.metric) + standard_error(
        task, undecayed.value(task.metric), best.result
    )
    better = [
        cell
        for cell in tried
        if sign * cell.value(task.metric) > least and cell.value(LOSS) < undecayed.value(LOSS)
    ]
    return max(better, key=lambda cell: sign * cell.value(task.metric), default=best)


def judged(setup: Setup, cell: Cell, epochs: int) -> PairedTest:
    """The test against the guess: of the last epoch, or of the best one if the last is not better than the guess.

    Scores are kept of a run's last epoch only, so the second case trains the cell again with early stopping.
    """
    task = setup.context.task
    last = against_guess(task, cell.result)
    if last.better or not cell.lowest_loss < last.loss:
        return last
    again = at_best_epoch(setup, cell, epochs)
    if again is None:
        return last
    (result,) = setup.train([again], AT_BEST)
    return against_guess(task, result) if result.outcome is Outcome.COMPLETE else last


def at_best_epoch(setup: Setup, cell: Cell, epochs: int) -> Run | None:
    """The cell's run, scored at the epoch with the lowest validation loss; None if the recipe rules that out."""
    catalogue, recipe = setup.baseline.catalogue, setup.baseline.at(cell.rate, cell.decay)
    if STOPPING not in catalogue or any(conflict(catalogue[STOPPING], catalogue[name]) for name in recipe):
        return None
    stopping = recipe.with_trick(catalogue, STOPPING, {"patience": epochs})
    return Run(setup.context.task.name, stopping, setup.seed, epochs)


DOUBTFUL = 0.05
"""A level at which a better loss is doubted, and not yet refused: short runs on small data."""


def verdict(test: PairedTest, advice: str = PREPARED) -> list[Finding]:
    """A failure, with `advice` on what to do, if the chosen cell is not significantly better than the guess."""
    if test.better:
        return []
    compared = f"validation loss {test.loss:.4g}, the guess {test.guess:.4g}, p = {test.p:.2g}"
    if test.examples < FEW and test.loss < test.guess:
        return [
            Finding(
                "too-few-to-judge", "warn",
                f"{test.examples} validation {noun(test.examples, 'example')} cannot show that the model is better than a guess: {compared}",
                "validation data", "use more validation examples, or cross-validate",
            )
        ]  # fmt: skip
    doubtful = test.loss < test.guess and test.p < DOUBTFUL
    return [
        Finding(
            "no-better-than-a-guess", "warn" if doubtful else "fail",
            f"at its best epoch the chosen rate is not significantly better than a guess without inputs: {compared}, "
            f"n = {test.examples}",
            "validation data", advice,
        )
    ]  # fmt: skip


def metric_at_chance(cell: Cell, task: Task) -> list[Finding]:
    """A finding if the task's metric is no better than chance: a failure for metrics that weigh classes equally."""
    if task.criterion != "classification":
        return []
    chance, value = chance_level(task), cell.value(task.metric)
    if (
        chance is None
        or task.direction != "higher"
        or value > chance + standard_error(task, value, cell.result)
    ):
        return []
    name = task.metric_info().name
    counts = task.validation.y.bincount()
    rare = int(counts[counts > 0].min())
    return [
        Finding(
            "metric-at-chance", "fail" if name in BALANCED else "warn",
            f"{name} is {value:.3g}, chance gives {chance:.3g}; the rarest class has {rare} validation {noun(rare, 'example')}",
            "validation data", "weigh classes or sample them evenly, or use a metric that fits the task",
        )
    ]  # fmt: skip
