"""lr-find: a check of the data and six steps, each of which can stop the protocol, that determine a learning rate and a weight decay."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ablate.lanes.context import TaskContext
from ablate.lanes.trainer import Trainer
from ablate.protocol.baseline import Baseline
from ablate.protocol.cells import Cell
from ablate.protocol.chosen import choose_cell
from ablate.protocol.curve_check import check_curves
from ablate.protocol.data_check import check_data
from ablate.protocol.initial_loss import initial_loss
from ablate.protocol.loss_drop import Drop, lane_steps, loss_drop
from ablate.protocol.overfit import overfit_sample
from ablate.protocol.plan import Budget, Plan, expected, most_runs, plan, short_runs, too_short
from ablate.protocol.rate_grid import nearest, rate_grid, rates_worth_trying, surviving_rates
from ablate.protocol.steps import NAMES, Finding, Level, Setup, Step, Train, in_a_line, skipped

TELL_WHY = frozenset({
    "outputs-are-probabilities", "outputs-rectified", "outputs-squashed", "outputs-tiny", "vanishing", "dead-units", "exploding",
    "examples-mixed", "batch-norm-frozen", "batch-norm-momentum", "noise-in-evaluation", "inputs-not-normalised",
    "symmetric-initialisation", "parameters-frozen", "dropout-too-strong", "target-not-standardised", "softmax-over-batch",
})  # fmt: skip
"""Causes of step 1 that explain a model which does not learn."""
GUESSES = frozenset({"model-too-small", "ignores-inputs", "no-gradient"})
"""Causes of step 2 that are assumed only if no other is known."""
UNEXPLAINED = frozenset({"does-not-learn", "slow-to-overfit", "hardly-below-the-prior", "falls-slowly"})
"""Findings of steps 2 and 3 that give no cause."""
LONG = 60
"""Seconds of computing above which the announcement mentions the budget."""
TIMED = 3
"""Steps that are timed for the announcement, after one that is not."""


def lr_find(
    context: TaskContext,
    train: Train,
    *,
    baseline: Baseline,
    task: str,
    seed: int,
    force: bool = False,
    budget: Budget | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """The document `lr-find.json`: `{task, device, optimizer, complete, steps, learning_rate, weight_decay}`.

    `context`: of the baseline's task. `train(runs, arm)`: trains whole runs and returns results in order (steps 4 and
    5). `baseline`: the recipe whose rate is searched. `force`: continue after a failed step instead of skipping the
    rest, with the best rate of the grid where step 5 fails. `budget`: a bound on steps 4 and 5. `say`: called with a line per step, and with the plan before it is trained.
    All values are plain JSON; a figure that is not finite is null. `complete`: no step was skipped.
    The result is deterministic, unless the budget is a time.
    """
    setup = Setup(context, train, baseline, seed, say)
    steps, best = run_steps(setup, force=force, budget=budget or Budget())
    return {
        "task": task,
        "device": str(context.device),
        "optimizer": baseline.optimizer.name,
        "complete": not any(step.skipped for step in steps),
        "steps": [step.to_dict() for step in steps],
        "learning_rate": best.rate if best else None,
        "weight_decay": best.decay if best else None,
    }


def run_steps(
    setup: Setup, *, force: bool, budget: Budget, last: int = len(NAMES) - 1
) -> tuple[list[Step], Cell | None]:
    """The steps, done or skipped, and the chosen cell. `last`: the number of the last step that is done."""
    steps: list[Step] = []

    def done(step: Step) -> bool:
        """Record a step. Returns whether the protocol continues."""
        steps.append(step)
        _report(setup, step)
        return step.number < last and (force or step.verdict != "fail")

    def stop() -> list[Step]:
        why = _skip_reason(steps)
        return [*steps, *(skipped(number, why) for number in range(len(steps), len(NAMES)))]

    if not done(check_data(setup)):
        return stop(), None
    if not done(initial_loss(setup)):
        return stop(), None
    step_seconds, run_steps = announced(setup, budget)
    lengths = short_runs(budget, step_seconds, run_steps)
    if not done(explained(overfit_sample(setup, lengths.overfit), steps[1])):
        return stop(), None
    started = time.perf_counter()
    step, drops = loss_drop(setup, overfitted=steps[2].verdict == "pass", steps=lengths.drop)
    lane_step = (time.perf_counter() - started) / lane_steps(lengths.drop)
    if not done(explained(step, steps[1])):
        return stop(), None
    spent = sum(one.figures["training_steps"] for one in steps[2:]) / run_steps
    planned, rates, short = planned_runs(setup, drops, budget, spent, lane_step, run_steps)
    step, cells = rate_grid(setup, rates, planned.epochs, planned.runs - len(rates))
    if not done(_with(step, short)) or not cells:
        return stop(), None
    step, best = choose_cell(setup, cells, planned)
    forced = step.verdict == "fail"
    if not done(_with(step, [_forced(best)] if forced and force else [])):
        return stop(), None
    if forced:
        setup.say(in_a_line(_forced(best).message, ""))
    done(check_curves(best, setup.context.task))
    return steps, best


def explained(step: Step, first: Step) -> Step:
    """Step 2 or 3 with the cause that step 1 has already reported, in place of a guess."""
    causes = [finding.message for finding in first.findings if finding.code in TELL_WHY]
    if not causes:
        return step
    findings = tuple(
        replace(
            one,
            code="does-not-learn" if one.code in GUESSES else one.code,
            message=f"{one.message}; as step 1 explains: {causes[0]}",
            advice="first correct what step 1 found",
        )
        if one.code in GUESSES | UNEXPLAINED
        else one
        for one in step.findings
    )
    return replace(step, findings=findings)


def announced(setup: Setup, budget: Budget) -> tuple[float, int]:
    """Announce the most that will be trained and how long that takes. Returns the seconds of one step of one run, as timed here, and a
    whole run's steps."""
    task = setup.context.task
    trainer = Trainer(setup.context, [setup.short_run(0.0)])
    trainer.step()
    started = time.perf_counter()
    for _ in range(TIMED):
        trainer.step()
    step_seconds = (time.perf_counter() - started) / TIMED
    run_steps = task.epochs * trainer.order.steps_per_epoch
    whole = expected(
        len(setup.baseline.other_decays()), task.epochs, run_steps, budget, step_seconds * run_steps
    )
    seconds = step_seconds * run_steps * whole.runs(task.epochs, run_steps)
    hint = "; --budget 1m bounds it" if seconds > LONG and budget == Budget() else ""
    setup.say(
        f"lr-find will train at most {whole.plan}, and short runs: about {seconds:.0f} s of computing, one run after the other{hint}"
    )
    return step_seconds, run_steps


