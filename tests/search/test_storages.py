"""Optuna storages read as Optuna means them: constraints, infinite values, choices of several types, secrets."""

import itertools
import traceback
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from ablate.ranking.tables.trials import explore_trials
from ablate.records.errors import InputError
from ablate.search.storages import choice_labels, read_trials

optuna.logging.set_verbosity(optuna.logging.ERROR)


def store(path: Path, trials: list) -> str:
    storage = f"sqlite:///{path}"
    optuna.create_study(storage=storage, study_name="s", direction="maximize").add_trials(trials)
    return storage


def explored(storage: str):
    stored = read_trials(storage)
    return stored, explore_trials(
        stored.rows, stored.metric, stored.direction, choices=stored.choices, log=stored.log
    )


@pytest.mark.parametrize("form", ["named", "list"])
def test_infeasible_and_infinite_trials_do_not_enter(tmp_path: Path, form: str) -> None:
    """Against least squares on the feasible trials with a finite value."""
    draw = np.random.default_rng(0)
    kinds = {"width": FloatDistribution(0, 1), "depth": FloatDistribution(0, 1)}
    trials, kept = [], []
    for i in range(60):
        params = {"width": draw.uniform(), "depth": draw.uniform()}
        over = params["width"] - 0.7
        constraints = {"constraints": {"memory": over}} if form == "named" else {"system_attrs": {"constraints": [over, -1.0]}}  # fmt: skip
        value = params["width"] + 0.2 * params["depth"] + 0.01 * draw.normal()
        value = 10.0 if over > 0 else np.inf if i % 20 == 3 else value
        trials.append(create_trial(value=value, params=params, distributions=kinds, **constraints))
        if over <= 0 and np.isfinite(value):
            kept.append((params["width"], params["depth"], value))
    stored, result = explored(store(tmp_path / "x.db", trials))
    data = np.array(kept)
    design = np.column_stack([np.ones(len(data)), data[:, :2]])
    slopes = np.linalg.lstsq(design, data[:, 2], rcond=None)[0][1:] * data[:, :2].std(axis=0, ddof=1)
    rows = {row["trick"]: row["effect"] for row in result.table.to_dict("records")}
    assert [rows["width"], rows["depth"]] == pytest.approx(list(slopes))
    broken = sum(row["outcome"] == "infeasible" for row in stored.rows)
    infinite = 60 - broken - len(kept)
    assert result.counts == {"runs": 60, "used": len(kept), "failed": infinite, "excluded": broken}
    warnings = " ".join(result.warnings)
    assert f"{broken} of 60 trials break a constraint" in warnings
    assert f"{infinite} of 60 trials have an infinite value" in warnings
    shares = {row["parameter"]: row["importance"] for row in stored.importances}
    assert shares["width"] > shares["depth"]


CHOICES = [
    (None, "None", "cosine"), (1, "1", 2), (True, "True", "x"), (1.0, "1.0", 3), ("a", " a", "b"), ("", "nan", "x"), (False, "false", 0.5),
    ("SGD", "sgd", "adam"), ([1], "[1]", "x"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_choices_that_look_alike_are_told_apart(tmp_path: Path, choices: tuple) -> None:
    draw = np.random.default_rng(0)
    kinds = {"choice": CategoricalDistribution(choices)}
    trials = [
        create_trial(value=0.8 + 0.1 * (i % 3) + 0.01 * draw.normal(), params={"choice": choices[i % 3]}, distributions=kinds)
        for i in range(30)
    ]  # fmt: skip
    stored, result = explored(store(tmp_path / "x.db", trials))
    assert len(set(stored.choices["choice"])) == 3
    values = {label: 0.8 + 0.1 * i for i, label in enumerate(stored.choices["choice"])}
    rows = {row["level"]: row["effect"] for row in result.table.to_dict("records")}
    (reference,) = set(values) - set(rows)
    for level, effect in rows.items():
        assert effect == pytest.approx(values[level] - values[reference], abs=0.01)


def test_choices_that_optuna_itself_merges_are_told(tmp_path: Path) -> None:
    kinds = {"choice": CategoricalDistribution((1, True, 1.0, "x"))}
    trials = [
        create_trial(value=float(i), params={"choice": (1, True, 1.0, "x")[i % 4]}, distributions=kinds) for i in range(40)
    ]  # fmt: skip
    stored, _ = explored(store(tmp_path / "x.db", trials))
    assert any("Optuna stores equal choices as one (True as 1, 1.0 as 1)" in note for note in stored.notes)


def test_labels_are_distinct_whatever_the_choices() -> None:
    values = [
        None,
        "None",
        1,
        "1",
        1.0,
        "1.0",
        True,
        "True",
        "true",
        "",
        " ",
        "nan",
        float("nan"),
        (1,),
        "(1,)",
    ]
    for choices in itertools.combinations(values, 3):
        assert len(set(choice_labels(choices))) == 3, choices


@pytest.mark.parametrize(
    "address",
    [
        "postgresql:///trials?host=127.0.0.1&user=me&password=SECRET",
        "postgresql://me:abc@SECRET@127.0.0.1:1/trials",
        "mysql://me:SECRET@127.0.0.1:1/trials",
        "sqlite://SECRET@h/x.db",
        "me:SECRET@host/db",
        "nosuch://SECRET@host/db?x=SECRET",
    ],
)
def test_no_secret_of_a_storage_is_in_its_error(address: str) -> None:
    with pytest.raises(InputError) as caught:
        read_trials(address)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))
