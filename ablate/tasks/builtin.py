"""The built-in tasks: from a card's name to data, splits and model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ablate.records.errors import InputError, unknown
from ablate.tasks import sources
from ablate.tasks.digit_scenes import digit_scenes
from ablate.tasks.digits_gan import digits_gan
from ablate.tasks.models import convnet, perceptron
from ablate.tasks.pixels import moments
from ablate.tasks.ring import ring
from ablate.tasks.split import random_parts, shuffled
from ablate.tasks.tabular import encode, standardise, standardised_note
from ablate.tasks.task import Task
from ablate.tasks.task_cards import CARDS, TaskCard
from ablate.tasks.text import text_task

if TYPE_CHECKING:
    import pandas as pd

Rows = dict[str, np.ndarray]
FIFTHS = "TVSTT"  # 60 % training, 20 % validation, 20 % test
LONGTAIL_RATIO = 20
ADULT = (
    "age", "workclass", "weight", "education", "education years", "marital status", "occupation", "relationship",
    "race", "sex", "capital gain", "capital loss", "hours per week", "country", "income",
)  # fmt: skip


def _digits(card: TaskCard) -> Task:
    pixels, labels = sources.digits()
    rows = random_parts(len(labels), FIFTHS, labels)
    notes: tuple[str, ...] = ()
    if card.name == "digits-longtail":
        rows["T"] = _longtail(rows["T"], labels)
        notes = (
            f"training classes thin out exponentially, {LONGTAIL_RATIO} to 1; the other splits are balanced",
        )
    return _images(
        card, pixels.reshape(-1, 1, 8, 8), labels, rows, (16, 16, 16), pools=0, stride=2, notes=notes
    )


def _longtail(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Class c keeps n_max · ratio^(-c/(C-1)) examples (Cui et al. 2019, arXiv 1901.05555)."""
    rows = rows[shuffled(len(rows))]
    counts = np.bincount(labels[rows])
    keep = np.round(counts.max() * LONGTAIL_RATIO ** (-np.arange(len(counts)) / (len(counts) - 1))).astype(
        int
    )
    kept = [rows[labels[rows] == label][:count] for label, count in enumerate(keep)]
    return np.sort(np.concatenate(kept))


def _mnist(card: TaskCard) -> Task:
    files = sources.located(card)
    if not files:
        table, target = sources.fetched(card)
        pixels, labels = table.to_numpy(np.uint8).reshape(-1, 28, 28), target.to_numpy().astype(np.int64)
        fit = np.arange(60_000)
    else:
        x, y, x_test, y_test = sources.arrays(files[0], "x_train", "y_train", "x_test", "y_test")
        pixels, labels, fit = np.concatenate([x, x_test]), np.concatenate([y, y_test]), np.arange(len(x))
    parts = random_parts(len(fit), "TVTTTT", labels[fit])  # about 50,000 and 10,000
    rows = {"T": fit[parts["T"]], "V": fit[parts["V"]], "S": np.arange(len(fit), len(labels))}
    flips = card.name == "fashion-mnist"
    return _images(
        card, pixels[:, None], labels, rows, (16, 32, 32), pools=2, flips=flips, epochs=5, batch_size=128
    )


def _cifar10(card: TaskCard) -> Task:
    (path,) = sources.located(card)
    x, labels = sources.arrays(path, "x", "y")
    rows = random_parts(len(labels), FIFTHS, labels)
    return _images(card, x.transpose(0, 3, 1, 2), labels, rows, (32, 64, 64), pools=2, flips=True)


def _images(
    card: TaskCard,
    pixels: np.ndarray,
    labels: np.ndarray,
    rows: Rows,
    widths: tuple[int, ...],
    pools: int,
    stride: int = 1,
    notes: tuple[str, ...] = (),
    **options: Any,
) -> Task:
    """A task of images `[N, C, H, W]`, each channel scaled by the training images' mean and deviation."""
    if pixels.ndim != 4 or len(pixels) != len(labels):
        raise InputError(
            f"task '{card.name}': images {pixels.shape} and labels {labels.shape} do not fit together"
        )
    scales = [moments(pixels[rows["T"], channel]) for channel in range(pixels.shape[1])]
    mean, deviation = (
        torch.tensor(column).float().reshape(1, -1, 1, 1) for column in zip(*scales, strict=True)
    )
    x = torch.from_numpy(pixels.astype(np.float32)).sub_(mean).div_(deviation)
    figures = "; ".join(f"{m:.3f}, {d:.3f}" for m, d in scales)
    notes = (*notes, f"pixels are scaled to mean 0 and deviation 1 by training data ({figures})")
    channels, height, width = pixels.shape[1:]
    model = partial(convnet, (channels, height, width), widths, pools, int(labels.max()) + 1, stride=stride)
    return _task(card, model, x, labels, rows, notes=notes, **options)


