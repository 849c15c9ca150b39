"""The tuning before the designed runs: the rate of each arm, the pilot, and what was tested separately."""

from __future__ import annotations

from ablate.records.document import Document
from ablate.report.data import ReportData
from ablate.report.numbers import Units, missing, plural, significant
from ablate.report.tables import ReportTable


def tuning(data: ReportData) -> ReportTable | None:
    """One line per arm: its tuning budget and the chosen rate. None if no rate was re-tuned."""
    retune = (data.design or {}).get("retune") or {}
    best = retune.get("best") or {}
    if not best:
        return None
    edge, lost = set(retune.get("edge") or ()), set(retune.get("lost") or ())
    return ReportTable(
        (("Arm", "text"), ("Runs", "number"), ("Best rate, × the recipe's", "number"), ("", "text")),
        tuple(
            (
                "the shipped recipe" if arm == "shipped" else arm.replace("=", ": "),
                str(retune["runs_per_arm"]),
                significant(factor, 3),
                "at the edge of the rates tried"
                if arm in edge
                else "no rate trains it"
                if arm in lost
                else "",
            )
            for arm, factor in best.items()
        ),
        "Learning rates re-tuned before the design, at equal budget: "
        f"{', '.join(significant(rate, 2) for rate in retune['rates'])} × the recipe's rate, one seed. Where two such tricks meet in a "
        "run, their factors are multiplied.",
    )


def facts(data: ReportData) -> list[tuple[str, str]]:
    """The facts about the tuning and the separate tests, as lines of the design section."""
    design = data.design or {}
    retune = design.get("retune") or {}
    rows = []
    if retune:
        arms = retune.get("arms") or []
        rows.append(
            (
                "Tuning budget",
                f"{plural(int(retune['runs_per_arm']), 'run')} for each of {len(arms)} arms: the learning rate, for "
                f"{', '.join(retune['factors'])}",
            )
        )
    elif any(factor.get("role") == "needs_retune" for factor in design.get("factors") or []):
        rows.append(("Tuning budget", "none: no learning rate was re-tuned"))
    if pilot := design.get("pilot"):
        rows.append(("Pilot", _pilot(pilot, data.units)))
    return rows


def _pilot(pilot: Document, units: Units) -> str:
    sigma = pilot.get("sigma")
    text = (
        f"all tricks on: {pilot['failed_on']} of {pilot['runs_on']} failed; all off: {pilot['failed_off']} of "
        f"{pilot['runs_off']} failed"
    )
    if sigma is not None and not missing(sigma):
        text += f"; σ̂ {significant(sigma * units.factor)}{units.difference}"
    for side, names in (pilot.get("rescued") or {}).items():
        text += f"; with all {side}, training succeeds only if one of these is flipped: {', '.join(names) or 'none'}"
    return text if pilot.get("array", True) else f"{text}; no array was run"
