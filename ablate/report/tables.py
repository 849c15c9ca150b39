"""Tables of the page: pandas frames into cells that are ready to print. No HTML here: Jinja escapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablate.report.data import PLACEBO, ReportData
from ablate.report.numbers import (
    NONE,
    Units,
    count,
    missing,
    plural,
    probability,
    ratio,
    significant,
)
from ablate.report.verdict import label

OUTCOMES = ("complete", "pruned", "diverged", "out_of_memory", "failed", "interrupted")
_MOST_FAILURES = 60


@dataclass(frozen=True, slots=True)
class Table:
    """`columns`: heading and alignment ("text" or "number"); `rows`: cells as text."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class RankingRow:
    """One line of the ranking table. `rank` is an interval where the ranking gives one."""

    name: str
    title: str
    placebo: bool
    rank: str
    effect: str
    interval: str
    verdict: str
    note: str
    claim: str
    claimed_by: str
    measured: str
    time: str
    memory: str
    runs: str
    p: str


def ranking_rows(data: ReportData, rows: pd.DataFrame) -> list[RankingRow]:
    """The rows of one estimand, in the ranking's order."""
    places = {
        (str(row["trick"]), str(row["level"])): row for row in (data.diagnostics or {}).get("tricks") or []
    }
    lines = []
    for row in rows.to_dict("records"):
        trick, level = str(row["trick"]), str(row["level"])
        units = Units.of(str(row["metric"]))
        record = data.tricks.get(level) or data.tricks.get(trick) or {}
        place = places.get((trick, level), {}) if row["estimand"] == "average" else {}
        lost = 0 if missing(row["runs_failed"]) else int(row["runs_failed"])
        lines.append(
            RankingRow(
                name=label(data, trick, level),
                title=str(
                    record.get("title") or ("does nothing, by construction" if trick == PLACEBO else "")
                ),
                placebo=trick == PLACEBO,
                rank=_rank(place),
                effect=units.effect(row["effect"]),
                interval=units.interval(row["low"], row["high"]),
                verdict=str(row["verdict"]),
                note=_text(row["note"]),
                claim=str(record.get("statement") or ""),
                claimed_by=str(record.get("source") or ""),
                measured=_claim(row),
                time=ratio(row["time_ratio"]),
                memory=ratio(row["memory_ratio"]),
                runs=count(row["runs"]) + (f" ({lost} lost)" if lost else ""),
                p=probability(row["p_adjusted"]),
            )
        )
    return lines


def interactions(data: ReportData) -> Table | None:
    rows = (data.diagnostics or {}).get("interactions") or []
    if not rows:
        return None
    units = data.units
    return Table(
        (("Pair", "text"), (f"Difference of differences{_in(units)}", "number"), ("95 % interval", "number"), ("p, Holm", "number"), ("Reading", "text")),
        tuple(
            (
                f"{row['one']} × {row['other']}",
                units.effect(row["effect"]),
                units.interval(row["low"], row["high"]),
                probability(row["p_adjusted"]),
                ("possible interaction" if row["flagged"] else "within noise")
                + (f"; fits as well: {_first(row['confounded_with'])}" if row["flagged"] and row["confounded_with"] else ""),
            )
            for row in rows
        ),
        f"The {len(rows)} strongest of {plural(int((data.diagnostics or {}).get('pairs') or len(rows)), 'pair')}: how much more the first "
        "trick helps where the second is on. p is Holm-adjusted over all pairs.",
    )  # fmt: skip


def outcomes(data: ReportData) -> Table | None:
    """Runs by stage and outcome."""
    if not len(data.runs):
        return None
    table = pd.crosstab(data.runs["stage"], data.runs["outcome"])
    order = list(dict.fromkeys(data.runs["stage"]))
    seen = [name for name in OUTCOMES if name in table] + [name for name in table if name not in OUTCOMES]
    return Table(
        (("Stage", "text"), *((name.replace("_", " "), "number") for name in seen), ("all", "number")),
        tuple(
            (stage, *(count(table.loc[stage, name]) for name in seen), count(table.loc[stage].sum()))
            for stage in order
        ),
        "Runs by stage and outcome.",
    )


def failures(data: ReportData) -> Table | None:
    """Every run that ended without a value (at most 60)."""
    lost = data.runs[data.runs["outcome"].isin(["diverged", "failed", "out_of_memory", "interrupted"])]
    if not len(lost):
        return None
    return Table(
        (("Run", "text"), ("Stage", "text"), ("Outcome", "text"), ("After", "number"), ("Seed", "number"), ("Tricks on", "text"), ("Note", "text")),
        tuple(
            (
                str(row["run"]),
                str(row["stage"]),
                str(row["outcome"]).replace("_", " "),
                plural(int(row["epochs"]), "epoch"),
                str(row["seed"]),
                ", ".join(data.recipes.get(str(row["recipe"]), {})),
                str(row.get("note") or ""),
            )
            for row in lost.head(_MOST_FAILURES).to_dict("records")
        ),
        f"{plural(len(lost), 'run')} without a value{f', the first {_MOST_FAILURES}' if len(lost) > _MOST_FAILURES else ''}. "
        "A divergence is a result: it is counted, never dropped.",
    )  # fmt: skip