def _small_table(name: str, card: TaskCard) -> Task:
    from sklearn import datasets

    loader = getattr(datasets, name)
    table, target = loader(return_X_y=True, as_frame=True)
    strata = target.to_numpy() if card.criterion == "classification" else None
    return _table(card, table, target.to_numpy(), random_parts(len(table), FIFTHS, strata))


def _mammography(card: TaskCard) -> Task:
    files = sources.located(card)
    if not files:
        table, target = sources.fetched(card)
    else:
        whole = sources.frame(files[0], header=None, quotechar="'")
        table, target = whole.iloc[:, :-1], whole.iloc[:, -1]
    labels = (target.astype(str).to_numpy() == "1").astype(np.int64)
    return _table(card, table, labels, random_parts(len(labels), FIFTHS, labels), epochs=5, batch_size=128)


def _adult(card: TaskCard) -> Task:
    from pandas import concat

    files = sources.located(card)
    train, test = (sources.frame(path, names=ADULT, skipinitialspace=True, na_values="?") for path in files)
    whole = concat([train, test], ignore_index=True)
    labels = whole.pop("income").str.startswith(">50K").to_numpy().astype(np.int64)
    parts = random_parts(len(train), "TVTTT", labels[: len(train)])
    rows = {"T": parts["T"], "V": parts["V"], "S": np.arange(len(train), len(whole))}
    return _table(card, whole, labels, rows, epochs=5, batch_size=256)


def _california(card: TaskCard) -> Task:
    (path,) = sources.located(card)
    whole = sources.frame(path)
    target = whole.pop("median_house_value").to_numpy(np.float64)
    return _table(card, whole, target, random_parts(len(target), FIFTHS), batch_size=256)


def _table(card: TaskCard, table: pd.DataFrame, target: np.ndarray, rows: Rows, **options: Any) -> Task:
    x, notes = encode(
        table.rename(columns=lambda name: f"column {name}" if isinstance(name, int) else name), rows["T"]
    )
    if card.criterion == "regression":
        target, mean, deviation = standardise(target, rows["T"])
        notes += (standardised_note(mean, deviation),)
        options["target_deviation"] = deviation
        outputs = 1
    else:
        outputs = int(target.max()) + 1
    model = partial(perceptron, x.shape[1], (64, 64), outputs)
    return _task(card, model, torch.from_numpy(x), target, rows, notes=notes, **options)


def _task(
    card: TaskCard, model: Callable[[], nn.Module], x: torch.Tensor, y: np.ndarray, rows: Rows, **options: Any
) -> Task:
    split = {letter: (x[torch.from_numpy(index)], y[index]) for letter, index in rows.items()}
    return Task(
        model=model,
        train=split["T"],
        validation=split["V"],
        test=split["S"],
        **card.options,
        random_split=True,
        **options,
    )


BUILDERS: dict[str, Callable[[TaskCard], Task]] = {
    "digits": _digits,
    "digits-longtail": _digits,
    "breast-cancer": partial(_small_table, "load_breast_cancer"),
    "wine": partial(_small_table, "load_wine"),
    "diabetes": partial(_small_table, "load_diabetes"),
    "mnist": _mnist,
    "fashion-mnist": _mnist,
    "cifar10-4k": _cifar10,
    "mammography": _mammography,
    "adult": _adult,
    "california-housing": _california,
    "sst2": text_task,
    "sst2-transformer": text_task,
    "trec": text_task,
    "trec-transformer": text_task,
    "ring-gan": ring,
    "digits-gan": digits_gan,
    "digit-scenes": digit_scenes,
}


def builtin(name: str) -> Task:
    """The built-in task of that name. Raises InputError for an unknown name or missing data."""
    if name not in BUILDERS:
        raise unknown("task", name, CARDS)
    return BUILDERS[name](CARDS[name])
