"""Task takes what people hold data in, deals out missing splits for ever the same way, and refuses in one line."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from ablate.records.errors import InputError
from ablate.records.trick import REQUIREMENTS
from ablate.tasks.split import random_parts, shuffled
from ablate.tasks.task import Task

X = torch.arange(40.0).reshape(20, 2)
Y = torch.arange(20) % 2
X3 = torch.arange(24.0).reshape(12, 2) - 50
Y3 = torch.arange(12) % 2


def model():
    return nn.Linear(2, 2)


def task(train=(X, Y), validation=(X3, Y3), test=(X3 + 100, Y3), **more):
    return Task(more.pop("model", model), train, validation, test, **more)


class Doubles(Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, row):
        return X[row].double().numpy(), int(Y[row])


@pytest.mark.parametrize(
    "train",
    [
        (X, Y),
        [X.double().requires_grad_(), Y.to(torch.uint8)],
        (X.numpy(), Y.numpy()),
        (X.int().numpy(), Y.float().numpy()),
        (X.tolist(), Y.tolist()),
        (pd.DataFrame(X.numpy(), columns=["a", "b"]), pd.Series(Y.numpy())),
        (pd.DataFrame(X.numpy()).astype("Float64"), pd.DataFrame(Y.numpy())),
        (X, Y.bool()),
        (X, pd.Series(Y.numpy()).astype("Int64")),
        TensorDataset(X, Y),
        Doubles(),
    ],
    ids=[
        "tensors",
        "list",
        "numpy",
        "integers",
        "lists",
        "pandas",
        "nullable",
        "bool",
        "nullable labels",
        "dataset",
        "own dataset",
    ],
)
def test_every_form_gives_the_same_task(train):
    made = task(train)
    assert made.train.x.dtype is torch.float32
    assert made.train.y.dtype is torch.int64
    assert torch.equal(made.train.x, X)
    assert torch.equal(made.train.y, Y)
    assert made.data_sha256 == task().data_sha256
    assert made.classes == 2


def test_the_users_tensors_are_not_changed_or_shared():
    x = X.numpy().copy()
    made = task((x, Y))
    x[:] = -1
    assert torch.equal(made.train.x, X)


def test_text_labels_are_numbered_by_name_in_all_splits():
    words = np.array(["no", "yes"])
    made = task((X, words[Y]), (X3, pd.Series(words[Y3]).astype("category")), (X3, words[1 - Y3].tolist()))
    assert made.labels == ("no", "yes")
    assert torch.equal(made.train.y, Y)
    assert torch.equal(made.validation.y, Y3)
    assert torch.equal(made.test.y, 1 - Y3)
    assert made.but(epochs=3).labels == ("no", "yes")


def test_regression_targets_are_columns():
    made = task((X, Y), (X3, Y3.double().unsqueeze(1)), (X3, Y3.numpy()), criterion="regression")
    assert [tuple(split.y.shape) for split in made.splits.values()] == [(20, 1), (12, 1), (12, 1)]
    assert all(split.y.dtype is torch.float32 for split in made.splits.values())
    assert (made.classes, made.outputs, made.metric, made.direction) == (None, 1, "validation/rmse", "lower")
    wide = Task(model, (X, X), criterion="regression", test=False)
    assert wide.outputs == 2


def test_kind_and_provides():
    assert task().provides == {"classification", "tabular", "continuous", "mixable", "any order"}
    image = Task(model, (torch.zeros(10, 1, 4, 4), Y[:10]), test=False)
    assert (image.kind, image.provides) == (
        "image",
        {"classification", "image", "continuous", "mixable", "any order"},
    )
    words = Task(model, (torch.arange(40).reshape(20, 2), Y), kind="text", test=False)
    assert words.train.x.dtype is torch.int64
    assert words.provides == {"classification", "text", "mixable", "any order"}
    series = Task(model, (torch.zeros(10, 4, 9), Y[:10].float()), criterion="regression", test=False)
    assert series.provides == {"regression", "continuous", "mixable", "any order"}
    assert (task().provides | image.provides | words.provides | series.provides) <= set(REQUIREMENTS)


def test_missing_splits_are_dealt_out_stratified_and_noted():
    y = torch.tensor([0] * 50 + [1] * 10 + [2] * 3)
    x = torch.arange(63.0).unsqueeze(1)
    made = Task(model, (x, y))
    assert [split.y.bincount().tolist() for split in made.splits.values()] == [
        [30, 6, 1],
        [10, 2, 1],
        [10, 2, 1],
    ]
    rows = torch.cat([split.x for split in made.splits.values()]).flatten()
    assert torch.equal(rows.sort()[0], x.flatten())
    assert made.notes == (
        "no validation data was given: 13 training examples, stratified by class, stand in for it",
        "no test data was given: 13 training examples, stratified by class, stand in for it",
    )
    assert Task(model, (x, y)).data_sha256 == made.data_sha256


@pytest.mark.parametrize(
    ("validation", "test", "sizes"),
    [
        (None, (X3, Y3), [16, 4, 12]),
        ((X3, Y3), None, [16, 12, 4]),
        (None, False, [16, 4]),
        (None, None, [12, 4, 4]),
    ],
)
def test_only_what_is_missing_is_dealt_out(validation, test, sizes):
    made = Task(model, (X, Y), validation, test)
    assert [len(split) for split in made.splits.values()] == sizes
    assert len(made.notes) == (validation is None) + (test is None)
    assert (made.test is None) == (test is False)


def test_the_shuffle_is_frozen():
    """These rows decide which data a study has seen: if this test fails, old ledgers no longer fit."""
    assert shuffled(10).tolist() == SHUFFLED
    assert sorted(shuffled(1000, seed=3)) == list(range(1000))
    assert shuffled(1000, seed=3).tolist() != shuffled(1000).tolist()


SHUFFLED = [2, 4, 6, 8, 5, 1, 7, 0, 9, 3]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=200), st.sampled_from(["TV", "TVSTT", "TSTTT", "TVTTTT"])
)
def test_dealing_is_a_partition_that_keeps_each_class_within_one_example(labels, pattern):
    labels = np.array(labels)
    parts = random_parts(len(labels), pattern, labels)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(labels)))
    for label in np.unique(labels):
        count = int((labels == label).sum())
        for letter, rows in parts.items():
            share = pattern.count(letter) / len(pattern)
            assert abs(int((labels[rows] == label).sum()) - share * count) <= 1
        assert label in labels[parts["T"]]


def test_dealing_does_not_follow_the_order_of_the_rows():
    rows = random_parts(1000, "TVSTT")["V"]
    assert len(rows) == 200
    assert 350 < rows.mean() < 650
    assert len({int(row) % 5 for row in rows}) == 5


def test_but_changes_one_thing_and_checks_it():
    made = task(test=False, name="mine", title="Mine")
    assert made.but(epochs=3).epochs == 3
    assert made.but(epochs=3).test is None
    assert made.but(epochs=3).data_sha256 == made.data_sha256
    with pytest.raises(InputError, match="epochs must be a whole number of at least 1, not 0"):
        made.but(epochs=0)
    assert repr(made) == "Task('mine', classification, x [2], train 20, validation 12)"


class Ragged(Doubles):
    def __getitem__(self, row):
        return torch.zeros(2 + row), 0


class Untold(Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, row):
        return {"x": X[row], "y": Y[row]}


class Framed(Untold):
    def __getitem__(self, row):
        return FRAME[["age"]]


class Unlabelled(Doubles):
    def __getitem__(self, row):
        return X[row]


FRAME = pd.DataFrame({"age": [1.0, None, 3.0], "town": ["Oslo", "Bonn", "Oslo"]})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": nn.Linear(2, 2)}, "model must be a function that makes a module, not a ready Linear; every run "),
        ({"model": 3}, "model must be a function that makes a module, not 3; every run needs fresh weights: model=la"),
        ({"criterion": "clasification"}, "unknown criterion 'clasification'; did you mean 'classification'?"),
        ({"criterion": "x"}, "unknown criterion 'x'; known: adversarial, classification, custom, detection, language_modelling, multilabel, reg"),
        ({"metric": "acc"}, "unknown classification metric 'acc'; known: accuracy, auroc, balanced_accuracy, ece, f1, log"),
        ({"kind": "imgae"}, "unknown kind 'imgae'; did you mean 'image'?"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        ({"batch_size": True}, "batch_size must be a whole number of at least 1, not True"),
        ({"name": "../x"}, "'../x' cannot name a task; use letters, digits, '-', '_' and '.'"),
        ({"train": None}, "train is missing; give a pair (x, y) of tensors, arrays or frames, or a torch Dataset"),
        ({"train": X}, "train must be a pair (x, y), not a Tensor; give a pair"),
        ({"train": {"train": (X, Y), "test": (X, Y)}}, "train is a dict of 'train', 'test'; give its splits, train=data['train'], test=data['test']"),
        ({"train": Untold()}, "train: item 0 of the Dataset is a dict of 'x', 'y', and nothing says which one is the target; call it \"labels\""),
        ({"train": Framed()}, "train: item 0 of the Dataset is a DataFrame; choose a format of tensors or arrays: .with_format"),
        ({"train": (X, Y, Y)}, "train must be a pair (x, y), not a tuple of 3; give a pair"),
        ({"train": FRAME}, "train is one frame, and nothing says which column is the target; give the pair (frame[f"),
        ({"train": (FRAME[["age"]], [0, 1, 0])}, "train: column 'age' has 1 missing values; fill them or drop the"),
        ({"train": (FRAME[["town"]], [0, 1, 0])}, "train: column 'town' holds str, not numbers; encode it first"),
        ({"train": (np.array([["a"], ["b"]]), [0, 1])}, "train x holds <U1, not numbers; give a pair"),
        ({"train": (X.to(torch.complex64), Y)}, "train x holds complex numbers; give real numbers"),
        ({"train": (X[:, 0], Y)}, "train x has shape [20]; examples need a shape: [N, features], [N, C, H, W]"),
        ({"train": (X, Y[:19])}, "train: x has 20 rows and y has 19; give one y for each x"),
        ({"validation": (X3, Y)}, "validation: x has 12 rows and y has 20; give one y for each x"),
        ({"train": (X[:0], Y[:0])}, "train is empty; a split needs at least one example"),
        ({"test": (X[:0], Y[:0])}, "test is empty; a split needs at least one example"),
        ({"train": (X[:2], Y[:2]), "test": None, "validation": None}, "train has 2 examples, too few to take valid"),
        ({"train": Ragged()}, "train: item 1 has shape [3], item 0 has [2]; bring all examples to one shape"),
        ({"train": Unlabelled()}, "train: item 0 of the Dataset is a Tensor; return (x, y)"),
        ({"train": (X, Y + 0.5)}, "train y holds 0.5, which is no whole number; labels are 0 … classes-1; for num"),
        ({"train": (X, Y - 1)}, "train y holds the label -1; number the classes 0 … classes-1"),
        ({"train": (X, nn.functional.one_hot(Y))}, "train y has shape [20, 2]; classification takes one label for"),
        ({"train": (X, np.array(["a", "b"])[Y]), "validation": (X3, ["c"] * 12), "test": False},
         "validation has the label 'c', which does not occur in training data"),
        ({"train": (X, Y), "validation": (X3, ["c"] * 12), "test": False}, "validation y holds <U1; labels are whole"),
        ({"train": (X, ["a", None] * 10), "test": False}, "train y has 10 missing labels; drop those examples"),
        ({"train": (X, pd.Series([1, None] * 10)), "test": False}, "train y holds nan, which is no whole number; lab"),
        ({"train": (X, X.reshape(20, 2, 1)), "criterion": "regression"}, "train y has shape [20, 2, 1]; regression t"),
        ({"train": (X, ["a"] * 20), "criterion": "regression"}, "train y holds <U1, not numbers; give a pair"),
        ({"kind": "text"}, "train x holds torch.float32, but token ids are whole numbers; give int64"),
    ],
)  # fmt: skip
def test_bad_input_is_told_in_one_line(arguments, message):
    with pytest.raises(InputError) as caught:
        task(**arguments)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
