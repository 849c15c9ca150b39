"""Task: a model, its data, and what is to be minimised. What a user builds to bring his own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

from torch import nn

from ablate.records.errors import InputError, unknown
from ablate.tasks.given import splits_of
from ablate.tasks.metric_table import CRITERIA, Criterion, Direction, metric_info, selection_metric
from ablate.tasks.packing import Adapted
from ablate.tasks.split import Split

Kind = Literal["image", "tabular", "text", "other"]
KINDS: tuple[Kind, ...] = ("image", "tabular", "text", "other")
NAME = re.compile(r"\w[\w.-]*")  # it becomes a folder's name


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Task:
    """A model, its data and its criterion.

    model: makes a fresh `nn.Module` at each call; it maps a batch x to logits `[B, classes]` or, for
        regression, to `[B, D]`. It is called with keywords where x is a dict of tensors, with positions where x is a tuple.
    train, validation, test: pairs (x, y) of tensors, NumPy arrays or pandas objects, or map-style Datasets. Training items
        that a Dataset draws at random are read anew each epoch. x may be a dict or a tuple of these, nested too (token
        ids and masks, say); whole numbers in it stay int64.
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
    output: which output of the model is its prediction, if it returns several: a key, an attribute or a position. By
        default "logits" of a dict or of transformers' ModelOutput.
    encode: turns new rows of the user's table into inputs, as x was made.
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
    output: str | int | None
    encode: Callable[[Any], Any] | None

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
        output: str | int | None = None,
        encode: Callable[[Any], Any] | None = None,
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
        splits, found, stand_ins = splits_of(given, criterion, text=kind == "text")
        packing = splits["train"].packing
        if not isinstance(model, Adapted) and (packing is not None or output is not None):
            model = Adapted(model, packing, output)
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
            "kind": kind or ("other" if packing else _kind(splits["train"])),
            "output": output,
            "encode": encode,
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
        continuous = self.train.x.is_floating_point() and self.train.packing is None
        numbers = {"continuous"} if continuous else set()
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


def _kind(split: Split) -> Kind:
    return {4: "image", 2: "tabular"}.get(split.x.ndim, "other")  # type: ignore[return-value]


def _positive(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} must be a whole number of at least 1, not {value!r}")
    return value
