"""lr-find: six steps, each of which can stop the protocol, that determine a learning rate and a weight decay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ablate.lanes.context import TaskContext
from ablate.protocol.coarse import coarse_grid
from ablate.protocol.curve_check import check_curves
from ablate.protocol.fine import fine_grid
from ablate.protocol.initial_loss import initial_loss
from ablate.protocol.loss_drop import loss_drop
from ablate.protocol.overfit import overfit_sample
from ablate.protocol.selection import Cell
from ablate.protocol.steps import NAMES, Finding, Setup, Step, Train, skipped

FALLBACK_RATE = 0.01
"""With `force`, the center of the grids if step 3 found no rate."""


def lr_find(
    context: TaskContext,
    train: Train,
    *,
    task: str,
    seed: int,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """The document `lr-find.json`: `{task, device, complete, steps, learning_rate, weight_decay}`.

    `context`: of the baseline's task. `train(runs, arm)`: trains whole runs and returns results in order (the grids of
    steps 4 and 5). `force`: continue after a failed step instead of skipping the rest. `say`: called with a line per step.
    All values are plain JSON; a figure that is not finite is null. `complete`: no step was skipped.
    The result is deterministic.
    """
    setup = Setup(context, train, seed, say)
    steps, best = _run_steps(setup, force)
    return {
        "task": task,
        "device": str(context.device),
        "complete": not any(step.skipped for step in steps),
        "steps": [step.to_dict() for step in steps],
        "learning_rate": best.rate if best else None,
        "weight_decay": best.decay if best else None,
    }


def _run_steps(setup: Setup, force: bool) -> tuple[list[Step], Cell | None]:
    """The six steps, done or skipped, and the best cell of the fine grid."""
    steps: list[Step] = []

    def done(step: Step) -> bool:
        """Record a step. Returns whether the protocol continues."""
        steps.append(step)
        _report(setup, step)
        return force or step.verdict != "fail"

    def stop(why: str) -> list[Step]:
        return [*steps, *(skipped(number, why) for number in range(len(steps) + 1, len(NAMES) + 1))]

    if not done(initial_loss(setup)):
        return stop(_skip_reason(steps)), None
    if not done(overfit_sample(setup)):
        return stop(_skip_reason(steps)), None
    step, rate = loss_drop(setup, overfitted=steps[1].verdict != "fail")
    if rate is None and force:
        step = _with(
            step,
            Finding("last-resort", "note", f"forced: the grids are centred at {FALLBACK_RATE:g}", "step 4"),
        )
    if not done(step):
        return stop(_skip_reason(steps)), None
    step, coarse = coarse_grid(setup, FALLBACK_RATE if rate is None else rate)
    if not done(step) or coarse is None:
        return stop(_skip_reason(steps)), None
    step, best = fine_grid(setup, coarse)
    if not done(step) or best is None:
        return stop(_skip_reason(steps)), None
    done(check_curves(best, setup.context.task))
    return steps, best


def _with(step: Step, finding: Finding) -> Step:
    return Step(step.number, step.figures, (*step.findings, finding))


def _skip_reason(steps: Sequence[Step]) -> str:
    failed = [step for step in steps if step.verdict == "fail"][-1]
    return f"skipped because step {failed.number} ({failed.name}) failed"


def _report(setup: Setup, step: Step) -> None:
    worst = step.by_severity[0].message if step.verdict in ("fail", "warn") else ""
    message = f": {worst}" if worst else ""
    setup.say(f"lr-find {step.number}/{len(NAMES)}, {step.name}: {step.verdict}{message}")
