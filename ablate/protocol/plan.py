"""What the protocol will train, and how a budget reduces it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ablate.protocol.baseline import RATES

SEEDS, BEST = 3, 3
"""The `BEST` rates of the grid are trained with `SEEDS` seeds."""
SHORT_STEPS = 1500
"""Steps of the short runs of steps 2 and 3 where nothing is wrong: 1,000 of step 3 at most (8 lanes of 100, two of the range
test), and some 500 of step 2 (5 lanes that reach the goal within 100)."""
SHORT_SHARE, FEWEST_STEPS = 0.25, 40
"""Share of a budget in seconds that steps 2 and 3 may take, and the length of a short run that shows something."""
FEWEST_EPOCHS = 0.25
"""A budget shortens runs to this fraction of the task's epochs at most; below it the budget is reported as too small."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that steps 4 and 5 may train: `runs` of full length, or `seconds`; None: no bound."""

    runs: float | None = None
    seconds: float | None = None

    def in_runs(self, run_seconds: float) -> float | None:
        """The bound in runs of full length, of which each takes `run_seconds`."""
        if self.runs is not None or self.seconds is None:
            return self.runs
        return self.seconds / run_seconds if run_seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Plan:
    """`rates` runs of the grid, `repeats` of its best rates, `decays` at the winner; `epochs` each."""

    rates: int
    repeats: int
    decays: int
    epochs: int

    @property
    def runs(self) -> int:
        return self.rates + self.repeats + self.decays

    def __str__(self) -> str:
        return (
            f"{self.rates} rates, {self.repeats} repeats of the best and {self.decays} weight decays: "
            f"{self.runs} runs of {self.epochs} epoch{'s' * (self.epochs != 1)}"
        )


def plan(rates: int, decays: int, epochs: int, most: float | None) -> Plan:
    """The plan within `most` runs of full length: without decays, then with fewer repeats, then with shorter runs."""
    repeats = (SEEDS - 1) * min(BEST, rates)
    full = Plan(rates, repeats, decays, epochs)
    if most is None or full.runs <= most:
        return full
    for smaller in (replace(full, decays=0), replace(full, decays=0, repeats=repeats // 2)):
        if smaller.runs <= most:
            return smaller
    least = replace(full, decays=0, repeats=0)
    if least.runs <= most:
        return least
    return replace(least, epochs=max(1, int(epochs * most / least.runs)))


@dataclass(frozen=True, slots=True)
class Expected:
    """What the protocol is expected to train at most: `plan`, and `steps` of short runs, counted over all their lanes."""

    plan: Plan
    steps: int

    def runs(self, epochs: int, run_steps: int) -> float:
        """All of it in runs of full length: of `epochs` epochs and `run_steps` steps."""
        return self.plan.runs * self.plan.epochs / epochs + self.steps / run_steps


def expected(decays: int, epochs: int, budget: Budget | None = None, run_seconds: float = 0.0) -> Expected:
    """Before anything is trained: the whole grid, its repeats and `decays` weight decays, within `budget`.

    `run_seconds`: of a run of full length, which a budget in seconds needs.
    """
    most = (budget or Budget()).in_runs(run_seconds)
    return Expected(plan(RATES, decays, epochs, most), SHORT_STEPS)


@dataclass(frozen=True, slots=True)
class ShortRuns:
    """Lengths of the short runs, in steps: of step 2 at most, and of step 3."""

    overfit: int = 400
    drop: int = 100


def short_runs(budget: Budget, step_seconds: float, run_steps: int) -> ShortRuns:
    """Step 3 has a quarter of a whole run's `run_steps`, 100 at most; of a budget in seconds steps 2 and 3 get at most a quarter.

    `step_seconds`: of one step of one run.
    """
    usual = ShortRuns()
    usual = replace(usual, drop=min(usual.drop, max(FEWEST_STEPS, run_steps // 4)))
    if budget.seconds is None or step_seconds <= 0:
        return usual
    share = min(1.0, SHORT_SHARE * budget.seconds / (SHORT_STEPS * step_seconds))
    return ShortRuns(
        max(FEWEST_STEPS, int(share * usual.overfit)), max(FEWEST_STEPS, int(share * usual.drop))
    )


def too_short(plan: Plan, epochs: int) -> bool:
    """Whether the plan's runs are too short for the task's `epochs`."""
    return plan.epochs < FEWEST_EPOCHS * epochs
