"""Runs that a ranking by tuned arms will probably take, at each level of tuning and number of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt

from ablate.ranking.designs.racing import PAIRS, Racing, expected_runs
from ablate.study.ranking.budget import LEAN_PAIRS, RUNGS, RankBudget
from ablate.study.ranking.tuning_points import (
    FEW_ROUNDS,
    OPEN,
    OPEN_WITH_MARGIN,
    OPEN_WITHOUT_MARGIN,
    TuningBudget,
    reference_tuning,
)

DECIDED = (0.45, 0.25, 0.35, 0.4, 0.4, 0.4, 0.4, 0.4, 0.5, 0.5, 0.5, 0.5)
"""Share of the undecided arms that a look decides, for estimates: between those of digits (0.58, 0.29, 0.45 of 76 arms) and of mammography (0.44, 0.31, 0.3 of 121);
of looks beyond 200 pairs a guess."""
LIKELY_DECIDED = (0.53, 0.4, *(0.48,) * (len(PAIRS) - 2))
"""The same for the times that are told, about 18 runs an arm: 10 on diabetes, 16 to 22 on digits, wine and breast-cancer, 28 on mammography and 3,000 images of MNIST (15 studies)."""
LIKELY_LADDER = 0.55
"""Runs of a ladder to a recipe that is not known yet, as a share of those with RUNGS rungs: 0.1 to 1.5 in 14 studies."""
LEAST_RUNS, MOST_RUNS = 0.5, 2.0
"""Time of a ranking without a budget, as a multiple of the likely one. How many runs a verdict takes is known when they are made."""
MOST_BEFORE = 3.0
"""The longest time of a ranking before the recipe found is known, as a multiple of the expected one: around it, runs take 0.8 to 2.2 times as long as around the baseline
(digits, breast-cancer, wine and diabetes up to 1.4, 3,000 images of MNIST 1.7, mammography 2.2)."""
SLOWLY_DECIDED = (0.2, 0.15, 0.2, 0.25, 0.25, 0.25)
"""The same after little tuning."""
LEVELS = (
    (TuningBudget(21, 4, 4, 8), 200),
    (TuningBudget(12, 4, 3, 6), 200),
    (TuningBudget(9, 4, 2, 8), 200),
    (TuningBudget(9, 4, 2, 6), 200),
    (TuningBudget(9, 4, 2, 4), 200),
    (TuningBudget(9, 3, 2, 2), 60),
    (TuningBudget(7, 2, 2, 2), 60),
    (TuningBudget(5, 2, 2, 1), 60),
    (TuningBudget(4, 2, 2, 1), 60),
    (TuningBudget(3, 2, 1, 1), 60),
    (TuningBudget(1, 1, 0, 0), 8),
    (TuningBudget(1, 1, 0, 0), 5),
)
"""Tuning of an arm and its maximum number of pairs, from the desired level to the smallest one."""
TUNED_LEVEL = 9
"""Index of the smallest of LEVELS that tunes."""
FEW_RUNGS = 2
"""Rungs of a ladder from the baseline to itself with the tricks that help it, before they are known."""
FLOOR = 2
"""Index of the smallest of LEVELS that is chosen where no budget is given."""
RUNS_PER_TRIAL = 100
"""Runs of the rank stage for each trial of the search, at most, where no budget is given and they are too few for the design at FLOOR."""


def race_runs(
    budget: RankBudget, arms: int, references: int, decided: Sequence[float] | None = None
) -> float:
    """Runs that the races of so many arms (references among them) will probably take. `decided`: share of the undecided arms that each look decides; None: as where
    a design is chosen."""
    each = max(arms // references - 1, 1)
    if decided is None:
        decided = DECIDED if budget.tuning.rounds > FEW_ROUNDS else SLOWLY_DECIDED
    return references * expected_runs(budget.racing, each, decided)


def tuning_runs(tuning: TuningBudget, arms: int, references: int, still_open: Sequence[float] = OPEN) -> int:
    """Runs to tune so many arms, references among them. `still_open`: as in `TuningBudget.likely_runs`."""
    of_references = references * reference_tuning(tuning, arms // references).likely
    return round((arms - references) * tuning.likely_runs(still_open) + of_references)


def first_look_runs(budget: RankBudget, arms: int, references: int) -> float:
    """Runs of the tuning and of the first look of so many arms (references among them)."""
    each = max(arms // references - 1, 1)
    look = Racing(budget.racing.pairs[:1])
    return tuning_runs(budget.tuning, arms, references) + references * expected_runs(look, each, ())


def ladder_runs(budget: RankBudget, references: int, rungs: int = RUNGS) -> int:
    """Runs of the lean stage and the ladder to a recipe found with so many rungs. Around the baseline alone: of a small ladder after tuning,
    of none without."""
    if references > 1:
        return budget.ladder_runs(rungs)
    return budget.ladder_runs(FEW_RUNGS, LEAN_PAIRS[0]) if budget.tuning.rounds else 0


def expected(budget: RankBudget, arms: int, references: int) -> float:
    """Runs that a design of so many arms (references among them) will probably take."""
    tuning, race = tuning_runs(budget.tuning, arms, references), race_runs(budget, arms, references)
    return tuning + race + ladder_runs(budget, references)


def still_open_by(*, margin: bool) -> Sequence[float]:
    """Share of the arms that each round of tuning is run for, for the times that are told; `margin`: whether one is given."""
    return OPEN_WITH_MARGIN if margin else OPEN_WITHOUT_MARGIN


def likely_parts(
    budget: RankBudget, arms: int, references: int, *, margin: bool, rungs: int | None = None
) -> dict[str, int]:
    """Runs of tuning, race and ladder that are told before a ranking without a budget. `expected`, by which a design is chosen, is rather too many, so that it
    is kept. `margin`: whether one is given. `rungs`: of the ladder, where the recipe is known."""
    ladder = LIKELY_LADDER * ladder_runs(budget, references) if rungs is None else ladder_runs(budget, references, rungs)  # fmt: skip
    return {
        "tuning": tuning_runs(budget.tuning, arms, references, still_open_by(margin=margin)),
        "race": round(race_runs(budget, arms, references, LIKELY_DECIDED)),
        "ladder": round(ladder),
    }


def runs_that_tune(arms: int, references: int) -> float:
    """Runs that the smallest design that tunes its arms will probably take."""
    tuning, pairs = LEVELS[TUNED_LEVEL]
    return expected(RankBudget(tuning, Racing.up_to(pairs), 0), arms, references)


def runs_for_trials(trials: int, arms: int, references: int) -> int | None:
    """Runs of the rank stage that a small search bounds it to where no budget is given, at least those of the smallest design; None
    where the design at FLOOR takes no more than RUNS_PER_TRIAL for each trial: then time bounds it."""
    floor, smallest = (
        expected(RankBudget(tuning, Racing.up_to(pairs), 0), arms, references)
        for tuning, pairs in (LEVELS[FLOOR], LEVELS[-1])
    )
    return None if floor <= RUNS_PER_TRIAL * trials else max(RUNS_PER_TRIAL * trials, ceil(smallest))


def detectable(racing: Racing, sigma_ratio: float = 1.05) -> float:
    """The smallest effect, in σ of a run, that the last look finds nearly always (power about 0.9, ten arms in the family)."""
    return (2.81 + 1.28) * sqrt(sigma_ratio / racing.pairs[-1])
