"""The ranking of tuned arms as a table: one line per trick, with its effects on both references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablate.analysis.model_parts import AS_IT_IS, WITHOUT_IT
from ablate.analysis.tuned_arms import compared
from ablate.ranking.designs.registry import DESIGNS
from ablate.ranking.estimands import ESTIMANDS
from ablate.records.designs import TUNED, Estimand
from ablate.records.document import Document
from ablate.records.trick import PLACEBO
from ablate.report.clean import short_source
from ablate.report.data import ReportData
from ablate.report.numbers import Units, missing, plural, ratio

OFF = "off"


@dataclass(frozen=True, slots=True)
class EffectCell:
    """The effect of a trick on one reference, ready to print; `why`: why it has none; the other fields then are "". `against`: what stands in its
    place without it, "off" for nothing."""

    effect: str = ""
    interval: str = ""
    verdict: str = ""
    compared: str = ""
    pairs: str = ""
    notes: tuple[str, ...] = ()
    why: str = ""
    against: str = ""


@dataclass(frozen=True, slots=True)
class TunedRow:
    """One line of the table. `cells`: one for each estimand that was ranked; `claims`: statement and source; `against`: what stands in the trick's
    place without it ("as it is" for a trick that replaces or removes what the model holds), "" for nothing; `part_of`: "baseline", "recipe" or both."""

    name: str
    title: str
    placebo: bool
    cells: tuple[EffectCell, ...]
    claims: tuple[tuple[str, str], ...]
    cost: str
    against: str = ""
    part_of: str = ""


def references(data: ReportData) -> list[Estimand]:
    """The estimands that were ranked, in the order of the design."""
    seen = {row["estimand"] for row in (data.design or {})["effects"]}
    return [name for name in DESIGNS[TUNED].estimands if name in seen]


def by_trick(data: ReportData) -> dict[str, dict[Estimand, Document]]:
    """Trick -> estimand -> its effect; the largest effect (on the baseline, else in the recipe) first."""
    rows: dict[str, dict[Estimand, Document]] = {}
    for row in (data.design or {})["effects"]:
        rows.setdefault(str(row["trick"]), {})[row["estimand"]] = row

    def size(trick: str) -> float:
        by_reference = rows[trick]
        effect = next(
            iter(by_reference[name]["effect"] for name in DESIGNS[TUNED].estimands if name in by_reference),
            None,
        )
        return float("inf") if effect is None or missing(effect) else -float(effect)

    return {trick: rows[trick] for trick in sorted(rows, key=size)}


def tuned_rows(data: ReportData) -> list[TunedRow]:
    """Every trick with an arm on some reference; those with none are in `left_out`."""
    design, shown = data.design or {}, references(data)
    left = design.get("left_out") or {}
    costs = _costs(data)
    rows = []
    for trick, by_reference in by_trick(data).items():
        record = data.tricks.get(trick) or {}
        title = str(record.get("title") or ("does nothing, by construction" if trick == PLACEBO else ""))
        rows.append(
            TunedRow(
                name=trick,
                title="" if title.lower() == trick.replace("_", " ") else title,
                placebo=trick == PLACEBO,
                cells=tuple(
                    _cell(by_reference[name], design, data.units)
                    if name in by_reference
                    else EffectCell(why=str((left.get(name) or {}).get(trick) or "not in this ranking"))
                    for name in shown
                ),
                claims=_claims(record, trick, by_reference),
                cost=costs.get(trick, ""),
                against=_against(by_reference),
                part_of=", ".join(
                    ESTIMANDS[name].reference for name in shown if by_reference.get(name, {}).get("in_recipe")
                ),
            )
        )
    return rows


def _against(by_reference: Mapping[Estimand, Document]) -> str:
    """What a trick was compared with, where that is not its absence on every reference."""
    words = list(dict.fromkeys(_place(row) for row in by_reference.values()))
    return "" if words == [OFF] else " or ".join(words)


def _place(row: Document) -> str:
    against = str(row["against"] or "")
    return AS_IT_IS if AS_IT_IS in against else against.replace(WITHOUT_IT, "") or OFF


def left_out(data: ReportData) -> list[tuple[str, str]]:
    """(trick, why) of the tricks that have no arm on any reference."""
    ranked = {str(row["trick"]) for row in (data.design or {})["effects"]}
    reasons: dict[str, list[str]] = {}
    for of_estimand in ((data.design or {}).get("left_out") or {}).values():
        for trick, why in of_estimand.items():
            if trick not in ranked and why not in reasons.setdefault(str(trick), []):
                reasons[str(trick)].append(str(why))
    return [(trick, "; ".join(whys)) for trick, whys in sorted(reasons.items())]


def applies(claim: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a claim is about these settings of its trick; one without settings is about all of them."""
    return all(settings.get(name) == value for name, value in claim.get("settings") or ())


def _cell(row: Document, design: Document, units: Units) -> EffectCell:
    notes = []
    if row["same"]:
        notes.append("computes the same as without it")
    if row["failed"]:
        notes.append(
            f"{row['failed']} of {plural(int(row['runs']), 'run')} failed and count as a constant prediction"
        )
    if row["arm"] in (design.get("edges") or ()):
        notes.append("its best rate is the last that was tried")
    if row["verdict"] == "undecided":
        more = row.get("more_pairs")
        notes.append(
            "more pairs will not decide it"
            if more is None or missing(more)
            else f"≈ {plural(int(more), 'more pair')} would decide it"
        )
    return EffectCell(
        units.effect(row["effect"]), units.interval(row["low"], row["high"]), str(row["verdict"]), compared(row),
        plural(int(row["pairs"]), "pair"), tuple(notes), against=_place(row),
    )  # fmt: skip


def _claims(
    record: Document, trick: str, by_reference: Mapping[Estimand, Document]
) -> tuple[tuple[str, str], ...]:
    """Statement and source of the claims that are about the settings of some arm of the trick."""
    settings = [dict((row.get("recipe_with") or {}).get(trick) or {}) for row in by_reference.values()]
    return tuple(
        (str(claim["statement"]), short_source(str(claim["source"])))
        for claim in record.get("claims") or ()
        if any(applies(claim, of_arm) for of_arm in settings)
    )


def _costs(data: ReportData) -> dict[str, str]:
    if data.costs is None:
        return {}
    rows = data.costs.to_dict("records")
    return {
        str(row["trick"]): f"time {ratio(row['time_ratio'])}, memory {ratio(row['memory_ratio'])}"
        for row in rows
        if not missing(row["time_ratio"])
    }
