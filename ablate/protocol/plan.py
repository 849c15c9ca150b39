"""What the protocol will train, and how a budget reduces it."""

from __future__ import annotations

from dataclasses import dataclass, replace

SEEDS, BEST = 3, 3
"""The `BEST` rates of the grid are trained with `SEEDS` seeds."""
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


def too_short(plan: Plan, epochs: int) -> bool:
    """Whether the plan's runs are too short for the task's `epochs`."""
    return plan.epochs < FEWEST_EPOCHS * epochs
