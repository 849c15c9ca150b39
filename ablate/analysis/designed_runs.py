"""The `rank` stage: its declared design matched to the runs, and the analysis of `ranking`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablate.analysis.row_notes import besides, noted
from ablate.ledger.entry import Entry
from ablate.ranking.designs.aliases import alias_table
from ablate.ranking.designs.design import Design, Row
from ablate.ranking.designs.registry import array_design, estimand_of
from ablate.ranking.estimation.analysis import Analysis, Declaration
from ablate.ranking.estimation.coding import lines
from ablate.ranking.verdicts.methods import methods_paragraph
from ablate.ranking.verdicts.ranking_table import ClaimMetric, claim_effects
from ablate.ranking.verdicts.verdicts import decided, largest_margin
from ablate.records.designs import AVERAGE, DROP_ONE, Estimand
from ablate.records.document import Document
from ablate.records.errors import InputError

_DECLARED = (
    "around", "margin", "margin_source", "alpha", "looks", "waves", "left_out", "asked", "seeds", "retune", "pilot"
)  # fmt: skip
_STRONGEST = 6
_ALIASES = 200
_MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Ranked:
    """What the ledger says of the designed runs. `analysis` is None while no run gives a value.

    `apart`: the paired drop-one of what the array holds fixed (must_haves).
    """

    design: Document
    plan: Design | None = None
    analysis: Analysis | None = None
    diagnostics: Document | None = None
    claims: pd.DataFrame | None = None
    apart: Analysis | None = None

    @property
    def estimand(self) -> Estimand:
        """The estimand of the design: "average", "drop-one" or "add-one"."""
        return (estimand_of(self.plan.kind) if self.plan else None) or AVERAGE

    def table(self, estimand: Estimand) -> pd.DataFrame | None:
        """The verdicts on one estimand; what was tested apart is drop-one. None where there are none."""
        parts = [self.analysis.table] if self.analysis and self.estimand == estimand else []
        parts += [self.apart.table] if self.apart and estimand == DROP_ONE else []
        return pd.concat(parts, ignore_index=True) if parts else None

    @property
    def average(self) -> pd.DataFrame | None:
        """The verdicts on average effects; None where there are none."""
        return self.table(AVERAGE)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every row with a verdict, whatever its estimand."""
        return [row for analysis in (self.analysis, self.apart) if analysis for row in lines(analysis.table)]

    @property
    def decided(self) -> bool:
        """Whether no further wave is needed."""
        return self.analysis is not None and all(
            decided(analysis.table) for analysis in (self.analysis, self.apart) if analysis
        )


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

    `trials`: number of search trials before. `claims`: the claimed metric of each trick, where runs record it.
    Raises InputError where the stored design is damaged.
    """
    if not fact:
        return None
    rows, stored = list(fact.get("rows") or []), fact.get("design")
    plan = Design.from_json(stored) if stored else None
    varied = {factor.name for factor in plan.factors} if plan else set()
    promised = {name: claim for name, claim in (claims or {}).items() if name in varied}
    measured = {metric, *(claim.metric for claim in promised.values())}
    by_identity = {entry.identity: entry for entry in entries}
    frame = _frame(rows, by_identity, sorted(measured))
    design: Document = {
        **{key: fact.get(key) for key in _DECLARED},
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
    look = max(1, min(complete, looks))
    try:
        analysis = noted(
            _analysis(plan, finished, fact, metric, look, int(sizes.iloc[0]), higher=higher), plan, fact
        )
    except InputError as error:
        # Not one run gave a value (all diverged, say): that is the finding, and the page reports it.
        return Ranked({**design, "problem": str(error)}, plan)
    aside = _apart(fact, by_identity, metric, look, higher=higher)
    waves = [
        Design(plan.kind, plan.factors, tuple(row for row in plan.rows if row.wave == wave), plan.note)
        for wave in sorted({row.wave for row in plan.rows})
    ]
    fresh = sorted({entry.run.seed for entry in entries if entry.stage == "confirm"})
    paired = (
        Design(DROP_ONE, (), tuple(Row({}, seed, i, 1) for i, seed in enumerate(fresh))) if fresh else None
    )
    paragraph = methods_paragraph(
        analysis, waves, trials_before=trials, confirmation=paired, besides=besides(fact)
    )
    borne_out = claim_effects(finished, plan.factors, promised, look=look, looks=looks) if promised else None
    return Ranked(design, plan, analysis, _diagnostics(analysis, finished, paragraph), borne_out, aside)


def _analysis(
    plan: Design, finished: pd.DataFrame, fact: Mapping[str, Any], metric: str, look: int, wave_runs: int,
    *, higher: bool,
) -> Analysis:  # fmt: skip
    said = Declaration(
        metric,
        "higher" if higher else "lower",
        margin=fact.get("margin"),
        looks=int(fact.get("looks") or 3),
        wave_runs=wave_runs,
        collapse=fact.get("collapse"),
        large=largest_margin(finished[metric], "higher" if higher else "lower"),
    )
    return array_design(plan.kind).analyse(
        finished, plan.factors, said, look=look, shipped=fact.get("shipped")
    )


def _apart(
    fact: Mapping[str, Any], by_identity: Mapping[str, Entry], metric: str, look: int, *, higher: bool
) -> Analysis | None:
    """The paired comparison of what the array holds fixed; None where there is nothing, or no value yet."""
    comparison = fact.get("apart") or {}
    if not comparison.get("design"):
        return None
    plan = Design.from_json(comparison["design"])
    frame = _frame(comparison["rows"], by_identity, [metric])
    finished = frame[frame["outcome"] != _MISSING]
    if finished.empty:
        return None
    try:
        analysis = _analysis(
            plan,
            finished,
            {**fact, "shipped": comparison["shipped"]},
            metric,
            look,
            int((frame["wave"] == 1).sum()),
            higher=higher,
        )
    except InputError:
        return None
    return noted(analysis, plan, fact, apart=True)


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
    rows: Sequence[Mapping[str, Any]], by_identity: Mapping[str, Entry], names: Sequence[str]
) -> pd.DataFrame:
    """One line a planned run: level labels, seed, block, wave, outcome ("missing": not yet trained), metrics."""
    lines = []
    for row in rows:
        entry = by_identity.get(str(row["identity"]))
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
