"""`check` finds what cannot be trained, in one line, and `describe` tells the facts."""

import json
import math

import pytest
import torch
from torch import nn

from ablate.records.errors import InputError
from ablate.tasks.check import check
from ablate.tasks.describe import describe, prior_loss
from ablate.tasks.load import load
from ablate.tasks.task import Task

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 2
SHARED = nn.Linear(3, 2)


def task(x=X, y=Y, model=lambda: nn.Linear(3, 2), **more):
    return Task(model, (x, y), **more)


def poisoned(value, rows):
    x = X.clone()
    x[rows, 1] = value
    return x


class Failing(nn.Linear):
    def forward(self, x):
        return {}["weights"]


class Pair(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


class Late(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(3, 2)


class Whole(nn.Linear):
    def forward(self, x):
        return super().forward(x).round().long()


class LazyBeside(nn.Linear):
    def __init__(self, inside, outside):
        super().__init__(inside, outside)
        self.unused = nn.LazyLinear(2)


class FrozenInTrain(nn.Linear):
    def train(self, mode=True):
        return super().train(mode).requires_grad_(False)


class Infinite(nn.Linear):
    def forward(self, x):
        return super().forward(x) / 0


class FailsInEval(nn.Linear):
    def forward(self, x):
        return super().forward(x if self.training else x[:, :1])


class OtherInEval(nn.Linear):
    def forward(self, x):
        return super().forward(x)[:, : 2 if self.training else 1]


def given_validation(x, y):
    return task(validation=(x, y), test=False)


def not_a_module():
    return 1 / 0


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (task(poisoned(math.nan, [7])), "train x holds NaN in 1 example, first at row 7 of the training data that was given"),
        (task(poisoned(math.inf, [7, 8, 9]), test=False, validation=(X, Y)),
         "train x holds infinity in 3 examples, first at row 7 (the first is 0); fill the gaps or drop those examples"),
        (given_validation(poisoned(math.nan, [3]), Y), "validation x holds NaN in 1 example, first at row 3 (the first is 0); fill"),
        (task(y=poisoned(math.nan, [2])[:, 1:2], criterion="regression", test=False, validation=(X, X[:, :1])),
         "train y holds NaN in 1 example, first at row 2"),
        (task(y=torch.full((40,), 2.5), criterion="regression"), "train y is 2.5 everywhere: there is nothing to l"),
        (task(y=Y * 0), "train y holds one class only, 0; give examples of at least two classes"),
        (task(y=Y * 4), "train y holds the label 4, but the model has 2 outputs; number the classes 0 … 1, or give"),
        (given_validation(X, Y + 1), "validation y holds the label 2, but the model has 2 outputs; number the cla"),
        (given_validation(X[:, :2], Y), "validation x has examples of shape [2], train x of shape [3]; prepare all"),
        (task(model=lambda: nn.Linear(3, 5)), "the model's output has shape [8, 5], expected [8, 2]; classificati"),
        (task(model=lambda: nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))), "the model's output has shape [8], exp"),
        (task(y=X[:, 0], criterion="regression", model=lambda: nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))),
         "the model's output has shape [8], expected [8, 1]; end forward with .unsqueeze(1)"),
        (task(y=X, criterion="regression"), "the model's output has shape [8, 2], expected [8, 3]; regression on 3"),
        (task(model=lambda: nn.Linear(4, 2)), "the model's forward pass failed: RuntimeError: mat1 and mat2 shapes"),
        (task(model=lambda: Failing(3, 2)), f"the model's forward pass failed at {__file__}:"),
        (task(model=lambda: Pair(3, 2)), "the model returned an object of type tuple with 0, 1, and nothing says which tensor is the pred"),
        (task(model=lambda: Whole(3, 2)), "the model returned torch.int64; return floating-point logits"),
        (task(model=lambda: Infinite(3, 2)), "the fresh model's output is not finite (NaN or infinity); check its i"),
        (task(model=not_a_module), f"making the model failed at {__file__}:"),
        (task(model=Late), "the model's __init__ sets a layer first; begin it with super().__init__()"),
        (task(model=lambda: 3), "model() returned an object of type int, not an nn.Module; model=lambda: MyNet()"),
        (task(model=lambda: nn.Flatten()), "the model has no trainable parameters; there is nothing to train"),
        (task(model=lambda: SHARED), "model() gives the same module, or the same weights, at each call; build it"),
        (task(model=lambda: nn.Sequential(SHARED)), "model() gives the same module, or the same weights, at each c"),
        (task(model=lambda: LazyBeside(3, 2)), "the model's 'unused.weight' is lazy, and its forward pass does no"),
        (task(model=lambda: FailsInEval(3, 2)), f"the model's forward pass in eval mode failed at {__file__}:"),
        (task(model=lambda: OtherInEval(3, 2)), "in eval mode the model returns [8, 1], in training [8, 2]; return the same form"),
        (task(model=lambda: FrozenInTrain(3, 2)), "the model's output depends on no parameter that is trained; lo"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_told_in_one_line(made, message):
    with pytest.raises(InputError) as caught:
        check(made)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_users_line_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom ablate.tasks.task import Task\n"
        "class Net(torch.nn.Linear):\n"
        "    def forward(self, x):\n"
        "        return super().forward(x.reshape(-1, 7))\n"
        "task = Task(lambda: Net(3, 2), (torch.randn(40, 3), torch.arange(40) % 2))\n"
    )
    with pytest.raises(
        InputError, match=r"^the model's forward pass failed at mine\.py:5: RuntimeError: shape"
    ):
        check(load("mine.py:task"))


