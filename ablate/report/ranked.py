"""The `rank` stage: its declared design matched to the runs, and what the ranking room makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablate.ledger.entry import Entry
from ablate.ranking.aliases import alias_table
from ablate.ranking.analysis import Analysis, Declaration, analyse
from ablate.ranking.coding import lines
from ablate.ranking.design import Design, Row
from ablate.ranking.methods import methods_paragraph
from ablate.ranking.table import ClaimMetric, claim_effects
from ablate.records.errors import InputError
from ablate.report.data import Document

_STRONGEST = 6
_ALIASES = 200
_MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Ranked:
    """What the ledger says of the designed runs. `analysis` is None while no run gives a value."""

    design: Document
    plan: Design | None = None
    analysis: Analysis | None = None
    diagnostics: Document | None = None
    claims: pd.DataFrame | None = None

    @property
    def average(self) -> pd.DataFrame | None:
        return None if self.analysis is None else self.analysis.table


def ranked(
    fact: Mapping[str, Any] | None,
    entries: Sequence[Entry],
    metric: str,
    *,
    higher: bool,
    trials: int | None = None,
    claims: Mapping[str, ClaimMetric] | None = None,
) -> Ranked | None:
    """The design with its runs, effects and diagnostics; None before anything was declared.

    `trials`: search trials that preceded. `claims`: what each trick promises, where runs record it.
    Raises InputError where the stored design is damaged.
    """
    if not fact:
        return None
    rows = list(fact.get("rows") or [])
    stored = fact.get("design")
    plan = Design.from_json(stored) if stored else None
    varied = {factor.name for factor in plan.factors} if plan else set()
    promised = {name: claim for name, claim in (claims or {}).items() if name in varied}
    measured = {metric, *(claim.metric for claim in promised.values())}
    frame = _frame(rows, {entry.identity: entry for entry in entries}, sorted(measured))
    design: Document = {
        **{
            key: fact.get(key)
            for key in ("around", "margin", "margin_source", "alpha", "looks", "waves", "left_out")
        },
        "kind": plan.kind if plan else "",
        "note": plan.note if plan else "",
        "factors": stored["factors"] if stored else [],
        "rows": rows,
        "planned": len(frame),
        "missing": int((frame["outcome"] == _MISSING).sum()),
        "aliases": alias_table(plan).head(_ALIASES).to_dict("records") if plan and plan.rows else [],
    }
    finished = frame[frame["outcome"] != _MISSING]
    if plan is None or finished.empty:
        return Ranked(design, plan)
    looks = int(fact.get("looks") or 3)
    sizes = frame.groupby("wave").size()
    complete = int((finished.groupby("wave").size().reindex(sizes.index, fill_value=0) == sizes).sum())
    said = Declaration(
        metric,
        "higher" if higher else "lower",
        margin=fact.get("margin"),
        looks=looks,
        wave_runs=int(sizes.iloc[0]),
        collapse=fact.get("collapse"),
    )
    look = max(1, min(complete, looks))
    try:
        analysis = analyse(finished, plan.factors, said, look=look, sigma=fact.get("sigma"))
    except InputError as error:
        # Not one run gave a value (all diverged, say): that is the finding, and the page tells it.
        return Ranked({**design, "problem": str(error)}, plan)
    waves = [
        Design(plan.kind, plan.factors, tuple(row for row in plan.rows if row.wave == wave), plan.note)
        for wave in sorted({row.wave for row in plan.rows})
    ]
    fresh = sorted({entry.run.seed for entry in entries if entry.stage == "confirm"})
    paired = (
        Design("drop-one", (), tuple(Row({}, seed, i, 1) for i, seed in enumerate(fresh))) if fresh else None
    )
    paragraph = methods_paragraph(analysis, waves, trials_before=trials, confirmation=paired)
    borne_out = claim_effects(finished, plan.factors, promised, look=look, looks=looks) if promised else None
    return Ranked(design, plan, analysis, _diagnostics(analysis, finished, paragraph), borne_out)


def _diagnostics(analysis: Analysis, frame: pd.DataFrame, methods: str) -> Document:
    identities = frame["identity"].to_list()
    failures = analysis.failures
    return {
        "sigma": analysis.sigma,
        "df": analysis.df,
        "runs": analysis.runs,
        "used": analysis.used,
        "failed": analysis.failed,
        "excluded": analysis.excluded,
        "warnings": list(analysis.warnings),
        "methods": methods,
        "level": analysis.declaration.level,
        "margin": float(analysis.table["margin"].iloc[0]),
        "rho": {
            "estimate": analysis.rho.estimate,
            "low": analysis.rho.low,
            "high": analysis.rho.high,
            "n": analysis.rho.n,
        },
        "tricks": lines(analysis.table.astype({"more_runs": object})),
        "interactions": lines(analysis.interactions.head(_STRONGEST)),
        "pairs": len(analysis.interactions),
        "failures": failures[failures["failed_with"] + failures["failed_without"] > 0].to_dict("records"),
        "residuals": [
            {"run": identities[int(row["position"])], "fitted": row["fitted"], "residual": row["residual"]}
            for row in lines(analysis.residuals)
        ],
    }


def _frame(
    rows: Sequence[Mapping[str, Any]], found: Mapping[str, Entry], names: Sequence[str]
) -> pd.DataFrame:
    """One line a planned run: level labels, seed, block, wave, outcome ("missing": not yet trained), metrics."""
    lines = []
    for row in rows:
        entry = found.get(str(row["identity"]))
        lines.append(
            {
                **row["levels"],
                "identity": row["identity"],
                "seed": row["seed"],
                "block": row["block"],
                "wave": row["wave"],
                "outcome": str(entry.result.outcome) if entry else _MISSING,
                **{
                    name: entry.result.metrics.get(name, float("nan")) if entry else float("nan")
                    for name in names
                },
            }
        )
    return pd.DataFrame(
        lines, columns=None if lines else ["identity", "seed", "block", "wave", "outcome", *names]
    )
