"""Task: a model, its data and its criterion, as users define it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from ablate.records.arguments import known_arguments, parameters_of
from ablate.records.errors import unknown
from ablate.records.trick import REQUIREMENTS
from ablate.tasks.batch_loss import BatchForm, refuse_streams
from ablate.tasks.criteria.code import code_of
from ablate.tasks.criteria.dense import Dense
from ablate.tasks.custom_loss import CustomLoss, checked_loss, criterion_of
from ablate.tasks.custom_metrics import CustomMetric, custom_metrics
from ablate.tasks.evaluation import Evaluation
from ablate.tasks.loaders import batch_size_of
from ablate.tasks.metric_table import (
    METRICS,
    Criterion,
    Direction,
    Metric,
    metric_info,
    selection_metric,
)
from ablate.tasks.model_outputs import OutputForm, output_form
from ablate.tasks.requirements import discrete_inputs, lacking
from ablate.tasks.split import Split, data_sha256
from ablate.tasks.task_arguments import adapted, checked_model, checked_name
from ablate.tasks.user_code import repeatable
from ablate.tasks.user_splits import KINDS, Kind, kind_of, positive, splits_of

if TYPE_CHECKING:
    import pandas as pd

BATCH_SIZE = 64


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Task:
    """A model, its data and its criterion.

    model: makes a fresh `nn.Module` at each call; it maps a batch x to logits `[B, classes]` or, for
        regression, to `[B, D]`. It is called with keyword arguments if x is a dict of tensors, with positional ones if x is a tuple.
    train, validation, test: pairs (x, y) of tensors, NumPy arrays or pandas objects, Datasets, IterableDatasets that end, or
        DataLoaders (whose data set is used). Training items that a Dataset draws at random, or that take more than 1 GiB, are read again each
        epoch, once for all runs that train together. x may be a dict or a tuple of these, nested too (token ids and masks, for example);
        integers in it stay int64. A missing validation or test split is taken from the training data (a fifth each, stratified by class, always
        the same rows) and `notes` says so; `test=False` means no test split, and then nothing can be confirmed.
    criterion: the meaning of y. "classification" (labels 0 … classes-1, or text; the default without a `loss`), "regression" (numbers),
        "multilabel" (0 or 1, `[N, C]`), "token_classification" and "language_modelling" (classes of tokens `[N, T]`, -100 where none counts; outputs
        `[B, T, V]`), "segmentation" (classes of pixels `[N, H, W]`; outputs `[B, C, H, W]`), "custom" (what the `loss` takes; the default with one).
    loss: replaces the criterion's loss: a function `(outputs, targets)`, called like torch's losses with what the model returns for a batch and
        the batch's targets; it returns a number for each example, `[B]`, or the batch's mean. If its second parameter is called `batch`, it gets
        the pair (inputs, targets), the inputs before any trick changes them. The criterion still says what y is and which metrics are measured.
    metrics: further ones, `{"NAME": (function, "maximize")}` (or "minimize") with functions `(outputs, targets) -> float`, or
        torchmetrics objects: called with a whole split's outputs and targets on the CPU.
    metric: what search and ranking optimise, by default "validation/accuracy" or "validation/rmse".
    epochs, batch_size: the budget of a run, and the baseline's batch size (64, or a DataLoader's own).
    kind: "image" (x is `[N, C, H, W]`), "tabular", "text" (token ids) or "other"; by default inferred from x's shape and from the model.
    random_split: whether training and validation examples are a random split of the same data, which a run may then split anew by its seed;
        always true without validation data.
    output: which output of the model is its prediction, if it returns several: a key, an attribute or a position. By default "logits" of a
        dict or of transformers' ModelOutput; without one, a custom loss gets all of them.
    workers: processes that read the items of a Dataset, where they are read in training; 0, or a DataLoader's own number.
    encode: encodes new rows of the user's table like x. flips: whether an image mirrored left to right keeps its label.
    target_deviation: the standard deviation by which the targets of a regression were divided; errors are then shown as standard deviations (SD).

    Raises InputError. What does not require running the model is checked here; `check` does the rest.
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
    random_split: bool
    output: str | int | None
    encode: Callable[[Any], Any] | None
    loss: Callable[[Any, Any], Any] | None
    metrics: Mapping[str, CustomMetric]
    workers: int | None
    target_deviation: float | None

    @known_arguments()
    def __init__(
        self,
        model: Callable[[], nn.Module],
        train: Any,
        validation: Any = None,
        test: Any = None,
        criterion: str | None = None,
        metric: str | None = None,
        epochs: int = 20,
        batch_size: int | None = None,
        name: str = "",
        title: str = "",
        kind: str | None = None,
        flips: bool = False,
        labels: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
        source: str = "",
        source_sha256: str = "",
        random_split: bool = False,
        output: str | int | None = None,
        encode: Callable[[Any], Any] | None = None,
        loss: Callable[[Any, Any], Any] | None = None,
        metrics: Any = None,
        workers: int | None = None,
        target_deviation: float | None = None,
    ) -> None:
        model = checked_model(model)
        loss = checked_loss(loss)
        criterion = criterion_of(criterion, loss)
        custom = custom_metrics(metrics, criterion)
        if kind is not None and kind not in KINDS:
            raise unknown("kind", str(kind), KINDS)
        name = checked_name(name)
        given = {"train": train, "validation": validation} | ({} if test is False else {"test": test})
        batch_size = (batch_size_of(train) or BATCH_SIZE) if batch_size is None else batch_size
        splits, names, stand_ins = splits_of(
            given, criterion, text=kind == "text", model=model if kind is None else None, workers=workers
        )
        refuse_streams(loss, splits)
        values = {
            "model": adapted(model, splits["train"], output, criterion, loss),
            "train": splits["train"],
            "validation": splits["validation"],
            "test": splits.get("test"),
            "criterion": criterion,
            "metric": selection_metric(criterion, metric, {name: one.metric for name, one in custom.items()}),
            "epochs": positive("epochs", epochs),
            "batch_size": positive("batch_size", batch_size),
            "name": name,
            "title": title or name,
            "kind": kind_of(splits["train"], kind),
            "output": output,
            "encode": encode,
            "loss": loss,
            "metrics": custom,
            "workers": workers,
            "target_deviation": target_deviation,
            "flips": bool(flips),
            "labels": tuple(labels) or names,
            "notes": (*notes, *stand_ins),
            "source": source,
            "source_sha256": source_sha256,
            "random_split": (random_split or validation is None) and not splits["train"].streams,
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)

    @classmethod
    @known_arguments(parameters_of(__init__))
    def from_table(
        cls, table: pd.DataFrame, target: str, model: Callable[..., nn.Module] | None = None, *, embed: bool | None = None,
        **changes: Any,
    ) -> Task:  # fmt: skip
        """The task of predicting the column `target` of a pandas frame from its other columns.

        Numbers, booleans, dates, categories and gaps are encoded by scikit-learn's transformers, fitted on training rows;
        `task.notes` says how, and `task.encode` encodes new rows. model: a function `(inputs, outputs)` that makes a fresh
        module, a small perceptron by default. embed: with it, `(inputs, outputs, levels)`: text columns of more than 40 levels are ids,
        `levels` the number of each, and x is `{"numbers": [B, inputs], "categories": [B, len(levels)]}`. changes: other arguments of the constructor.
        """
        from ablate.tasks.frame import frame_arguments  # imports scikit-learn

        return cls(**{**frame_arguments(table, target, model, embed=embed), **changes})

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that there are, by name."""
        given = {"train": self.train, "validation": self.validation, "test": self.test}
        return {where: split for where, split in given.items() if split is not None}

    @cached_property
    def classes(self) -> int | None:
        """Number of classes (one more than the largest label, or the number of names); None unless each example has one class."""
        if self.criterion != "classification":
            return None
        return max(len(self.labels), *(int(split.y.max()) + 1 for split in self.splits.values()))

    @property
    def dense(self) -> bool:
        """Whether targets are classes of tokens or pixels."""
        return isinstance(code_of(self.criterion), Dense)

    @property
    def accuracy(self) -> str:
        """The metric recorded during training besides the loss; "" if there is none."""
        return next((name for name in ("accuracy", "label_accuracy") if name in METRICS[self.criterion]), "")

    @property
    def outputs(self) -> int:
        """Width of the model's output: classes (of tokens or pixels: those that occur), or the number of targets."""
        if self.classes is not None:
            return self.classes
        if self.dense:
            return 1 + max(int(split.y.max()) for split in self.splits.values())
        return prod(self.train.y.shape[1:])

    @cached_property
    def output_form(self) -> OutputForm:
        """The form of one example's outputs, from a fresh model on two examples."""
        with repeatable():
            return output_form(self.model, self.train.x[:2])

    @cached_property
    def evaluation(self) -> Evaluation:
        """The evaluation of outputs. Runs the model once if the loss is custom."""
        loss = None if self.loss is None else CustomLoss.of(self.loss, self.output_form, self.train)
        example = self.judged(self.train, slice(self.batch_size))
        return Evaluation(code_of(self.criterion), example, self.batch_size, loss, tuple(self.metrics.values()))  # fmt: skip

    @cached_property
    def batch_form(self) -> BatchForm | None:
        """How targets stand beside inputs for a loss that takes the batch; None for any other."""
        return BatchForm.of(self.loss, self.train)

    def judged(self, split: Split, rows: slice | np.ndarray = slice(None)) -> Tensor:
        """What `evaluation` takes as the targets of a split's examples: y, or `[N, W]` with the inputs for a loss that takes the batch."""
        y = split.y[rows]
        return y if self.batch_form is None else self.batch_form.joined(split.in_memory[rows], y)

    def encoded(self, y: Tensor) -> Tensor:
        """y of a split as the target of a batch: probabilities of classes, or y itself for a custom loss."""
        return y if self.loss is not None else code_of(self.criterion).encoded(y, self.classes)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, without the batch dimension."""
        return tuple(self.train.x.shape[1:])

    @property
    def provides(self) -> frozenset[str]:
        """Words of `records.trick.REQUIREMENTS` that the data provide; the model's words come from surgery."""
        words = {self.criterion, self.kind, "mixable", "any order", "imbalanced classes", "continuous"}
        return frozenset(words & set(REQUIREMENTS)) - self.lacking.keys()

    @property
    def lacking(self) -> dict[str, str]:
        """Words of `REQUIREMENTS` that the task's loss or targets rule out -> the reason."""
        return lacking(
            self.criterion, self.kind, self.train.y.ndim, discrete_inputs(self.train), custom_loss=self.loss is not None, dense=self.dense,
            streams=self.train.streams, counts=self.train.y.bincount().tolist() if self.criterion == "classification" else (),
        )  # fmt: skip

    @property
    def direction(self) -> Direction:
        """The better direction of the metric: "higher" or "lower"."""
        return self.metric_info().direction

    def metric_info(self, metric: str | None = None) -> Metric:
        """The entry of a metric, by default of the task's. Raises InputError for an unknown one."""
        custom = {name: one.metric for name, one in self.metrics.items()}
        return metric_info(self.criterion, metric or self.metric, custom)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Every metric of a run."""
        return (*METRICS[self.criterion], *self.metrics)

    def but(self, **changes: Any) -> Task:
        """This task with some of the constructor's arguments changed, checked again: `task.but(epochs=5)`.

        (`dataclasses.replace` would treat an absent test split as one to be taken from the training data.)
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
        """SHA-256 of every split's numbers and shapes: detects data that changed under a ledger."""
        return data_sha256(self.criterion, self.splits)
