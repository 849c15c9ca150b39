"""Every criterion, and losses and metrics of the user's own, through the engine: as torch trains, lane by lane the same."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ablate.catalogue.registry import registry
from ablate.lanes import checkpoint
from ablate.lanes.applicable import applicable
from ablate.lanes.context import TaskContext
from ablate.lanes.self_check import self_checked
from ablate.lanes.trainer import Trainer
from ablate.lanes.training import Training
from ablate.protocol.baseline import Baseline
from ablate.protocol.guess import guess_loss
from ablate.protocol.overfit import overfit_sample
from ablate.protocol.prior import PriorLosses
from ablate.protocol.steps import Setup
from ablate.records.recipe import Recipe
from ablate.records.run import RESPLIT, Outcome, Run
from ablate.tasks.task import Task

CPU = torch.device("cpu")
G = torch.Generator().manual_seed(0)
N = 60
X = torch.randn(N, 5, generator=G)
IMAGES = torch.randn(N, 1, 6, 6, generator=G)
TOKENS = torch.randint(0, 7, (N, 4), generator=G)
LABELS = (X[:, :3] > 0).float()
NEXT = ((TOKENS + 1) % 7).masked_fill(torch.rand(N, 4, generator=G) < 0.2, -100)


class Both(nn.Module):
    """An autoencoder that also returns what it encodes."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(5, 3), nn.Linear(3, 5)

    def forward(self, x):
        code = self.inner(x)
        return {"x": self.outer(code), "code": code}


def both(outputs, x):
    return F.mse_loss(outputs["x"], x, reduction="none").mean(1) + 0.1 * outputs["code"].square().mean(1)


def branching(outputs, y):
    losses = F.cross_entropy(outputs, y, reduction="none")
    return losses if losses.max().item() < 100 else losses / 2


def table(outputs):
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, outputs))


def words():
    return nn.Sequential(nn.Embedding(7, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 7))


def maps():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))


TASKS = {
    "multilabel": Task(lambda: table(3), (X, LABELS), criterion="multilabel", epochs=2, batch_size=12),
    "tokens": Task(words, (TOKENS, NEXT), criterion="token_classification", kind="text", epochs=2, batch_size=12),
    "language": Task(words, (TOKENS, NEXT), criterion="language_modelling", kind="text", epochs=2, batch_size=12),
    "segmentation": Task(maps, (IMAGES, (IMAGES[:, 0] > 0).long()), criterion="segmentation", epochs=2, batch_size=12),
    "mean": Task(lambda: table(3), (X, X[:, 0].gt(0).long()), loss=nn.CrossEntropyLoss(), epochs=2, batch_size=12),
    "examples": Task(lambda: table(2), (X, X[:, 0].gt(0).long()), criterion="classification", loss=branching, epochs=2, batch_size=12,
                     metrics={"top": (lambda o, y: o.amax(1).mean(), "maximize")}, metric="top"),
    "several": Task(Both, (X, X), loss=both, epochs=2, batch_size=12),
}  # fmt: skip


@pytest.fixture(scope="module")
def contexts():
    return {name: TaskContext.of(task, registry(), CPU) for name, task in TASKS.items()}


def runs(context, count=2, **tricks):
    recipe = Recipe.of(context.catalogue, {"momentum": {"lr": 0.1, "momentum": 0.9}, **tricks})
    return [Run("task", recipe, seed, context.task.epochs) for seed in range(count)]


@pytest.mark.parametrize("name", TASKS)
def test_it_trains_as_torch_does_and_a_lane_is_what_it_is_alone(name, contexts):
    context = contexts[name]
    context, why = self_checked(context)  # against a plain loop with torch's loss, or the user's
    assert not why
    training = Training(context, runs(context), ("validation", "test"))
    training.epoch()
    resumed = checkpoint.loads(checkpoint.dumps(training), context)
    together, again = training.finish(), resumed.finish()
    alone = [Training(context, [run], ("validation", "test")).finish()[0] for run in runs(context)]
    for result, twice, single in zip(together, again, alone, strict=True):
        assert result.outcome is Outcome.COMPLETE
        assert result.metrics == twice.metrics == single.metrics
        assert result.curves == single.curves
        assert {f"validation/{metric}" for metric in context.task.metric_names} <= result.metrics.keys()
        assert result.curves["train/loss"][1] < result.curves["train/loss"][0]


