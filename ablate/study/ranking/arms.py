"""The arms of the tuned design: every applicable trick added to the baseline, and added to or removed from the recipe found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from ablate.analysis.model_parts import WITHOUT_IT
from ablate.ranking.estimands import ESTIMANDS
from ablate.records.designs import ADD_ONE, TOGGLE, TunedEstimand
from ablate.records.digits import rounded, rounded_text
from ablate.records.recipe import Catalogue, Recipe, conflict
from ablate.records.study_rank import OPTIMIZER
from ablate.records.trick import LR, PLACEBO, Parameter, Trick, Value
from ablate.study.ranking.recipes import same_recipe

SHARES = (0.25, 0.75)
"""Points of a parameter's range that are tried besides its default, as fractions of the range (of its logarithm on a log scale)."""
Settings = Mapping[str, Value]
Liked = Mapping[str, Sequence[Settings]]
"""Trick -> its settings in the best trials of the search, the best first."""


@dataclass(frozen=True)
class Arm:
    """One recipe against its reference, before anything is tuned.

    `recipes`: the candidates to choose from, which differ in the trick's settings; the learning rate is tuned besides.
    `sign`: +1 if the arm has the trick, -1 if the reference has it and the arm does not: effects are of *having* it.
    `against`: what replaces the trick in the comparison, in words. Empty `trick`: the reference itself.
    """

    estimand: TunedEstimand
    trick: str
    recipes: tuple[Recipe, ...]
    sign: int = 1
    against: str = ""

    @property
    def name(self) -> str:
        """`estimand: trick`, or the name of the reference."""
        return f"{self.estimand}: {self.trick or ESTIMANDS[self.estimand].reference}"

    @property
    def is_placebo(self) -> bool:
        """Whether the arm's trick is the placebo."""
        return self.trick == PLACEBO


