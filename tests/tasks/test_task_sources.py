"""Where data come from: streams, DataLoaders, frames, whole numbers that are token ids; and what does not fit into memory."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

from ablate.records.errors import InputError
from ablate.tasks import memory_limit
from ablate.tasks.check import check
from ablate.tasks.items import TRIED
from ablate.tasks.task import Task

G = torch.Generator().manual_seed(0)
N = 60
X, Y = torch.randn(N, 4, generator=G), torch.arange(N) % 3
TOKENS = torch.randint(0, 9, (N, 5), generator=G)


def model():
    return nn.Linear(4, 3)


def embedding():
    return nn.Sequential(nn.EmbeddingBag(9, 4), nn.Linear(4, 3))


class Stream(IterableDataset):
    """Gives the examples in order; `change` is what happens to an x at each read, `ends` how many each pass gives."""

    def __init__(self, change=lambda x: x, ends=None):
        self.change, self.read = change, 0
        self.ends = itertools.repeat(N) if ends is None else iter(ends)

    def __iter__(self):
        for x, y in zip(X[: next(self.ends)], Y, strict=False):
            self.read += 1
            yield self.change(x), int(y)


class Counted(Stream):
    def __len__(self):
        return N


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.zeros(2**18), 0


class Large(Dataset):
    """20,000 images of 224 × 224, of which hardly any may be read."""

    reads = 0

    def __len__(self):
        return 20_000

    def __getitem__(self, row):
        self.reads += 1
        return torch.zeros(3, 224, 224), row % 2


class Flipped(Dataset):
    """Its targets are the images."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, row):
        return self.data[row][::-1]


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(memory_limit, "most_bytes", lambda: 2**21)


def test_a_stream_gives_what_the_same_tensors_give():
    stream = Stream()
    made = Task(model, stream)
    plain = Task(model, (X, Y))
    assert made.data_sha256 == plain.data_sha256
    assert made.notes == plain.notes
    assert made.train.items is None
    assert stream.read < N + 6 * (TRIED + 2), (
        "read once, and again as far as it takes to see whether items differ"
    )


def test_a_stream_that_draws_is_read_anew_each_epoch_and_repeats():
    made = Task(model, Stream(lambda x: x + torch.randn(4)), validation=(X, Y), test=False)
    first, second, again = (made.train.in_epoch(epoch).x for epoch in (0, 1, 1))
    assert torch.equal(second, again)
    assert not torch.equal(first, second)
    part = made.train.take(np.array([3, 50])).in_epoch(1)
    assert torch.equal(part.x, second[[3, 50]])


def test_a_stream_that_ends_early_is_told():
    with pytest.raises(
        InputError, match="train ends after 50 of 60 examples; let every pass give as many, and let len"
    ):
        Task(model, Counted(ends=[50, 50]))
    made = Task(model, Stream(lambda x: x + torch.randn(4)), validation=(X, Y), test=False)
    made.train.items.reader.dataset.ends = iter([N, 40])
    made.train.in_epoch(1)
    with pytest.raises(InputError, match="train ends after 40 of 60 examples; let every pass give as many"):
        made.train.in_epoch(2)


class Broken(Dataset):
    """A file of which cannot be read."""

    def __len__(self):
        return 60

    def __getitem__(self, row):
        if row == 43:
            raise OSError("no such file: 43.png")
        return torch.zeros(4), row % 2


class BrokenStream(IterableDataset):
    def __iter__(self):
        return (Broken()[row] for row in range(60))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("source", "what"), [(Broken, "item 43 of the Dataset"), (BrokenStream, "item 43 of the stream")]
)
def test_an_item_that_cannot_be_read_is_told_with_its_number_and_line(source, what, workers):
    with pytest.raises(InputError) as caught:
        Task(model, train=source(), workers=workers, criterion="classification")
    assert f"reading {what} failed at {__file__}:" in caught.value.message
    assert caught.value.message.endswith("OSError: no such file: 43.png")
    assert "Traceback" not in caught.value.message


def test_an_endless_stream_does_not_fill_the_memory(little_memory):
    with pytest.raises(
        InputError, match=r"train takes more than 0.00195 GiB of memory and has no length; give .* __len__"
    ):
        Task(model, Endless())


