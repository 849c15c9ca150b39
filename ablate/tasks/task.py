"""Task: a model, its data, and what is to be minimised. What a user builds to bring his own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

from torch import nn

from ablate.records.errors import InputError, unknown
from ablate.tasks import data
from ablate.tasks.metric_table import CRITERIA, Criterion, Direction, metric_info, selection_metric
from ablate.tasks.split import Split, deal

Kind = Literal["image", "tabular", "text", "other"]
KINDS: tuple[Kind, ...] = ("image", "tabular", "text", "other")
SPLITS = ("train", "validation", "test")
NAME = re.compile(r"\w[\w.-]*")  # it becomes a folder's name
LETTERS = {"train": "T", "validation": "V", "test": "S"}


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Task:
    """A model, its data and its criterion.

    model: makes a fresh `nn.Module` at each call; it maps a batch x to logits `[B, classes]` or, for
        regression, to `[B, D]`.
    train, validation, test: pairs (x, y) of tensors, NumPy arrays or pandas objects, or map-style Datasets. Training items
        that a Dataset draws at random are read anew each epoch.
        A missing validation or test split is dealt out of the training data (a fifth each, stratified by
        class, always the same rows) and `notes` says so; `test=False` does without a test split, and then
        nothing can be confirmed.
    criterion: "classification" (y: labels 0 … classes-1, or text) or "regression" (y: numbers).
    metric: what search and ranking look at, "validation/accuracy" or "validation/rmse" unless said otherwise.
    epochs, batch_size: the budget of a run, and the baseline's batch size.
    kind: "image" (x is `[N, C, H, W]`), "tabular", "text" or "other"; told from x's shape unless given (text must be
        given).
    dealt: whether training and validation examples are one random deal of the same data, which a run may then deal
        anew by its seed; so it is where no validation data are given.
    flips: whether an image mirrored left to right keeps its label.

    Raises InputError. Only what can be told without running the model is checked here; `check` does the rest.
    """

    model: Callable[[], nn.Module]
    train: Split
    validation: Split
    test: Split | None
    criterion: Criterion
    metric: str
    epochs: int
    batch_size: int
    name: str
    title: str
    kind: Kind
    flips: bool
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    source: str
    source_sha256: str
    dealt: bool

    def __init__(
        self,
        model: Callable[[], nn.Module],
        train: Any,
        validation: Any = None,
        test: Any = None,
        criterion: str = "classification",
        metric: str | None = None,
        epochs: int = 20,
        batch_size: int = 64,
        name: str = "",
        title: str = "",
        kind: str | None = None,
        flips: bool = False,
        labels: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
        source: str = "",
        source_sha256: str = "",
        dealt: bool = False,
    ) -> None:
        if isinstance(model, nn.Module) or not callable(model):
            what = f"a ready {type(model).__name__}" if isinstance(model, nn.Module) else repr(model)
            hint = "every run needs fresh weights: model=lambda: MyNet()"
            raise InputError(f"model must be a function that makes a module, not {what}", hint=hint)
        if criterion not in CRITERIA:
            raise unknown("criterion", str(criterion), CRITERIA)
        if kind is not None and kind not in KINDS:
            raise unknown("kind", str(kind), KINDS)
        if name and not NAME.fullmatch(name):
            raise InputError(f"'{name}' cannot name a task", hint="use letters, digits, '-', '_' and '.'")
        given = {"train": train, "validation": validation}
        if test is not False:
            given["test"] = test
        splits, found, stand_ins = _splits(given, criterion, text=kind == "text")
        values = {
            "model": model,
            "train": splits["train"],
            "validation": splits["validation"],
            "test": splits.get("test"),
            "criterion": criterion,
            "metric": selection_metric(criterion, metric),
            "epochs": _positive("epochs", epochs),
            "batch_size": _positive("batch_size", batch_size),
            "name": name,
            "title": title or name,
            "kind": kind or _kind(splits["train"]),
            "flips": bool(flips),
            "labels": tuple(labels) or found,
            "notes": (*notes, *stand_ins),
            "source": source,
            "source_sha256": source_sha256,
            "dealt": dealt or validation is None,
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that there are, by name."""
        given = {"train": self.train, "validation": self.validation, "test": self.test}
        return {where: split for where, split in given.items() if split is not None}

    @cached_property
    def classes(self) -> int | None:
        """Number of classes (one more than the largest label, or the number of names); None in regression."""
        if self.criterion == "regression":
            return None
        return max(len(self.labels), *(int(split.y.max()) + 1 for split in self.splits.values()))

    @property
    def outputs(self) -> int:
        """Width of the model's output: classes, or the number of targets."""
        return self.train.y.shape[1] if self.classes is None else self.classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, without the batch dimension."""
        return tuple(self.train.x.shape[1:])

    @property
    def provides(self) -> frozenset[str]:
        """Words of `records.trick.REQUIREMENTS` that the data tell; the model's words come from surgery."""
        numbers = {"continuous"} if self.train.x.is_floating_point() else set()
        return frozenset({self.criterion, self.kind} - {"other"} | numbers)

    @property
    def direction(self) -> Direction:
        """Which way the metric is better: "higher" or "lower"."""
        return metric_info(self.criterion, self.metric).direction

    def but(self, **changes: Any) -> Task:
        """This task with some of the constructor's arguments changed, checked again: `task.but(epochs=5)`.

        (`dataclasses.replace` would take a missing test split for one that is to be dealt out.)
        """
        stored = {field.name: getattr(self, field.name) for field in fields(self)}
        return Task(**{**stored, "test": False if self.test is None else self.test, **changes})

    def called(self, name: str, *, source: str, source_sha256: str = "") -> Task:
        """This task under the name that it was loaded by."""
        return self.but(name=name, title=self.title or name, source=source, source_sha256=source_sha256)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{where} {len(split)}" for where, split in self.splits.items())
        return f"Task({self.name!r}, {self.criterion}, x {list(self.input_shape)}, {sizes})"

    @cached_property
    def data_sha256(self) -> str:
        """SHA-256 of every split's numbers and shapes: tells when data changed under a ledger."""
        digest = hashlib.sha256(self.criterion.encode())
        for where, split in self.splits.items():
            digest.update(f"{where} {list(split.x.shape)} {list(split.y.shape)}".encode())
            if split.items is None or split.items.exact:
                digest.update(split.x.numpy().data)
            digest.update(split.y.numpy().data)
        return digest.hexdigest()


