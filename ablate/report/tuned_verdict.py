"""The summary of a tuned ranking: tricks by verdict, and caveats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ablate.analysis.tuned_arms import counts
from ablate.ranking.estimands import ESTIMANDS
from ablate.records.document import Document
from ablate.records.trick import PLACEBO
from ablate.report.action import is_untuned, margin_text, undecided
from ablate.report.continue_commands import (
    again,
    budget_that_tunes,
    command_for_all,
    command_for_late,
    command_for_tricks,
    fitted,
)
from ablate.report.data import ReportData
from ablate.report.numbers import plural, significant
from ablate.report.tuned_rows import by_trick

KINDS = ("helps", "helps a little", "hurts", "hurts a little", "no measurable effect", "undecided")
REMOVE = "remove_"
"""How the names of tricks begin that take out what the model holds."""
SHOWN = 8
"""Tricks that a caveat names, at most."""
NOISY = 1.5
"""Times the margin that a run scatters, from which on pairs alone decide little: at 27 pairs, 0.8 σ is found with power 0.9."""


def named(names: Sequence[str]) -> str:
    """The names, `SHOWN` at most."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def groups(data: ReportData) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Verdict -> the tricks that have it; one whose verdict depends on the reference is listed with its reference."""
    labels: dict[str, list[tuple[float, str]]] = {}
    for trick, by_reference in by_trick(data).items():
        if trick == PLACEBO:
            continue
        agree = len({row["verdict"] for row in by_reference.values()}) == 1
        for name, row in list(by_reference.items())[: 1 if agree else None]:
            label = trick if agree else f"{trick} ({ESTIMANDS[name].reference})"
            labels.setdefault(str(row["verdict"]), []).append((-abs(row["effect"]), label))
    for kind in KINDS:
        if kind in labels:
            yield kind, tuple(label for _, label in sorted(labels[kind]))


def own_parts(data: ReportData) -> str:
    """What the rows of `remove_…` say of the parts that the model holds, without their double negation: "The model's dropout costs 4.23 pp"."""
    return " ".join(
        sentence
        for trick, by_reference in by_trick(data).items()
        if trick.startswith(REMOVE) and (sentence := _of_part(data, trick, next(iter(by_reference.values()))))
    )


def _of_part(data: ReportData, trick: str, row: Document) -> str:
    part = data.title(trick).removesuffix(" removed")
    size = f"{data.units.effect(abs(row['effect'])).lstrip('+')}{data.units.difference} ± {data.units.effect((row['high'] - row['low']) / 2).lstrip('+')}"
    pairs = f"({plural(int(row['pairs']), 'pair')})"
    verdict = str(row["verdict"])
    several = part.endswith("s")  # "The model's skip connections"
    it = "them" if several else "it"
    if verdict == "hurts":
        earns = "earn their place" if several else "earns its place"
        return f"{part} {earns}: without {it} {size} worse {pairs}."
    if verdict == "hurts a little":
        return f"{part} {'help' if several else 'helps'} a little: without {it} {size} worse {pairs}."
    if verdict.startswith("helps"):
        return f"{part} {'cost' if several else 'costs'} {size} {pairs}."
    return ""


def failed_in_confirmation(data: ReportData) -> Iterator[str]:
    """A line for every arm of the confirmation with runs that failed, and how they count."""
    confirm = data.confirm or {}
    for arm, number in (confirm.get("failed") or {}).items():
        if number:
            total = len(confirm.get("seeds") or ()) or number
            counted = (
                f"{'are' if number > 1 else 'is'} not in its mean"
                if confirm.get("collapsed") is None
                else f"{'count' if number > 1 else 'counts'} as a constant prediction"
            )
            yield f"{number} of {plural(total, 'run')} of the arm “{arm}” failed in the confirmation and {counted}"


def tiles(data: ReportData) -> Iterator[tuple[str, str, str, str]]:
    """Figures of the summary: value, unit, name, basis. The gain is that of the ladder if none is confirmed yet."""
    design = data.design or {}
    gain = (design.get("recommended") or {}).get("gain")
    if gain and not (data.confirm or {}).get("gain"):
        yield (
            data.units.effect(gain["effect"]), data.units.difference, "lean recipe over the baseline",
            f"95 % interval {data.units.interval(gain['low'], gain['high'])}, n = {gain['pairs']} pairs, {data.metric}",
        )  # fmt: skip
    done, number = counts({"rows": design["effects"]})
    yield f"{done} of {number}", "", "tricks decided", "a verdict on every reference that they were ranked on"


