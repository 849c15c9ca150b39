"""Where the larger data sets come from: a folder that the user names, or OpenML on request."""

from __future__ import annotations

import gzip
import os
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ablate.records.errors import InputError
from ablate.tasks.task_cards import DATA, FETCH, TaskCard

if TYPE_CHECKING:
    import pandas as pd

DIGITS = "sklearn/datasets/data/digits.csv.gz"


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels `[N, 64]` and labels `[N]` of scikit-learn's digits, as returned by its `load_digits`.

    Read directly from the package's file if it has the usual path: importing scikit-learn takes a second.
    """
    file = Path(str(distribution("scikit-learn").locate_file(DIGITS)))
    if not file.is_file():
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        return pixels, labels
    with gzip.open(file, "rt") as lines:
        table = np.loadtxt(lines, delimiter=",")
    return table[:, :-1], table[:, -1].astype(int)


def located(card: TaskCard) -> list[Path]:
    """The card's files; empty if they are to be fetched instead. Raises InputError if neither can be."""
    missing = card.missing()
    if not missing:
        return [Path(os.environ[DATA]) / file for file in card.needs]
    if card.ready():
        return []
    fetch = f", or set {FETCH}=1 to download it from OpenML ({card.openml})" if card.openml else ""
    folder = os.environ.get(DATA, "")
    where = (
        f"in the folder {folder} ({DATA})"
        if folder
        else f"in the folder that {DATA} names; {DATA} is not set"
    )
    raise InputError(
        f"task '{card.name}' needs {' and '.join(missing)} {where}",
        hint=f"put the file there{fetch}; tasks that need no file: digits, breast-cancer, wine, diabetes",
    )


def arrays(path: Path, *names: str) -> list[np.ndarray]:
    """The named arrays of an npz file. Raises InputError: not such a file, or an array is missing."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return [archive[name] for name in names]
    except KeyError as error:
        raise InputError(f"{path} lacks an array", hint=f"it must hold {', '.join(names)}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as an npz file ({error})", hint="copy it again") from error


def frame(path: Path, **options: Any) -> pd.DataFrame:
    """A CSV file as a frame. Raises InputError."""
    from pandas import read_csv

    try:
        table: pd.DataFrame = read_csv(path, **options)
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"{path} cannot be read as CSV ({error})", hint="copy it again") from error
    return table


def fetched(card: TaskCard) -> tuple[pd.DataFrame, pd.Series]:
    """(features, target) from openml.org through scikit-learn, which keeps its own cache."""
    from sklearn.datasets import fetch_openml

    try:
        bunch = fetch_openml(card.openml, version=1, as_frame=True, parser="auto")
    except (OSError, ValueError) as error:  # no network, or OpenML has no such data set (a ValueError)
        hint = f"check the network, or put the file in the folder that {DATA} names"
        raise InputError(f"'{card.openml}' could not be fetched from OpenML ({error})", hint=hint) from error
    return bunch.data, bunch.target
