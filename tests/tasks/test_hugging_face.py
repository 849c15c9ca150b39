"""Data sets of Hugging Face's `datasets`, in every form that it gives them (and stand-ins where that package is not needed)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from ablate.records.errors import InputError
from ablate.tasks.check import check
from ablate.tasks.task import Task

datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install ablate[datasets]")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the package's own

G = np.random.default_rng(0)
N = 60
X = G.normal(size=(N, 5)).astype("float32")
Y = (X[:, 0] > 0).astype(int)
NAMED = datasets.Features(
    {"x": datasets.Sequence(datasets.Value("float32"), length=5), "label": datasets.ClassLabel(names=["no", "yes"])}
)  # fmt: skip
IDS = [G.integers(1, 9, size=G.integers(2, 8)).tolist() for _ in range(N)]
PIXELS = G.integers(0, 256, size=(N, 6, 6, 3)).astype("uint8")


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch):
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        return self.head(x)


class Mean(nn.Module):
    """The mean of the embeddings that the mask leaves."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 8), nn.Linear(8, 2)

    def forward(self, input_ids, attention_mask):
        x, mask = self.embedding(input_ids), attention_mask[..., None]
        return self.head((x * mask).sum(1) / mask.sum(1))


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, image):
        return self.head(self.body(image).mean((2, 3)))


def numbers(**more):
    return datasets.Dataset.from_dict({"x": X, "label": Y}, **more)


def tokens():
    rows = datasets.Dataset.from_dict({"ids": IDS, "label": Y})
    return rows.map(
        lambda row: {"input_ids": row["ids"], "attention_mask": [1] * len(row["ids"])},
        remove_columns=["ids"],
    )


def images():
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    pytest.importorskip("PIL", reason="Pillow is not installed")
    return datasets.Dataset.from_dict({"image": list(PIXELS), "label": Y}, features=features)


FORMS = {
    "as it is": lambda rows: rows,
    "torch": lambda rows: rows.with_format("torch"),
    "numpy": lambda rows: rows.with_format("numpy"),
    "map": lambda rows: rows.map(lambda row: {"label": row["label"]}),
    "transform": lambda rows: rows.with_transform(
        lambda batch: {"x": [torch.tensor(x) for x in batch["x"]], "label": batch["label"]}
    ),
    "loader": lambda rows: DataLoader(rows.with_format("torch"), batch_size=16, shuffle=True),
    "stream": lambda rows: rows.to_iterable_dataset(),
    "stream of tensors": lambda rows: rows.to_iterable_dataset().with_format("torch"),
    "stream in a loader": lambda rows: DataLoader(rows.to_iterable_dataset(), batch_size=16),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_data_set_is_the_pair_of_its_columns(form):
    made, pair = Task(Linear, FORMS[form](numbers())), Task(Linear, (X, Y))
    assert check(made) == ()
    assert torch.equal(made.train.in_memory, pair.train.in_memory)
    assert torch.equal(made.train.y, pair.train.y)
    assert (made.kind, made.provides) == ("tabular", pair.provides)
    assert made.train.items is None, "a stream that is not shuffled is the same in every epoch"


def test_a_stream_that_is_shuffled_is_read_anew():
    made = Task(Linear, numbers().to_iterable_dataset(num_shards=4).shuffle(seed=0, buffer_size=20))
    assert made.train.items is not None
    first, second = (made.train.in_epoch(epoch) for epoch in (0, 1))
    assert not torch.equal(first.in_memory, second.in_memory)


def test_names_of_classes_and_splits():
    rows = numbers(features=NAMED).train_test_split(0.3, seed=0)
    made = Task(Linear, rows["train"], test=rows["test"])
    assert check(made) == ()
    assert (made.labels, made.classes, len(made.test)) == (("no", "yes"), 2, 18)
    assert Task(Linear, **rows).labels == ("no", "yes")
    assert Task(Linear, rows["train"].to_iterable_dataset()).labels == ("no", "yes")
    assert Task(Linear, rows["train"], labels=("0", "1")).labels == ("0", "1")
    assert Task(nn.Sequential, numbers()).labels == ()


@pytest.mark.parametrize("form", ["as it is", "torch", "numpy", "stream"])
def test_token_ids_of_different_lengths_are_padded(form):
    made = Task(Mean, FORMS[form](tokens()))
    assert check(made) == ()
    longest = max(map(len, IDS))
    assert str(made.train.packing) == f"input_ids int64 [{longest}], attention_mask int64 [{longest}]"
    given = made.train.packing.unpack(made.train.x[:1])
    row = made.train.row(0)
    assert given["input_ids"][0].tolist() == IDS[row] + [0] * (longest - len(IDS[row]))
    assert given["attention_mask"].sum() == len(IDS[row])


def test_images_are_images():
    made = Task(Convolution, images().with_format("torch"))
    assert check(made) == ()
    assert (made.kind, made.input_shape, made.train.x.dtype) == ("image", (3, 6, 6), torch.float32)
    assert "image" in made.provides
    wanted = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)[torch.from_numpy(made.train.rows)]
    assert torch.equal(made.train.in_memory, wanted.float())


BAD = {
    "a dictionary of splits": (lambda: numbers().train_test_split(0.2), "train is a DatasetDict of 'train', 'test'; give its splits, train=data['train'], test=data['test']"),
    "no target": (lambda: numbers().rename_column("label", "y"), 'item 0 of the Dataset is a dict of \'x\', \'y\', and nothing says which one is the target; call it "labels" (of a Hugging Face data set: .rename_column("NAME", "labels"))'),
    "frames": (lambda: numbers().with_format("pandas"), 'is a DataFrame; choose a format of tensors or arrays: .with_format("torch")'),
    "text": (lambda: numbers().add_column("text", ["a"] * N), "train x['text'] holds <U1, not numbers; encode text as numbers first"),
    "no mask": (lambda: tokens().remove_columns("attention_mask"), "give items their attention_mask"),
    "a gap": (lambda: datasets.Dataset.from_dict({"x": X, "label": [None, *Y.tolist()[1:]]}), "train y has 1 missing labels"),
    "another name": (lambda: numbers().rename_column("x", "features"), "its inputs are features float32 [5], which reach forward as keyword arguments of these names"),
    "channels last": (lambda: images().with_format("numpy"), "its inputs are image float32 [6, 6, 3], which reach forward as keyword arguments of these names; images are [N, C, H, W]"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_refused_in_one_line(case):
    source, message = BAD[case]
    with pytest.raises(InputError) as error:
        check(Task(Convolution if case == "channels last" else Linear, source()))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