def doubts(data: ReportData) -> Iterator[str]:
    """Caveats of the verdicts, and the questions that the tool could not decide."""
    design = data.design or {}
    placebos = [row for row in design["effects"] if row["trick"] == PLACEBO]
    if any(row["verdict"].startswith(("helps", "hurts")) for row in placebos):
        yield "the placebo, which does nothing, was found to have an effect: the noise is underestimated, trust no verdict here"
    tied = {
        row["trick"] for row in design["effects"]
        if row["low"] == row["high"] and not row["same"] and row["trick"] != PLACEBO
    }  # fmt: skip
    if tied:
        yield f"all pairs of runs came out equal for {', '.join(sorted(tied))}: the metric is too coarse to show a difference"
    failed = {
        f"{'without' if row['in_recipe'] else 'with'} {row['trick']}": f"({row['failed']} of {row['runs']})"
        for row in design["effects"]
        if row["failed"]
    }
    if failed:
        arms = ", ".join(f"{arm} {number}" for arm, number in failed.items())
        yield f"runs failed {arms}; a failed run counts as a constant prediction"
    if design.get("edges"):
        edges = list(dict.fromkeys(str(arm).partition(": ")[2] for arm in design["edges"]))
        yield (
            f"the best learning rate is the last that was tried for {named(edges)}: beyond it there may be a better one; "
            "a larger --budget tries more"
        )
    if is_untuned(design):
        yield (
            "the budget left no runs to tune the arms: a trick was run at its reference's rate, an optimizer at one scaled to its own, so “hurts” may "
            f"be said of the rate and not of the trick; {_tuning_command(data)}"
        )
    still = undecided(data)
    if still:
        names = [trick for trick, _ in still]
        command = command_for_tricks(data, names, [pairs for _, pairs in still])
        yield f"undecided: {named(names)}{_more([pairs for _, pairs in still])} ({command})"
    ranked = by_trick(data)
    if out := [name for name in fitted(data).get("left_out") or () if name not in ranked]:
        yield f"{_not_ranked(out)}, because {design['fit']['asked']} are too short ({command_for_all(data)})"
    if late := [name for name in (design.get("late") or {}).get("tricks", ()) if name not in ranked]:
        yield f"{_not_ranked(late)}, because the stages before the ranking took longer than planned ({command_for_late(data)})"
    spreads = [race.get("sigma") or 0.0 for race in design.get("races") or ()]
    noisy = [sigma for sigma in spreads if still and sigma > NOISY * design["margin"]]
    if noisy:
        sigma = f"{significant(max(noisy) * data.units.factor)}{data.units.difference}"
        yield (
            f"the same recipe differs by {sigma} from seed to seed (standard deviation), and what does not matter is {margin_text(design, data.units)}: "
            "more epochs or more validation examples decide more than more runs do"
        )
    for step in (data.lr_find or {}).get("steps") or []:
        if step.get("verdict") == "fail":
            yield f"lr-find, step {step.get('step')} ({step.get('name')}) failed: the baseline's learning rate rests on it"
    yield from failed_in_confirmation(data)


def _tuning_command(data: ReportData) -> str:
    """What tunes the arms of a ranking that did not."""
    budget = budget_that_tunes(data)
    return (
        f"a budget of {budget} tunes each ({again(data, budget=budget)})"
        if budget
        else "a larger --budget tunes each"
    )


def _not_ranked(tricks: Sequence[str]) -> str:
    return f"{plural(len(tricks), 'trick')} not ranked: {named(tricks)}"


def _more(pairs: Sequence[int | None]) -> str:
    """Pairs that would decide half of what is open, or as much of it as pairs do. `pairs`: of each, None where pairs do not decide it."""
    needed = sorted(number for number in pairs if number)
    if not needed:
        return ""
    number = needed[min(-(-len(pairs) // 2), len(needed)) - 1]
    decided = sum(other <= number for other in needed)
    if len(pairs) == 1:
        return f"; ≈ {plural(number, 'more pair')} would decide it"
    which = "them" if decided == len(pairs) else f"{decided} of them"
    return f"; ≈ {plural(number, 'more pair')} each would decide {which}"