def test_a_run_may_have_a_split_of_its_own(contexts):
    for name in ("tokens", "several"):
        context = contexts[name]
        recipe = runs(context)[0].recipe
        fixed, dealt = (Run("task", recipe, seed, 2) for seed in (0, RESPLIT))
        assert dealt.resplit
        together = Training(context, [fixed, dealt], ("validation",)).finish()
        alone = [Training(context, [run], ("validation",)).finish()[0] for run in (fixed, dealt)]
        assert [one.metrics for one in together] == [one.metrics for one in alone]
        assert together[0].metrics != together[1].metrics


def test_what_a_task_lacks_is_not_applicable_with_the_reason(contexts):
    why_not = {
        name: applicable(context, ["label_smoothing", "mixup", "flooding", "translate", "fgsm"])
        for name, context in contexts.items()
    }
    for name in TASKS:
        assert why_not[name]["flooding"] == ""
    assert why_not["multilabel"]["label_smoothing"] == "an example may have several labels or none"
    assert why_not["multilabel"]["mixup"] == ""
    assert (
        why_not["tokens"]["label_smoothing"]
        == "an example has a class at every token or pixel, and none as a whole"
    )
    assert (
        why_not["segmentation"]["mixup"] == "the targets are classes of tokens or pixels, which have no mean"
    )
    assert (
        why_not["segmentation"]["translate"]
        == "the targets belong to positions in the image and would have to be moved with them"
    )
    assert why_not["segmentation"]["fgsm"] == ""
    assert (
        why_not["examples"]["label_smoothing"]
        == "the task has a loss of its own, which takes targets as they are"
    )
    assert why_not["several"]["mixup"] == "the task has a loss of its own, and its targets may have no mean"


@pytest.mark.parametrize("name", ["multilabel", "tokens", "segmentation", "several"])
def test_every_trick_that_applies_and_sees_targets_or_losses_trains(name, contexts):
    context = contexts[name]
    seams = ("data", "criterion", "objective")
    tricks = [trick for trick, record in context.catalogue.items() if record.seam in seams]
    ready = [trick for trick, reason in applicable(context, tricks).items() if not reason]
    assert "flooding" in ready
    for trick in ready:
        trainer = Trainer(context, runs(context, 2, **{trick: context.catalogue[trick].defaults}))
        loss, _ = trainer.step()
        assert loss.isfinite().all(), trick


def test_flooding_acts_on_a_loss_of_the_users_own(contexts):
    context = contexts["mean"]
    plain, flooded = (
        Training(context, runs(context, 1, **more), ("validation",)).finish()[0]
        for more in ({}, {"flooding": {"level": 5.0}})
    )
    assert flooded.metrics["train/loss"] > 5 > plain.metrics["train/loss"]


@pytest.mark.parametrize("name", TASKS)
def test_the_protocol_knows_what_a_model_without_inputs_reaches(name, contexts):
    context = contexts[name]
    prior = PriorLosses.of(context.task)
    assert prior.loss <= prior.start * 1.001
    assert 0 < guess_loss(context.task) < float("inf")


@pytest.mark.parametrize("name", ["tokens", "several"])
def test_a_small_sample_is_overfitted(name, contexts):
    step = overfit_sample(Setup(contexts[name], lambda runs, arm: [], Baseline.default(registry()), 0, print))
    assert [finding.level for finding in step.findings if finding.level == "fail"] == []


def test_a_metric_that_is_nan_is_told_once(contexts):
    task = contexts["mean"].task.but(metrics={"own": (lambda o, y: float("nan"), "maximize")})
    context = TaskContext.of(task, registry(), CPU)
    result, _ = Training(context, runs(context), ("validation",)).finish()
    assert result.metrics["validation/own"] != result.metrics["validation/own"]
    assert context.clock.slow == {
        "the metric 'own' is not finite on validation data of a run whose loss is: it does not count"
    }