def test_targets_that_do_not_fit_are_refused_after_the_first(little_memory):
    data = Large()
    with pytest.raises(
        InputError, match=r"the targets of train: 20000 examples of 602112 bytes would take 11\.2 GiB"
    ):
        Task(model, Flipped(data))
    assert data.reads <= 2


def test_arrays_whose_conversion_does_not_fit_are_refused(little_memory):
    with pytest.raises(
        InputError, match=r"train x: 100 examples of shape \[3, 64, 64\], as float32, would take"
    ):
        Task(model, (np.zeros((100, 3, 64, 64), np.uint8), np.arange(100) % 2))
    Task(model, (np.zeros((100, 1, 64, 64), np.float32), np.arange(100) % 2))


def test_of_a_loader_the_data_set_is_used_and_the_rest_is_told():
    data = TensorDataset(X, Y)
    made = Task(model, DataLoader(data, 16, shuffle=True, drop_last=True), DataLoader(data, 50), test=False)
    assert made.batch_size == 16
    assert made.data_sha256 == Task(model, (X, Y), (X, Y), test=False).data_sha256
    assert made.notes == (
        "of the train DataLoader its data set is used, its batch size 16; not used: shuffle, drop_last (each run draws its own order)",
        "of the validation DataLoader its data set is used",
    )
    assert Task(model, DataLoader(data, 16), batch_size=8).batch_size == 8
    weighted = Task(model, DataLoader(data, 16, sampler=WeightedRandomSampler([1.0] * N, N)))
    assert "not used: sampler WeightedRandomSampler" in weighted.notes[0]
    assert Task(model, DataLoader(Stream(), 16)).data_sha256 == Task(model, (X, Y)).data_sha256
    loader = DataLoader(data, 16, collate_fn=padded)
    with pytest.raises(
        InputError, match="train is a DataLoader with a collate function of its own, 'padded'; give"
    ):
        Task(model, loader)


def padded(items):
    return items


def test_targets_of_a_data_set_may_be_nested_or_text():
    def loss(outputs, targets):
        return nn.functional.cross_entropy(outputs, targets["class"])

    data = [(x, {"class": int(y), "weight": 0.5}) for x, y in zip(X, Y, strict=True)]
    made = Task(model, Listed(data), loss=loss)
    check(made)
    assert str(made.train.target_packing) == "class int64 [], weight float32 []"
    named = Task(model, Listed([(x, ["a", "bb", "ccc"][int(y)]) for x, y in zip(X, Y, strict=True)]))
    assert named.labels == ("a", "bb", "ccc")
    ragged = [(x, torch.zeros(1 + int(y))) for x, y in zip(X, Y, strict=True)]
    with pytest.raises(InputError, match=r"train: item 1 has shape \[2\], item 0 has \[1\], in y"):
        Task(model, Listed(ragged), loss=loss)


def test_integers_are_never_cast_without_a_word():
    cast = Task(model, (TOKENS[:, :4], Y))
    assert cast.train.x.dtype is torch.float32
    assert "the inputs are integers and were cast to float32" in cast.notes[0]
    small = Task(lambda: nn.Sequential(nn.EmbeddingBag(5, 4), nn.Linear(4, 3)), (TOKENS, Y))
    assert small.train.x.dtype is torch.int64
    with pytest.raises(InputError, match="its ids go up to 8, and an embedding has 5 rows"):
        check(small)
    floats = Task(embedding, (TOKENS.float(), Y))
    with pytest.raises(InputError, match='token ids stay whole numbers with kind="text"'):
        check(floats)
    assert Task(model, (TOKENS[:, :4].to(torch.uint8), Y)).notes == Task(model, (X, Y)).notes


def test_text_in_items_is_told_what_to_do():
    items = [({"text": "a word"}, int(y)) for y in Y]
    with pytest.raises(
        InputError, match=r"train x\['text'\] holds <U6, not numbers; encode text as numbers first"
    ):
        Task(model, Listed(items))


def test_items_with_other_entries_are_told():
    items = [({"a": X[0], "b": X[0]}, 0), ({"a": X[1]}, 1)]
    with pytest.raises(
        InputError,
        match=r"only one of train: item 1 and item 0 has x\['b'\]; give all items the same entries",
    ):
        Task(model, Listed(items))


