"""The methods paragraph for a paper, generated from the declaration and the runs."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.ranking.designs.design import Design
from ablate.ranking.designs.registry import array_design
from ablate.ranking.estimation.analysis import Analysis
from ablate.records.designs import SCREENING
from ablate.records.trick import PLACEBO


def methods_paragraph(
    analysis: Analysis,
    designs: Sequence[Design],
    *,
    trials_before: int | None = None,
    confirmation: Design | None = None,
    besides: Sequence[str] = (),
) -> str:
    """One paragraph: design, runs, seeds, margin, α, looks, estimator, failures, tuning before.

    `designs`: the waves that were run. `trials_before`: search trials that led to the recipe.
    `confirmation`: the paired design on fresh seeds and the test split, if it was run. `besides`: sentences on
    what else was run before or beside the design.
    """
    said = analysis.declaration
    tricks = [factor for factor in designs[0].factors if factor.name != PLACEBO] if designs else []
    seeds = {row.seed for design in designs for row in design.rows}
    waves = len(designs)
    placebo = bool(designs) and any(factor.name == PLACEBO for factor in designs[0].factors)
    margin = float(analysis.table["margin"].iloc[0])
    auto = said.margin is None
    design = array_design(designs[0].kind if designs else SCREENING)
    parts = [
        f"We measured {_count(len(tricks), 'training trick')}{' and one placebo' if placebo else ''} in a designed "
        f"experiment of {_count(analysis.runs, 'training run')} ({_count(waves, 'wave')}; {_kind(designs)}){design.redrawn}.",
        *besides,
        f"The runs carry {_count(len(seeds), 'training seed')}, which enter the model as blocks; the data splits are "
        "the same in all runs.",
        f"The effect of a trick is the difference in {said.metric} ({said.direction} is better) {design.contrast}, estimated by "
        f"ordinary least squares with {design.estimator} and blocks; intervals are "
        f"{100 * said.confidence:g} % t intervals from the pooled residual variance "
        f"(σ̂ = {analysis.sigma:.3g}, {analysis.df:g} degrees of freedom) and hold for each trick by itself.",
        f"Verdicts control the family-wise error at 5 % by Holm's method over tricks and Pocock's level {said.level:g} for "
        f"{_count(said.looks, 'planned look')}; “no measurable effect” means equivalence within ±{margin:.3g} by two "
        f"one-sided tests at the same level, the margin being "
        f"{'0.95 σ̂ (a chance of 0.75 that one run beats another), chosen automatically' if auto else 'fixed before the first run'}.",
    ]
    if analysis.failed:
        parts.append(
            f"{_count(analysis.failed, 'run')} of {analysis.runs} failed or collapsed; they are reported as failure "
            "rates, and effects are those among surviving runs."
        )
    else:
        parts.append(f"None of the {analysis.runs} runs failed.")
    if analysis.excluded:
        parts.append(f"{_count(analysis.excluded, 'unfinished run')} did not enter.")
    if trials_before is not None:
        parts.append(
            f"The recipe was chosen before by {_count(trials_before, 'search trial')} on the validation split; those trials do "
            "not enter the effects."
        )
    if confirmation is not None:
        fresh = {row.block for row in confirmation.rows}
        parts.append(
            f"Winner, baseline and drop-one recipes were then trained on {_count(len(fresh), 'fresh paired seed')} and scored "
            "on the test split, which nothing before had touched."
        )
    else:
        parts.append("The test split was not used.")
    return " ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _kind(designs: Sequence[Design]) -> str:
    return designs[0].note.split(",")[0] if designs else "no design"
