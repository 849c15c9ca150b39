"""Step 4: one grid of learning rates, half-decades over five decades, each trained for the whole budget of a run.

Rates that step 3 has ruled out are left out. If the best rate is the outermost, the grid is extended once.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

from ablate.protocol.baseline import PER_DECADE, round_rate
from ablate.protocol.cells import Cell, none_completed, summarise, train_cells
from ablate.protocol.label_causes import task_label_cause, with_label_cause
from ablate.protocol.loss_drop import Drop
from ablate.protocol.selection import best_cell, cliff, edge, narrow, no_better_than_a_guess
from ablate.protocol.steps import Finding, Setup, Step

ARM = "rates"
HOPELESS = 0.5
"""A rate is too low if a higher one that goes as far in fewer steps gains less than this fraction of the best drop."""
BEYOND = 2
"""Half-decades by which the grid is extended."""
NEIGHBOURS = 2
"""Half-decades on either side of step 3's rate that are always tried."""


def rates_worth_trying(rates: Sequence[float], drops: Sequence[Drop], steps: int) -> list[float]:
    """`rates` without those that `drops` of step 3 rule out for runs of `steps` steps.

    Too high: at this rate or a lower one step 3 diverged, or ended with a loss above the untrained one's. Too low: a rate r goes no farther in `steps` steps than
    r · `steps` ÷ s goes in the s steps of step 3, and even that rate gained little.
    """
    diverged = min((drop.rate for drop in drops if not drop.trace.alive), default=float("inf"))
    falling = [drop for drop in drops if drop.falls]
    if not falling:
        return [rate for rate in rates if rate < diverged] or list(rates)
    best = max(falling, key=lambda drop: drop.mean)
    above = [drop.rate for drop in drops if drop.rate > best.rate and not drop.mean > 0]
    diverged = min([diverged, *above])
    little = [drop.rate for drop in drops if drop.rate < best.rate and drop.mean < HOPELESS * best.mean]
    done = len(best.trace.losses)
    lowest = max(little, default=0.0) * done / max(steps, done)
    near = 10 ** ((NEIGHBOURS + 0.5) / PER_DECADE)
    return [
        rate
        for rate in rates
        if best.rate / near < rate < best.rate * near or lowest < rate < diverged
    ]  # fmt: skip


def surviving_rates(rates: Sequence[float], drops: Sequence[Drop]) -> list[float]:
    """`rates` below those that diverged in step 3, for two networks against each other: their losses need not fall where they learn."""
    diverged = min((drop.rate for drop in drops if not drop.trace.alive), default=float("inf"))
    return [rate for rate in rates if rate < diverged] or list(rates)


def nearest(rates: Sequence[float], drops: Sequence[Drop], count: int) -> list[float]:
    """The `count` of `rates` that are nearest to the rate whose loss dropped most in step 3, in their order."""
    falling = [drop for drop in drops if drop.falls]
    center = max(falling, key=lambda drop: drop.mean).rate if falling else sorted(rates)[len(rates) // 2]
    kept = sorted(rates, key=lambda rate: abs(log10(rate / center)))[:count]
    return [rate for rate in rates if rate in kept]


def rate_grid(
    setup: Setup, rates: Sequence[float], epochs: int, extra: int = BEYOND
) -> tuple[Step, list[Cell]]:
    """The step, and its cells; empty if no run completed or none is better than a guess at any epoch.

    `extra`: runs that may be added where the best rate is the outermost; where none completed, `BEYOND` are.
    """
    task = setup.context.task
    cells = train_cells(setup, [(rate, None) for rate in rates], [setup.seed], epochs, ARM)
    best, findings = best_cell(cells, task), []
    side = -1 if best is None else edge(cells, task)
    added = BEYOND if best is None else min(extra, BEYOND)
    if side and added:
        outer = min(rates) if side < 0 else max(rates)
        beyond = [round_rate(10 ** (log10(outer) + side * i / PER_DECADE)) for i in range(1, added + 1)]
        why = "no run completed" if best is None else f"the best rate, {outer:g}, was the outermost"
        cells += train_cells(
            setup, [(rate, None) for rate in beyond], [setup.seed], epochs, f"{ARM}, extended"
        )
        best = best_cell(cells, task)
        names = " and ".join(f"{rate:g}" for rate in sorted(beyond))
        message = f"{why}: added {names}"
        findings.append(Finding("widened", "note", message, "rates"))
    figures = summarise(cells, best, task, epochs)
    if best is None:
        return Step(4, figures, (none_completed(cells, task.metric), *findings)), []
    if failed := no_better_than_a_guess(cells, task, epochs):
        return Step(4, figures, (*with_label_cause([failed], task_label_cause(task)), *findings)), []
    if side and best.rate in (min(c.rate for c in cells), max(c.rate for c in cells)) and edge(cells, task):
        findings.append(
            Finding(
                "edge", "warn", f"the best rate, {best.rate:g}, is the outermost{' after extending the grid' if added else ''}",
                f"rate {best.rate:g}", "runs are short, or the scale of inputs, targets or outputs is unusual",
            )
        )  # fmt: skip
    return Step(4, figures, (*findings, *narrow(cells, task), *cliff(cells, best, task, "note"))), cells
