"""The ranking by tuned arms as the ledger has it: tables of effects, and their wording on the page and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ablate.analysis.model_parts import WITHOUT_IT
from ablate.records.designs import TUNED
from ablate.records.document import Document
from ablate.records.errors import InputError
from ablate.records.trick import PLACEBO

CONFIDENCE = 0.95


def is_tuned(fact: Mapping[str, Any] | None) -> bool:
    """Whether the ledger's fact "rank" is of the tuned design, with rows."""
    return bool(fact) and (fact or {}).get("kind") == TUNED and bool((fact or {}).get("rows"))


def tuned_tables(fact: Mapping[str, Any], metric: str, *, higher: bool) -> dict[str, pd.DataFrame]:
    """Estimand ("add-one", "toggle") -> one row a trick, in the columns that `ranking_table` takes."""
    rows = [_row(row, fact, metric, higher=higher) for row in fact["rows"]]
    table = pd.DataFrame(rows)
    return {
        str(estimand): part.drop(columns="estimand").reset_index(drop=True)
        for estimand, part in table.groupby("estimand", sort=False)
    }


def compared(row: Mapping[str, Any]) -> str:
    """What was compared with what: `p=0.2, at rate 0.1, against: without it, at rate 0.05`."""
    with_rate, without_rate = (
        (row["reference_rate"], row["rate"]) if row["in_recipe"] else (row["rate"], row["reference_rate"])
    )
    if row["trick"] == PLACEBO:
        return "the reference against itself, on other seeds"
    shown = with_rate != without_rate and None not in (with_rate, without_rate)
    rates = (f" at rate {with_rate:g}", f" at rate {without_rate:g}") if shown else ("", "")
    setting = row["settings"] or "on"
    return f"{setting}{rates[0]} against {row['against'] or WITHOUT_IT}{rates[1]}"


def design_document(fact: Mapping[str, Any]) -> Document:
    """The fact as the page's `design`; `effects`: one row an arm, without the seeds."""
    effects = [{key: value for key, value in row.items() if key != "seeds"} for row in fact["rows"]]
    plain = {key: value for key, value in fact.items() if key not in ("asked", "rows")}
    return {
        **plain, "note": "tuned arms, paired seeds, racing", "factors": [], "rows": [], "aliases": [], "effects": effects,
        "looks": len(fact["budget"]["racing"]["pairs"]), "alpha": fact["budget"]["racing"]["alpha"],
    }  # fmt: skip


def counts(fact: Mapping[str, Any]) -> tuple[int, int]:
    """(tricks with a verdict on every reference, tricks), without placebos."""
    by_trick: dict[str, list[str]] = {}
    for row in fact["rows"]:
        if row["trick"] != PLACEBO:
            by_trick.setdefault(row["trick"], []).append(row["verdict"])
    return sum("undecided" not in verdicts for verdicts in by_trick.values()), len(by_trick)


def arms_to_confirm(fact: Mapping[str, Any]) -> dict[str, Document]:
    """Arm -> the recipe that a confirmation of this complete ranking trains, without duplicates: the recipe that it recommends
    ("winner"), the baseline and the recipe found ("as found"), each as tuned; no recipe found where the ranking was of the baseline alone."""
    tuned = {
        name: point["recipe"]
        for name, points in (fact.get("tuning") or {}).items()
        for point in points
        if point["chosen"]
    }
    if "add-one: baseline" not in tuned:
        raise InputError("the ranking in the ledger does not say how its baseline was tuned")
    winner = dict(fact["recommended"]["recipe"])
    arms = {"winner": winner}
    for name, reference in (("baseline", "add-one: baseline"), ("as found", "toggle: recipe")):
        if reference in tuned and dict(tuned[reference]) not in arms.values():
            arms[name] = dict(tuned[reference])
    return arms


def confirms(confirmation: Mapping[str, Any], fact: Mapping[str, Any]) -> bool:
    """Whether the ledger's fact "confirm" compares the recipe that the tuned ranking `fact` recommends with its baseline. A later ranking
    may recommend another recipe: the gain that was confirmed is not the gain of that one."""
    if fact.get("kind") != TUNED or not fact.get("recommended"):
        return True
    arms, needed = confirmation.get("arms") or {}, arms_to_confirm(fact)
    return all(arms.get(name) == needed.get(name) for name in ("winner", "baseline"))


def _row(row: Mapping[str, Any], fact: Mapping[str, Any], metric: str, *, higher: bool) -> Document:
    notes = [compared(row)]
    if row["same"]:
        notes.append("computes the same as without it")
    if row["failed"]:
        notes.append(f"{row['failed']} of {row['runs']} runs failed and count as a constant prediction")
    if row["arm"] in fact.get("edges", ()):
        notes.append("its best rate is the last that was tried")
    more = row["more_pairs"]
    if row["verdict"] == "undecided":
        first = (
            f"≈ {more} more pairs"
            if more
            else "pairs would not decide it: the best rate is not known well enough"
        )
        notes.insert(0, first)
    return {
        "trick": row["trick"],
        "level": "on",
        "estimand": row["estimand"],
        "metric": metric,
        "direction": "higher" if higher else "lower",
        **{
            key: row[key]
            for key in ("effect", "low", "high", "se", "df", "p", "p_adjusted", "verdict", "runs")
        },
        "level_of_confidence": CONFIDENCE,
        "margin": fact["margin"],
        "runs_failed": row["failed"],
        "more_runs": more,
        "note": "; ".join(notes),
    }
