"""Token ids of different lengths: padded to the longest where a mask says which count, and refused with the way out where none does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ablate.records.errors import InputError
from ablate.tasks.check import check
from ablate.tasks.task import Task

G = torch.Generator().manual_seed(0)
N, LONGEST = 60, 9
LENGTHS = [3 + i % (LONGEST - 2) for i in range(N)]
IDS = torch.randint(1, 20, (N, LONGEST), generator=G)


class Rows(Dataset):
    """Items as a tokenizer of transformers returns them; `tokens`: with a label for each token."""

    def __init__(self, first: int = 0, last: int = N, *, mask: bool = True, tokens: bool = False) -> None:
        self.rows, self.mask, self.tokens = range(first, last), mask, tokens

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, object]:
        row = self.rows[i]
        ids = IDS[row, : LENGTHS[row]].tolist()
        item: dict[str, object] = {
            "input_ids": ids,
            "labels": [t % 3 for t in ids] if self.tokens else ids[0] % 3,
        }
        return item | {"attention_mask": [1] * len(ids)} if self.mask else item


class Mean(nn.Module):
    """The mean of the embeddings that the mask leaves, or a class for each token."""

    def __init__(self, tokens: bool = False) -> None:
        super().__init__()
        self.embedding, self.head, self.tokens = nn.Embedding(20, 8), nn.Linear(8, 3), tokens

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        x, mask = self.embedding(input_ids), attention_mask[..., None]
        return self.head(x if self.tokens else (x * mask).sum(1) / mask.sum(1))


def test_items_are_padded_to_the_longest_of_all_splits() -> None:
    short = [row for row in range(N) if LENGTHS[row] < LONGEST]
    task = Task(Mean, Rows(0, 40), Rows(40, 47), Rows(47, N))
    assert check(task) == ()
    assert any(
        "padded on the right to the longest, 9 (attention_mask, input_ids): ids with 0" in note
        for note in task.notes
    )
    x = task.train.packing.unpack(task.train.x)
    for row in range(40):
        assert x["input_ids"][row].tolist() == IDS[row, : LENGTHS[row]].tolist() + [0] * (
            LONGEST - LENGTHS[row]
        )
        assert x["attention_mask"][row].tolist() == [1] * LENGTHS[row] + [0] * (LONGEST - LENGTHS[row])
    assert short, "no item is padded: this test would show nothing"


def test_labels_of_tokens_are_padded_with_what_is_ignored() -> None:
    task = Task(lambda: Mean(tokens=True), Rows(tokens=True), criterion="token_classification")
    check(task)
    assert any("labels" in note and "padded" in note for note in task.notes)
    assert int((task.train.y == -100).sum()) == sum(LONGEST - LENGTHS[row] for row in task.train.rows)


def test_a_collate_function_of_transformers_gives_token_and_side(monkeypatch) -> None:
    kind = type(
        "DataCollatorWithPadding",
        (),
        {"__module__": "transformers.data.data_collator", "__call__": lambda self, items: items},
    )
    collate = kind()
    collate.tokenizer = SimpleNamespace(pad_token_id=19, padding_side="left")
    task = Task(Mean, DataLoader(Rows(), batch_size=12, collate_fn=collate))
    x = task.train.packing.unpack(task.train.x)
    row = int(task.train.rows[0])
    assert x["input_ids"][0].tolist() == [19] * (LONGEST - LENGTHS[row]) + IDS[row, : LENGTHS[row]].tolist()
    assert (task.batch_size, int(x["attention_mask"].sum())) == (
        12,
        sum(LENGTHS[row] for row in task.train.rows),
    )


def test_without_a_mask_the_tokenizer_is_to_pad() -> None:
    with pytest.raises(InputError, match="has shape") as caught:
        Task(Mean, Rows(mask=False))
    assert 'padding="max_length"' in (caught.value.hint or "")


class Stream(IterableDataset):
    def __iter__(self):
        rows = Rows()
        return (rows[i] for i in range(len(rows)))


def test_items_of_a_stream_are_padded_too() -> None:
    streamed, mapped = Task(Mean, Stream()), Task(Mean, Rows())
    assert check(streamed) == ()
    assert torch.equal(streamed.train.in_memory, mapped.train.in_memory)
