"""Tables of the page: pandas frames into cells that are ready to print. No HTML here: Jinja escapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ablate.analysis.model_parts import level_name
from ablate.ranking.estimation.coding import lines
from ablate.report.data import ReportData
from ablate.report.main_rows import label
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

OUTCOMES = ("complete", "pruned", "diverged", "out_of_memory", "failed", "interrupted")
_MOST_FAILURES = 60


@dataclass(frozen=True, slots=True)
class ReportTable:
    """`columns`: heading and alignment ("text" or "number"); `rows`: cells as text."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


def interactions(data: ReportData) -> ReportTable | None:
    """The largest interactions."""
    rows = (data.diagnostics or {}).get("interactions") or []
    if not rows:
        return None
    units = data.units
    return ReportTable(
        (("Pair", "text"), (f"Difference of differences{units.label_of_difference}", "number"), ("95 % interval", "number"), ("p, Holm", "number"), ("Reading", "text")),
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


def claims(data: ReportData) -> ReportTable | None:
    """Every claim of every ranked trick: the claimed and the measured effect, or why it was not measured."""
    if not data.claims:
        return None
    target = data.target or {}
    steps = (
        f" Steps to target: steps, in whole epochs, until {data.metric} first reaches {data.units.value(target['target'])}, the median "
        f"of {plural(target['n'], 'run')} ({target['source']}); {plural(target['never'], 'designed run')} never did and count with all "
        "their steps."
        if target and any(row["metric"] == "steps_to_target" for row in data.claims)
        else ""
    )
    return ReportTable(
        (("Trick", "text"), ("Claimed", "text"), ("Measured", "number"), ("95 % interval", "number"), ("Verdict", "text"), ("n", "number")),
        tuple(_claim_cells(row) for row in data.claims),
        f"Every claim of the literature next to the average effect in this study's designed runs, in the claimed metric.{steps} Robust "
        "accuracy: on validation inputs attacked by projected gradient descent within 0.1 standard deviations. "
        "Time and memory: ratios from the stage costs.",
    )  # fmt: skip


def _claim_cells(row: dict[str, Any]) -> tuple[str, ...]:
    units = Units.of(row["metric"])
    claimed = f"{row['metric'].replace('_', ' ')} {row['direction']}"
    if row["why"]:
        return (row["trick"], claimed, NONE, NONE, row["why"], NONE)
    if missing(row["low"]):
        return (row["trick"], claimed, ratio(row["effect"]), NONE, row["verdict"], count(row["n"]))
    return (row["trick"], claimed, units.effect(row["effect"]) + units.difference, units.interval(row["low"], row["high"]), row["verdict"], count(row["n"]))  # fmt: skip


def importances(data: ReportData) -> ReportTable | None:
    """Optuna's importances of a study, by trick and parameter."""
    rows = (data.external or {}).get("importances") or []
    if not rows:
        return None
    return ReportTable(
        (("Trick", "text"), ("Its importance", "number"), ("Parameter", "text"), ("Importance", "number")),
        tuple((str(r["trick"]), probability(r["trick_importance"]), str(r["parameter"]), probability(r["importance"])) for r in rows),
        "Optuna's importances (PED-ANOVA over the whole space), shares of 1, summed over the part before the dot of a "
        "parameter's name. They have no sign and no interval, and are shown for comparison only.",
    )  # fmt: skip


def outcomes(data: ReportData) -> ReportTable | None:
    """Runs by stage and outcome."""
    if not len(data.runs):
        return None
    pairs: Counter[tuple[str, str]] = Counter()
    for stage, group in data.runs.groupby("stage", sort=False):
        pairs.update({(str(stage), str(end)): int(n) for end, n in group["outcome"].value_counts().items()})
    stages = list(dict.fromkeys(stage for stage, _ in pairs))
    ends = {end for _, end in pairs}
    seen = [name for name in OUTCOMES if name in ends] + sorted(ends - set(OUTCOMES))
    return ReportTable(
        (("Stage", "text"), *((name.replace("_", " "), "number") for name in seen), ("all", "number")),
        tuple(
            (
                stage,
                *(count(pairs[stage, end]) for end in seen),
                count(sum(pairs[stage, end] for end in seen)),
            )
            for stage in stages
        ),
        "Runs by stage and outcome.",
    )


def failures(data: ReportData) -> ReportTable | None:
    """Every run that ended without a value (at most 60)."""
    lost = data.runs[data.runs["outcome"].isin(["diverged", "failed", "out_of_memory", "interrupted"])]
    if not len(lost):
        return None
    return ReportTable(
        (("Run", "text"), ("Stage", "text"), ("Outcome", "text"), ("After", "number"), ("Seed", "number"), ("Tricks on", "text"), ("Note", "text")),
        tuple(
            (
                str(row["run"]),
                str(row["stage"]),
                str(row["outcome"]).replace("_", " "),
                plural(int(row["epochs"]), "epoch"),
                str(row["seed"]),
                ", ".join(data.recipes.get(str(row["recipe"]), ())),
                str(row.get("note") or ""),
            )
            for row in lines(lost.head(_MOST_FAILURES))
        ),
        f"{plural(len(lost), 'run')} without a value{f', the first {_MOST_FAILURES}' if len(lost) > _MOST_FAILURES else ''}. "
        "A divergence is a result: it is counted, never dropped.",
    )  # fmt: skip


def failure_rates(data: ReportData) -> ReportTable | None:
    """Failure rates with and without each trick."""
    rows = (data.diagnostics or {}).get("failures") or []
    if not rows:
        return None
    return ReportTable(
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


def costs(data: ReportData) -> ReportTable | None:
    """Time, memory and inference time of each trick."""
    if data.costs is None or not len(data.costs):
        return None
    return ReportTable(
        (("Trick", "text"), ("ms a step", "number"), ("Time", "number"), ("Memory", "number"), ("Inference", "number"), ("n", "number")),
        tuple(
            (str(row["trick"]), significant(row["ms_per_step"]), ratio(row["time_ratio"]), ratio(row["memory_ratio"]), ratio(row["inference_ratio"]), count(row["n"]))
            for row in lines(data.costs)
        ),
        "Cost of each trick alone, relative to the run without it: a training step's time and memory, and inference as it is scored; n repetitions.",
    )  # fmt: skip


def scatter(data: ReportData) -> ReportTable | None:
    """P(A > B), σ with and without, and rank interval of every trick."""
    rows = (data.diagnostics or {}).get("tricks") or []
    if not rows:
        return None
    units = data.units
    return ReportTable(
        (("Trick", "text"), ("Rank (95 %)", "number"), ("P(with > without)", "number"), ("σ with", "number"), ("σ without", "number"), ("p raw", "number")),
        tuple(
            (
                label(data, str(row["trick"]), str(row["level"])),
                rank_interval(row),
                f"{probability(row['probability'])} ({probability(row['probability_low'])} to {probability(row['probability_high'])})",
                units.effect(row["sigma_with"]).lstrip("+"),
                units.effect(row["sigma_without"]).lstrip("+"),
                probability(row["p"]),
            )
            for row in rows
        ),
        f"Rank intervals hold together at 95 %; P is the chance that one run with the trick beats one without; σ{units.label_of_difference} is run to run.",
    )  # fmt: skip


def aliases(data: ReportData) -> ReportTable | None:
    """The main effects that a design cannot separate."""
    rows = [row for row in (data.design or {}).get("aliases") or [] if str(row["orders"]).startswith("main")]
    if not rows:
        return None
    return ReportTable(
        (("Effect", "text"), ("Entangled with", "text"), ("Correlation", "number"), ("Orders", "text")),
        tuple((str(r["effect"]), str(r["other"]), significant(r["correlation"], 2, sign=True), str(r["orders"])) for r in rows[:40]),
        f"Main effects that the design cannot wholly tell apart from others (|correlation| ≥ 0.3){', the first 40' if len(rows) > 40 else ''}.",
    )  # fmt: skip


def design_matrix(data: ReportData) -> ReportTable | None:
    """One row per run: wave, block, seed, and the level of each factor (+ and − where there are two)."""
    design = data.design or {}
    factors, rows = design.get("factors") or [], design.get("rows") or []
    if not factors or not rows:
        return None
    signs = {
        str(f["name"]): {str(f["levels"][0]): "−", str(f["levels"][1]): "+"} if len(f["levels"]) == 2 else {}
        for f in factors
    }

    def shown(name: str, level: str) -> str:
        return signs[name].get(level) or level_name(name, level, data.surgery)

    return ReportTable(
        (("Wave", "number"), ("Block", "number"), ("Seed", "number"), *((name, "sign") for name in signs)),
        tuple(
            (str(r["wave"]), str(r["block"]), str(r["seed"]), *(shown(name, str(r["levels"].get(name, NONE))) for name in signs))
            for r in rows
        ),
        f"The design: {plural(len(rows), 'run')}, + on, − off.",
    )  # fmt: skip


def facts(pairs: Sequence[tuple[str, Any]]) -> list[tuple[str, str]]:
    """Name and value of each fact; empty values are left out."""
    return [(name, str(value)) for name, value in pairs if value not in (None, "", [], {})]


def rank_interval(row: dict[str, Any]) -> str:
    """The interval of a row's rank."""
    low, high = row.get("rank_low"), row.get("rank_high")
    if low is None or high is None or missing(low) or missing(high):
        return NONE
    return str(int(low)) if low == high else f"{int(low)}–{int(high)}"


def _first(text: str, length: int = 80) -> str:
    return text if len(text) <= length else text[:length].rsplit(",", 1)[0] + ", …"
