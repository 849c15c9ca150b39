"""A loss `(outputs, batch)`: bit for bit the run of the same loss with the inputs given as a part of the targets."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.training import Training
from ablate.protocol.guess import guess_loss
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import RESPLIT, Run
from ablate.tasks import memory_limit
from ablate.tasks.batch_loss import takes_batch
from ablate.tasks.chance_level import chance_level
from ablate.tasks.check import check
from ablate.tasks.describe import prior_loss
from ablate.tasks.task import Task

G = torch.Generator().manual_seed(0)
X = torch.randn(60, 5, generator=G)
IDS = torch.randint(0, 9, (60, 4), generator=G)
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0.5).long()


def linear():
    return nn.Linear(5, 3)


def of_batch(outputs, batch):
    x, y = batch
    return F.cross_entropy(outputs, y, reduction="none") * (1 + x[:, 0].square()) + 0.1 * x.mean()


def of_both(outputs, both):
    return of_batch(outputs, (both["inputs"], both["targets"]))


def mean_of_batch(outputs, batch):
    return of_batch(outputs, batch).mean()


class Penalised(nn.Module):
    def __init__(self, strength=1.0):
        super().__init__()
        self.strength = strength

    def forward(self, outputs, batch):
        return self.strength * of_batch(outputs, batch)

    def bound(self, outputs, batch):
        return of_batch(outputs, batch)


class Called:
    def __call__(self, outputs, batch):
        return of_batch(outputs, batch)


def weighed(scale, outputs, batch, power=1):
    return scale * of_batch(outputs, batch) ** power


def task(loss, x=X, y=Y, model=linear, **more):
    """40 training examples, ten for validation and ten for testing, in the form of x and y."""

    def pick(values, part):
        if isinstance(values, dict):
            return {name: pick(value, part) for name, value in values.items()}
        return tuple(pick(value, part) for value in values) if isinstance(values, tuple) else values[part]

    parts = slice(0, 40), slice(40, 50), slice(50, 60)
    splits = [(pick(x, part), pick(y, part)) for part in parts]
    return Task(model, *splits, loss=loss, name="own", batch_size=8, **more)


def results(made, recipe=None, *, kernel=None, resplit=False, **changes):
    context = TaskContext.of(made, registry(), torch.device("cpu"), kernel)
    recipe = Recipe.of(registry(), recipe or {"adamw": {"lr": 0.01}})
    runs = [Run(made.name, recipe, seed | (RESPLIT if resplit else 0), 2) for seed in range(2)]
    return Training(context, runs, ("validation", "test")).finish()


def losses(made, *args, **kwargs):
    return [
        [result.metrics[f"{split}/loss"] for split in ("validation", "test")]
        + list(result.curves["train/loss"])
        for result in results(made, *args, **kwargs)
    ]


@pytest.mark.parametrize("resplit", [False, True])
@pytest.mark.parametrize("kernel", ["loop", "batched"])
def test_the_run_is_that_of_inputs_given_with_the_targets(kernel, resplit):
    given = task(of_both, y={"targets": Y, "inputs": X}, random_split=True)
    new = task(of_batch, random_split=True)
    assert losses(new, kernel=kernel, resplit=resplit) == losses(given, kernel=kernel, resplit=resplit)
    assert new.evaluation.together
    assert given.evaluation.together


def test_facts_about_the_task_are_those_of_inputs_given_with_the_targets():
    given, new = task(of_both, y={"targets": Y, "inputs": X}), task(of_batch)
    assert check(new) == check(given) == ()
    for fact in (prior_loss, guess_loss, chance_level):
        assert fact(new) == fact(given), fact
    assert (new.provides, new.lacking, new.outputs) == (given.provides, given.lacking, 1)
    assert new.train.y.shape == (40,)


@pytest.mark.parametrize(
    "loss",
    [Called(), Penalised(), Penalised().bound, partial(weighed, 1.0), partial(weighed, 1.0, power=1), mean_of_batch],
    ids=["object", "module", "method", "partial", "partial with a keyword", "mean"],
)  # fmt: skip
def test_whatever_is_called_is_asked_for_the_name_of_its_second_parameter(loss):
    assert takes_batch(loss)
    expected = of_batch(torch.zeros(8, 3), (X[:8], Y[:8]))
    made = task(loss)
    target = made.judged(made.train, slice(8))
    assert made.evaluation.plain_loss(torch.zeros(8, 3), target).item() == pytest.approx(
        expected.mean().item()
    )


@pytest.mark.parametrize(
    "loss", [lambda o, y: o, lambda batch, y: y, lambda o, *batch: o, nn.CrossEntropyLoss(), F.mse_loss, max, None]
)  # fmt: skip
def test_any_other_name_means_the_targets(loss):
    assert not takes_batch(loss)


def test_beside_a_criterion_metrics_and_labels_are_what_they_were():
    seen = []

    def share(outputs, targets):
        seen.append(targets)
        return (outputs.argmax(1) == targets).float().mean()

    def of_targets(outputs, targets):
        return F.cross_entropy(outputs, targets, reduction="none")

    def of_pair(outputs, batch):
        return of_targets(outputs, batch[1])

    more = {"criterion": "classification", "metrics": {"share": (share, "maximize")}}
    new, plain = (task(loss, **more) for loss in (of_pair, of_targets))
    check(new)
    assert all(targets.dtype is torch.int64 and targets.ndim == 1 for targets in seen)
    for mine, theirs in zip(results(new), results(plain), strict=True):
        assert mine.metrics == theirs.metrics
        assert mine.curves == theirs.curves
        assert mine.scores == theirs.scores
    assert (new.classes, new.provides, new.lacking) == (plain.classes, plain.provides, plain.lacking)
    assert prior_loss(new) == prior_loss(plain)
    assert chance_level(new, "accuracy") == chance_level(plain, "accuracy")


@pytest.mark.parametrize(
    ("criterion", "model", "y"),
    [
        ("regression", lambda: nn.Linear(5, 1), X[:, 0]),
        ("multilabel", lambda: nn.Linear(5, 2), (X[:, :2] > 0).float()),
        ("token_classification", lambda: nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3)), IDS % 3),
        ("segmentation", lambda: nn.Conv2d(1, 2, 1), (torch.arange(60 * 4).reshape(60, 2, 2) % 2)),
    ],
)
def test_the_other_criteria_too(criterion, model, y):
    x = {"token_classification": IDS, "segmentation": X[:, :4].reshape(60, 1, 2, 2)}.get(criterion, X)

    def of_targets(outputs, targets):
        return (outputs.flatten(1).mean(1) - targets.flatten(1).float().mean(1)).square()

    def of_pair(outputs, batch):
        assert batch[0].shape[1:] == x.shape[1:]
        assert batch[0].dtype is x.dtype
        return of_targets(outputs, batch[1])

    new, plain = (task(loss, x, y, model, criterion=criterion) for loss in (of_pair, of_targets))
    for mine, theirs in zip(results(new), results(plain), strict=True):
        assert mine.metrics == theirs.metrics
        assert mine.curves == theirs.curves


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 3), nn.Linear(8, 3)

    def forward(self, ids, numbers):
        return self.head(torch.cat([self.embed(ids).mean(1), numbers], 1))


def test_nested_inputs_and_targets_come_in_the_form_of_the_data():
    x = {"ids": IDS, "numbers": X}

    def of_pair(outputs, batch):
        inputs, (label, weight) = batch
        assert (inputs["ids"].dtype, label.dtype) == (torch.int64, torch.int64)
        assert inputs["numbers"].shape == (len(outputs), 5)
        return F.cross_entropy(outputs, label, reduction="none") * weight + inputs["ids"].float().mean(1)

    def of_parts(outputs, both):
        return of_pair(outputs, (both["inputs"], both["targets"]))

    y = (Y, X[:, 2].abs())
    new = task(of_pair, x, y, TwoInputs)
    assert check(new) == ()
    given = task(of_parts, x, {"targets": y, "inputs": x}, TwoInputs)
    assert losses(new) == losses(given)


def test_inputs_are_those_before_any_trick():
    """Noise on the inputs reaches the model alone: with it, too, the loss gets what it gets as a part of the targets."""
    recipe = {"adamw": {"lr": 0.01}, "input_noise": {}}
    given = task(of_both, y={"targets": Y, "inputs": X})
    new = task(of_batch)
    assert losses(new, recipe) == losses(given, recipe)
    assert losses(new, recipe) != losses(new)


class Noisy(Dataset):
    """Items that are drawn anew at each read."""

    def __len__(self):
        return 40

    def __getitem__(self, row):
        return X[row] + 0.1 * torch.randn(5), int(Y[row])


class NoisyPair(Noisy):
    def __getitem__(self, row):
        x, y = super().__getitem__(row)
        return x, {"targets": y, "inputs": x}


@pytest.mark.parametrize("loader", [False, True])
def test_items_of_a_dataset(loader):
    def of(items, loss):
        train = DataLoader(items, batch_size=8) if loader else items
        rest = (X[40:50], Y[40:50]), (X[50:], Y[50:])
        if loss is of_both:
            rest = tuple((x, {"targets": y, "inputs": x}) for x, y in rest)
        return Task(linear, train, *rest, loss=loss, name="own", batch_size=8)

    assert losses(of(Noisy(), of_batch)) == losses(of(NoisyPair(), of_both))


def test_streamed_examples_are_refused_before_training(monkeypatch):
    monkeypatch.setattr(memory_limit, "HELD", 40)
    with pytest.raises(InputError) as error:
        Task(linear, TensorDataset(X, Y), loss=of_batch)
    assert "loss takes the batch, and the examples are streamed" in str(error.value)
    assert 'y={"targets": y, "inputs": x}' in str(error.value)


def test_an_error_in_the_loss_tells_what_it_was_called_with():
    def wrong(outputs, batch):
        return outputs - batch

    with pytest.raises(InputError) as error:
        check(task(wrong))
    assert "the batch of inputs float32 [8, 5] and targets int64 [8]" in str(error.value)
