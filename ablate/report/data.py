"""The data of the report page: plain values, so that a page can be made without a ledger and without training."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from ablate.records.document import Document
from ablate.report.numbers import Units

RANKING_COLUMNS = (
    "trick", "level", "estimand", "metric", "direction", "effect", "low", "high", "level_of_confidence",
    "p_adjusted", "verdict", "margin", "runs", "runs_failed", "claim_metric", "claim_effect", "claim_low",
    "claim_high", "claim_verdict", "time_ratio", "memory_ratio", "note",
)  # fmt: skip


@dataclass(frozen=True)
class ReportData:
    """Everything that the report shows. A stage that has not run is None.

    `study`, `environment`, `task`, `baseline`, `applicable`, `surgery`, `timings`: the ledger's facts of that name.
    `lr_find`: the document of `lr-find.json`.
    `search`: the fact, plus `best` (trial, recipe, value).
    `design`: kind, note, factors, rows (`identity, levels, seed, block, wave`), margin, margin_source,
    alpha, looks, around, aliases (`effect, other, correlation, orders`).
    `ranking`: RANKING_COLUMNS, effects signed so that positive helps.
    `diagnostics`: sigma, arms (σ with and without each trick), residuals, rho, rank_intervals,
    interactions, methods (a paragraph), estimand (a sentence).
    `confirm`: arms, seeds, metric, values (arm -> seed -> value), gain and drops (paired differences).
    `confirmed_another`: the ledger's confirmation is of another recipe than the ranking recommends, so that `confirm` is None.
    `costs`: trick, ms_per_step, time_ratio, memory_ratio, inference_ratio, n.
    `run_columns`: of `runs.csv`, one value per run; `labels`: trial, arm, note and budget of the same runs, in the same order.
    `curves`: one dict per run and metric: run, stage, arm, seed, metric, values (one per epoch).
    `external`: the origin of runs of another program (kind, source, counts, importances); see `external.py`.
    `claims`, `target`: every claim of every ranked trick with the measured effect, and the target of step counts; see
    `claims.py`.
    `recipes`: recipe hash -> its tricks. `tricks`: name -> title, statement, source, url, seam of its record.
    """

    study: Document
    environment: Document = field(default_factory=dict)
    task: Document = field(default_factory=dict)
    baseline: Document = field(default_factory=dict)
    applicable: dict[str, str] = field(default_factory=dict)
    surgery: Document = field(default_factory=dict)
    lr_find: Document | None = None
    search: Document | None = None
    design: Document | None = None
    ranking: pd.DataFrame | None = None
    diagnostics: Document | None = None
    confirm: Document | None = None
    confirmed_another: bool = False
    costs: pd.DataFrame | None = None
    timings: Document = field(default_factory=dict)
    external: Document | None = None
    claims: list[Document] = field(default_factory=list)
    target: Document | None = None
    run_columns: dict[str, list[Any]] = field(default_factory=dict)
    labels: dict[str, list[Any]] = field(default_factory=dict)
    curves: list[Document] = field(default_factory=list)
    recipes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tricks: dict[str, Document] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.study.get("name", "study"))

    @property
    def asked(self) -> str:
        """The argument by which a command finds this study: the user's input, quoted for a shell."""
        given, named = str(self.study.get("given") or self.name), self.study.get("named")
        return f"{shlex.quote(given)} --name {named}" if named else shlex.quote(given)

    @property
    def metric(self) -> str:
        """The metric that the study optimises, e.g. `validation/accuracy`."""
        return str(self.study.get("metric", "validation/loss"))

    @property
    def higher_is_better(self) -> bool:
        """Whether higher values of the metric are better."""
        return not str(self.study.get("direction", "maximize")).lower().startswith(("min", "lower", "down"))

    @property
    def units(self) -> Units:
        """The format of the metric's values."""
        return self.units_of(self.metric, (self.design or {}).get("margin"))

    def units_of(self, metric: str, margin: float | None = None) -> Units:
        """The format of the values of any metric of the task."""
        return Units.of(metric, margin, standardised=bool(self.task.get("target_deviation")))

    @cached_property
    def runs(self) -> pd.DataFrame:
        """`run_columns` and `labels` joined, one row per run."""
        columns = ["run", "stage", "recipe", "seed", "wave", "outcome", "epochs", "seconds", "trial", "arm"]
        joined = {**self.run_columns, **self.labels}
        frame = pd.DataFrame(joined) if self.run_columns else pd.DataFrame(columns=columns)
        if self.metric not in frame:
            frame[self.metric] = float("nan")
        return frame

    def stage(self, name: str) -> pd.DataFrame:
        """The runs of one stage: by trial if they have one (lanes finish out of order), else as recorded."""
        rows = self.runs[self.runs["stage"] == name]
        return rows.sort_values("trial", kind="stable")

    def title(self, trick: str) -> str:
        """The record's title of a trick, or its name made readable."""
        return str(self.tricks.get(trick, {}).get("title") or trick.replace("_", " "))

    @property
    def winner(self) -> Document | None:
        """The recipe that the report recommends: confirmed, else what was ranked around, else the best trial."""
        if self.confirm and "winner" in self.confirm.get("arms", {}):
            return dict(self.confirm["arms"]["winner"])
        if self.design and (self.design.get("recommended") or {}).get("recipe"):
            return dict(self.design["recommended"]["recipe"])
        if self.design and self.design.get("around"):
            return dict(self.design["around"])
        if self.search and (self.search.get("best") or {}).get("recipe"):
            return dict(self.search["best"]["recipe"])
        return None
