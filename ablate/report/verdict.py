"""The first thing on the page: what came out, in a sentence that claims no more than the data show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ablate.records.designs import EXPLORATORY
from ablate.records.document import Document
from ablate.records.trick import LR, PLACEBO
from ablate.report import external
from ablate.report.action import action, better_than, is_tuned_report, recommended_recipe
from ablate.report.data import ReportData
from ablate.report.lean_words import lean_in_short
from ablate.report.main_rows import labels, main_rows
from ablate.report.numbers import count, duration, plural
from ablate.report.slices import Slice, slices_of
from ablate.report.tuned_verdict import doubts, failed_in_confirmation, groups, own_parts, tiles

ORDER = (
    "helps",
    "helps a little",
    "hurts",
    "hurts a little",
    "no measurable effect",
    "undecided",
    "exploratory",
)


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure of the summary: a number, what it is, and what it rests on."""

    value: str
    unit: str
    name: str
    basis: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`tone`: good | bad | open. `command`: what to type next, or "". `doubts`: caveats."""

    tone: str
    headline: str
    detail: str
    tiles: tuple[Tile, ...]
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    doubts: tuple[str, ...]
    command: str = ""


def verdict(data: ReportData, folder: Path | None = None) -> Verdict:
    """What the data say, in short. `folder`: where the report is, for the command."""
    chosen = action(data, folder) if _any_complete(data) else None
    tone, headline, detail = (
        (chosen.tone, chosen.headline, chosen.detail) if chosen is not None else _sentence(data)
    )
    if chosen is not None:
        detail = " ".join(part for part in (detail, lean_in_short(data), own_parts(data)) if part)
    return Verdict(
        tone, headline, detail, tuple(_tiles(data)), tuple(_groups(data)), tuple(_doubts(data)), chosen.command if chosen else "",
    )  # fmt: skip


def _any_complete(data: ReportData) -> bool:
    return not len(data.runs) or bool((data.runs["outcome"] == "complete").any())


def is_baseline(data: ReportData) -> bool:
    """Whether the recipe that is recommended differs from the baseline in nothing but the placebo."""
    winner = {name: dict(settings) for name, settings in (data.winner or {}).items() if name != PLACEBO}
    return bool(winner) and winner == {n: dict(s) for n, s in data.baseline.items() if n != PLACEBO}


def _sentence(data: ReportData) -> tuple[str, str, str]:
    complete = int((data.runs["outcome"] == "complete").sum())
    if len(data.runs) and not complete:
        return (
            "bad",
            f"None of {plural(len(data.runs), 'run')} finished with a value.",
            "See how they ended under Failures.",
        )
    gain = (data.confirm or {}).get("gain")
    if gain:
        return _confirmed(data, gain)
    rows = main_rows(data)
    if data.external and rows is not None:
        counts = {kind: int((rows["verdict"] == kind).sum()) for kind in ORDER}
        return external.headline(data, _join([f"{n} {_verb(kind, n)}" for kind, n in counts.items() if n]))
    if rows is not None and str(rows["estimand"].iloc[0]) != EXPLORATORY:
        counted = rows[rows["trick"] != PLACEBO]["verdict"].value_counts()
        parts = [
            f"{int(counted[kind])} {_verb(kind, int(counted[kind]))}"
            for kind in ORDER
            if counted.get(kind, 0)
        ]
        sentence = f"Of {plural(int(counted.sum()), 'trick')} measured, {_join(parts)}."
        if is_baseline(data):
            return "open", sentence, "The recipe that was ranked is the baseline itself."
        return "open", sentence, "The recipe has not been confirmed on fresh seeds and the test split yet."
    best = (data.search or {}).get("best")
    if best:
        value = data.units.value(best.get("value"))
        trials = plural(len(data.stage("search")), "trial")
        seeds = int(best.get("seeds") or 0)
        reached = (
            f"averages {value} {data.metric} over {plural(seeds, 'seed')}"
            if seeds
            else f"reached {value} {data.metric}"
        )
        return (
            "open",
            f"The best of {trials} {reached}.",
            "Chosen as the best of many it is optimistic, and nothing here is a designed comparison yet: rank and confirm before believing it.",
        )
    if complete:
        return (
            "open",
            f"{plural(complete, 'run')} finished; the search has not come to a best recipe yet.",
            "",
        )
    return "open", "No run has finished yet.", "The sections below name the command that makes each part."


def _confirmed(data: ReportData, gain: Document) -> tuple[str, str, str]:
    confirm = data.confirm or {}
    metric = str(confirm.get("metric", data.metric))
    units = data.units_of(metric)
    if is_baseline(data):
        return (
            "open",
            "The search's best recipe is the baseline itself.",
            f"So there is no gain to confirm; n = {gain['n']} fresh seeds, {metric}.",
        )
    size = f"{units.effect(abs(gain['effect'])).lstrip('+')}{units.difference}"
    interval = f"{units.interval(gain['low'], gain['high'])}{units.difference}"
    basis = (
        f"{100 * gain['level']:g} % interval {interval}; {plural(gain['n'], 'fresh paired seed')}, {metric}; "
        f"better on {gain['wins']} of {gain['n']} seeds."
    )
    margin = (data.design or {}).get("margin")
    if gain["low"] > 0:
        better = better_than(gain, margin, "the baseline", size)
        return "good", f"The recipe found {better}.", basis[0].upper() + basis[1:]
    if gain["high"] < 0:
        little = " a little" if margin is not None and -gain["effect"] < margin else ""
        return (
            "bad",
            f"The recipe found is{little} worse than the baseline by {size}: keep the baseline.",
            basis[0].upper() + basis[1:],
        )
    return (
        "open",
        "No gain of the recipe found over the baseline could be shown.",
        f"Estimated difference {units.effect(gain['effect'])}{units.difference}, {basis}",
    )


def _tiles(data: ReportData) -> Iterator[Tile]:
    confirm = data.confirm or {}
    gain, values = confirm.get("gain"), confirm.get("values") or {}
    if gain:
        units = data.units_of(str(confirm["metric"]))
        if not is_baseline(data):
            yield Tile(units.effect(gain["effect"]), units.difference, "gain over the baseline",
                       f"{100 * gain['level']:g} % interval {units.interval(gain['low'], gain['high'])}, n = {gain['n']} pairs")  # fmt: skip
        for arm in ("winner", "baseline"):
            scores = list((values.get(arm) or {}).values())
            if scores:
                name = "recommended recipe" if arm == "winner" else arm
                yield Tile(units.value(sum(scores) / len(scores)), "", f"{name}, {confirm['metric']}",
                           f"mean of {len(scores)} seeds, single ones {units.value(min(scores))} to {units.value(max(scores))}")  # fmt: skip
    elif not is_tuned_report(data) and data.search and data.search.get("best"):
        yield Tile(data.units.value(data.search["best"].get("value")), "", f"best trial, {data.metric}",
                   f"the best of {plural(len(data.stage('search')), 'trial')}: optimistic; n = {data.search['best'].get('seeds') or 1}")  # fmt: skip
    if is_tuned_report(data):
        yield from (Tile(*tile) for tile in tiles(data))
    runs = data.runs
    if len(runs):
        lost = int(runs["outcome"].isin(["diverged", "failed", "out_of_memory"]).sum())
        seconds = sum(value for value in data.timings.values() if isinstance(value, int | float))
        yield Tile(count(len(runs)), "", "training runs",
                   (f"{lost} diverged or failed" if lost else "none diverged or failed") + (f", {duration(seconds)}" if seconds else ""))  # fmt: skip


def _groups(data: ReportData) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Verdict -> the tricks that have it, strongest first."""
    if is_tuned_report(data):
        yield from groups(data)
        return
    rows = main_rows(data)
    if rows is None:
        return
    rows = rows[rows["trick"] != PLACEBO]
    for kind in ORDER[:-1]:
        chosen = rows[rows["verdict"] == kind]
        chosen = chosen.reindex(chosen["effect"].abs().sort_values(ascending=False, kind="stable").index)
        if len(chosen):
            yield kind, tuple(labels(data, chosen))


