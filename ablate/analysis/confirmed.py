"""The `confirm` stage: arms on fresh paired seeds and untouched test data, and their paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ablate.ledger.entry import Entry
from ablate.ranking.designs.design import RESERVED, Factor
from ablate.ranking.estimation.dispersion import mann_whitney
from ablate.ranking.estimation.paired import paired
from ablate.ranking.verdicts.verdicts import verdicts
from ablate.records.document import Document
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe

WINNER, BASELINE, FOUND, WITHOUT = "winner", "baseline", "as found", "without "


def confirmed(
    fact: Mapping[str, Any] | None,
    entries: Sequence[Entry],
    metric: str,
    *,
    higher: bool,
    margin: float | None = None,
    factors: Sequence[Factor] = (),
    current: bool = True,
) -> tuple[Document | None, pd.DataFrame | None]:
    """The fact with `metric`, `values` (arm -> seed -> value of a complete run), `failed` (arm -> runs, which count as a constant prediction where the fact knows
    its metric, "collapsed", as in the ranking), `gain` (winner − baseline) and `over_found` (winner − recipe as found); and the drop-one table with verdicts. Signed so that positive helps. None: not run. `current`: whether the runs are of
    what the ranking recommends; otherwise nothing is confirmed."""
    if not current:
        return None, None
    runs = in_arms(fact, entries)
    if not fact and not runs:
        return None, None
    document: Document = dict(fact or {})
    arms = list(dict.fromkeys([*(document.get("arms") or {}), *(entry.arm for entry in runs)]))
    on_test = "test/" + metric.rsplit("/", 1)[-1]
    scored = on_test if any(on_test in entry.result.metrics for entry in runs) else metric
    frame = pd.DataFrame(
        {
            "arm": [entry.arm for entry in runs],
            "seed": [entry.run.seed for entry in runs],
            "outcome": [str(entry.result.outcome) for entry in runs],
            scored: [entry.result.metrics.get(scored, float("nan")) for entry in runs],
        }
    )
    lost = (frame["outcome"] != "complete") | ~np.isfinite(frame[scored])
    failed = {arm: int((lost & (frame["arm"] == arm)).sum()) for arm in arms}
    values: dict[str, dict[str, float]] = {arm: {} for arm in arms}
    for arm, seed, _, value in frame[~lost].itertuples(index=False):
        values[arm][str(seed)] = value
    if (collapsed := document.get("collapsed")) is not None:
        frame = frame.assign(outcome="complete", **{scored: frame[scored].mask(lost, collapsed)})
    direction = "higher" if higher else "lower"
    document.update(
        metric=scored,
        values=values,
        failed=failed,
        gain=_difference(frame, scored, direction, BASELINE),
        over_found=_difference(frame, scored, direction, FOUND),
    )
    return document, _drops(frame, arms, scored, direction, margin, factors)


def in_arms(fact: Mapping[str, Any] | None, entries: Sequence[Entry]) -> list[Entry]:
    """The runs of `confirm` under the arms that the fact declares; a recipe in two arms counts in both.

    After a longer search has found another winner, the ledger also holds the runs of the former one.
    """
    runs = [entry for entry in entries if entry.stage == "confirm"]
    arms, seeds = (fact or {}).get("arms"), (fact or {}).get("seeds")
    if not arms or not seeds:
        return runs
    hashes = {arm: Recipe(plain).hash for arm, plain in arms.items()}
    return [
        replace(entry, arm=arm)
        for arm, recipe_hash in hashes.items()
        for entry in runs
        if entry.run.recipe.hash == recipe_hash and entry.run.seed in seeds
    ]


def alike(runs: pd.DataFrame, metric: str) -> bool:
    """Whether the arms may share one variance: three or more, every run with a value, and no sign of unequal
    spread (Brown & Forsythe, p > 0.1; with few seeds it detects gross differences only, which are those that matter).
    """
    whole = (runs["outcome"] == "complete") & runs[metric].notna()
    groups = [group.to_numpy(dtype=float) for _, group in runs.groupby("arm")[metric]]
    groups = [
        group for i, group in enumerate(groups) if not any(np.array_equal(group, g) for g in groups[:i])
    ]
    if not whole.all() or len(groups) < 3 or min(map(len, groups)) < 3:
        return False
    return bool(stats.levene(*groups, center="median").pvalue > 0.1)


def _difference(frame: pd.DataFrame, metric: str, direction: str, other: str) -> Document | None:
    """Winner against the arm `other`: effect, low, high, level, n (pairs), wins, rho, better (P(A > B))."""
    both = frame[frame["arm"].isin([WINNER, other])].rename(columns={"arm": "recipe"}).reset_index(drop=True)
    try:
        row = paired(both, [Factor("recipe", (other, WINNER))], metric, direction).iloc[0]
    except InputError:
        return None
    if not isfinite(row["low"]):
        return None
    sign = 1.0 if direction == "higher" else -1.0
    whole = both[(both["outcome"] == "complete") & both[metric].notna()]
    table = whole.pivot_table(index="seed", columns="recipe", values=metric).dropna() * sign
    chance = mann_whitney(table[WINNER].to_numpy(), table[other].to_numpy())
    return {
        **{key: float(row[key]) for key in ("effect", "low", "high", "rho")},
        "level": float(row["level_of_confidence"]),
        "n": int(row["runs_with"]),
        "wins": int((table[WINNER] > table[other]).sum()),
        "better": dict(zip(("estimate", "low", "high"), chance, strict=True)),
    }


def _drops(
    frame: pd.DataFrame,
    arms: Sequence[str],
    metric: str,
    direction: str,
    margin: float | None,
    factors: Sequence[Factor],
) -> pd.DataFrame | None:
    """Drop-one effects with verdicts; a trick that is a level of one of the design's slots is named so."""
    dropped = [arm for arm in arms if arm.startswith(WITHOUT) and arm.removeprefix(WITHOUT) not in RESERVED]
    if not dropped or WINNER not in set(frame["arm"]):
        return None
    homes = {
        level: factor.name for factor in factors if len(factor.levels) > 2 for level in factor.levels[1:]
    }
    single = [Factor(arm.removeprefix(WITHOUT)) for arm in dropped]
    runs = frame[frame["arm"].isin([WINNER, *dropped])].reset_index(drop=True)
    for factor in single:
        runs[factor.name] = ["off" if arm == WITHOUT + factor.name else "on" for arm in runs["arm"]]
    pooled = alike(runs, metric)
    try:
        table = verdicts(paired(runs, single, metric, direction, pooled=pooled), margin=margin, looks=1)
    except InputError:
        return None
    table = table[table["effect"].notna()].reset_index(drop=True)
    if table.empty:
        return None
    basis = f"fresh seeds, {metric}{', pooled variance' if pooled else ''}"
    table["note"] = [f"{note}; {basis}".removeprefix("; ") for note in table["note"]]
    names = table["trick"].to_list()
    table["trick"] = [homes.get(name, name) for name in names]
    table["level"] = [name if name in homes else "on" for name in names]
    return table