def planned_runs(
    setup: Setup, drops: Sequence[Drop], budget: Budget, spent: float, lane_step: float, run_steps: int
) -> tuple[Plan, list[float], list[Finding]]:
    """The plan of steps 4 and 5, the rates of its grid, and a finding if the budget shortens the runs. Says the plan.

    `spent`: cost of the short runs, in runs of full length, which have `run_steps` steps. `lane_step`: seconds of one training
    step of one run, as step 3 took them.
    """
    task = setup.context.task
    rates = (
        surviving_rates(setup.baseline.rates(), drops)
        if task.criterion == "adversarial"
        else rates_worth_trying(setup.baseline.rates(), drops, run_steps)
    )
    most = most_runs(budget, spent, len(rates), lane_step * run_steps)
    planned = plan(len(rates), len(setup.baseline.other_decays()), task.epochs, most)
    rates = nearest(rates, drops, planned.rates)
    seconds = lane_step * run_steps * planned.runs * planned.epochs / task.epochs
    setup.say(f"lr-find will train at most {planned}, about {seconds:.0f} s of computing")
    if planned.epochs == task.epochs:
        return planned, rates, []
    level: Level = "warn" if too_short(planned, task.epochs) else "note"
    message = f"the budget shortens runs to {planned.epochs} of {task.epochs} epochs"
    advice = "a short run prefers higher rates: allow more" if level == "warn" else ""
    return planned, rates, [Finding("shortened", level, message, "--budget", advice)]


def _with(step: Step, findings: Sequence[Finding]) -> Step:
    return replace(step, findings=(*step.findings, *findings))


def _forced(best: Cell) -> Finding:
    return Finding(
        "forced", "note", f"--force: goes on with the rate {best.rate:g}, the best of the grid, which is not shown to be better than a guess"
    )  # fmt: skip


def _skip_reason(steps: Sequence[Step]) -> str:
    failed = next((step for step in reversed(steps) if step.verdict == "fail"), None)
    if failed is None:
        return "skipped as asked"
    return f"skipped because step {failed.number} ({failed.name}) failed"


def _report(setup: Setup, step: Step) -> None:
    worst = step.by_severity[0] if step.verdict in ("fail", "warn") else None
    message = f": {in_a_line(worst.message, worst.where)}" if worst else ""
    setup.say(f"lr-find {step.number}/{len(NAMES) - 1}, {step.name}: {step.verdict}{message}")
