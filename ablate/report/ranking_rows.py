"""The ranking table: one line per trick, ready to print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablate.ranking.estimation.coding import lines
from ablate.records.designs import AVERAGE
from ablate.records.trick import PLACEBO
from ablate.report.clean import short_source
from ablate.report.data import ReportData
from ablate.report.main_rows import label
from ablate.report.numbers import Units, count, missing, probability, ratio
from ablate.report.tables import rank_interval
from ablate.report.tuned_rows import applies


@dataclass(frozen=True, slots=True)
class RankingRow:
    """One line of the ranking table. `rank` is an interval if the ranking has one."""

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
    lost: str
    p: str


def ranking_rows(data: ReportData, rows: pd.DataFrame) -> list[RankingRow]:
    """The rows of one estimand, in the ranking's order."""
    ranks = {
        (str(row["trick"]), str(row["level"])): row for row in (data.diagnostics or {}).get("tricks") or []
    }
    shown = []
    for row in lines(rows):
        trick, level = str(row["trick"]), str(row["level"])
        units = Units.of(str(row["metric"]))
        record = data.tricks.get(level) or data.tricks.get(trick) or {}
        claim, claimed_by = claim_beside(data, level if level in data.tricks else trick)
        rank = ranks.get((trick, level), {}) if row["estimand"] == AVERAGE else {}
        lost = 0 if missing(row["runs_failed"]) else int(row["runs_failed"])
        shown.append(
            RankingRow(
                name=label(data, trick, level),
                title=str(
                    record.get("title") or ("does nothing, by construction" if trick == PLACEBO else "")
                ),
                placebo=trick == PLACEBO,
                rank=rank_interval(rank),
                effect=units.effect(row["effect"]),
                interval=units.interval(row["low"], row["high"]),
                verdict=str(row["verdict"]),
                note=_text(row["note"]),
                claim=claim,
                claimed_by=claimed_by,
                measured=_claim(row),
                time=ratio(row["time_ratio"]),
                memory=ratio(row["memory_ratio"]),
                runs=count(row["runs"]),
                lost=f"{lost} lost" if lost else "",
                p=probability(row["p_adjusted"]),
            )
        )
    return shown


def claim_beside(data: ReportData, trick: str) -> tuple[str, str]:
    """Statement and source of a trick's first claim that is about the settings that were ranked; "" if none is."""
    record, settings = data.tricks.get(trick) or {}, ((data.design or {}).get("around") or {}).get(trick)
    for claim in record.get("claims") or ():
        if settings is None or applies(claim, settings):
            return str(claim["statement"]), short_source(str(claim["source"]))
    return "", ""


def _claim(row: dict[str, Any]) -> str:
    verdict = _text(row.get("claim_verdict"))
    if not verdict:
        return ""
    units = Units.of(str(row["claim_metric"]))
    name = str(row["claim_metric"]).rsplit("/", 1)[-1].replace("_", " ")
    return f"{name} {verdict}: {units.effect(row['claim_effect'])}{units.difference} ({units.interval(row['claim_low'], row['claim_high'])})"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