def _doubts(data: ReportData) -> Iterator[str]:
    if is_tuned_report(data):
        yield from doubts(data)
        return
    diagnostics = data.diagnostics or {}
    rows = main_rows(data)
    if rows is not None:
        nothing = rows[(rows["trick"] == PLACEBO) & rows["verdict"].str.startswith(("helps", "hurts"))]
        if len(nothing):
            yield "the placebo, which does nothing, was found to have an effect: the model of the noise is wrong, trust no verdict here"
        elif len(rows[(rows["trick"] == PLACEBO) & (rows["low"] * rows["high"] > 0)]):
            yield "the placebo's interval excludes zero: of true 95 % intervals one in twenty does; of more than that, the noise is underestimated"
        tied = labels(data, rows[(rows["low"] == rows["high"]) & (rows["trick"] != PLACEBO)])
        if tied:
            yield f"all pairs of runs came out equal for {_join(tied)}: an interval of no width says that the metric is too coarse, not that the effect is known"
    yield from diagnostics.get("warnings") or []
    design = data.design or {}
    if design.get("missing"):
        yield f"{design['missing']} of {design['planned']} designed runs have not been trained yet: run the same command again to resume"
    if design.get("problem"):
        yield f"no effect can be estimated: {design['problem']}"
    for panel in search_slices(data):
        if panel.edge:
            yield panel.advice
    for step in (data.lr_find or {}).get("steps") or []:
        if step.get("verdict") == "fail":
            yield f"lr-find, step {step.get('step')} ({step.get('name')}) failed: learning rate and weight decay rest on it"
    yield from failed_in_confirmation(data)


def search_slices(data: ReportData) -> list[Slice]:
    """Every parameter of the search over its range; see `slices`."""
    if not data.search or not data.search.get("space"):
        return []
    best = (data.search.get("best") or {}).get("recipe") or {}
    legal = {
        f"{trick}.{parameter}": (ends[0], ends[1])
        for trick, record in data.tricks.items()
        for parameter, ends in (record.get("legal") or {}).items()
        if not (
            parameter == LR and is_tuned_report(data)
        )  # a ranking by tuned arms tries rates beyond the search's
    }
    used = recommended_recipe(data) or best
    return slices_of(data.stage("search"), data.search["space"], best, data.metric, legal, used)


def _verb(kind: str, number: int) -> str:
    plain = {"helps": ("helps", "help"), "hurts": ("hurts", "hurt"),
             "helps a little": ("helps a little", "help a little"), "hurts a little": ("hurts a little", "hurt a little"),
             "no measurable effect": ("has no measurable effect", "have no measurable effect"),
             "undecided": ("is undecided", "are undecided"), "exploratory": ("is exploratory", "are exploratory")}  # fmt: skip
    return plain[kind][number != 1]


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
