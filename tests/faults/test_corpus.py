"""A quick sample of the corpus of `python -m bench.faults`: faults are named, healthy tasks pass."""

from __future__ import annotations

import pytest

from bench.faults.case import Case, Module, examine, judge
from bench.faults.corpus import FAULTS, HEALTHY

QUICK = (
    "weight decay 1",
    "one rectified unit",
    "module: a layer detached",
    "validation labels shifted by one",
    "40 % of the labels redrawn",
    "batch norm whose statistics are not written",
)
"""Cases that train."""
EARLY = [case for case in FAULTS if max(case.steps) <= 1][::3]
"""Every third of the cases that are named at step 0 or 1."""


@pytest.mark.parametrize("case", EARLY, ids=[case.name for case in EARLY])
def test_a_fault_that_shows_before_training_is_named(case: Case):
    answer = examine(case, 0)
    assert judge(case, answer) == "named", answer.told


@pytest.mark.parametrize("name", QUICK)
def test_a_fault_that_shows_in_training_is_named(name: str):
    (case,) = [case for case in FAULTS if case.name == name]
    answer = examine(case, 0)
    assert judge(case, answer) == "named", answer.told


PLAIN = [case for case in HEALTHY if not isinstance(case.make(0), Module)][::3]


@pytest.mark.parametrize("case", PLAIN, ids=[case.name for case in PLAIN])
def test_a_healthy_task_passes_the_steps_before_training(case: Case):
    assert examine(case, 0, last=1).told == ()


def test_a_healthy_task_passes_all_steps():
    (case,) = [case for case in HEALTHY if case.name == "table, perceptron"]
    answer = examine(case, 0)
    assert answer.told == ()
    assert answer.rate is not None


def test_the_corpus_is_as_large_as_it_says():
    names = [case.name for case in (*FAULTS, *HEALTHY)]
    assert len(names) == len(set(names))
    assert len(FAULTS) >= 80
    assert len(HEALTHY) >= 20
    assert all(case.codes and case.steps for case in FAULTS)
