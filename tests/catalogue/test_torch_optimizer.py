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


PLANTED = """
import torch

class Counting(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1, every: int = 2):
        super().__init__(params, {"lr": lr, "every": every})

    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                count = state.get("count", 0)
                assert type(count) is int
                state["count"] = count + 1
                if state["count"] % group["every"] == 0:
                    parameter.data -= group["lr"] * parameter.grad

class Listing(Counting):
    def step(self):
        self.state[self.param_groups[0]["params"][0]]["history"] = [1.0]

class Sparse(Counting):
    def step(self):
        raise RuntimeError("only sparse\\ngradients")

class Unrated(torch.optim.Optimizer):
    def __init__(self, params, speed=0.1):
        super().__init__(params, {"speed": speed})

    def step(self):
        pass
"""


@pytest.fixture
def planted(tmp_path, monkeypatch):
    (tmp_path / "planted_optimizers.py").write_text(PLANTED)
    monkeypatch.syspath_prepend(tmp_path)


def test_a_whole_number_in_a_class_s_state_stays_one_and_resumes_exactly(planted) -> None:
    catalogue = catalogue_with(OwnTricks(optimizers=("planted_optimizers.Counting",)))
    task = next(iter(small_tasks().items()))
    checks = Suite(catalogue, {task[0]: TaskContext.of(task[1], catalogue, torch.device("cpu"))}, holding={})
    check_lanes_equal_alone(checks, "planted_optimizers_counting")
    check_resume_is_exact(checks, "planted_optimizers_counting")
    every = trick_of("planted_optimizers.Counting").parameter("every")
    assert (every.is_integer, every.default) == (True, 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Listing", "'planted_optimizers.Listing' keeps a list in its state, which cannot be saved"),
        ("Sparse", "'planted_optimizers.Sparse' cannot take a step: only sparse gradients"),
    ],
)
def test_a_class_that_cannot_be_run_in_lanes_says_why(planted, name: str, message: str) -> None:
    problem = Problem(1, 5)
    with using_tricks(own_tricks([f"planted_optimizers.{name}"])), pytest.raises(InputError) as error:
        train_lanes([{f"planted_optimizers_{name.lower()}": {"lr": 0.1}}], problem)
    assert str(error.value) == message


def test_a_class_without_a_rate_is_refused(planted) -> None:
    with pytest.raises(
        InputError, match="Unrated' has no argument lr; its rate could not be tuned: write your own"
    ):
        own_tricks(["planted_optimizers.Unrated"])


def test_an_optimizer_s_card_names_its_class() -> None:
    catalogue = catalogue_with(OwnTricks(optimizers=("torch.optim.Adamax",)))
    assert catalogue.find("torch_adamax").description.startswith("Adamax of torch.optim.Adamax.")


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
