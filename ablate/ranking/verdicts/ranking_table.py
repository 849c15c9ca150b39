"""`ranking.csv`: one row per trick, level and estimand, in a stable format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from ablate.ranking.designs.design import Factor
from ablate.ranking.estimation.coding import by_level, lines
from ablate.ranking.estimation.effects import effects
from ablate.ranking.estimation.interactions import note_interacts
from ablate.ranking.verdicts.verdicts import verdicts
from ablate.records.designs import ADD_ONE, AVERAGE, DROP_ONE, EXPLORATORY, TOGGLE
from ablate.records.errors import unknown

COLUMNS = (
    "trick", "level", "estimand", "metric", "direction", "effect", "low", "high", "level_of_confidence",
    "p_adjusted", "verdict", "margin", "runs", "runs_failed", "claim_metric", "claim_effect", "claim_low",
    "claim_high", "claim_verdict", "time_ratio", "memory_ratio", "note",
)  # fmt: skip
ROW_ORDER = (ADD_ONE, TOGGLE, AVERAGE, DROP_ONE, EXPLORATORY)
CLAIMS_BESIDE = (AVERAGE, DROP_ONE, ADD_ONE, TOGGLE)
"""Claims are shown with the first of these that a table has."""
_CLASSES = (
    "helps", "helps a little", "undecided", "no measurable effect", "hurts a little", "hurts", "exploratory",
)  # fmt: skip
_CLAIM_COLUMNS = ("claim_metric", "claim_effect", "claim_low", "claim_high", "claim_verdict")
_CLAIM_WORDS = {"helps": "as claimed", "hurts": "contrary to the claim"}


class ClaimMetric(NamedTuple):
    """A trick's claim: a column of the table of runs, and its direction."""

    metric: str
    direction: Literal["up", "down", "same"]


def claim_effects(
    frame: pd.DataFrame, factors: Sequence[Factor], claims: Mapping[str, ClaimMetric], *, look: int = 1, looks: int = 3,
    margins: Mapping[str, float] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """`trick, level, claim_metric, claim_effect, claim_low, claim_high, claim_verdict` from designed runs.

    Effects are signed so that positive is what was promised (up, down); for "same" they keep the metric's
    own sign. Words: "as claimed", "contrary to the claim", "no measurable effect", "undecided"; a claim of
    "same" is borne out by equivalence within the margin and refuted by an effect either way. Holm over all
    claims. `margins`: metric -> margin, else 0.95 σ̂ of that metric. Raises InputError.
    """
    names = {factor.name for factor in factors}
    parts = []
    for trick, claim in claims.items():
        if trick not in names:
            raise unknown("trick", trick, names)
        direction = "lower" if claim.direction == "down" else "higher"
        table = effects(frame, factors, claim.metric, direction)
        parts.append(table[table["trick"] == trick].assign(promised=claim.direction))
    if not parts:
        return pd.DataFrame(columns=["trick", "level", *_CLAIM_COLUMNS])
    table = pd.concat(parts, ignore_index=True)
    given = margins or {}
    # A margin in units of σ makes one call, and so one Holm family, of metrics with different units.
    scale = np.array(
        [given[m] / 0.95 if m in given else s for m, s in zip(table["metric"], table["sigma"], strict=True)]
    )
    judged = verdicts(table.assign(sigma=scale), look=look, looks=looks)
    word = []
    for row in lines(judged):
        if row["promised"] == "same":
            same = {"no measurable effect": "as claimed", "undecided": "undecided"}
            word.append(same.get(row["verdict"], "contrary to the claim"))
        else:
            said = str(row["verdict"]).removesuffix(" a little")
            word.append(_CLAIM_WORDS.get(said, said))
    return pd.DataFrame(
        {
            "trick": table["trick"], "level": table["level"], "claim_metric": table["metric"],
            "claim_effect": table["effect"], "claim_low": table["low"], "claim_high": table["high"],
            "claim_verdict": word,
        }
    )  # fmt: skip


def ranking_table(
    *,
    average: pd.DataFrame | None = None,
    drop_one: pd.DataFrame | None = None,
    add_one: pd.DataFrame | None = None,
    toggle: pd.DataFrame | None = None,
    exploratory: pd.DataFrame | None = None,
    claims: pd.DataFrame | None = None,
    costs: Mapping[str, tuple[float, float]] | None = None,
) -> pd.DataFrame:
    """The columns of `ranking.csv`, exactly and in order.

    `average`, `drop_one`, `add_one`, `toggle`: tables of `verdicts` or of a race; `exploratory`: of `exploratory`. `claims`: of
    `claim_effects`, put in the rows of the average (else drop-one, add-one, toggle). `costs`: trick -> (time ratio,
    memory ratio). A drop-one or add-one effect that contradicts the average is noted as *interacts*.
    Sorted by verdict (helps, undecided, no measurable effect, hurts, exploratory), then effect, then name.
    """
    given = dict(zip(ROW_ORDER, (add_one, toggle, average, drop_one, exploratory), strict=True))
    if average is not None:
        for estimand in (DROP_ONE, ADD_ONE):
            single = given[estimand]
            if single is not None:
                given[estimand] = note_interacts(average, single)
    parts = [table.assign(estimand=name) for name, table in given.items() if table is not None and len(table)]
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS))
    rows = [row for part in parts for row in lines(part)]
    measured = by_level(claims) if claims is not None else {}
    claims_estimand = next((name for name in CLAIMS_BESIDE if given[name] is not None), None)
    for row in rows:
        claim = measured.get((row["trick"], row["level"])) if row["estimand"] == claims_estimand else None
        for name in _CLAIM_COLUMNS:
            text = name in ("claim_metric", "claim_verdict")
            row[name] = claim[name] if claim else ("" if text else np.nan)
        row["time_ratio"], row["memory_ratio"] = (costs or {}).get(row["trick"], (np.nan, np.nan))
    rows.sort(key=_order)
    return pd.DataFrame([{name: row[name] for name in COLUMNS} for row in rows], columns=list(COLUMNS))


def _order(row: Mapping[str, object]) -> tuple[int, float, str, str, int]:
    effect = float(str(row["effect"]))
    return (
        _CLASSES.index(str(row["verdict"])),
        -effect if np.isfinite(effect) else np.inf,
        str(row["trick"]),
        str(row["level"]),
        ROW_ORDER.index(str(row["estimand"])),
    )
