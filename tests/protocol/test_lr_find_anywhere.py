"""`ablate.lr_find` on modules, loaders and optimizers of every kind; everything is left as it was."""

from __future__ import annotations

import copy
import io
import random
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from protocol_cases import diabetes, digits, mlp
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ablate
from ablate.protocol.anywhere import first_steps
from ablate.protocol.anywhere.find import lr_find
from ablate.protocol.anywhere.objective import best_constant, example_losses
from ablate.records.errors import InputError

X, Y = digits()


@pytest.fixture
def fewer_steps(monkeypatch):
    """Steps 2 and 3 are not what these tests are about."""
    monkeypatch.setattr(first_steps, "STEPS", 8)
    monkeypatch.setattr(first_steps, "OVERFIT_STEPS", 5)


TRAIN, VALIDATION = (X[:256], Y[:256]), (X[400:600], Y[400:600])


def loader(x=None, y=None, **options) -> DataLoader:
    pair = (TRAIN[0] if x is None else x, TRAIN[1] if y is None else y)
    options = {"batch_size": 32, "shuffle": True, "generator": torch.Generator().manual_seed(7)} | options
    return DataLoader(TensorDataset(*pair), **options)


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.cell(x.view(-1, 8, 8))[0][:, -1])


def normalised() -> nn.Module:
    module = nn.Sequential(
        nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 10)
    )
    module[1].eval()
    module[0].bias.requires_grad_(False)
    module[4].weight.grad = torch.ones(10, 16)
    return module


def images() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
    )


MODELS = {"perceptron": mlp, "normalised": normalised, "images": images, "sequence": Sequence}
OPTIMIZERS = {
    "AdamW": torch.optim.AdamW, "momentum": partial(torch.optim.SGD, momentum=0.9), "RMSprop": torch.optim.RMSprop,
    "Adagrad": torch.optim.Adagrad, "LBFGS": partial(torch.optim.LBFGS, max_iter=2), "NAdam": torch.optim.NAdam,
}  # fmt: skip
CASES = [*((model, "AdamW") for model in MODELS), *(("perceptron", name) for name in list(OPTIMIZERS)[1:])]