@dataclass(frozen=True)
class Arms:
    """All arms of one reference (which is first), and why other tricks have none."""

    arms: tuple[Arm, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def estimands_of(winner: Recipe, baseline: Recipe) -> tuple[TunedEstimand, ...]:
    """What is ranked: on the baseline, and on the recipe found where that is another one. The learning rate, which is tuned, makes none."""
    same = same_recipe(*(one.map(lambda _, settings: without_rate(settings)) for one in (winner, baseline)))
    return (ADD_ONE,) if same else (ADD_ONE, TOGGLE)


def without_rate(settings: Mapping[str, Value]) -> dict[str, Value]:
    """Settings of a trick but for the learning rate."""
    return {key: value for key, value in settings.items() if key != LR}


def settings_of_best_trials(ranked_recipes: Iterable[Recipe]) -> dict[str, list[Settings]]:
    """Settings of each trick in the search's best recipes, in their order."""
    liked: dict[str, list[Settings]] = {}
    for recipe in ranked_recipes:
        for name, settings in recipe.items():
            liked.setdefault(name, []).append(settings)
    return liked


def arms_of(
    estimand: TunedEstimand,
    reference: Recipe,
    candidates: Iterable[str],
    catalogue: Catalogue,
    liked: Liked,
    most: int,
    baseline: Recipe | None = None,
) -> Arms:
    """An arm for every trick of `candidates` and of `reference`; `most` settings are tried of each. `baseline`: its choices of slots are tried as it
    has them, its optimizer from its rate on: the recipe found may go back to them."""
    arms = [Arm(estimand, "", (reference,)), Arm(estimand, PLACEBO, (reference,))]
    left_out: dict[str, str] = {}
    for name in sorted({*candidates, *reference} - {PLACEBO}):
        trick = catalogue[name]
        if name in reference:
            if trick.slot == OPTIMIZER:
                left_out[name] = (
                    f"the optimizer of the {ESTIMANDS[estimand].reference}: the others are compared with it"
                )
            else:
                arms.append(Arm(estimand, name, (reference.without(name),), -1, "without it"))
            continue
        others = [other for other in reference if not trick.slot or catalogue[other].slot != trick.slot]
        clashes = {other: why for other in others if (why := conflict(trick, catalogue[other]))}
        standing = reference.slot(catalogue, trick.slot) if trick.slot else None
        base, replaced = reference, [standing] if standing else []
        if trick.slot == OPTIMIZER:  # an optimizer with its own decay replaces both
            base, replaced = reference.without(*clashes), [*replaced, *clashes]
            clashes = {}
        clash = next(iter(clashes.values()), "")
        parent = _missing_parent(trick, reference, catalogue)
        if clash or parent:
            left_out[name] = (
                clash or f"acts only with {parent}, which the {ESTIMANDS[estimand].reference} does not have"
            )
            continue
        if standing and baseline is not None and name in baseline:
            choices = [dict(baseline[name])]
        else:
            choices = settings_of(trick, reference, catalogue, liked.get(name, ()), most)
        recipes = dict.fromkeys(base.with_trick(catalogue, name, settings) for settings in choices)
        against = " and ".join(replaced) or WITHOUT_IT
        arms.append(Arm(estimand, name, tuple(recipes), 1, against))
    return Arms(tuple(arms), left_out)


def settings_of(
    trick: Trick, reference: Recipe, catalogue: Catalogue, liked: Sequence[Settings], most: int
) -> list[dict[str, Value]]:
    """At most `most` settings of a trick: its default, those of the search's best trials, and its main parameter at other values.

    The main parameter is the first that is not the learning rate. An optimizer's settings are the default's (the rate
    is tuned anyway, on the scale of the reference's).
    """
    default = dict(trick.defaults)
    if trick.slot == OPTIMIZER:
        default = _scaled_rate(trick, default, reference, catalogue)
        return [default]
    main = next(iter(trick.parameters), None)
    if main is None:
        return [default]
    others = [{**default, main.name: value} for value in spread(main) if value != main.neutral]
    usual = [_typical(trick, liked)] if liked else []
    # with a setting from the search, one other value fewer
    chosen = [default, *usual, *(others[1:] if usual and not main.choices else others)]
    unique: list[dict[str, Value]] = []
    for settings in chosen:
        if settings not in unique and not _does_nothing(trick, settings):
            unique.append(settings)
    return unique[: max(most, len(main.choices) + len(usual))]


def spread(parameter: Parameter) -> list[Value]:
    """Values of a parameter to try: its choices, or points inside its range."""
    if parameter.choices:
        return list(parameter.choices)
    if not parameter.is_number:
        return [False, True]
    low, high = parameter.low, parameter.high
    assert low is not None
    assert high is not None
    values: list[Value] = []
    for share in SHARES:
        value = low * (high / low) ** share if parameter.log else low + share * (high - low)
        values.append(round(value) if parameter.is_integer else rounded(value, 2))
    return values


def with_rate(recipe: Recipe, catalogue: Catalogue, rate: float | None) -> Recipe:
    """The recipe at another learning rate; unchanged if its optimizer has none or `rate` is None."""
    name = recipe.slot(catalogue, OPTIMIZER)
    if rate is None or name is None or LR not in recipe[name]:
        return recipe
    return recipe.with_trick(catalogue, name, {**recipe[name], LR: rate})


def rate_of(recipe: Recipe, catalogue: Catalogue) -> float | None:
    """The recipe's learning rate; None if its optimizer has none."""
    name = recipe.slot(catalogue, OPTIMIZER)
    return float(recipe[name][LR]) if name is not None and LR in recipe[name] else None


def described(recipe: Recipe, arm: Arm) -> str:
    """The settings of the arm's trick in words; what it is compared with is in `arm.against`."""
    settings = without_rate(recipe.get(arm.trick, {}))
    return ", ".join(
        f"{key}={rounded_text(value)}" if isinstance(value, float) else f"{key}={value}"
        for key, value in settings.items()
    )


def _typical(trick: Trick, liked: Sequence[Settings]) -> dict[str, Value]:
    """The typical settings of the best trials: medians of numbers, the best trial's choices."""
    first = dict(liked[0])
    for parameter in trick.parameters:
        if parameter.is_number:
            value = median(float(settings[parameter.name]) for settings in liked)
            first[parameter.name] = round(value) if parameter.is_integer else rounded(value)
    return first


def _does_nothing(trick: Trick, settings: Settings) -> bool:
    own = [parameter for parameter in trick.parameters if parameter.neutral is not None]
    return bool(own) and all(settings[parameter.name] == parameter.neutral for parameter in own)


def _missing_parent(trick: Trick, reference: Recipe, catalogue: Catalogue) -> str:
    """The trick or slot without which this one has no effect, if the reference lacks it."""
    for role in trick.roles:
        if role.startswith("conditional("):
            parent = role.removeprefix("conditional(").removesuffix(")")
            if parent not in reference and reference.slot(catalogue, parent) is None:
                return parent
    return ""


def _scaled_rate(
    trick: Trick, settings: dict[str, Value], reference: Recipe, catalogue: Catalogue
) -> dict[str, Value]:
    """The default rate, scaled as the reference's rate is to its own optimizer's default."""
    own = reference.slot(catalogue, OPTIMIZER)
    rate = rate_of(reference, catalogue)
    if own is None or rate is None or LR not in settings:
        return settings
    return {**settings, LR: float(settings[LR]) * rate / float(catalogue[own].parameter(LR).default)}
