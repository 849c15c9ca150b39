"""Robust accuracy against the method written out on one ordinary module."""

import pytest
import torch
import torch.nn.functional as F

from ablate.catalogue.registry import registry
from ablate.lanes import robust_accuracy
from ablate.lanes.context import TaskContext
from ablate.lanes.train import train
from ablate.lanes.training import Training
from ablate.records.claim_metrics import MEASURED_SEPARATELY
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.tasks.metric_table import METRICS
from ablate.tasks.tiny_tasks import small_tasks

NAME = "validation/robust_accuracy"
MOMENTUM = {"momentum": {"lr": 0.05, "momentum": 0.9}}
RECIPES = (
    MOMENTUM,
    {**MOMENTUM, "batch_norm": {}},
    {**MOMENTUM, "dropout": {"p": 0.3}},
    {**MOMENTUM, "ema": {}},
)


def context_of(name: str, kernel: str | None = None) -> TaskContext:
    return TaskContext.of(small_tasks()[name], registry(), torch.device("cpu"), kernel)


def recipe(tricks: dict) -> Recipe:
    catalogue = registry()
    return Recipe.of(catalogue, {name: {**catalogue[name].defaults, **given} for name, given in tricks.items()})  # fmt: skip


def by_hand(module: torch.nn.Module, task, eps: float = 0.1) -> tuple[float, float]:
    """Accuracy on clean and on moved validation inputs, with nothing of the engine."""
    module.eval()
    x, y = task.validation.x, task.validation.y
    train_x = task.train.x
    sigma = train_x.std(0, correction=0) if x.ndim == 2 else train_x.std(correction=0)
    moved = x.clone()
    for _ in range(5):
        leaf = moved.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(module(leaf), y), leaf)
        moved = torch.clamp(moved + eps / 4 * sigma * gradient.sign(), x - eps * sigma, x + eps * sigma)
    right = [(module(inputs).argmax(1) == y).double().mean().item() for inputs in (x, moved)]
    return right[0], right[1]


@pytest.mark.parametrize(("task", "kernel"), [("table", "vmap"), ("table", "loop"), ("images", "loop")])
def test_it_is_the_methods_accuracy_of_each_lane(task, kernel):
    context = context_of(task, kernel)
    runs = [Run(task, recipe(tricks), 3, 2) for tricks in RECIPES]
    training = Training(context, runs, ("validation", "robust"))
    training.epoch()
    trainer = training.trainer
    outputs = robust_accuracy.outputs(trainer, torch.tensor([0, 3, 2, 1]))
    clean = []
    for place, lane in enumerate([0, 3, 2, 1]):
        plain, moved = by_hand(trainer.model(lane), context.task)
        assert robust_accuracy.values(outputs[place], context.task.validation.y)[NAME] == pytest.approx(moved)
        clean.append(plain - moved)
    assert max(clean) > 0, "the attack moved nothing: a perturbation of the wrong sign or size would pass"


def test_a_larger_step_hurts_more_and_none_is_clean_accuracy():
    training = Training(context_of("images"), [Run("images", recipe(MOMENTUM), 1, 3)], ("robust",))
    training.epoch()
    y = training.context.task.validation.y
    lane = torch.tensor([0])
    values = [
        robust_accuracy.values(robust_accuracy.outputs(training.trainer, lane, eps=e)[0], y)[NAME]
        for e in (0, 0.1, 1.0)
    ]
    assert values[0] == training.traces[training.order[0]].curves["validation/accuracy"][-1]
    assert values[0] >= values[1] > values[2]


def test_recorded_at_the_end_where_asked_and_alone_as_in_a_group():
    runs = [Run("table", recipe(tricks), 5, 2) for tricks in (MOMENTUM, {**MOMENTUM, "early_stopping": {}})]
    context = context_of("table")
    together = train(context, runs, splits=("validation", "robust"))
    alone = [train(context, [run], splits=("validation", "robust"))[0] for run in runs]
    assert [r.metrics[NAME] for r in together] == [r.metrics[NAME] for r in alone]
    assert all(NAME not in r.metrics for r in train(context, runs))
    assert set(together[0].scores) == {"validation"}


def test_asked_for_by_a_claim_and_only_where_it_can_be_measured():
    fgsm = Recipe.of(registry(), {**MOMENTUM, "fgsm": {}})
    assert robust_accuracy.asked(context_of("table"), [recipe(MOMENTUM), fgsm]) == ("robust",)
    assert robust_accuracy.asked(context_of("table"), [recipe(MOMENTUM)]) == ()
    assert robust_accuracy.asked(context_of("regression"), [fgsm]) == ()


def test_every_claim_of_the_catalogue_is_in_a_metric_that_is_measured_somewhere():
    recorded = {name for table in METRICS.values() for name in table}
    assert not recorded & set(MEASURED_SEPARATELY)
    claims = {(t.name, claim.metric) for t in registry().values() for claim in t.claims}
    assert not {pair for pair in claims if pair[1] not in recorded | set(MEASURED_SEPARATELY)}
    assert {"robust_accuracy", "steps_to_target", "time", "memory"} == {m for _, m in claims} - recorded
