"""Fit a study to its budget of time: how much of the search remains, and which tricks are ranked.

A ranking of all tricks at five pairs each decides none of them. So a short study leaves out the search, ranks on the baseline alone, and as
many tricks as can be decided: those that the study names, then what the model contains, then the others, the most widely used first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from statistics import fmean
from typing import Any

from ablate.ranking.designs.racing import Racing
from ablate.records.errors import InputError
from ablate.records.study_space import SpaceSection
from ablate.records.trick import PLACEBO
from ablate.study.ranking.budget import OVER, SEARCHED, RankBudget, wall_seconds
from ablate.study.ranking.estimates import LEVELS, expected
from ablate.study.remaining_time import minutes

USUAL = (
    "remove_norm", "remove_skip", "remove_dropout", "remove_weight_norm", "cosine", "adamw", "weight_decay", "dropout", "batch_norm",
    "label_smoothing", "activation", "layer_norm", "warmup", "ema", "flip", "class_balanced", "mixup", "crop_and_scale", "translate", "clip_norm",
    "one_cycle", "skip_connection", "batch_size", "initialization", "balanced_sampling", "trivial_augment", "random_erasing", "group_norm", "rms_norm",
    "focal", "cutmix", "swa", "stochastic_depth", "early_stopping", "squeeze_excitation", "rotate", "color_jitter", "logit_adjustment", "input_noise",
    "adam", "sgd", "momentum", "lion", "schedule_free_adamw", "muon", "weight_standardization", "sam", "wsd",
)  # fmt: skip
"""Tricks in the order in which a short study ranks them: what a model holds, then what is used most widely."""
COSTLY = 3.0
"""A trick that makes a run longer by this factor comes after all others."""
FITTING = {7: 8, 9: 3, 10: 2, 11: 1}
"""Indices of `LEVELS`: designs of a study that is made to fit, the best first -> the tricks for which there must be time. A few tricks
that are decided answer more than many at five pairs, which are not."""
WHOLE = 9
"""Index of `LEVELS` at which all tricks must be affordable, around baseline and recipe found, for nothing to be left out."""
LEAST_TRIALS = 20
"""Fewest trials of a search."""


@dataclass(frozen=True)
class StudyFit:
    """What of a study is run. `trials`: None without a search; then the ranking is around the baseline alone.
    `left_out`: trick -> why it is not ranked. `words`: what was changed, in words; empty if nothing was. `every`: seconds for ranking all
    tricks."""

    trials: int | None
    left_out: Mapping[str, str] = field(default_factory=dict)
    words: str = ""
    every: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "left_out": dict(self.left_out)}

    @classmethod
    def of_json(cls, document: Mapping[str, Any]) -> StudyFit:
        return cls(**{field.name: document[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class Costs:
    """Seconds of wall time. `runs`: of a run of one worker with each trick, "" for the baseline. `lr_find`, `search`, `confirm`: of the stages of a
    whole study, 0 where one is not run or done already. `other`: of everything else but the ranking, planning included."""

    runs: Mapping[str, float]
    workers: int
    lr_find: float = 0.0
    search: float = 0.0
    confirm: float = 0.0
    other: float = 0.0

    def ranking(self, tricks: Sequence[str], level: int, references: int) -> float:
        """Expected seconds of a ranking of `tricks` at a level."""
        tuning, pairs = LEVELS[level]
        arms = references * (len(tricks) + 2)  # each has a reference and a placebo
        runs = expected(RankBudget(tuning, Racing.up_to(pairs), 0), arms, references)
        return wall_seconds(runs * fmean(self.runs[name] for name in ("", "", *tricks)), runs, self.workers)


CONFIRMED = 0.5
"""Share of a confirmation of winner, recipe found and baseline that one of winner and baseline takes."""


def fit(
    asked: str,
    seconds: float,
    costs: Costs,
    trials: int,
    named: Iterable[str] = (),
    baseline: Iterable[str] = (),
) -> StudyFit:
    """What of a study of `trials` trials and the tricks of `costs.runs` fits into `seconds`. `named`: tricks that the study names one by one.
    `baseline`: those that the baseline has, which are ranked in any case and come first.

    Raises InputError where not even one trick does.
    """
    fixed = [name for name in in_order(costs.runs) if name in set(baseline)]
    tricks = [*fixed, *(name for name in in_order(costs.runs, named) if name not in fixed)]
    both = costs.lr_find + costs.confirm + costs.other
    searched = min(costs.search, SEARCHED * seconds)
    if both + searched + costs.ranking(tricks, WHOLE, 2) <= OVER * seconds:
        fitting = trials if searched == costs.search else int(trials * searched / costs.search)
        if fitting == trials:
            return StudyFit(trials)
        if fitting >= LEAST_TRIALS:
            return StudyFit(
                fitting,
                {},
                f"the search has {fitting} trials instead of {trials}, to leave time for the ranking",
            )
    both = costs.lr_find + CONFIRMED * costs.confirm + costs.other
    left = OVER * seconds - both
    count, level = _most(tricks, left, costs)
    if count == 0:
        level, few_tricks = list(FITTING.items())[1]
        few = both + costs.ranking(tricks[:few_tricks], level, 1)
        raise InputError(
            f"--budget {asked} is too short to rank a single trick: a run of the baseline takes about {minutes(costs.runs[''])}",
            hint=f"{min(few_tricks, len(tricks))} tricks take about {minutes(few)}; or give fewer --epochs",
        )
    count = max(count, len(fixed))
    others = tricks[count:]
    whole = both + costs.confirm + costs.search + costs.ranking(tricks, WHOLE, 2)
    every = both + costs.ranking(tricks, level, 1)
    each = f"{costs.runs['']:.1f} s" if costs.runs[""] < 10 else minutes(costs.runs[""])
    words = f"a run takes about {each}, so {asked} are for a ranking on the baseline, without a search"
    if others:
        words += f", of {count} of {len(tricks)} tricks (all of them take about {minutes(every)}; --include NAME,NAME ranks those that you name)"
    words += f"; the whole study takes about {minutes(whole)}"
    why = f"not ranked: {asked} are too short for all tricks; --include NAME ranks it"
    return StudyFit(None, dict.fromkeys(others, why), words, every)


def usual(name: str) -> int:
    """The place of a trick in `USUAL`, after the baseline and the placebo; of all others the last."""
    return (("", PLACEBO, *USUAL).index(name)) if name in ("", PLACEBO, *USUAL) else 2 + len(USUAL)


def in_order(runs: Mapping[str, float], named: Iterable[str] = ()) -> list[str]:
    """The tricks of `runs` in the order in which they are ranked."""
    named = set(named)

    def key(name: str) -> tuple[bool, bool, int, float, str]:
        return name not in named, runs[name] > COSTLY * runs[""], usual(name), runs[name], name

    return sorted((name for name in runs if name not in ("", PLACEBO)), key=key)


def _most(tricks: Sequence[str], seconds: float, costs: Costs) -> tuple[int, int]:
    """(number of tricks, level): the best design for which there is time, and as many tricks as it can rank within `seconds`; (0, …) if none."""
    count = level = 0
    for level, least in FITTING.items():
        count = largest(len(tricks), lambda n: costs.ranking(tricks[:n], level, 1) <= seconds)  # noqa: B023
        if count >= min(least, len(tricks)):
            break
    return count, level


def largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `most` that fits; 0 if none does."""
    return max((n for n in range(1, most + 1) if fits(n)), default=0)


def named_in(space: SpaceSection, tricks: Iterable[str]) -> list[str]:
    """The tricks that a study names one by one."""
    return [name for name in tricks if name in space.include]
