"""`bench.decided`: how far the verdicts of several study seeds agree."""

from __future__ import annotations

from typing import Any

from bench.decided import AGREEMENT, agreement


def document(**rows: tuple[str, float]) -> dict[str, Any]:
    named = [{"trick": name, "estimand": "add-one", "verdict": verdict, "effect": effect} for name, (verdict, effect) in rows.items()]  # fmt: skip
    return {
        "rank": {"margin": 0.01, "rows": [*named, {**named[0], "estimand": "toggle", "verdict": "hurts"}]}
    }


def test_pairs_of_rows_of_one_trick_on_the_baseline_are_compared() -> None:
    one = document(a=("helps", 0.02), b=("helps a little", 0.006), c=("hurts", -0.02), d=("undecided", 0.0), placebo=("helps", 1.0))  # fmt: skip
    other = document(a=("hurts", -0.02), b=("no measurable effect", 0.004), c=("hurts a little", -0.009), d=("helps", 0.03), e=("helps", 0.1))  # fmt: skip
    row = dict(zip(AGREEMENT, agreement("folder/x.toml", {0: one, 1: other}), strict=True))
    assert row == {
        "task": "x", "pairs of rows": 3, "opposite": 1, "equal": "1 (33%)", "equal by the margin": "1 (33%)",
        "of those that differ, both effects within the margin": "1 of 2",
    }  # fmt: skip
    assert agreement("x", {0: one})[1:] == [0, 0, "–", "–", "0 of 0"]
