"""From a ledger to `ReportData`: its facts, runs as rows, effects from `ranking`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from ablate.analysis.claims import claim_lines, first_claims, with_steps
from ablate.analysis.confirmed import confirmed, in_arms
from ablate.analysis.designed_runs import ranked
from ablate.analysis.model_parts import with_references
from ablate.analysis.search_effects import explored
from ablate.analysis.tuned_arms import confirms, design_document, is_tuned, tuned_tables
from ablate.catalogue.own_tricks import recorded
from ablate.catalogue.registry import registry
from ablate.ledger.entry import Entry, in_order
from ablate.ledger.export import run_columns
from ablate.ranking.estimation.coding import lines
from ablate.ranking.verdicts.ranking_table import ranking_table
from ablate.records.designs import ADD_ONE, DROP_ONE, TOGGLE, TUNED
from ablate.records.document import Document
from ablate.records.run import Outcome
from ablate.records.trick import Trick
from ablate.report.clean import clean, clean_columns, clean_text
from ablate.report.data import ReportData


class LedgerReader(Protocol):
    """The part of `Ledger` that is used here."""

    def entries(self, stage: str | None = None, *, scores: bool = True) -> list[Entry]:
        """All runs, in the order in which they were recorded."""
        ...

    def facts(self) -> dict[str, Any]:
        """All facts by key."""
        ...


def collect(ledger: LedgerReader, catalogue: Mapping[str, Trick] | None = None) -> ReportData:
    """Everything that the page shows, cleaned of secrets and unprintable characters.

    `catalogue`: trick records for titles and claims (default: all installed). Raises InputError where
    what the ledger declares (its design, say) cannot be read.
    """
    return gather(ledger.facts(), ledger.entries(scores=False), catalogue)


def gather(
    facts: Mapping[str, Any], entries: Sequence[Entry], catalogue: Mapping[str, Trick] | None = None
) -> ReportData:
    """`collect` from data already read. The order of `entries` decides nothing."""
    entries = in_order(entries)
    of_another = not confirms(facts.get("confirm") or {}, facts.get("rank") or {}) and "confirm" in facts
    if of_another:
        facts = {key: value for key, value in facts.items() if key != "confirm"}
    study = dict(facts.get("study") or {})
    study.setdefault("metric", next(iter(_metrics(entries)), "validation/loss"))
    metric = str(study["metric"])
    higher = not str(study.get("direction", "maximize")).lower().startswith(("min", "lower", "down"))
    records = {**registry(), **recorded(facts.get("tricks") or ())} if catalogue is None else catalogue
    entries, target = with_steps(entries, facts, metric, higher=higher)
    baseline = dict(facts.get("baseline") or {})
    search = _search(facts.get("search"), entries, metric, higher=higher)
    trials = sum(entry.stage == "search" for entry in entries) or None
    surgery = dict(facts.get("surgery") or {})
    declared = with_references(facts.get("rank") or {}, surgery, records)
    tuned = tuned_tables(declared, metric, higher=higher) if is_tuned(declared) else {}
    rank = ranked(
        None if declared.get("kind") == TUNED else declared,
        entries,
        metric,
        higher=higher,
        trials=trials,
        claims=first_claims(records, entries),
    )
    plan = rank.plan if rank else None
    confirm, drops = confirmed(
        facts.get("confirm"),
        entries,
        metric,
        higher=higher,
        margin=(facts.get("rank") or {}).get("margin"),
        factors=plan.factors if plan else (),
        current=not of_another,
    )
    dropped = [table for table in (rank.table(DROP_ONE) if rank else None, drops) if table is not None]
    costs = _costs(facts.get("costs"))
    ranking = ranking_table(
        average=rank.average if rank else None,
        drop_one=pd.concat(dropped, ignore_index=True) if dropped else None,
        add_one=rank.table(ADD_ONE) if rank else tuned.get(ADD_ONE),
        toggle=tuned.get(TOGGLE),
        exploratory=explored(entries, baseline, records, metric, higher=higher),
        claims=rank.claims if rank else None,
        costs=_ratios(costs),
    )
    return ReportData(
        study=clean(study),
        environment=clean(facts.get("environment") or {}),
        task=clean(facts.get("task") or {}),
        baseline=clean(baseline),
        applicable=clean(facts.get("applicable") or {}),
        surgery=clean(surgery),
        lr_find=clean(facts.get("lr-find")),
        search=clean(search),
        design=clean(rank.design if rank else design_document(declared) if tuned else None),
        ranking=_clean_frame(_with_claims(ranking, records)) if len(ranking) else None,
        diagnostics=clean(rank.diagnostics if rank else None),
        confirm=clean(confirm),
        confirmed_another=of_another,
        costs=_clean_frame(costs),
        # The report's own duration is recorded after the report; including it would make every report differ.
        timings={
            name: value for name, value in clean(facts.get("timings") or {}).items() if name != "report"
        },
        run_columns=clean_columns(run_columns(entries)),
        labels=clean_columns(
            {
                "trial": [entry.trial for entry in entries],
                "arm": [entry.arm for entry in entries],
                "note": [entry.result.note for entry in entries],
                "budget": [entry.run.epochs for entry in entries],
            }
        ),
        curves=clean(_curves([] if of_another else in_arms(facts.get("confirm"), entries), entries, facts)),
        recipes={
            name: tuple(map(clean_text, recipe))
            for name, recipe in {entry.run.recipe.hash: entry.run.recipe for entry in entries}.items()
        },
        claims=clean(claim_lines(facts, entries, records, costs)),
        target=clean(target),
        tricks=clean({name: _describe(trick) for name, trick in records.items()}),
    )


def _metrics(entries: Sequence[Entry]) -> list[str]:
    return sorted({name for entry in entries for name in entry.result.metrics})


def _search(fact: Any, entries: Sequence[Entry], metric: str, *, higher: bool) -> Document | None:
    """The fact, with the best complete trial of the runs if the driver has not recorded it yet."""
    trials = [entry for entry in entries if entry.stage == "search"]
    if not fact and not trials:
        return None
    document = dict(fact or {})
    done = [e for e in trials if e.result.outcome is Outcome.COMPLETE and metric in e.result.metrics]
    done = [entry for entry in done if entry.result.metrics[metric] == entry.result.metrics[metric]]
    if not document.get("best") and done:
        best = (max if higher else min)(done, key=lambda entry: entry.result.metrics[metric])
        document["best"] = {
            "trial": best.trial,
            "recipe": best.run.recipe.to_dict(),
            "value": best.result.metrics[metric],
        }
    return document


def _curves(
    confirmation: Sequence[Entry], entries: Sequence[Entry], facts: Mapping[str, Any]
) -> list[Document]:
    """Learning curves of winner and baseline from `confirmation`; before that, of the best trial."""
    chosen = [entry for entry in confirmation if entry.arm in ("winner", "baseline")]
    if not chosen:
        best = ((facts.get("search") or {}).get("best") or {}).get("trial", -1)
        chosen = [e for e in entries if e.stage == "search" and e.trial == best and best >= 0]
    return [
        {
            "run": entry.identity,
            "stage": entry.stage,
            "arm": entry.arm or f"trial {entry.trial}",
            "seed": entry.run.seed,
            "metric": metric,
            "values": list(values),
        }
        for entry in chosen
        for metric, values in sorted(entry.result.curves.items())
    ]


def _costs(fact: Any) -> pd.DataFrame | None:
    if not fact:
        return None
    columns = ["trick", "ms_per_step", "time_ratio", "memory_ratio", "inference_ratio", "n"]
    table = pd.DataFrame([{column: row.get(column) for column in columns} for row in fact], columns=columns)
    for column in columns[1:]:
        table[column] = pd.to_numeric(table[column], errors="coerce")
    return table


def _ratios(costs: pd.DataFrame | None) -> dict[str, tuple[float, float]]:
    """Trick -> (time ratio, memory ratio)."""
    if costs is None:
        return {}
    return {str(row["trick"]): (row["time_ratio"], row["memory_ratio"]) for row in lines(costs)}


def _with_claims(ranking: pd.DataFrame, records: Mapping[str, Trick]) -> pd.DataFrame:
    """The metric of the claim, from the record, for rows that lack it."""
    ranking = ranking.copy()
    claimed = [
        records[trick].claims[0].metric if trick in records and records[trick].claims else None
        for trick in ranking["trick"]
    ]
    given = ranking["claim_metric"].to_list() if "claim_metric" in ranking else [None] * len(ranking)
    ranking["claim_metric"] = [
        value if isinstance(value, str) and value else claim
        for value, claim in zip(given, claimed, strict=True)
    ]
    return ranking


def _describe(trick: Trick) -> Document:
    claim = trick.claims[0] if trick.claims else None
    return {
        "title": trick.title,
        "seam": trick.seam,
        "slot": trick.slot or "",
        "statement": claim.statement if claim else "",
        "source": f"{claim.source.authors} {claim.source.year}" if claim else "",
        "work": claim.source.title if claim else "",
        "contested": claim.contested if claim else "",
        "legal": {
            parameter.name: (parameter.lowest, parameter.most)
            for parameter in trick.parameters
            if parameter.is_number
        },
        "claims": [
            {
                "statement": claim.statement,
                "source": f"{claim.source.authors} {claim.source.year}",
                "settings": [list(pair) for pair in claim.settings],
            }
            for claim in trick.claims
        ],
    }


def _clean_frame(frame: pd.DataFrame | None) -> pd.DataFrame | None:
    """`clean_text` on every string cell."""
    if frame is None:
        return None
    frame = frame.copy()
    for column in frame.columns:
        if frame[column].dtype.kind not in "fiub":
            frame[column] = [clean_text(cell) if isinstance(cell, str) else cell for cell in frame[column]]
    return frame
