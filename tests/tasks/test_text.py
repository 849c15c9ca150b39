"""Sentences as ids: counted by hand on a small file, and the two models against words and padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ablate.catalogue.registry import registry
from ablate.lanes.applicable import applicable
from ablate.lanes.context import TaskContext
from ablate.records.errors import InputError
from ablate.tasks.builtin import builtin
from ablate.tasks.task_cards import CARDS, DATA
from ablate.tasks.text import ids, labelled, vocabulary_of
from ablate.tasks.text_models import TextCNN, TinyTransformer

LINES = ("0 a b a c", "1 A d\x85e ,", "1 c b a")
"""A line ends with a line feed only; Latin-1 has other marks that Python's `splitlines` takes for ends."""


def written(folder: Path) -> Path:
    file = folder / "given"
    file.write_bytes(("\n".join(LINES) + "\n").encode("latin-1"))
    return file


def test_words_are_ids_in_the_order_of_their_number(tmp_path: Path) -> None:
    sentences, labels = labelled(written(tmp_path))
    assert labels.tolist() == [0, 1, 1]
    vocabulary = vocabulary_of(sentences)
    assert vocabulary == {"a": 2, "b": 3, "c": 4}
    assert ids(sentences, vocabulary, 5).tolist()[0] == [2, 3, 2, 4, 0]
    assert ids(sentences, vocabulary, 2).tolist() == [[2, 3], [2, 1], [4, 3]]


def test_a_file_without_labels_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "given"
    file.write_text("no label\n", encoding="latin-1")
    with pytest.raises(InputError, match="cannot be read as a label and a sentence a line"):
        labelled(file)


@pytest.mark.parametrize("model", [TextCNN, TinyTransformer])
def test_the_order_of_words_matters_and_the_transformer_does_not_look_at_padding(model: type) -> None:
    torch.manual_seed(0)
    module = model(9, 8, 3).eval()
    x = torch.tensor([[2, 3, 4, 5, 6, 0, 0, 0], [6, 5, 4, 3, 2, 0, 0, 0]])
    with torch.no_grad():
        first = module(x)
        assert (first[0] - first[1]).abs().max() > 1e-4
        module.embedding.weight[0] = 7.0
        same = bool((module(x) - first).abs().max() < 1e-6)
    assert same == (model is TinyTransformer)


@pytest.mark.parametrize("name", ["trec", "trec-transformer"])
def test_tricks_of_text_apply(name: str) -> None:
    if missing := CARDS[name].missing():
        pytest.skip(f"{missing[0]} is not under ${DATA}")
    context = TaskContext.of(builtin(name), registry(), torch.device("cpu"))
    wanted = ["fgm", "dropout", "class_balanced", "balanced_sampling", "label_smoothing", "sam"]
    assert not any(applicable(context, wanted).values())
    assert np.bincount(context.task.train.y).min() < 90
