"""Optimizer classes of torch as tricks: lanes are what torch's own class does to each of them alone."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from optimizer_cases import Problem, assert_rounding, from_torch, train_alone, train_lanes

from ablate.catalogue.own_tricks import OwnTricks, catalogue_with, own_tricks, recorded, using_tricks
from ablate.catalogue.torch_optimizer import trick_of
from ablate.lanes.context import TaskContext
from ablate.records.errors import InputError
from ablate.tasks.tiny_tasks import small_tasks
from ablate.testing import Suite, check_lanes_equal_alone, check_resume_is_exact

CLASSES = {
    "NAdam": {"momentum_decay": 0.01},
    "Adamax": {},
    "ASGD": {"t0": 10.0},
    "Adadelta": {"rho": 0.8},
    "SGD": {"momentum": 0.9, "nesterov": True},
}


@pytest.mark.parametrize("name", CLASSES)
def test_lanes_are_the_class_by_itself(name: str) -> None:
    problem, optimizer_class = Problem(3, 5), getattr(torch.optim, name)
    rates = [0.03, 0.003, 0.2]
    recipes = [{f"torch_{name.lower()}": {"lr": lr, **CLASSES[name]}} for lr in rates]
    with using_tricks(own_tricks([f"torch.optim.{name}"])):
        trained = train_lanes(recipes, problem)
    for lane, lr in enumerate(rates):
        alone = train_alone(from_torch(optimizer_class)({"lr": lr, **CLASSES[name]}), problem, lane)
        for key, expected in alone.items():
            assert_rounding(trained[key][lane], expected)


def test_lanes_of_a_group_equal_runs_alone_and_resume_exactly() -> None:
    catalogue = catalogue_with(OwnTricks(optimizers=("torch.optim.Adamax",)))
    task = next(iter(small_tasks().items()))
    checks = Suite(catalogue, {task[0]: TaskContext.of(task[1], catalogue, torch.device("cpu"))}, holding={})
    check_lanes_equal_alone(checks, "torch_adamax")
    check_resume_is_exact(checks, "torch_adamax")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("torch.optim.LBFGS", "needs a closure"),
        ("torch.optim.Nope", "is not a torch.optim.Optimizer"),
        ("torch.nn.Linear", "is not a torch.optim.Optimizer"),
        ("no.such.Thing", "cannot be imported"),
    ],
)
def test_what_is_no_optimizer_is_refused(path: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        own_tricks([path])


def test_arguments_that_are_no_hyperparameters_are_left_out() -> None:
    names = {parameter.name for parameter in trick_of("torch.optim.AdamW").parameters}
    assert names == {"lr", "eps", "weight_decay", "amsgrad"}


@pytest.mark.parametrize("path", ["torch.optim.Adamax", "torch.optim.NAdam", "torch.optim.RMSprop"])
def test_a_report_s_record_is_the_trick_s_without_its_parameters(path: str) -> None:
    (record,) = recorded([{"optimizer": path}]).values()
    assert record == replace(trick_of(path), parameters=record.parameters)


def test_a_dotted_path_in_a_ledger_imports_nothing(tmp_path, monkeypatch) -> None:
    """S5: the report of somebody else's ledger runs nothing of what its optimizers are called."""
    (tmp_path / "planted_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert list(recorded([{"optimizer": "planted_module.Opt"}])) == ["planted_module_opt"]
    assert "planted_module" not in sys.modules