def test_a_sound_task_passes_and_leaves_the_generator_alone():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    assert check(task()) == ()
    describe(task())
    assert torch.equal(torch.get_rng_state(), state)
    assert check(task(y=X[:, :2], criterion="regression")) == ()
    assert check(load("digits")) == ()


def test_what_is_odd_is_noted():
    twice = torch.cat([X, X[:6]])
    overlap = Task(lambda: nn.Linear(3, 2), (X, Y), (twice[30:], Y[:16]), test=False)
    assert check(overlap) == ("16 of 16 validation examples also occur in train data, with equal inputs",)
    part = Task(lambda: nn.Linear(3, 2), (X, Y), (torch.cat([X[:5], -X]), Y[: 45 - 40].repeat(9)), test=False)
    assert check(part) == ("5 of 45 validation examples also occur in train data, with equal inputs",)
    gaps = Task(lambda: nn.Linear(3, 4), (X, Y * 3), (-X, Y * 3), test=False)
    assert check(gaps) == ("2 of 4 classes have no training example: 1, 2",)


def test_describe_is_json_and_right():
    facts = json.loads(json.dumps(describe(load("digits"))))
    expected = {
        "name": "digits", "criterion": "classification", "kind": "image", "input_shape": [1, 8, 8], "outputs": 10,
        "classes": 10, "splits": {"train": 1076, "validation": 362, "test": 359}, "parameters": 7370,
        "metric": "validation/accuracy", "direction": "higher", "flips": False, "source": "digits",
    }  # fmt: skip
    assert expected.items() <= facts.items()
    assert sum(facts["class_counts"]["train"]) == 1076
    assert "class_counts" not in describe(load("diabetes"))


def test_prior_loss_is_the_entropy_or_the_variance():
    balanced = task(validation=(X, Y), test=False)
    assert prior_loss(balanced) == pytest.approx(math.log(2))
    skewed = task(y=(torch.arange(40) < 10).long(), validation=(X, Y), test=False)
    assert prior_loss(skewed) == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    wide = task(y=X * torch.tensor([1.0, 2.0, 3.0]), criterion="regression", validation=(X, X), test=False)
    assert prior_loss(wide) == pytest.approx(wide.train.y.double().numpy().var(0).mean())
