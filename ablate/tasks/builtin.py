"""The built-in tasks: from a card's name to data, splits and model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from sklearn.datasets import load_digits
from torch import nn

from ablate.records.errors import unknown
from ablate.tasks.listing import CARDS
from ablate.tasks.models import convnet
from ablate.tasks.split import deal
from ablate.tasks.task import Task

Parts = dict[str, tuple[np.ndarray, np.ndarray]]
SIXTY_TWENTY_TWENTY = "TVSTT"


def _digits() -> Task:
    pixels, labels = load_digits(return_X_y=True)
    images = pixels.reshape(-1, 1, 8, 8)
    rows = deal(len(labels), SIXTY_TWENTY_TWENTY, labels)
    mean, std = images[rows["T"]].mean(), images[rows["T"]].std()
    images = (images - mean) / std
    split = {letter: (images[part], labels[part].astype(np.int64)) for letter, part in rows.items()}
    return _task(
        "digits",
        partial(convnet, (1, 8, 8), (16, 16, 16), 1, 10),
        split,
        notes=(f"pixels are scaled to mean 0 and deviation 1 by training data ({mean:.3f}, {std:.3f})",),
    )


def _task(name: str, model: Callable[[], nn.Module], split: Parts, notes: tuple[str, ...]) -> Task:
    card = CARDS[name]
    return Task(
        model=model,
        train=split["T"],
        validation=split["V"],
        test=split["S"],
        criterion=card.criterion,
        metric=card.metric,
        name=card.name,
        title=card.title,
        kind=card.kind,
        source=card.name,
        notes=notes,
    )


BUILDERS: dict[str, Callable[[], Task]] = {"digits": _digits}


def builtin(name: str) -> Task:
    """The built-in task of that name. Raises InputError: unknown name, or its data is not there."""
    if name not in BUILDERS:
        raise unknown("task", name, CARDS)
    return BUILDERS[name]()