def everything(model: nn.Module, *loaders: DataLoader) -> list:
    """All that must stay: tensors and their identity, gradients, modes, generators."""
    tensors = [*model.parameters(), *model.buffers()]
    return [
        [id(tensor) for tensor in tensors],
        copy.deepcopy([tensor.detach() for tensor in tensors]),
        [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        [p.requires_grad for p in model.parameters()],
        [module.training for module in model.modules()],
        torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(),
        [one.generator.get_state() for one in loaders],
    ]  # fmt: skip


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize(("model", "optimizer"), CASES)
def test_everything_is_as_before(fewer_steps, model, optimizer):
    module, loaders = MODELS[model](), (loader(), loader(*VALIDATION))
    before = everything(module, *loaders)
    answer = ablate.lr_find(module, *loaders, optimizer=OPTIMIZERS[optimizer], epochs=1, rates=[0.001, 0.01])
    assert same(before, everything(module, *loaders))
    assert len(answer.trials) == 2
    assert answer.optimizer in (optimizer, "SGD")


@pytest.mark.parametrize("at", [1, 3, 60, 150])
def test_everything_is_as_before_after_an_error(fewer_steps, at):
    calls = 0

    def failing(outputs, targets):
        nonlocal calls
        calls += 1
        if calls == at:
            raise RuntimeError("the user's loss")
        random.random()
        return F.cross_entropy(outputs, targets)

    module, loaders = normalised(), (loader(), loader(*VALIDATION))
    before = everything(module, *loaders)
    with pytest.raises(RuntimeError, match="the user's loss"):
        ablate.lr_find(module, *loaders, loss=failing, epochs=1, rates=[0.01])
    assert same(before, everything(module, *loaders))


def test_a_good_rate_and_a_record_that_shows_it():
    torch.manual_seed(0)
    said: list[str] = []
    module = mlp()
    answer = ablate.lr_find(module, TRAIN, VALIDATION, optimizer=torch.optim.Adam, epochs=6, say=said.append)
    assert answer.verdict in ("pass", "warn")
    assert 1e-3 < answer.learning_rate < 0.1
    best = min(trial.loss for trial in answer.trials if trial.loss == trial.loss)
    (chosen,) = [trial for trial in answer.trials if trial.learning_rate == answer.learning_rate]
    assert chosen.loss == best < 0.6 * answer.guess
    assert chosen.seeds == 3
    assert answer.guess == pytest.approx(np.log(10), abs=0.1)
    assert said[0].startswith("lr_find will train")
    assert f"learning_rate={answer.learning_rate:g}, optimizer=Adam" in repr(answer)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(answer)
    assert "validation loss" in console.export_text()
    axes = answer.plot()
    assert axes.get_xscale() == "log"
    assert answer.to_dict()["learning_rate"] == answer.learning_rate
    torch.manual_seed(1)  # another state of the generators changes nothing
    again = ablate.lr_find(module, TRAIN, VALIDATION, optimizer=torch.optim.Adam, epochs=6)
    assert again.to_dict() | {"seconds": 0} == answer.to_dict() | {"seconds": 0}


def test_labels_that_are_shuffled_give_no_rate(fewer_steps):
    y = TRAIN[1][torch.randperm(256, generator=torch.Generator().manual_seed(0))]
    answer = ablate.lr_find(mlp(), (TRAIN[0], y), VALIDATION, epochs=2, rates=[1e-3, 1e-2])
    assert answer.learning_rate is None
    assert answer.verdict == "fail"
    assert "no-better-than-a-guess" in [finding.code for finding in answer.findings]


class Words(nn.Module):
    """Returns a mapping with logits and its own loss, as transformers' models do."""

    def __init__(self):
        super().__init__()
        self.body = mlp()

    def forward(self, pixels, labels):
        logits = self.body(pixels)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def test_mappings_other_losses_and_several_labels(fewer_steps):
    batches = [{"pixels": TRAIN[0][i : i + 32], "labels": TRAIN[1][i : i + 32]} for i in range(0, 256, 32)]
    answer = ablate.lr_find(Words(), batches, batches[:3], epochs=1, rates=[0.01])
    assert answer.learning_rate == 0.01
    assert "no-guess" in [finding.code for finding in answer.findings]
    given = ablate.lr_find(Words(), batches, batches[:3], loss=F.cross_entropy, epochs=1, rates=[0.01])
    assert given.guess is not None
    x, y = diabetes()
    y = ((y - y.mean()) / y.std())[:, None]
    many = F.one_hot(TRAIN[1]).float()
    for module, pair, loss in (
        (mlp(10, 1), (x, y), F.l1_loss),
        (mlp(), (TRAIN[0], many), F.binary_cross_entropy_with_logits),
    ):
        answer_of_pair = ablate.lr_find(module, pair, pair, loss=loss, epochs=3, rates=[0.01])
        assert answer_of_pair.learning_rate == 0.01, answer_of_pair
        assert answer_of_pair.trials[0].loss < answer_of_pair.guess


def test_the_best_constant_is_what_theory_says():
    y = torch.tensor([0, 0, 0, 1])
    constant = best_constant(torch.zeros(1, 2), [y], None)
    assert constant.softmax(1)[0].tolist() == pytest.approx([0.75, 0.25], abs=1e-3)
    values = torch.tensor([[1.0], [2.0], [6.0]])
    assert best_constant(torch.zeros(1, 1), [values], F.mse_loss).item() == pytest.approx(3, abs=1e-3)
    one = example_losses(torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [0.0]]), F.mse_loss)
    assert one.tolist() == [1.0, 4.0]


def test_a_softmax_and_a_frozen_layer_are_named(fewer_steps):
    model = nn.Sequential(mlp(), nn.Softmax(1))
    answer = ablate.lr_find(model, TRAIN, VALIDATION, epochs=1, rates=[0.01])
    assert "outputs-are-probabilities" in [finding.code for finding in answer.findings]

    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.below, self.head = nn.Linear(64, 32), nn.Linear(32, 10)

        def forward(self, x):
            return self.head(self.below(x).detach().relu())

    answer = ablate.lr_find(Detached(), TRAIN, VALIDATION, epochs=1, rates=[0.01])
    (named,) = [finding for finding in answer.findings if finding.code == "parameters-without-gradient"]
    assert named.where == "below.bias, below.weight"


def test_a_budget_shortens(fewer_steps):
    answer = ablate.lr_find(mlp(), TRAIN, VALIDATION, epochs=50, budget=1e-6, rates=[0.01, 0.03])
    assert [trial.seeds for trial in answer.trials] == [1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": lambda: mlp()}, "not an nn.Module"),
        ({"model": nn.LazyLinear(10)}, "lazy"),
        ({"model": nn.Flatten()}, "no trainable parameters"),
        ({"train_loader": iter([TRAIN])}, "again and again"),
        ({"train_loader": [TRAIN[0]]}, "not inputs and targets"),
        ({"train_loader": []}, "no batch"),
        ({"epochs": 0}, "epochs must be"),
    ],
)
def test_bad_input_is_refused(change, message):
    given = {"model": mlp(), "train_loader": TRAIN, "validation_loader": VALIDATION} | change
    with pytest.raises(InputError, match=message):
        lr_find(**given)