def failure_rates(data: ReportData) -> Table | None:
    rows = (data.diagnostics or {}).get("failures") or []
    if not rows:
        return None
    return Table(
        (("Trick", "text"), ("Failed with it", "number"), ("Failed without", "number"), ("Difference (pp)", "number"), ("95 % interval", "number"), ("p, Holm", "number")),
        tuple(
            (
                label(data, str(row["trick"]), str(row["level"])),
                f"{row['failed_with']} of {row['runs_with']}",
                f"{row['failed_without']} of {row['runs_without']}",
                Units(100.0, "", "", 1).effect(row["difference"]),
                Units(100.0, "", "", 1).interval(row["low"], row["high"]),
                probability(row["p_adjusted"]),
            )
            for row in rows
        ),
        "Failure rate with and without each trick, in the designed runs: an outcome of its own.",
    )  # fmt: skip


def costs(data: ReportData) -> Table | None:
    if data.costs is None or not len(data.costs):
        return None
    return Table(
        (("Trick", "text"), ("ms a step", "number"), ("Time", "number"), ("Memory", "number"), ("n", "number")),
        tuple(
            (str(row["trick"]), significant(row["ms_per_step"]), ratio(row["time_ratio"]), ratio(row["memory_ratio"]), count(row["n"]))
            for row in data.costs.to_dict("records")
        ),
        "Cost of each trick alone, relative to the run without it; n repetitions.",
    )  # fmt: skip


def scatter(data: ReportData) -> Table | None:
    """P(A > B), σ with and without, and rank interval of every trick."""
    rows = (data.diagnostics or {}).get("tricks") or []
    if not rows:
        return None
    units = data.units
    return Table(
        (("Trick", "text"), ("Rank (95 %)", "number"), ("P(with > without)", "number"), ("σ with", "number"), ("σ without", "number"), ("p raw", "number")),
        tuple(
            (
                label(data, str(row["trick"]), str(row["level"])),
                _rank(row),
                f"{probability(row['probability'])} ({probability(row['probability_low'])} to {probability(row['probability_high'])})",
                units.effect(row["sigma_with"]).lstrip("+"),
                units.effect(row["sigma_without"]).lstrip("+"),
                probability(row["p"]),
            )
            for row in rows
        ),
        f"Rank intervals hold together at 95 %; P is the chance that one run with the trick beats one without; σ{_in(units)} is run to run.",
    )  # fmt: skip


def aliases(data: ReportData) -> Table | None:
    rows = (data.design or {}).get("aliases") or []
    if not rows:
        return None
    return Table(
        (("Effect", "text"), ("Entangled with", "text"), ("Correlation", "number"), ("Orders", "text")),
        tuple((str(r["effect"]), str(r["other"]), significant(r["correlation"], 2, sign=True), str(r["orders"])) for r in rows[:40]),
        f"Pairs of effects that the design cannot tell apart (|correlation| ≥ 0.3){', the first 40' if len(rows) > 40 else ''}.",
    )  # fmt: skip


def design_matrix(data: ReportData) -> Table | None:
    """One row a run: wave, block, seed, and the level of each factor (+ and − where there are two)."""
    design = data.design or {}
    factors, rows = design.get("factors") or [], design.get("rows") or []
    if not factors or not rows:
        return None
    signs = {
        str(f["name"]): {str(f["levels"][0]): "−", str(f["levels"][1]): "+"} if len(f["levels"]) == 2 else {}
        for f in factors
    }
    return Table(
        (("Wave", "number"), ("Block", "number"), ("Seed", "number"), *((name, "sign") for name in signs)),
        tuple(
            (str(r["wave"]), str(r["block"]), str(r["seed"]), *(known.get(str(r["levels"].get(name)), str(r["levels"].get(name, NONE))) for name, known in signs.items()))
            for r in rows
        ),
        f"The design: {plural(len(rows), 'run')}, + on, − off.",
    )  # fmt: skip


def facts(pairs: Sequence[tuple[str, Any]]) -> list[tuple[str, str]]:
    """Name and value of what is known; empty values are left out."""
    return [(name, str(value)) for name, value in pairs if value not in (None, "", [], {})]


def _claim(row: dict[str, Any]) -> str:
    verdict = _text(row.get("claim_verdict"))
    if not verdict:
        return ""
    units = Units.of(str(row["claim_metric"]))
    return f"{verdict}: {units.effect(row['claim_effect'])}{units.difference} ({units.interval(row['claim_low'], row['claim_high'])})"


def _rank(row: dict[str, Any]) -> str:
    low, high = row.get("rank_low"), row.get("rank_high")
    if missing(low) or missing(high):
        return NONE
    return str(int(low)) if low == high else f"{int(low)}–{int(high)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _first(text: str, length: int = 80) -> str:
    return text if len(text) <= length else text[:length].rsplit(",", 1)[0] + ", …"


def _in(units: Units) -> str:
    return f" ({units.difference.strip()})" if units.difference.strip() else ""
