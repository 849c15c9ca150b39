"""What the real studies must show, each figure beside its target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from ablate.ranking.estimation.failures import wilson

FALSE, WRONG_SIGN, FOUND = 0.06, 0.01, 0.90
CALLED = ("helps", "hurts")
BY_NOISE = ("wrong_labels_2", "wrong_labels_5", "wrong_labels_10")
TRUE_SIGN = {**dict.fromkeys(BY_NOISE, -1), "more_data": 1}


@dataclass(frozen=True, slots=True)
class Figure:
    """A share of `n`, its Wilson interval, and the target that it is held against."""

    world: str
    name: str
    value: float
    low: float
    high: float
    n: int
    target: str
    met: bool


def share(world: str, name: str, count: int, n: int, *, most: float | None = None, least: float | None = None) -> Figure:  # fmt: skip
    """Missed where the whole interval lies beyond the target: chance is given its room."""
    low, high = wilson(count, n)
    target = f"≤ {most}" if most is not None else f"≥ {least}" if least is not None else "none"
    met = not (most is not None and low > most) and not (least is not None and high < least)
    return Figure(world, name, count / n if n else float("nan"), low, high, n, target, met)


def aa_figures(rows: Sequence[dict[str, Any]]) -> list[Figure]:
    """Of tricks that do nothing: no verdict but "no measurable effect" or "undecided", at the nominal rate."""
    seeds = sorted({row["seed"] for row in rows})
    called = {row["seed"] for row in rows if row["verdict"] in CALLED}
    tricks = [row for row in rows if row["trick"] != "placebo"]
    placebo = [row for row in rows if row["trick"] == "placebo"]
    covered = sum(row["low"] <= 0 <= row["high"] for row in tricks)
    none = sum(row["verdict"] == "no measurable effect" for row in tricks)
    return [
        share("A/A", "studies with any “helps” or “hurts”", len(called), len(seeds), most=FALSE),
        share(
            "A/A",
            "placebos called",
            sum(row["verdict"] in CALLED for row in placebo),
            len(placebo),
            most=FALSE,
        ),
        share("A/A", "95 % intervals that hold zero", covered, len(tricks), least=0.93),
        share("A/A", "tricks shown to have no measurable effect", none, len(tricks)),
    ]


def planted_figures(rows: Sequence[dict[str, Any]]) -> list[Figure]:
    by_seed: dict[int, dict[str, dict[str, Any]]] = {}
    for row in rows:
        by_seed.setdefault(row["seed"], {})[row["trick"]] = row
    studies = list(by_seed.values())
    called = [row for row in rows if row["trick"] in TRUE_SIGN and row["verdict"] in CALLED]
    wrong = sum(np.sign(row["effect"]) != TRUE_SIGN[row["trick"]] for row in called)
    effects = {name: np.mean([study[name]["effect"] for study in studies]) for name in BY_NOISE}
    return [
        share("planted", "verdicts with the wrong sign", int(wrong), max(1, len(rows) - len(studies)), most=WRONG_SIGN),
        share("planted", "the placebo called", sum(s["placebo"]["verdict"] in CALLED for s in studies), len(studies), most=FALSE),
        share("planted", "“more data” helps", sum(s["more_data"]["verdict"] == "helps" for s in studies), len(studies), least=FOUND),
        share("planted", "“10 % wrong labels” hurts", sum(s["wrong_labels_10"]["verdict"] == "hurts" for s in studies), len(studies), least=FOUND),
        share("planted", "10 % below 2 % wrong labels", sum(s["wrong_labels_10"]["effect"] < s["wrong_labels_2"]["effect"] for s in studies), len(studies), least=FOUND),
        share("planted", "mean effects in the order 2 % > 5 % > 10 %", int(effects[BY_NOISE[0]] > effects[BY_NOISE[1]] > effects[BY_NOISE[2]]), 1, least=1.0),
        share("planted", "more data first of all five, in the study's own ranking", sum(max(s, key=lambda n: s[n]["effect"]) == "more_data" for s in studies), len(studies), least=FOUND),
    ]  # fmt: skip


def by_trick(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Mean effect, its spread over studies, and verdicts, one line a trick; best first."""
    effects = {
        name: np.mean([row["effect"] for row in rows if row["trick"] == name])
        for name in {row["trick"] for row in rows}
    }
    names = sorted(effects, key=lambda name: (-effects[name], name))
    lines = ["| trick | mean effect (pp), 95 % interval | standard deviation over studies | helps | hurts | no measurable effect | undecided | n |", "|---|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for name in names:
        rows_of_trick = [row for row in rows if row["trick"] == name]
        effects = 100 * np.array([row["effect"] for row in rows_of_trick])
        words = [row["verdict"] for row in rows_of_trick]
        counts = " | ".join(
            str(words.count(word)) for word in ("helps", "hurts", "no measurable effect", "undecided")
        )
        spread = effects.std(ddof=1) if len(effects) > 1 else float("nan")
        half = (
            float(stats.t.ppf(0.975, max(1, len(rows_of_trick) - 1))) * spread / np.sqrt(len(rows_of_trick))
        )
        mean = float(effects.mean())
        lines.append(
            f"| {name} | {mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f}) | {spread:.2f} | {counts} | {len(rows_of_trick)} |"
        )
    return lines