class Rows:
    """As of Hugging Face's `datasets`, which are no torch Datasets: items are dicts."""

    def __len__(self):
        return N

    def __getitem__(self, row):
        return {"x": X[row].tolist(), "label": int(Y[row])}


def test_what_is_indexed_like_a_data_set_is_one():
    class Named(nn.Linear):
        def forward(self, x):
            return super().forward(x)

    made = Task(lambda: Named(4, 3), Rows())
    assert check(made) == ()
    assert str(made.train.packing).startswith("x float32 [4]")
    assert (
        Task(model, DataLoader(list(zip(X, Y, strict=True)), 16)).data_sha256
        == Task(model, (X, Y)).data_sha256
    )


class Listed(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        return self.items[row]


@pytest.mark.parametrize(
    "tokens", [TOKENS, TOKENS.numpy(), pd.DataFrame(TOKENS.numpy()), TensorDataset(TOKENS, Y)]
)
def test_whole_numbers_are_token_ids_where_the_model_takes_no_others(tokens):
    made = Task(embedding, tokens if isinstance(tokens, Dataset) else (tokens, Y))
    assert made.kind == "text"
    assert made.train.x.dtype is torch.int64
    assert 'kind="text"' in made.notes[0]
    assert check(made.but(epochs=2)) == ()
    assert made.but(epochs=2).data_sha256 == made.data_sha256


def test_whole_numbers_are_measurements_where_the_model_takes_those():
    made = Task(lambda: nn.Linear(5, 3), (TOKENS, Y))
    assert (made.kind, made.train.x.dtype) == ("tabular", torch.float32)
    broken = Task(lambda: nn.Linear(6, 3), (TOKENS, Y))
    with pytest.raises(InputError, match="the model's forward pass failed: RuntimeError: mat1 and mat2"):
        check(broken)


FRAME = pd.DataFrame(
    {
        "age": np.where(np.arange(N) % 7, np.arange(N) * 1.0, np.nan),
        "town": pd.Categorical(np.array(["Oslo", "Bonn", "Rome"])[np.arange(N) % 3]),
        "vip": np.arange(N) % 2 == 0,
        "joined": pd.date_range("2020-01-01", periods=N),
        "income": np.array(["low", "high"])[np.arange(N) % 2],
    }
)


def test_a_frame_is_a_task_and_new_rows_can_be_encoded():
    made = Task.from_table(FRAME, "income", metric="auroc")
    assert (made.labels, made.metric, made.kind) == (("high", "low"), "validation/auroc", "tabular")
    assert check(made) == ()
    assert any(note.startswith("age: gaps (9) are filled") for note in made.notes)
    new = made.encode(FRAME.drop(columns="income"))
    rows = [int((torch.from_numpy(new) == x).all(1).nonzero()[0]) for x in made.train.x]
    assert (torch.from_numpy(np.array(FRAME["income"] == "low"))[rows] == made.train.y).all()
    task = Task.from_table(FRAME, "age", model=lambda inputs, outputs: nn.Linear(inputs, outputs), epochs=3)
    assert (task.criterion, task.epochs, task.outputs) == ("regression", 3, 1)
    assert check(task) == ()
    with pytest.raises(InputError, match="unknown column of the table 'incom'; did you mean 'income'"):
        Task.from_table(FRAME, "incom")
    with pytest.raises(InputError, match="the table has several columns 'income'; rename all but one"):
        Task.from_table(pd.concat([FRAME, FRAME[["income"]]], axis=1), "income")


def test_the_names_of_classes_of_a_data_set_are_the_task_s():
    """As those of Hugging Face's `ClassLabel`, whatever holds them."""

    class Named:
        def __init__(self, target):
            self.features = {"x": None, target: SimpleNamespace(names=["a", "b", "c", "d"])}
            self.target = target

        def __len__(self):
            return N

        def __getitem__(self, row):
            return {"input": X[row], self.target: int(Y[row])}

    made = Task(model, Named("label"))
    assert (made.labels, made.classes) == (("a", "b", "c", "d"), 4)
    assert Task(model, Named("labels"), labels=("1", "2", "3")).labels == ("1", "2", "3")
    assert Task(model, Named("label"), criterion="regression").labels == ()
