"""What the protocol will train, and how a budget reduces it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ablate.protocol.baseline import RATES
from ablate.records.words import noun

SEEDS, BEST = 3, 3
"""The `BEST` rates of the grid are trained with `SEEDS` seeds, if they are close."""
ALLOWANCE = 1.3 * RATES
"""Runs of full length that the whole protocol may cost, short runs included, unless a budget is given: 1.3 times one seed of
the plain grid."""
SHORT_STEPS = 1400
"""Steps of the short runs of steps 2 and 3 where nothing is wrong: 900 of step 3 at most (9 lanes of 100), and some 500 of
step 2 (5 lanes that reach the goal within 100)."""
SHORT_SHARE, FEWEST_STEPS, SHORTER = 0.25, 40, 8
"""Share of a budget in seconds that steps 2 and 3 may take, the length of a short run that shows something, and the fraction
of a run that is long enough for one."""
FEWEST_RATES = 3
"""Rates that are tried for an epoch, however small the budget."""
FEWEST_EPOCHS = 0.25
"""A budget shortens runs to this fraction of the task's epochs at most; below it the budget is reported as too small."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that lr-find may train: `runs` of full length in steps 4 and 5, or `seconds` in all; None: the allowance."""

    runs: float | None = None
    seconds: float | None = None

    def in_runs(self, run_seconds: float) -> float | None:
        """The bound on steps 4 and 5 in runs of full length, of which each takes `run_seconds`."""
        if self.runs is not None or self.seconds is None:
            return self.runs
        return (1 - SHORT_SHARE) * self.seconds / run_seconds if run_seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Plan:
    """At most `rates` runs of the grid, `repeats` of its best rates and `decays` at the winner; `epochs` each."""

    rates: int
    repeats: int
    decays: int
    epochs: int

    @property
    def runs(self) -> int:
        """Number of runs of full length."""
        return self.rates + self.repeats + self.decays

    def __str__(self) -> str:
        return (
            f"{self.rates} {noun(self.rates, 'rate')}, {self.repeats} {noun(self.repeats, 'repeat')} of the best and "
            f"{self.decays} weight {noun(self.decays, 'decay')}: "
            f"{self.runs} {noun(self.runs, 'run')} of {self.epochs} {noun(self.epochs, 'epoch')}"
        )


def plan(rates: int, decays: int, epochs: int, most: float) -> Plan:
    """The plan within `most` runs of full length: with fewer decays, then with fewer repeats, then with shorter runs, then, if not even
    one epoch at each rate fits, with fewer rates."""
    left = int(most) - rates
    if left < 0:
        length = int(epochs * most / rates)
        if length >= 1:
            return Plan(rates, 0, 0, length)
        return Plan(min(rates, max(FEWEST_RATES, int(epochs * most))), 0, 0, 1)
    repeats = min((SEEDS - 1) * min(BEST, rates), left)
    return Plan(rates, repeats, min(decays, left - repeats), epochs)


def most_runs(budget: Budget, spent: float, rates: int, run_seconds: float = 0.0) -> float:
    """The bound on steps 4 and 5 in runs of full length: what is left of the allowance, or less if the budget is a shorter time, or
    the runs of the budget. Without a budget each of the `rates` gets its run, even where a run is hardly longer than a short one.

    `spent`: cost of the short runs, in runs of full length. `run_seconds`: of a run of full length, which a budget in seconds needs.
    """
    bound = budget.in_runs(run_seconds)
    left = max(ALLOWANCE - spent, rates)
    if bound is None:
        return left
    return bound if budget.runs is not None else min(bound, left)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the protocol is expected to train at most: `plan`, and `steps` of short runs, counted over all their lanes."""

    plan: Plan
    steps: int

    def runs(self, epochs: int, run_steps: int) -> float:
        """All of it in runs of full length: of `epochs` epochs and `run_steps` steps."""
        return self.plan.runs * self.plan.epochs / epochs + self.steps / run_steps


def expected(
    decays: int, epochs: int, run_steps: int, budget: Budget | None = None, run_seconds: float = 0.0
) -> Expected:
    """What is expected before anything is trained: the whole grid, its repeats and `decays` weight decays, within `budget`.

    `run_steps`, `run_seconds`: of a run of full length; a budget in seconds needs the latter.
    """
    lengths = short_runs(budget or Budget(), run_seconds / run_steps, run_steps)
    steps = SHORT_STEPS * lengths.drop // ShortRuns().drop
    most = most_runs(budget or Budget(), steps / run_steps, RATES, run_seconds)
    return Expected(plan(RATES, decays, epochs, most), steps)


@dataclass(frozen=True, slots=True)
class ShortRuns:
    """Lengths of the short runs, in steps: of step 2 at most, and of step 3."""

    overfit: int = 400
    drop: int = 100


def short_runs(budget: Budget, step_seconds: float, run_steps: int) -> ShortRuns:
    """Step 3 has an eighth of a whole run's `run_steps`, 100 at most; of a budget in seconds steps 2 and 3 get at most a quarter.

    `step_seconds`: of one step of one run.
    """
    usual = ShortRuns()
    usual = replace(usual, drop=min(usual.drop, max(FEWEST_STEPS, run_steps // SHORTER)))
    if budget.seconds is None or step_seconds <= 0:
        return usual
    share = min(1.0, SHORT_SHARE * budget.seconds / (SHORT_STEPS * step_seconds))
    return ShortRuns(
        max(FEWEST_STEPS, int(share * usual.overfit)), max(FEWEST_STEPS, int(share * usual.drop))
    )


def too_short(plan: Plan, epochs: int) -> bool:
    """Whether the plan's runs are too short for the task's `epochs`."""
    return plan.epochs < FEWEST_EPOCHS * epochs