def _splits(
    given: dict[str, Any], criterion: Criterion, text: bool
) -> tuple[dict[str, Split], tuple[str, ...], tuple[str, ...]]:
    """The splits as tensors, the classes' names, and notes on the splits that were dealt out."""
    pairs = {where: data.pair(value, where) for where, value in given.items() if value is not None}
    if "train" not in pairs:
        raise InputError("train is missing", hint=data.PAIR)
    ys, labels = data.targets({where: y for where, (_, y) in pairs.items()}, criterion)
    splits = {}
    for where, (x, _) in pairs.items():
        x = data.inputs(x, where, text)
        if len(x) != len(ys[where]):
            raise InputError(
                f"{where}: x has {len(x)} rows and y has {len(ys[where])}", hint="give one y for each x"
            )
        if len(x) == 0:
            raise InputError(f"{where} is empty", hint="a split needs at least one example")
        own = given[where]
        if isinstance(own, Split):
            splits[where] = Split(x, ys[where], own.rows, own.items)
        else:
            items = data.varying(own, where, pairs[where], labels, criterion, text=text)
            splits[where] = Split(x, ys[where], None, items)
    missing = [where for where in SPLITS if where in given and where not in splits]
    notes = [note for where, split in splits.items() if not isinstance(given[where], Split) for note in _on_items(where, split)]  # fmt: skip
    if not missing:
        return splits, labels, tuple(notes)
    train = splits["train"]
    pattern = "T" + "".join(LETTERS[where] for where in missing)
    parts = deal(len(train), pattern.ljust(5, "T"), _strata(train, criterion))
    if not all(len(parts[LETTERS[where]]) for where in missing):
        raise InputError(
            f"train has {len(train)} examples, too few to take {' and '.join(missing)} data from",
            hint="give validation=(x, y) and test=(x, y), or more data",
        )
    for where in missing:
        splits[where] = train.take(parts[LETTERS[where]])
        how = "stratified by class" if criterion == "classification" else "at random"
        notes.append(
            f"no {where} data was given: {len(splits[where])} training examples, {how}, stand in for it"
        )
    splits["train"] = train.take(parts["T"])
    return splits, labels, tuple(notes)


def _on_items(where: str, split: Split) -> Iterator[str]:
    """What is done with a split whose Dataset gives other items at each read."""
    if split.items is None:
        return
    if where == "train":
        yield "the training Dataset draws its items at random: they are read anew each epoch, once for all runs that train together"
    else:
        yield f"the {where} Dataset draws its items at random: one draw is kept, so that all runs are judged by the same"
    if not split.items.exact:
        yield (
            f"the {where} Dataset draws from a generator of its own, or keeps count of its reads: runs do not repeat exactly "
            "(torch's, NumPy's and Python's global generators are seeded)"
        )


def _strata(split: Split, criterion: Criterion) -> Any:
    return split.y.numpy() if criterion == "classification" else None


def _kind(split: Split) -> Kind:
    return {4: "image", 2: "tabular"}.get(split.x.ndim, "other")  # type: ignore[return-value]


def _positive(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} must be a whole number of at least 1, not {value!r}")
    return value
